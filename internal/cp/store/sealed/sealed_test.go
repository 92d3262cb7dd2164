package sealed

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"weft/internal/cp/store"
	"weft/internal/cp/store/sqlite"
	"weft/internal/cp/store/storetest"
	"weft/internal/mesh/catalog"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

func keyText(id string, fill byte) string {
	return id + ":" + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{fill}, keySize))
}

func codec(t testing.TB, keys ...string) *Codec {
	t.Helper()
	ks, err := ParseKeys(strings.Join(keys, "\n"))
	if err != nil {
		t.Fatal(err)
	}
	return New(ks)
}

func TestParseKeys(t *testing.T) {
	t.Parallel()
	ks, err := ParseKeys("# our keys\n\n" + keyText("b", 2) + "\r\n " + keyText("a", 1) + "," + keyText("c.1_x-Y", 3))
	if err != nil || len(ks) != 3 || ks[0].ID != "b" || ks[1].ID != "a" || ks[2].ID != "c.1_x-Y" {
		t.Fatalf("got %v, %v", ks, err)
	}
	if ks, err := ParseKeys(" \n#nothing"); err != nil || len(ks) != 0 {
		t.Fatalf("without keys: %v, %v", ks, err)
	}
	secret := base64.StdEncoding.EncodeToString([]byte("much too short"))
	for in, want := range map[string]string{
		secret:                                  "write it as",
		"a b:" + secret:                         "write it as",
		"a:" + secret:                           "must have 32",
		"a:%%%":                                 "no base64",
		keyText("a", 1) + "," + keyText("a", 2): "two keys",
	} {
		_, err := ParseKeys(in)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), secret) {
			t.Errorf("%q: %v", in, err)
		}
	}
}

func TestSealAndOpen(t *testing.T) {
	t.Parallel()
	secret := kinds.Secret.Key("default", "s")
	spec := []byte(`{"data":"Y2FuYXJ5"}`)
	c := codec(t, keyText("k1", 1))
	kept, err := c.Seal(secret, spec)
	if err != nil || bytes.Contains(kept, []byte("Y2FuYXJ5")) {
		t.Fatalf("sealed as %s, %v", kept, err)
	}
	if again, _ := c.Seal(secret, spec); bytes.Equal(again, kept) {
		t.Error("the same text twice gives the same sealed text")
	}
	if got, err := c.Open(secret, kept); err != nil || !bytes.Equal(got, spec) {
		t.Errorf("opened as %s, %v", got, err)
	}
	for _, other := range []model.Key{kinds.Secret.Key("default", "t"), kinds.Secret.Key("other", "s"), kinds.GlobalSecret.Key("", "s")} {
		if got, err := c.Open(other, kept); err == nil {
			t.Errorf("under the name %s it opens as %s", other, got)
		}
	}
	whole, _ := sealed(kept)
	for i := range kept { // nothing can be changed without notice
		bad := bytes.Clone(kept)
		bad[i] ^= 1
		b, ok := sealed(bad)
		if got, err := c.Open(secret, bad); err == nil && bytes.Equal(got, spec) && (!ok || !reflect.DeepEqual(b, whole)) {
			t.Errorf("byte %d is another and it still opens: %s", i, bad)
		}
	}
	if got, err := codec(t, keyText("k1", 9)).Open(secret, kept); err == nil {
		t.Errorf("another key opens it as %s", got)
	}
	if got, err := codec(t).Open(secret, kept); err == nil || !strings.Contains(err.Error(), `"k1"`) {
		t.Errorf("without keys it opens as %s, %v", got, err)
	}
}

func TestWhatIsSealed(t *testing.T) {
	t.Parallel()
	c := codec(t, keyText("k", 1))
	for _, x := range []struct {
		key    model.Key
		spec   string
		sealed bool
	}{
		{kinds.Secret.Key("m", "x"), `{}`, true},
		{kinds.GlobalSecret.Key("", "x"), `{}`, true},
		{kinds.Mesh.Key("", "x"), `{"mtls":{"backends":[{"conf":{"key":{"inline":"a2V5"}}}]}}`, true},
		{kinds.Mesh.Key("", "x"), `{"mtls":{"backends":[{"conf":{"key":{"secret":"s"}}}]}}`, false},
		{kinds.ExternalService.Key("m", "x"), `{"networking":{"tls":{"clientKey":{"inlineString":"k"}}}}`, true},
		{kinds.Dataplane.Key("m", "x"), `{"networking":{}}`, false},
	} {
		kept, err := c.Seal(x.key, []byte(x.spec))
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := sealed(kept); ok != x.sealed {
			t.Errorf("%s %s is kept as %s", x.key, x.spec, kept)
		}
	}
}

// open opens a store in a file with keys.
func open(t *testing.T, file string, keys ...string) (store.Store, *Codec) {
	t.Helper()
	c := codec(t, keys...)
	s, err := sqlite.Open(t.Context(), sqlite.Options{Path: file, Kinds: catalog.ByName, Codec: c})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s, c
}

const canary = "canary-in-the-coalmine" // 22 bytes, of which the first 21 are whole groups of base64

// leaks tells whether the canary is readable in a database.
func leaks(t *testing.T, file string) bool {
	t.Helper()
	files, err := filepath.Glob(file + "*")
	if err != nil || len(files) == 0 {
		t.Fatal(err, files)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(b, []byte(base64.StdEncoding.EncodeToString([]byte(canary[:21])))) {
			return true
		}
	}
	return false
}

