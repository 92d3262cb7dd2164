package auth

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weft/internal/config"
	"weft/internal/cp/store"
	"weft/internal/cp/store/memory"
	"weft/internal/mesh/token"
)

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
