package auth

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"weft/internal/config"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
	"weft/internal/mesh/token"
)

func request(from string, header ...string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "http://localhost:5681/meshes", nil)
	r.RemoteAddr = from
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
			continue
		}
		r.Header.Add(header[i], header[i+1])
	}
	return r
}

// The answers of compat/rest/secrets-access to callers from outside.
func TestUserTokens(t *testing.T) {
	w := newWorld(t).ensure()
	a := NewAuthn(config.Default().APIServer.Authn, w.Tokens, "host")
	jo, err := w.IssueUser(t.Context(), &token.User{Name: "jo", Groups: []string{"team-a", "team-b"}}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	want := User{Name: "jo", Groups: []string{"team-a", "team-b", "mesh-system:authenticated"}}
	for name, c := range map[string]struct {
		header []string
		want   User
		refuse bool
	}{
		"none":               {nil, Anonymous(), false},
		"token":              {[]string{"Authorization", "Bearer " + jo}, want, false},
		"small letters":      {[]string{"Authorization", "bearer " + jo}, Anonymous(), false},
		"two blanks":         {[]string{"Authorization", "Bearer  " + jo}, User{}, true},
		"no token":           {[]string{"Authorization", "Bearer"}, Anonymous(), false},
		"nonsense":           {[]string{"Authorization", "Bearer x"}, User{}, true},
		"other scheme":       {[]string{"Authorization", "Basic abc"}, Anonymous(), false},
		"token only":         {[]string{"Authorization", jo}, Anonymous(), false},
		"changed":            {[]string{"Authorization", "Bearer " + jo + "x"}, User{}, true},
		"two credentials":    {[]string{"Authorization", "Bearer " + jo, "Authorization", "Bearer " + jo}, User{}, true},
		"token of a proxy":   {[]string{"Authorization", "Bearer " + w.dp(token.Dataplane{Mesh: "default"})}, User{}, true},
		"local and no proof": {[]string{"Host", "localhost:5681"}, Anonymous(), false},
	} {
		t.Run(name, func(t *testing.T) {
			from := "10.1.2.3:4444"
			if strings.HasPrefix(name, "local") {
				from = "127.0.0.1:4444"
			}
			got, err := a.Authenticate(request(from, c.header...))
			if (err != nil) != c.refuse || !cmp.Equal(got, c.want) {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

func TestLocalhostIsAdmin(t *testing.T) {
	w := newWorld(t).ensure()
	c := config.Default().APIServer.Authn
	c.LocalhostIsAdmin = true
	a := NewAuthn(c, w.Tokens, "Host.example")
	for name, x := range map[string]struct {
		from   string
		header []string
		admin  bool
	}{
		"IPv4":                       {"127.0.0.1:1", nil, true},
		"IPv6":                       {"[::1]:1", nil, true},
		"mapped":                     {"[::ffff:127.0.0.1]:1", nil, true},
		"by address":                 {"127.0.0.1:1", []string{"Host", "127.0.0.1:5681"}, true},
		"by IPv6 address":            {"[::1]:1", []string{"Host", "[::1]:5681"}, true},
		"by own name":                {"127.0.0.1:1", []string{"Host", "host.example"}, true},
		"GUI of this server":         {"127.0.0.1:1", []string{"Origin", "http://localhost:5681", "Sec-Fetch-Site", "same-origin"}, true},
		"typed into the browser":     {"127.0.0.1:1", []string{"Sec-Fetch-Site", "none"}, true},
		"other loopback":             {"127.0.0.2:1", nil, false},
		"elsewhere":                  {"10.0.0.1:1", nil, false},
		"no address":                 {"@", nil, false},
		"page of another site":       {"127.0.0.1:1", []string{"Sec-Fetch-Site", "cross-site"}, false},
		"page of another port":       {"127.0.0.1:1", []string{"Sec-Fetch-Site", "same-site"}, false},
		"origin elsewhere":           {"127.0.0.1:1", []string{"Origin", "https://evil.example"}, false},
		"origin hidden":              {"127.0.0.1:1", []string{"Origin", "null"}, false},
		"name that was led here":     {"127.0.0.1:1", []string{"Host", "evil.example:5681", "Sec-Fetch-Site", "same-origin"}, false},
		"no host":                    {"127.0.0.1:1", []string{"Host", ""}, false},
		"behind a reverse proxy":     {"127.0.0.1:1", []string{"X-Forwarded-For", "10.0.0.1"}, false},
		"behind a proxy of RFC 7239": {"127.0.0.1:1", []string{"Forwarded", "for=10.0.0.1"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := a.Authenticate(request(x.from, x.header...))
			want := Anonymous()
			if x.admin {
				want = Admin()
			}
			if err != nil || !cmp.Equal(got, want) {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
	// The place counts before the token, as in 2.10.
	got, err := a.Authenticate(request("127.0.0.1:1", "Authorization", "Bearer x"))
	if err != nil || got.Name != AdminName {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestClientCertificates(t *testing.T) {
	a := NewAuthn(config.APIServerAuthn{Type: config.AuthnAdminClientCerts}, nil, "h")
	r := request("10.0.0.1:1", "Authorization", "Bearer x")
	if got, err := a.Authenticate(r); err != nil || got.Name != AnonymousName {
		t.Errorf("got %+v, %v", got, err)
	}
	r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{{}}}
	if got, _ := a.Authenticate(r); got.Name != AnonymousName {
		t.Errorf("an unverified certificate made %+v", got)
	}
	r.TLS.VerifiedChains = [][]*x509.Certificate{{{}}}
	if got, _ := a.Authenticate(r); !cmp.Equal(got, Admin()) {
		t.Errorf("got %+v", got)
	}
	// With tokens a certificate makes nobody an administrator.
	byToken := NewAuthn(config.Default().APIServer.Authn, newWorld(t).Tokens, "h")
	r.Header.Del("Authorization")
	if got, _ := byToken.Authenticate(r); got.Name != AnonymousName {
		t.Errorf("got %+v", got)
	}
}

func TestAccess(t *testing.T) {
	jo := User{Name: "jo", Groups: []string{"team", AuthenticatedGroup}}
	lists := config.Default().Access.Static
	a := NewAccess(lists)
	everything := []string{GenerateDPToken, GenerateUserToken, GenerateZoneToken, ViewConfigDump, ViewStats, ViewClusters, ControlPlaneMetadata}
	for _, act := range everything {
		if err := a.Action(Admin(), act); err != nil && strings.HasPrefix(act, "generate") {
			t.Errorf("the administrator: %v", err)
		}
		err := a.Action(Anonymous(), act)
		if denied := err != nil; denied != strings.HasPrefix(act, "generate") {
			t.Errorf("anonymous, %s: %v", act, err)
		}
	}
	if a.Action(Admin(), "invented") == nil {
		t.Error("an action without a list was allowed")
	}
	for _, u := range []User{jo, Anonymous()} {
		for _, k := range []*model.Kind{kinds.Secret, kinds.GlobalSecret} {
			if a.Read(u, k) == nil || a.Write(u, k) == nil {
				t.Errorf("%s may use %s", u, k.Name)
			}
		}
		if err := a.Read(u, kinds.Mesh); err != nil {
			t.Error(err)
		}
		if a.Write(u, kinds.Mesh) == nil {
			t.Errorf("%s may write meshes", u)
		}
	}
	if err := errors.Join(a.Read(Admin(), kinds.Secret), a.Write(Admin(), kinds.Secret), a.Write(Admin(), kinds.Mesh)); err != nil {
		t.Error(err)
	}

	lists.AdminResources.Users = []string{"jo"}
	lists.WriteResources.Groups = []string{UnauthenticatedGroup} // as in 2.10
	a = NewAccess(lists)
	if err := errors.Join(a.Read(jo, kinds.Secret), a.Write(Anonymous(), kinds.Mesh)); err != nil {
		t.Error(err)
	}
	if a.Write(jo, kinds.Mesh) == nil {
		t.Error("jo is in no list")
	}

	err := a.Read(Anonymous(), kinds.Secret)
	var denied *Denied
	if !errors.As(err, &denied) {
		t.Fatal(err)
	}
	if status, title, detail := denied.HTTPStatus(); status != 403 || title != "Access Denied" || !strings.Contains(detail, "may not read objects of type Secret") {
		t.Errorf("answered %d %s: %s", status, title, detail)
	}
}

// The recorded requests of compat/rest/tokens-dataplane and tokens-user, and
// what is deliberately refused.
func TestRequests(t *testing.T) {
	w := newWorld(t).ensure()
	type issuer interface {
		Issue(ctx context.Context, t *Tokens) (string, error)
	}
	for name, c := range map[string]struct {
		req    issuer
		body   string
		fields string // of violations; "" = issued
	}{
		"dataplane":            {&DataplaneTokenRequest{}, `{"mesh":"default","name":"a","tags":{"t":["v"]},"type":"egress","validFor":"90m"}`, ""},
		"default validity":     {&DataplaneTokenRequest{}, `{"mesh":"default"}`, ""},
		"unknown type":         {&DataplaneTokenRequest{}, `{"mesh":"default","type":"moon"}`, "type"},
		"no mesh":              {&DataplaneTokenRequest{}, `{"name":"x"}`, "mesh"},
		"bad duration":         {&DataplaneTokenRequest{}, `{"mesh":"default","validFor":"soon"}`, "validFor"},
		"negative duration":    {&DataplaneTokenRequest{}, `{"mesh":"default","validFor":"-1h"}`, "validFor"},
		"no duration":          {&DataplaneTokenRequest{}, `{"mesh":"default","validFor":"0s"}`, "validFor"},
		"endless":              {&DataplaneTokenRequest{}, `{"mesh":"default","validFor":"2000000h"}`, "validFor"},
		"zone":                 {&ZoneTokenRequest{}, `{"zone":"a","scope":["ingress","egress"]}`, ""},
		"nothing for a zone":   {&ZoneTokenRequest{}, `{}`, "zone scope"},
		"unknown scope":        {&ZoneTokenRequest{}, `{"zone":"a","scope":["ingress","moon"]}`, "scope[1]"},
		"user":                 {&UserTokenRequest{}, `{"name":"jo","groups":["a"],"validFor":"1h"}`, ""},
		"nothing for a user":   {&UserTokenRequest{}, `{}`, "name validFor"},
		"user for no time":     {&UserTokenRequest{}, `{"name":"jo","validFor":"0s"}`, "validFor"},
		"user for a bad while": {&UserTokenRequest{}, `{"name":"jo","validFor":"soon"}`, "validFor"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := json.Unmarshal([]byte(c.body), c.req); err != nil {
				t.Fatal(err)
			}
			text, err := c.req.Issue(t.Context(), w.Tokens)
			var fields []string
			var bad *model.Invalid
			if errors.As(err, &bad) {
				for _, v := range bad.Violations {
					fields = append(fields, v.Field)
				}
			} else if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(fields, " "); got != c.fields || (text == "") != (c.fields != "") {
				t.Errorf("violations at %q, want %q", got, c.fields)
			}
		})
	}
}

// until waits for a condition that another goroutine brings about.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("%s did not happen", what)
		}
		select {
		case <-t.Context().Done():
		case <-time.After(2 * time.Millisecond):
		}
	}
}

func TestFollower(t *testing.T) {
	w := newWorld(t)
	dir := filepath.Join(t.TempDir(), "work")
	file := config.AdminTokenFile(dir)
	changes := make(chan string, 100)
	f := &Follower{Store: w.st, Log: slog.New(slog.DiscardHandler), AdminTokenFile: file, Changed: func(m string) { changes <- m }, Pause: time.Millisecond}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- f.Run(ctx) }()
	next := func(want string) {
		t.Helper()
		select {
		case got := <-changes:
			if got != want {
				t.Errorf("changes in mesh %q, want %q", got, want)
			}
		case <-time.After(5 * time.Second):
			t.Fatalf("no change was told, want %q", want)
		}
	}
	next("") // the first batch
	w.secret("", "admin-user-token", []byte("first"))
	until(t, "writing the file", func() bool { b, _ := os.ReadFile(file); return string(b) == "first" })
	if fi, err := os.Stat(file); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", fi.Mode(), err)
	}
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	w.secret("", "admin-user-token", []byte("second"))
	until(t, "rewriting the file", func() bool { b, _ := os.ReadFile(file); return string(b) == "second" })
	if fi, err := os.Stat(file); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("mode after rewriting %v, %v", fi.Mode(), err)
	}
	w.secret("default", "dataplane-token-revocations-default", []byte("x"))
	next("default")
	w.secret("", "dataplane-token-revocations-other", []byte("x"))
	next("other")
	w.secret("", "user-token-revocations", []byte("x"))
	next("")
	w.secret("default", "something-else", []byte("x"))
	w.secret("other", "dataplane-token-signing-key-other-3", []byte("x"))
	next("other")
	w.remove(adminToken())
	until(t, "removing the file", func() bool { _, err := os.Stat(file); return os.IsNotExist(err) })
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func BenchmarkVerifyDataplane(b *testing.B) {
	w := newWorld(b).ensure()
	c := token.Dataplane{Mesh: "default", Name: "web-1"}
	text, err := w.IssueDataplane(b.Context(), &c, time.Hour)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := w.VerifyDataplane(b.Context(), text, "default"); err != nil {
			b.Fatal(err)
		}
	}
}