// A key is introduced, exchanged, and the old one taken away, with data in place.
func TestKeysComeAndGo(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "db")
	secret := kinds.Secret.Make("default", "s")
	secret.Spec = &kinds.SecretSpec{Data: []byte(canary)}
	check := func(s store.Store) {
		t.Helper()
		o, err := s.Get(t.Context(), secret.Key())
		if err != nil || string(model.Spec[kinds.SecretSpec](o).Data) != canary {
			t.Fatalf("read %v, %v", o, err)
		}
	}
	reseal := func(s store.Store, c *Codec) {
		t.Helper()
		r := &Resealer{Store: s, Codec: c, Log: slog.New(slog.DiscardHandler)}
		if err := r.round(t.Context()); err != nil || len(c.Stale()) != 0 {
			t.Fatalf("after writing anew: %v, left %v", err, c.Stale())
		}
	}

	s, _ := open(t, file)                          // no key yet
	large := kinds.Secret.Make("default", "large") // more than a page of the file
	large.Spec = &kinds.SecretSpec{Data: []byte(canary + strings.Repeat("x", 20_000))}
	for _, o := range []*model.Object{kinds.Mesh.Make("", "default"), secret, large} {
		if _, err := s.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	if !leaks(t, file) {
		t.Fatal("the test does not see what is not encrypted")
	}

	s, c := open(t, file, keyText("k1", 1))
	check(s)
	if len(c.Stale()) != 2 {
		t.Fatalf("to be encrypted: %v", c.Stale())
	}
	reseal(s, c)
	s.Close()
	if leaks(t, file) {
		t.Error("what was there before it was encrypted can still be read in the file")
	}

	s, c = open(t, file, keyText("k2", 2), keyText("k1", 1))
	check(s)
	reseal(s, c)
	s.Close()

	s, c = open(t, file, keyText("k2", 2))
	check(s)
	if len(c.Stale()) != 0 || c.Lost() != nil {
		t.Errorf("with the new key alone: stale %v, %v", c.Stale(), c.Lost())
	}
	s.Close()

	s, c = open(t, file, keyText("k1", 1))
	if err := c.Lost(); err == nil || !strings.Contains(err.Error(), "k2") {
		t.Errorf("with the old key alone: %v", err)
	}
	if _, err := s.Create(t.Context(), secret); err == nil {
		t.Error("a secret that cannot be read was replaced")
	}
	s.Close()

	_, c = open(t, file, keyText("k2", 77))
	if err := c.Lost(); err == nil {
		t.Error("another key of the same id is accepted")
	}
}

// One damaged row is no reason to refuse all others.
func TestDamage(t *testing.T) {
	t.Parallel()
	c := codec(t, keyText("k", 1))
	spec := []byte(`{}`)
	kept, err := c.Seal(kinds.Secret.Key("m", "a"), spec)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Open(kinds.Secret.Key("m", "b"), kept); err == nil || c.Lost() == nil {
		t.Errorf("opened under another name: %v, %v", err, c.Lost())
	}
	if _, err := c.Open(kinds.Secret.Key("m", "a"), kept); err != nil || c.Lost() != nil {
		t.Errorf("with one that opens: %v, %v", err, c.Lost())
	}
}

func TestFileOfAnEncryptedStore(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "db")
	s, _ := open(t, file, keyText("k", 1))
	if _, err := s.Create(t.Context(), kinds.Mesh.Make("", "default")); err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		o := kinds.Secret.Make("default", fmt.Sprint("s-", i))
		o.Spec = &kinds.SecretSpec{Data: []byte(canary)}
		if _, err := s.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	if leaks(t, file) {
		t.Error("the secret is readable in the database")
	}
}

// everything is a codec that takes all objects for secrets.
type everything struct{ *Codec }

func (e everything) Seal(id model.Key, spec []byte) ([]byte, error) {
	id.Kind = kinds.Secret.Name
	return e.Codec.Seal(id, spec)
}

func (e everything) Open(id model.Key, kept []byte) ([]byte, error) {
	id.Kind = kinds.Secret.Name
	return e.Codec.Open(id, kept)
}

// An encrypting store keeps all promises of a store.
func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Place {
		path := filepath.Join(t.TempDir(), "db")
		c := everything{codec(t, keyText("k", 1))}
		return storetest.Place{Durable: true, Open: func() (store.Store, error) {
			s, err := sqlite.Open(t.Context(), sqlite.Options{Path: path, Kinds: storetest.Kinds, Codec: c, LockWait: 1})
			if err != nil {
				return nil, err
			}
			return s, nil
		}}
	})
}

// The task encrypts by itself, and stops with its context.
func TestResealerRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := codec(t, keyText("k", 1))
		c.note(kinds.Secret.Key("default", "gone"), true, "")
		s, err := sqlite.Open(t.Context(), sqlite.Options{Path: filepath.Join(t.TempDir(), "db"), Kinds: catalog.ByName, Codec: c})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			done <- (&Resealer{Store: s, Codec: c, Log: slog.New(slog.DiscardHandler)}).Run(ctx)
		}()
		time.Sleep(time.Hour)
		if n := len(c.Stale()); n != 0 {
			t.Errorf("%d objects wait", n)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
