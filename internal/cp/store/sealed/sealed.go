// Package sealed encrypts what must not be read by whoever gets hold of the
// database or a copy of it: Secrets, GlobalSecrets, and other objects that hold
// data inline. It is a store.Codec.
//
// Each write draws a data key, encrypts the spec with it (AES-256-GCM), and keeps
// it beside, encrypted with the first of the configured keys. All configured keys
// open; so a key is exchanged by putting the new one in front, and taking the old
// one away when the Resealer has written anew what it protects. What is kept is
// bound to its object: copied to another name it does not open.
//
// Without keys nothing is encrypted, but what is encrypted is still noticed.
package sealed

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"

	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// keySize is that of AES-256.
const keySize = 32

// Key encrypts data keys.
type Key struct {
	// ID names the key beside what it encrypted.
	ID   string
	aead cipher.AEAD
}

// ParseKeys reads keys: one in a line, or between commas, as <id>:<base64 of 32
// bytes>, the first being the one that encrypts. Lines that begin with # are
// comments. Errors show no part of a key.
func ParseKeys(text string) ([]Key, error) {
	var out []Key
	n := 0
	for line := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == '\n' || r == ',' }) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		n++
		id, encoded, ok := strings.Cut(line, ":")
		if !ok || !validID(id) {
			return nil, fmt.Errorf("key %d: write it as <id>:<base64>, where the id has up to 63 letters, digits, '-', '_' and '.'", n)
		}
		raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(encoded))
		if err != nil {
			return nil, fmt.Errorf("key %q: what follows the id is no base64", id)
		}
		if len(raw) != keySize {
			return nil, fmt.Errorf("key %q: it has %d bytes and must have %d; make one with: openssl rand -base64 %d", id, len(raw), keySize, keySize)
		}
		if slices.ContainsFunc(out, func(k Key) bool { return k.ID == id }) {
			return nil, fmt.Errorf("key %q: two keys have this id", id)
		}
		aead, err := newAEAD(raw)
		if err != nil {
			return nil, fmt.Errorf("key %q: %w", id, err)
		}
		out = append(out, Key{ID: id, aead: aead})
	}
	return out, nil
}

func validID(id string) bool {
	if id == "" || len(id) > 63 {
		return false
	}
	return !strings.ContainsFunc(id, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-_.", r)
	})
}

