package auth

import (
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"weft/internal/cp/store"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
	"weft/internal/mesh/token"
)

// usableFor is how long what was read last is used while the store is away.
const usableFor = 15 * time.Minute

// most bounds what is remembered; beyond it everything is forgotten. A control
// plane has a few keys and lists per mesh.
const most = 4096

// secrets reads secrets from the store.
type secrets struct {
	store store.Store
	now   func() time.Time

	mu     sync.Mutex
	last   map[model.Key]reading
	parsed map[[sha256.Size]byte]*rsa.PublicKey
}

// reading is what was read of a secret, and when.
type reading struct {
	data []byte // nil = it did not exist
	at   time.Time
}

func newSecrets(st store.Store, now func() time.Time) *secrets {
	return &secrets{store: st, now: now, last: map[model.Key]reading{}, parsed: map[[sha256.Size]byte]*rsa.PublicKey{}}
}

// get returns the value of a secret; found is false if there is none. known tells
// that the name does not come from a token that nobody has verified yet: only
// then absence is remembered, too, for memory must not fill with invented names.
func (s *secrets) get(ctx context.Context, key model.Key, known bool) (data []byte, found bool, err error) {
	o, err := s.store.Get(ctx, key)
	switch {
	case err == nil:
		data = dataOf(o)
		s.remember(key, data)
		return data, true, nil
	case errors.Is(err, store.ErrNotFound):
		if known {
			s.remember(key, nil)
		} else {
			s.forget(key)
		}
		return nil, false, nil
	case errors.Is(err, store.ErrUnavailable):
		if r, ok := s.recall(key); ok {
			return r.data, r.data != nil, nil
		}
	}
	return nil, false, fmt.Errorf("read %s: %w", key, err)
}

func dataOf(o *model.Object) []byte {
	data := []byte(model.Spec[kinds.SecretSpec](o).Data)
	if data == nil {
		data = []byte{} // it exists, which nil would deny
	}
	return data
}

// remember notes what was read.
func (s *secrets) remember(key model.Key, data []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.last) >= most {
		clear(s.last)
	}
	s.last[key] = reading{data: data, at: s.now()}
}

// forget drops what was remembered of a secret.
func (s *secrets) forget(key model.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.last, key)
}

func (s *secrets) recall(key model.Key) (reading, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.last[key]
	return r, ok && s.now().Sub(r.at) < usableFor
}

// publicKey returns the public key in the text of a key; parsing it takes longer
// than everything else about a token, so it is remembered by content.
func (s *secrets) publicKey(text []byte) (*rsa.PublicKey, error) {
	sum := sha256.Sum256(text)
	s.mu.Lock()
	key := s.parsed[sum]
	s.mu.Unlock()
	if key != nil {
		return key, nil
	}
	key, err := token.ParsePublicKey(text)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.parsed) >= most {
		clear(s.parsed)
	}
	s.parsed[sum] = key
	return key, nil
}

// revoked tells whether one of the secrets lists the token id. Ids are separated
// by commas; blanks and line breaks around them do not count.
func (s *secrets) revoked(ctx context.Context, id string, lists ...model.Key) (bool, error) {
	for _, l := range lists {
		data, _, err := s.get(ctx, l, true)
		if err != nil {
			return false, err
		}
		for item := range bytes.SplitSeq(data, []byte(",")) {
			if strings.TrimSpace(string(item)) == id {
				return true, nil
			}
		}
	}
	return false, nil
}
