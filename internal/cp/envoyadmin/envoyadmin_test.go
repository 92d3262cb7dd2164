package envoyadmin

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"weft/internal/cp/store/memory"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

var now = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func clock() time.Time { return now }

func newAuthority(t *testing.T) (*Authority, *memory.Store) {
	t.Helper()
	s := memory.New()
	a := NewAuthority(s, slog.New(slog.DiscardHandler), clock)
	if err := a.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	return a, s
}

func dataplane(address, advertised string) *model.Object {
	o := kinds.Dataplane.Make("default", "web-1")
	o.Spec = &kinds.DataplaneSpec{Networking: &kinds.DataplaneNetworking{Address: address, AdvertisedAddress: advertised}}
	return o
}

func put(t *testing.T, s *memory.Store, o *model.Object) {
	t.Helper()
	for _, x := range []*model.Object{kinds.Mesh.Make("", "default"), o} {
		if _, err := s.Create(context.Background(), x); err != nil {
			t.Fatal(err)
		}
	}
}

func TestEnsureKeepsWhatIsThere(t *testing.T) {
	a, s := newAuthority(t)
	key := kinds.GlobalSecret.Key("", SecretName)
	before, err := s.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	after, err := s.Get(t.Context(), key)
	if err != nil || after.Meta.Version != before.Meta.Version {
		t.Errorf("the authority was made again (%v)", err)
	}
}

// server is an Envoy of another host: it wants a certificate of the authority.
func server(t *testing.T, a *Authority, s *memory.Store, o *model.Object) (port uint32, names *[]string) {
	t.Helper()
	return serverOn(t, "127.0.0.2:0", a, s, o)
}

func serverOn(t *testing.T, address string, a *Authority, s *memory.Store, o *model.Object) (port uint32, names *[]string) {
	t.Helper()
	put(t, s, o)
	cert, err := a.Certify(t.Context(), o.Key())
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(cert.CertPEM, cert.KeyPEM)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(cert.CAPEM)
	names = new([]string)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*names = r.TLS.PeerCertificates[0].DNSNames
		_, _ = w.Write([]byte(r.URL.RequestURI()))
	}))
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Skipf("SKIPPED: no such loopback address: %v", err)
	}
	_ = srv.Listener.Close()
	srv.Listener = l
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: roots, ClientAuth: tls.RequireAndVerifyClientCert, Time: clock}
	srv.StartTLS()
	t.Cleanup(srv.Close)
	return uint32(l.Addr().(*net.TCPAddr).Port), names
}

func TestGetOverTLS(t *testing.T) {
	a, s := newAuthority(t)
	o := dataplane("10.0.0.1", "127.0.0.2")
	port, names := server(t, a, s, o)
	body, err := NewClient(a, "127.0.0.1").Get(t.Context(), o, port, Stats, url.Values{"format": {"json"}})
	if err != nil {
		t.Fatal(err)
	}
	if string(body) != "/stats?format=json" {
		t.Errorf("asked for %s", body)
	}
	if len(*names) != 1 || (*names)[0] != clientName {
		t.Errorf("the client calls itself %v", *names)
	}
}

// Only where Envoy's own admin server listens no certificate is needed: a proxy on
// the other family's loopback address has a listener in front of it.
func TestGetOnTheOtherLoopback(t *testing.T) {
	for own, other := range map[string]string{"127.0.0.1": "::1", "0.0.0.0": "::1", "": "::1", "::1": "127.0.0.1", "::": "127.0.0.1"} {
		a, s := newAuthority(t)
		o := dataplane(other, "")
		port, _ := serverOn(t, net.JoinHostPort(other, "0"), a, s, o)
		if _, err := NewClient(a, own).Get(t.Context(), o, port, Stats, nil); err != nil {
			t.Errorf("admin server on %q, proxy on %s: %v", own, other, err)
		}
	}
}

func TestGetRefusesStrangers(t *testing.T) {
	a, s := newAuthority(t)
	o := dataplane("127.0.0.2", "")
	port, _ := server(t, a, s, o)
	other, _ := newAuthority(t)
	var gone *Unreachable
	if _, err := NewClient(other, "127.0.0.1").Get(t.Context(), o, port, Stats, nil); !errors.As(err, &gone) {
		t.Errorf("an Envoy of another authority was believed: %v", err)
	}
	moved := dataplane("127.0.0.2", "")
	moved.Meta.Name = "another"
	moved.Spec.(*kinds.DataplaneSpec).Networking.Address = "127.0.0.3"
	if _, err := NewClient(a, "127.0.0.1").Get(t.Context(), moved, port, Stats, nil); !errors.As(err, &gone) {
		t.Errorf("nobody listens there: %v", err)
	}
}

func TestGetOnLoopback(t *testing.T) {
	const dump = `{"configs":[{"initial_metadata": [{"key": "Authorization", "value": "tok\"en"}, {"key":"x","value":"kept"}]},
		{"initial_metadata":[{ "key": "authorization",
		  "raw_value": "dG9r" }]}]}`
	answer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/config_dump":
			_, _ = w.Write([]byte(dump))
		case "/clusters":
			http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusFound)
		default:
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	srv := httptest.NewServer(answer)
	defer srv.Close()
	port := uint32(srv.Listener.Addr().(*net.TCPAddr).Port)
	a := NewAuthority(memory.New(), slog.New(slog.DiscardHandler), clock) // no authority is needed there
	o := dataplane("127.0.0.1", "")
	body, err := NewClient(a, "127.0.0.1").Get(t.Context(), o, port, ConfigDump, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{`tok\"en`, "dG9r"} {
		if strings.Contains(string(body), secret) {
			t.Errorf("the token is shown: %s", body)
		}
	}
	if strings.Count(string(body), "[redacted]") != 2 || !strings.Contains(string(body), "kept") {
		t.Errorf("redacted: %s", body)
	}
	for _, page := range []string{Clusters, Stats} {
		if _, err := NewClient(a, "127.0.0.1").Get(t.Context(), o, port, page, nil); err == nil {
			t.Errorf("%s: an answer other than 200 was taken", page)
		}
	}
}

func TestWithoutAuthority(t *testing.T) {
	s := memory.New()
	a := NewAuthority(s, slog.New(slog.DiscardHandler), clock)
	o := dataplane("10.0.0.1", "")
	put(t, s, o)
	if _, err := a.Certify(t.Context(), o.Key()); !errors.Is(err, errNone) {
		t.Errorf("got %v", err)
	}
	bad := kinds.GlobalSecret.Make("", SecretName)
	bad.Spec = &kinds.SecretSpec{Data: []byte("geheim")}
	if _, err := s.Create(t.Context(), bad); err != nil {
		t.Fatal(err)
	}
	_, err := a.Certify(t.Context(), o.Key())
	if err == nil || strings.Contains(err.Error(), "geheim") || !strings.Contains(err.Error(), "delete it") {
		t.Errorf("got %v", err)
	}
	if _, err := NewClient(a, "127.0.0.1").Get(t.Context(), dataplane("", ""), 9901, Stats, nil); err == nil {
		t.Error("a proxy without address was reached")
	}
}
