package auth

import (
	"context"
	"crypto/rsa"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

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

func TestEnsureMakesWhatIsMissingOnce(t *testing.T) {
	w := newWorld(t).ensure()
	names := func() []string {
		var out []string
		for _, k := range []*model.Kind{kinds.GlobalSecret, kinds.Secret} {
			list, err := w.st.List(t.Context(), k, "")
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range list {
				out = append(out, o.Key().String())
			}
		}
		return out
	}
	want := []string{
		"GlobalSecret admin-user-token", "GlobalSecret user-token-signing-key-1", "GlobalSecret zone-token-signing-key-1",
		"Secret default/dataplane-token-signing-key-default-1", "Secret other/dataplane-token-signing-key-other-1",
	}
	if d := cmp.Diff(want, names()); d != "" {
		t.Error(d)
	}
	before, _ := w.st.Store.Get(t.Context(), adminToken())
	w.ensure()
	after, _ := w.st.Store.Get(t.Context(), adminToken())
	if d := cmp.Diff(want, names()); d != "" || before.Meta.Version != after.Meta.Version {
		t.Errorf("the second time changed something: %s", d)
	}
	admin, err := w.VerifyUser(t.Context(), string(dataOf(after)))
	if err != nil || !cmp.Equal(admin, Admin()) {
		t.Errorf("the administrator's token is that of %+v, %v", admin, err)
	}
}

func TestEnsureRespectsTheSettings(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Federated, o.User.BootstrapAdminToken = true, false }).ensure()
	if _, err := w.st.Get(t.Context(), zoneKeys().key("1")); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a federated zone made a key of zone tokens: %v", err)
	}
	if _, err := w.st.Get(t.Context(), adminToken()); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a token of the administrator was made: %v", err)
	}
	w = newWorld(t, func(o *Options) { o.UserTokens = false }).ensure()
	if _, err := w.st.Get(t.Context(), userKeys().key("1")); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a key of user tokens was made although nobody reads them: %v", err)
	}
	// Issuing is off, but the first token is not issued by request.
	w = newWorld(t, func(o *Options) { o.User.EnableIssuer = false }).ensure()
	if _, err := w.st.Get(t.Context(), adminToken()); err != nil {
		t.Error(err)
	}
}

func TestEnsureKeepsForeignKeys(t *testing.T) {
	w := newWorld(t)
	w.secret("default", "dataplane-token-signing-key-default-5", []byte("mine"))
	if err := w.EnsureMeshKey(t.Context(), "default"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.st.Get(t.Context(), dataplaneKeys("default").key("1")); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a second key was made: %v", err)
	}
	if err := w.EnsureMeshKey(t.Context(), "absent"); !errors.Is(err, store.ErrOwnerMissing) {
		t.Errorf("absent mesh: %v", err)
	}
}