func newAEAD(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("use as AES key: %w", err)
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// Codec implements store.Codec. It is safe for concurrent use.
type Codec struct {
	keys []Key

	mu sync.Mutex
	// stale are the objects that the first key did not encrypt.
	stale map[model.Key]struct{}
	// lost are those that no key opens, with the id of the key that they need.
	lost map[model.Key]string
	// works are the ids of the keys that opened something.
	works map[string]bool
}

// New returns a codec with keys, the first of which encrypts; there may be none.
func New(keys []Key) *Codec {
	return &Codec{keys: keys, stale: map[model.Key]struct{}{}, lost: map[model.Key]string{}, works: map[string]bool{}}
}

// box is what is kept.
type box struct {
	// Sealed is the version of this form.
	Sealed int    `json:"sealed"`
	Key    string `json:"key"`
	// DataKey and Data are nonce, ciphertext and tag.
	DataKey []byte `json:"dataKey"`
	Data    []byte `json:"data"`
}

const version = 1

// Seal implements store.Codec.
func (c *Codec) Seal(id model.Key, spec []byte) ([]byte, error) {
	if len(c.keys) == 0 || !worth(id, spec) {
		return spec, nil
	}
	dataKey := make([]byte, keySize)
	if _, err := rand.Read(dataKey); err != nil {
		return nil, fmt.Errorf("draw a data key: %w", err)
	}
	aead, err := newAEAD(dataKey)
	if err != nil {
		return nil, err
	}
	bound := binding(id)
	b := box{
		Sealed: version, Key: c.keys[0].ID,
		DataKey: c.keys[0].aead.Seal(nil, nil, dataKey, bound),
		Data:    aead.Seal(nil, nil, spec, bound),
	}
	out, err := json.Marshal(b)
	if err != nil {
		return nil, fmt.Errorf("write the sealed form: %w", err)
	}
	return out, nil
}

// Open implements store.Codec.
func (c *Codec) Open(id model.Key, kept []byte) ([]byte, error) {
	b, ok := sealed(kept)
	if !ok {
		c.note(id, len(c.keys) > 0 && worth(id, kept), "")
		return kept, nil
	}
	i := slices.IndexFunc(c.keys, func(k Key) bool { return k.ID == b.Key })
	if i < 0 {
		c.note(id, false, b.Key)
		return nil, fmt.Errorf("it is encrypted with the key %q, which store.encryption does not name", b.Key)
	}
	spec, err := b.open(c.keys[i], binding(id))
	if err != nil {
		c.note(id, false, b.Key)
		return nil, err
	}
	c.note(id, i > 0, "")
	c.mu.Lock()
	c.works[b.Key] = true
	c.mu.Unlock()
	return spec, nil
}

func (b *box) open(k Key, bound []byte) ([]byte, error) {
	// What the cipher says is always the same.
	dataKey, err := k.aead.Open(nil, nil, b.DataKey, bound)
	if err != nil {
		return nil, fmt.Errorf("the key %q does not open it: it is another key of that id, or what is stored was changed or belongs to another object", k.ID)
	}
	aead, err := newAEAD(dataKey)
	if err != nil {
		return nil, err
	}
	spec, err := aead.Open(nil, nil, b.Data, bound)
	if err != nil {
		return nil, fmt.Errorf("what is stored was changed")
	}
	return spec, nil
}

// sealed reads the form of encrypted specs.
func sealed(kept []byte) (box, bool) {
	var b box
	if !bytes.HasPrefix(kept, []byte(`{"sealed":`)) || json.Unmarshal(kept, &b) != nil || b.Sealed != version {
		return box{}, false
	}
	return b, true
}

// worth tells whether a spec must not be kept readable: Secrets, and what others
// hold inline (certificate authorities of a Mesh, client keys of an ExternalService).
func worth(id model.Key, spec []byte) bool {
	switch id.Kind {
	case kinds.Secret.Name, kinds.GlobalSecret.Name:
		return true
	case kinds.DataplaneInsight.Name, kinds.Dataplane.Name, kinds.Config.Name:
		return false // the bulk of what is written
	}
	return bytes.Contains(spec, []byte(`"inline"`)) || bytes.Contains(spec, []byte(`"inlineString"`))
}

// binding is what encrypted data belongs to.
func binding(id model.Key) []byte { return []byte(id.Kind + "\x00" + id.Mesh + "\x00" + id.Name) }

// note remembers what is to be written anew, and what cannot be read.
func (c *Codec) note(id model.Key, stale bool, lost string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.stale, id)
	delete(c.lost, id)
	if stale {
		c.stale[id] = struct{}{}
	}
	if lost != "" {
		c.lost[id] = lost
	}
}

// Stale returns the objects that were read and that the first key did not encrypt.
func (c *Codec) Stale() []model.Key {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]model.Key, 0, len(c.stale))
	for id := range c.stale {
		out = append(out, id)
	}
	slices.SortFunc(out, model.Key.Compare)
	return out
}

// Lost returns an error if a key is missing, or is another one than that which
// encrypted. Single objects that do not open with a key that works are damaged;
// the store tells about them.
func (c *Codec) Lost() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var ids []string
	for _, k := range c.lost {
		if !c.works[k] && !slices.Contains(ids, k) {
			ids = append(ids, k)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	slices.Sort(ids)
	return fmt.Errorf("stored secrets cannot be read: they are encrypted with the key %s, which store.encryption does not hold; "+
		"name it there (KUMA_STORE_ENCRYPTION_KEY_FILE or _KEYS), behind the one in use if there is a newer one", strings.Join(ids, ", "))
}

// forget drops an object that is gone or was written anew.
func (c *Codec) forget(id model.Key) { c.note(id, false, "") }
