package auth

import (
	"context"
	"crypto/rsa"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"weft/internal/config"
	"weft/internal/cp/store"
	"weft/internal/cp/store/memory"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
	"weft/internal/mesh/token"
)

var testNow = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// clock is a time that tests move.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// flaky is a store that can go away.
type flaky struct {
	store.Store
	mu   sync.Mutex
	away bool
	gets int
}

func (f *flaky) set(away bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.away = away
}

func (f *flaky) Get(ctx context.Context, key model.Key) (*model.Object, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.gets++
	if f.away {
		return nil, store.ErrUnavailable
	}
	return f.Store.Get(ctx, key)
}

// made are keys that all tests share; making them is slow.
var made = sync.OnceValue(func() (out [6][]byte) {
	for i := range out {
		var err error
		if out[i], err = token.NewKey(); err != nil {
			panic(err)
		}
	}
	return out
})

// pool returns a maker of keys that differ from each other.
func pool() func() ([]byte, error) {
	i := -1
	return func() ([]byte, error) {
		i++
		return made()[i], nil
	}
}

type world struct {
	*Tokens
	t     testing.TB
	st    *flaky
	clock *clock
}

func newWorld(t testing.TB, change ...func(*Options)) *world {
	t.Helper()
	o := OptionsOf(config.Default())
	for _, c := range change {
		c(&o)
	}
	w := &world{t: t, st: &flaky{Store: memory.New()}, clock: &clock{t: testNow}}
	tokens, err := NewTokens(o, w.st, slog.New(slog.DiscardHandler), w.clock.now)
	if err != nil {
		t.Fatal(err)
	}
	w.Tokens, tokens.newKey = tokens, pool()
	for _, mesh := range []string{"default", "other"} {
		if _, err := w.st.Create(t.Context(), kinds.Mesh.Make("", mesh)); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// secret writes a Secret (or GlobalSecret, with mesh "").
func (w *world) secret(mesh, name string, data []byte) {
	w.t.Helper()
	kind := kinds.Secret
	if mesh == "" {
		kind = kinds.GlobalSecret
	}
	o := kind.Make(mesh, name)
	o.Spec = &kinds.SecretSpec{Data: data}
	old, err := w.st.Store.Get(w.t.Context(), o.Key())
	if err == nil {
		o.Meta.Version = old.Meta.Version
		_, err = w.st.Update(w.t.Context(), o)
	} else {
		_, err = w.st.Create(w.t.Context(), o)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) remove(key model.Key) {
	w.t.Helper()
	if err := w.st.Delete(w.t.Context(), key); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) ensure() *world {
	w.t.Helper()
	for _, err := range []error{w.EnsureGlobalKeys(w.t.Context()), w.EnsureMeshKey(w.t.Context(), "default"), w.EnsureMeshKey(w.t.Context(), "other")} {
		if err != nil {
			w.t.Fatal(err)
		}
	}
	return w
}

func (w *world) dp(c token.Dataplane) string {
	w.t.Helper()
	text, err := w.IssueDataplane(w.t.Context(), &c, time.Hour)
	if err != nil {
		w.t.Fatal(err)
	}
	return text
}

func idOf(t *testing.T, text string, c token.Claims, id *string, key *rsa.PublicKey) string {
	t.Helper()
	if err := token.Parse(text, c, testNow, func(string) (*rsa.PublicKey, error) { return key, nil }); err != nil {
		t.Fatal(err)
	}
	return *id
}

func (w *world) keyOf(s keySet, kid string) *rsa.PublicKey {
	w.t.Helper()
	o, err := w.st.Store.Get(w.t.Context(), s.key(kid))
	if err != nil {
		w.t.Fatal(err)
	}
	key, err := token.ParsePublicKey(dataOf(o))
	if err != nil {
		w.t.Fatal(err)
	}
	return key
}

func newKey(t *testing.T) (pem []byte, key *rsa.PrivateKey) {
	t.Helper()
	pem, err := token.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	if key, err = token.ParsePrivateKey(pem); err != nil {
		t.Fatal(err)
	}
	return pem, key
}

func mustFail(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Error("accepted")
		return
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("%q is missing in %q", p, err)
		}
	}
	if strings.Contains(err.Error(), "eyJ") || strings.Contains(err.Error(), "PRIVATE") {
		t.Errorf("the error shows a secret: %v", err)
	}
}