func TestDataplaneTokens(t *testing.T) {
	w := newWorld(t).ensure()
	proxies, err := NewProxies(w.Tokens, config.DPServerAuthn{DPProxy: config.DPProxyAuthn{Type: "dpToken"}, ZoneProxy: config.ZoneProxyAuthn{Type: "zoneToken"}}, "east")
	if err != nil {
		t.Fatal(err)
	}
	web := Proxy{Type: "dataplane", Mesh: "default", Name: "web-1", Tags: map[string][]string{"kuma.io/service": {"api", "web"}, "team": {"a"}}}
	for name, c := range map[string]struct {
		claims token.Dataplane
		want   string // "" = accepted
	}{
		"all open":          {token.Dataplane{Mesh: "default"}, ""},
		"name":              {token.Dataplane{Mesh: "default", Name: "web-1"}, ""},
		"other name":        {token.Dataplane{Mesh: "default", Name: "web-2"}, `"web-2", not for "web-1"`},
		"type":              {token.Dataplane{Mesh: "default", Type: "dataplane"}, ""},
		"other type":        {token.Dataplane{Mesh: "default", Type: "ingress"}, "ingress"},
		"all values":        {token.Dataplane{Mesh: "default", Tags: map[string][]string{"kuma.io/service": {"web", "api", "more"}}}, ""},
		"one value missing": {token.Dataplane{Mesh: "default", Tags: map[string][]string{"kuma.io/service": {"web"}}}, `"kuma.io/service" with the value "api"`},
		"tag missing":       {token.Dataplane{Mesh: "default", Tags: map[string][]string{"zone": {"x"}}}, `demands the tag "zone"`},
		"second tag wrong":  {token.Dataplane{Mesh: "default", Tags: map[string][]string{"kuma.io/service": {"web", "api"}, "team": {"b"}}}, `"team" with the value "a"`},
		"other mesh":        {token.Dataplane{Mesh: "other", Name: "web-1"}, "signature that does not fit"},
	} {
		t.Run(name, func(t *testing.T) {
			err := proxies.Verify(t.Context(), " "+w.dp(c.claims)+"\n", web)
			if c.want == "" && err != nil {
				t.Error(err)
			}
			if c.want != "" {
				mustFail(t, err, c.want)
			}
		})
	}
	mustFail(t, proxies.Verify(t.Context(), "", web), "no token was sent")
	mustFail(t, proxies.Verify(t.Context(), "x", web), "dataplane token cannot be accepted: it is not a JWT")
	mustFail(t, proxies.Verify(t.Context(), w.dp(token.Dataplane{Mesh: "default"}), Proxy{Type: "moon"}), "moon")
	noMesh := web
	noMesh.Mesh = "absent"
	mustFail(t, proxies.Verify(t.Context(), w.dp(token.Dataplane{Mesh: "default"}), noMesh), `Secret "dataplane-token-signing-key-absent-1" in mesh "absent" does not exist`)
}

func TestZoneTokens(t *testing.T) {
	w := newWorld(t).ensure()
	authn := config.DPServerAuthn{DPProxy: config.DPProxyAuthn{Type: "none"}, ZoneProxy: config.ZoneProxyAuthn{Type: "zoneToken"}}
	proxies, err := NewProxies(w.Tokens, authn, "east")
	if err != nil {
		t.Fatal(err)
	}
	issue := func(c token.Zone) string {
		text, err := w.IssueZone(t.Context(), &c, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	in, out := Proxy{Type: "ingress", Name: "in"}, Proxy{Type: "egress", Name: "out"}
	both := issue(token.Zone{Zone: "east", Scope: []string{"ingress", "egress"}})
	if err := errors.Join(proxies.Verify(t.Context(), both, in), proxies.Verify(t.Context(), both, out)); err != nil {
		t.Error(err)
	}
	mustFail(t, proxies.Verify(t.Context(), issue(token.Zone{Zone: "east", Scope: []string{"egress"}}), in), `["egress"], not for a zone ingress`)
	mustFail(t, proxies.Verify(t.Context(), issue(token.Zone{Zone: "west", Scope: []string{"ingress"}}), in), `zone "west"; this is zone "east"`)
	mustFail(t, proxies.Verify(t.Context(), issue(token.Zone{Scope: []string{"ingress"}}), in), `zone ""`)
	mustFail(t, proxies.Verify(t.Context(), w.dp(token.Dataplane{Mesh: "default"}), in), "zone token")
	if err := proxies.Verify(t.Context(), "", Proxy{Type: "dataplane"}); err != nil {
		t.Errorf("authentication of data planes is off: %v", err)
	}
	if proxies.Needs("dataplane") || !proxies.Needs("ingress") {
		t.Error("Needs is wrong")
	}
	authn.ZoneProxy.Type = "serviceAccountToken"
	if _, err := NewProxies(w.Tokens, authn, ""); err == nil {
		t.Error("serviceAccountToken is not for this verifier")
	}
}

func TestFederatedZoneVerifiesWithPublicKeys(t *testing.T) {
	global := newWorld(t).ensure()
	text, err := global.IssueZone(t.Context(), &token.Zone{Zone: "east", Scope: []string{"ingress"}}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	zone := newWorld(t, func(o *Options) { o.Federated = true })
	if _, err := zone.VerifyZone(t.Context(), text); err == nil {
		t.Error("accepted without a key")
	}
	zone.secret("", "zone-token-signing-public-key-1", token.EncodePublicKey(global.keyOf(zoneKeys(), "1")))
	if c, err := zone.VerifyZone(t.Context(), text); err != nil || c.Zone != "east" {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestRotationOfKeys(t *testing.T) {
	w := newWorld(t).ensure()
	first := w.dp(token.Dataplane{Mesh: "default"})
	pem7, _ := newKey(t)
	w.secret("default", "dataplane-token-signing-key-default-7", pem7)
	w.secret("default", "dataplane-token-signing-key-default-x", []byte("no serial"))
	seventh := w.dp(token.Dataplane{Mesh: "default"})
	for _, text := range []string{first, seventh} {
		if _, err := w.VerifyDataplane(t.Context(), text, "default"); err != nil {
			t.Error(err)
		}
	}
	w.remove(dataplaneKeys("default").key("1"))
	_, err := w.VerifyDataplane(t.Context(), first, "default")
	mustFail(t, err, `no signing key with id "1"`, `Secret "dataplane-token-signing-key-default-1" in mesh "default"`, "issue a new token")
	if _, err := w.VerifyDataplane(t.Context(), seventh, "default"); err != nil {
		t.Error(err)
	}
	// The key is replaced under the same name: its old tokens stop working.
	other, _ := newKey(t)
	w.secret("default", "dataplane-token-signing-key-default-7", other)
	_, err = w.VerifyDataplane(t.Context(), seventh, "default")
	mustFail(t, err, "signature")
}

func TestKeyNames(t *testing.T) {
	s := dataplaneKeys("m")
	for name, want := range map[string]string{
		"dataplane-token-signing-key-m":                             "0",
		"dataplane-token-signing-key-m-1":                           "1",
		"dataplane-token-signing-key-m-0002":                        "0002",
		"dataplane-token-signing-key-m-0":                           "",
		"dataplane-token-signing-key-m-n-1":                         "",
		"dataplane-token-signing-key-mm":                            "",
		"dataplane-token-signing-key-m-":                            "",
		"dataplane-token-signing-key-m--1":                          "",
		"zone-token-signing-key-1":                                  "",
		"dataplane-token-signing-key-m-1" + strings.Repeat("0", 30): "",
	} {
		kid, _, ok := s.idOf(name)
		if ok != (want != "") || kid != want {
			t.Errorf("%s: id %q, %v", name, kid, ok)
		}
		if ok && s.key(kid).Name != name {
			t.Errorf("id %q leads to %s, not to %s", kid, s.key(kid).Name, name)
		}
	}
}

// Keys without a serial number, and padded ones, sign tokens that verify.
func TestOddKeysSignTokensThatVerify(t *testing.T) {
	for _, name := range []string{"dataplane-token-signing-key-default", "dataplane-token-signing-key-default-0002"} {
		w := newWorld(t)
		pem, _ := newKey(t)
		w.secret("default", name, pem)
		if _, err := w.VerifyDataplane(t.Context(), w.dp(token.Dataplane{Mesh: "default"}), "default"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRevocation(t *testing.T) {
	w := newWorld(t).ensure()
	key := w.keyOf(dataplaneKeys("default"), "1")
	lists := []struct{ mesh, name string }{{"default", "dataplane-token-revocations-default"}, {"", "dataplane-token-revocations-default"}}
	for _, l := range lists {
		text, kept := w.dp(token.Dataplane{Mesh: "default"}), w.dp(token.Dataplane{Mesh: "default"})
		c := &token.Dataplane{}
		id := idOf(t, text, c, &c.ID, key)
		w.secret(l.mesh, l.name, []byte("x, "+id+" ,y\n"))
		_, err := w.VerifyDataplane(t.Context(), text, "default")
		mustFail(t, err, "it is revoked")
		if !errors.Is(err, ErrRevoked) {
			t.Errorf("%v is not ErrRevoked", err)
		}
		if _, err := w.VerifyDataplane(t.Context(), kept, "default"); err != nil {
			t.Error(err)
		}
		w.secret(l.mesh, l.name, []byte("y"))
		if _, err := w.VerifyDataplane(t.Context(), text, "default"); err != nil {
			t.Errorf("taken off the list: %v", err)
		}
	}
	// The list of one mesh does not revoke tokens of another.
	text := w.dp(token.Dataplane{Mesh: "other"})
	c := &token.Dataplane{}
	w.secret("default", "dataplane-token-revocations-default", []byte(idOf(t, text, c, &c.ID, w.keyOf(dataplaneKeys("other"), "1"))))
	if _, err := w.VerifyDataplane(t.Context(), text, "other"); err != nil {
		t.Error(err)
	}

	user, err := w.IssueUser(t.Context(), &token.User{Name: "jo"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	u := &token.User{}
	w.secret("", "user-token-revocations", []byte(idOf(t, user, u, &u.ID, w.keyOf(userKeys(), "1"))))
	_, err = w.VerifyUser(t.Context(), user)
	mustFail(t, err, "user token", "revoked")

	zone, err := w.IssueZone(t.Context(), &token.Zone{Zone: "z", Scope: []string{"ingress"}}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	z := &token.Zone{}
	w.secret("", "zone-token-revocations", []byte("a,"+idOf(t, zone, z, &z.ID, w.keyOf(zoneKeys(), "1"))))
	_, err = w.VerifyZone(t.Context(), zone)
	mustFail(t, err, "zone token", "revoked")
}

func TestTime(t *testing.T) {
	w := newWorld(t).ensure()
	text := w.dp(token.Dataplane{Mesh: "default"})
	w.clock.add(-4 * time.Minute) // a clock that is a little late
	if _, err := w.VerifyDataplane(t.Context(), text, "default"); err != nil {
		t.Error(err)
	}
	w.clock.add(-2 * time.Minute)
	_, err := w.VerifyDataplane(t.Context(), text, "default")
	mustFail(t, err, "not valid yet")
	w.clock.add(2 * time.Hour)
	_, err = w.VerifyDataplane(t.Context(), text, "default")
	mustFail(t, err, "expired")
}

func TestKeysFromTheSettings(t *testing.T) {
	pem, key := newKey(t)
	public := string(token.EncodePublicKey(&key.PublicKey))
	file := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(file, []byte(public), 0o600); err != nil {
		t.Fatal(err)
	}
	keys := []config.MeshPublicKey{
		{PublicKey: config.PublicKey{KID: "Mine_1", Key: public}, Mesh: "default"},
		{PublicKey: config.PublicKey{KID: "all", KeyFile: file}},
	}
	w := newWorld(t, func(o *Options) { o.DP.Validator = config.DPValidator{PublicKeys: keys} })
	offline := func(kid string) string {
		text, err := token.Issue(&token.Dataplane{Name: "a"}, token.Key{ID: kid, PrivateKey: key}, testNow, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	for _, c := range []struct {
		kid, mesh string
		ok        bool
	}{{"Mine_1", "default", true}, {"Mine_1", "other", false}, {"all", "other", true}, {"1", "default", false}} {
		if _, err := w.VerifyDataplane(t.Context(), offline(c.kid), c.mesh); (err == nil) != c.ok {
			t.Errorf("key %s, mesh %s: %v", c.kid, c.mesh, err)
		}
	}
	// Secrets are switched off: a key among them does not count.
	w.secret("default", "dataplane-token-signing-key-default-1", pem)
	_, err := w.VerifyDataplane(t.Context(), offline("1"), "default")
	mustFail(t, err, `no signing key with id "1"`)
	// Revocation lists still apply.
	text := offline("all")
	c := &token.Dataplane{}
	w.secret("default", "dataplane-token-revocations-default", []byte(idOf(t, text, c, &c.ID, &key.PublicKey)))
	_, err = w.VerifyDataplane(t.Context(), text, "default")
	mustFail(t, err, "revoked")
	// A key id that is no name leads to no look-up.
	before := w.st.gets
	open := newWorld(t)
	_, err = open.VerifyDataplane(t.Context(), offline("../x"), "default")
	mustFail(t, err, "no signing key")
	if w.st.gets != before || open.st.gets != 0 {
		t.Error("the store was asked for an impossible name")
	}
}

func TestBadKeysInTheSettings(t *testing.T) {
	o := OptionsOf(config.Default())
	o.DP.Validator.PublicKeys = []config.MeshPublicKey{{PublicKey: config.PublicKey{KID: "a", Key: "canary"}}}
	o.User.Validator.PublicKeys = []config.PublicKey{{KID: "b", KeyFile: "/does/not/exist"}}
	_, err := NewTokens(o, memory.New(), slog.New(slog.NewTextHandler(io.Discard, nil)), time.Now)
	mustFail(t, err, `dpServer.authn.dpProxy.dpToken.validator.publicKeys[0]: key "a"`, "apiServer.authn.tokens.validator.publicKeys[0].keyFile")
	if strings.Contains(err.Error(), "canary") {
		t.Errorf("the key is shown: %v", err)
	}
}

func TestBrokenAndMissingKeysAreNamed(t *testing.T) {
	w := newWorld(t)
	_, err := w.IssueDataplane(t.Context(), &token.Dataplane{Mesh: "absent"}, time.Hour)
	var missing *NoKey
	if !errors.As(err, &missing) {
		t.Fatalf("got %v, want *NoKey", err)
	}
	if status, title, _ := missing.HTTPStatus(); status != 404 || title != "Signing Key not found" {
		t.Errorf("answered as %d %s", status, title)
	}
	w.secret("default", "dataplane-token-signing-key-default-2", []byte("not a key canary"))
	_, err = w.IssueDataplane(t.Context(), &token.Dataplane{Mesh: "default"}, time.Hour)
	mustFail(t, err, `Secret "dataplane-token-signing-key-default-2" in mesh "default"`, "not a usable RSA private key")
	var broken *BrokenKey
	if !errors.As(err, &broken) || strings.Contains(err.Error(), "canary") {
		t.Errorf("got %v, want *BrokenKey", err)
	}
	if _, err := w.IssueDataplane(t.Context(), &token.Dataplane{}, time.Hour); err == nil {
		t.Error("a token without a mesh was issued")
	}
	volatile := newWorld(t, func(o *Options) { o.Volatile = true })
	_, key := newKey(t)
	text, err := token.Issue(&token.User{Name: "a"}, token.Key{ID: "1", PrivateKey: key}, testNow, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	_, err = volatile.VerifyUser(t.Context(), text)
	mustFail(t, err, "store.type memory")
}

func TestIssuersCanBeSwitchedOff(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.DP.EnableIssuer, o.Zone.EnableIssuer, o.User.EnableIssuer = false, false, false }).ensure()
	_, err1 := w.IssueDataplane(t.Context(), &token.Dataplane{Mesh: "default"}, time.Hour)
	_, err2 := w.IssueZone(t.Context(), &token.Zone{Zone: "z"}, time.Hour)
	_, err3 := w.IssueUser(t.Context(), &token.User{Name: "u"}, time.Hour)
	for _, err := range []error{err1, err2, err3} {
		if !errors.Is(err, ErrIssuerOff) {
			t.Errorf("got %v", err)
		}
	}
}

func TestStoreThatIsAway(t *testing.T) {
	w := newWorld(t).ensure()
	known := w.dp(token.Dataplane{Mesh: "default"})
	elsewhere := w.dp(token.Dataplane{Mesh: "other"})
	if _, err := w.VerifyDataplane(t.Context(), known, "default"); err != nil {
		t.Fatal(err)
	}
	w.st.set(true)
	w.clock.add(10 * time.Minute)
	if _, err := w.VerifyDataplane(t.Context(), elsewhere, "other"); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("a key that was never read: %v", err)
	}
	if _, err := w.VerifyDataplane(t.Context(), known, "default"); err != nil {
		t.Errorf("what was read ten minutes ago is still good: %v", err)
	}
	w.clock.add(6 * time.Minute)
	if _, err := w.VerifyDataplane(t.Context(), known, "default"); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("what was read long ago is not: %v", err)
	}
	w.st.set(false)
	if _, err := w.VerifyDataplane(t.Context(), known, "default"); err != nil {
		t.Errorf("back again: %v", err)
	}
}
