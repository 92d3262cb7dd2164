package bootstrap

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// authority signs server certificates for tests.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert: cert, key: key, pem: encodeCert(der)}
}

func encodeCert(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// issue makes a server certificate for 127.0.0.1; its chain shows the CA if
// asked to.
func (a *authority) issue(t *testing.T, withCA bool) tls.Certificate {
	t.Helper()
	return a.issueFor(t, withCA, net.IPv4(127, 0, 0, 1))
}

func (a *authority) issueFor(t *testing.T, withCA bool, ip net.IP) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "server"},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{ip},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	chain := [][]byte{der}
	if withCA {
		chain = append(chain, a.cert.Raw)
	}
	return tls.Certificate{Certificate: chain, PrivateKey: key}
}

// serve starts a TLS server with a certificate that can be exchanged.
func serve(t *testing.T, cert tls.Certificate, h http.HandlerFunc) (url string, swap func(tls.Certificate)) {
	t.Helper()
	var current atomic.Pointer[tls.Certificate]
	current.Store(&cert)
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.TLS = &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return current.Load(), nil }}
	s.StartTLS()
	// StartTLS adds a certificate of its own, which would win.
	s.TLS.Certificates = nil
	t.Cleanup(s.Close)
	return s.URL, func(c tls.Certificate) { current.Store(&c) }
}

func good(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"bootstrap":"`+base64.StdEncoding.EncodeToString([]byte("node: {}\n"))+`","kumaSidecarConfiguration":{`+
		`"networking":{"isUsingTransparentProxy":true,"corefileTemplate":"LmZvbw==","address":"10.1.2.3"},`+
		`"metrics":{"aggregate":[{"name":"app","address":"10.1.2.3","port":8080,"path":"/m"}]}}}`)
}

func client(url string, trust Trust) *Client {
	return &Client{URL: url, Trust: trust, Backoff: time.Millisecond, MaxDuration: time.Second, Log: slog.New(slog.DiscardHandler)}
}

func TestFetch(t *testing.T) {
	ca := newAuthority(t)
	var got map[string]any
	url, _ := serve(t, ca.issue(t, false), func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || r.URL.Path != "/bootstrap" || r.URL.RawQuery != "" {
			t.Errorf("asked %s %s", r.Method, r.URL)
		}
		for _, h := range []string{"Accept", "Content-Type"} {
			if r.Header.Get(h) != "application/json" {
				t.Errorf("%s is %q", h, r.Header.Get(h))
			}
		}
		if err := json.NewDecoder(r.Body).Decode(&got); err != nil {
			t.Error(err)
		}
		good(w, r)
	})
	resp, err := client(url+"/some/path?q", Trust{CACert: ca.pem}).Fetch(t.Context(), Request{Name: "a", Features: []string{FeatureTCPAccessLog}})
	if err != nil {
		t.Fatal(err)
	}
	want := &Response{Bootstrap: []byte("node: {}\n"), Sidecar: Sidecar{
		Networking: Networking{TransparentProxy: true, CorefileTemplate: []byte(".foo"), Address: "10.1.2.3"},
		Metrics:    Metrics{Aggregate: []Aggregate{{Name: "app", Address: "10.1.2.3", Port: 8080, Path: "/m"}}},
	}}
	if diff := cmp.Diff(want, resp); diff != "" {
		t.Error(diff)
	}
	if got["caCert"] != ca.pem {
		t.Errorf("caCert is %q", got["caCert"])
	}
	// Fields that a 2.10 control plane expects even when empty, and those
	// that it expects to be left out.
	for _, field := range []string{"mesh", "name", "proxyType", "version", "caCert", "dynamicMetadata", "operatingSystem", "features", "resources", "workdir", "metricsResources", "systemCaPath", "ipv6Enabled"} {
		if _, ok := got[field]; !ok {
			t.Errorf("%s is missing in the request", field)
		}
	}
	for _, field := range []string{"dataplaneToken", "dataplaneTokenPath", "dataplaneResource", "dnsPort", "readinessPort", "appProbeProxyDisabled"} {
		if _, ok := got[field]; ok {
			t.Errorf("%s is in the request although empty", field)
		}
	}
}

func TestFetchByStatus(t *testing.T) {
	ca := newAuthority(t)
	for name, tc := range map[string]struct {
		status int
		body   string
		retry  bool
		want   string
	}{
		"not found":      {404, "", true, "--dataplane-file"},
		"other port":     {404, "404: Page Not Found", true, "5678"},
		"404 reason":     {404, "no such thing", false, "no such thing"},
		"bad request":    {400, "names do not match", false, "names do not match"},
		"empty 400":      {400, "", false, "no reason given"},
		"unprocessable":  {422, "mesh: no mesh", false, "mesh: no mesh"},
		"unauthorised":   {401, "who are you", false, "who are you"},
		"server error":   {500, "", true, "status 500"},
		"unavailable":    {503, "later", true, "status 503"},
		"redirect":       {302, "", true, "status 302"},
		"no JSON":        {200, "<html>", true, "2.10"},
		"no document":    {200, "{}", true, "no bootstrap document"},
		"no base64":      {200, `{"bootstrap":"%%%"}`, true, "2.10"},
		"endless reason": {400, strings.Repeat("x", 1<<20), false, "status 400"},
	} {
		t.Run(name, func(t *testing.T) {
			var calls atomic.Int32
			url, _ := serve(t, ca.issue(t, false), func(w http.ResponseWriter, r *http.Request) {
				if calls.Add(1) == 3 && tc.retry {
					good(w, r)
					return
				}
				if tc.status == 302 {
					w.Header().Set("Location", "/elsewhere")
				}
				w.WriteHeader(tc.status)
				_, _ = io.WriteString(w, tc.body)
			})
			c := client(url, Trust{CACert: ca.pem})
			_, err := c.Fetch(t.Context(), Request{})
			if tc.retry {
				if err != nil || calls.Load() != 3 {
					t.Fatalf("after %d calls: %v", calls.Load(), err)
				}
				// The same without a good answer in the end.
				c.MaxDuration = time.Nanosecond
				calls.Store(100)
				_, err = c.Fetch(t.Context(), Request{})
			} else if calls.Load() != 1 {
				t.Errorf("asked %d times", calls.Load())
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %q does not say %q", err, tc.want)
			}
			if err != nil && len(err.Error()) > 2*maxReason {
				t.Errorf("error is %d bytes long", len(err.Error()))
			}
		})
	}
}

func TestFetchEndsWithContext(t *testing.T) {
	ca := newAuthority(t)
	ctx, cancel := context.WithCancel(t.Context())
	url, _ := serve(t, ca.issue(t, false), func(w http.ResponseWriter, _ *http.Request) {
		cancel()
		w.WriteHeader(500)
	})
	c := client(url, Trust{CACert: ca.pem})
	c.Backoff, c.MaxDuration = time.Hour, 2*time.Hour
	if _, err := c.Fetch(ctx, Request{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestFetchRetriesWhileNobodyListens(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	c := client("https://"+addr, Trust{CACert: newAuthority(t).pem})
	c.MaxDuration = 20 * time.Millisecond
	_, err = c.Fetch(t.Context(), Request{})
	if err == nil || !strings.Contains(err.Error(), "gave up after") || !strings.Contains(err.Error(), "refused") {
		t.Errorf("got %v", err)
	}
}

// TestFetchFromPlainPort: https at a port without TLS is probably the API's.
func TestFetchFromPlainPort(t *testing.T) {
	l := httptest.NewServer(http.NotFoundHandler())
	defer l.Close()
	url := strings.Replace(l.URL, "http://", "https://", 1)
	_, err := client(url, Trust{CACert: newAuthority(t).pem}).Fetch(t.Context(), Request{Name: "a"})
	if err == nil || !strings.Contains(err.Error(), "speaks HTTP without TLS") || !strings.Contains(err.Error(), "5678") {
		t.Errorf("got %v", err)
	}
}

func TestTrustRefuses(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	var calls atomic.Int32
	url, _ := serve(t, ca.issue(t, false), func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		good(w, r)
	})
	elsewhere, _ := serve(t, ca.issueFor(t, false, net.IPv4(192, 0, 2, 1)), good)
	for name, tc := range map[string]struct {
		url   string
		trust Trust
		want  []string
	}{
		"other CA":     {url, Trust{CACert: other.pem}, []string{"not signed by the given CA", "--ca-cert-file"}},
		"no CA":        {url, Trust{}, []string{"--ca-cert-file", "--ca-cert-pin-file"}},
		"no PEM":       {url, Trust{CACert: "hello"}, []string{"PEM"}},
		"other name":   {elsewhere, Trust{CACert: ca.pem}, []string{"127.0.0.1", "--cp-address"}},
		"plain remote": {"http://192.0.2.1:5678", Trust{}, []string{"not encrypted", "--skip-verify"}},
		"other pin":    {url, Trust{PinFile: writePin(t, other.pem)}, []string{"pinned", "in between", fingerprint(other.cert)}},
		"damaged pin":  {url, Trust{PinFile: writePin(t, "garbage")}, []string{"PEM", "remove the file"}},
		"empty pin":    {url, Trust{PinFile: writePin(t, "")}, []string{"PEM"}},
		"pin of name":  {elsewhere, Trust{PinFile: filepath.Join(t.TempDir(), "pin")}, []string{"127.0.0.1"}},
	} {
		t.Run(name, func(t *testing.T) {
			calls.Store(0)
			c := client(tc.url, tc.trust)
			c.MaxDuration = time.Hour
			c.Backoff = 30 * time.Minute
			// A retry would last until this deadline.
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			_, err := c.Fetch(ctx, Request{Token: "t0ken"})
			if err == nil || errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("not refused: %v", err)
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
			if calls.Load() != 0 {
				t.Error("the request (with the token) reached the server")
			}
		})
	}
}

func writePin(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "pin.pem")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestPinSelfSignedThenChanged(t *testing.T) {
	first, second := newAuthority(t), newAuthority(t)
	var sent Request
	url, swap := serve(t, first.issue(t, false), func(w http.ResponseWriter, r *http.Request) {
		if err := json.NewDecoder(r.Body).Decode(&sent); err != nil {
			t.Error(err)
		}
		good(w, r)
	})
	pin := filepath.Join(t.TempDir(), "pin.pem")
	c := client(url, Trust{PinFile: pin})
	for range 2 {
		if _, err := c.Fetch(t.Context(), Request{}); err != nil {
			t.Fatal(err)
		}
	}
	kept, err := os.ReadFile(pin)
	if err != nil {
		t.Fatal(err)
	}
	if sent.CACert != string(kept) {
		t.Error("Envoy is not told to trust what was pinned")
	}
	swap(second.issue(t, false))
	if _, err := c.Fetch(t.Context(), Request{}); err == nil || !strings.Contains(err.Error(), "another certificate") {
		t.Errorf("changed certificate: %v", err)
	}
	if again, _ := os.ReadFile(pin); string(again) != string(kept) {
		t.Error("the pin was overwritten")
	}
}

func TestPinOfCAInChainSurvivesRenewal(t *testing.T) {
	ca := newAuthority(t)
	url, swap := serve(t, ca.issue(t, true), good)
	pin := filepath.Join(t.TempDir(), "pin.pem")
	c := client(url, Trust{PinFile: pin})
	if _, err := c.Fetch(t.Context(), Request{}); err != nil {
		t.Fatal(err)
	}
	if kept, _ := os.ReadFile(pin); string(kept) != ca.pem {
		t.Error("the CA was not pinned")
	}
	swap(ca.issue(t, true))
	if _, err := c.Fetch(t.Context(), Request{}); err != nil {
		t.Errorf("renewed leaf: %v", err)
	}
}

func TestSystemRootIsToldToEnvoy(t *testing.T) {
	ca := newAuthority(t)
	path := filepath.Join(t.TempDir(), "roots.pem")
	if err := os.WriteFile(path, []byte(ca.pem), 0o600); err != nil {
		t.Fatal(err)
	}
	if os.Getenv("WEFT_TEST_ROOTS") == "" {
		// The Go runtime reads SSL_CERT_FILE once for each process.
		runAgain(t, "SSL_CERT_FILE="+path, "WEFT_TEST_ROOTS=1", "WEFT_TEST_ROOT_KEY="+exportKey(t, ca))
		return
	}
	ca = importAuthority(t)
	var sent Request
	url, _ := serve(t, ca.issue(t, false), func(w http.ResponseWriter, r *http.Request) {
		if err := json.NewDecoder(r.Body).Decode(&sent); err != nil {
			t.Error(err)
		}
		good(w, r)
	})
	if _, err := client(url, Trust{}).Fetch(t.Context(), Request{}); err != nil {
		t.Fatal(err)
	}
	if sent.CACert != ca.pem {
		t.Errorf("caCert is %q", sent.CACert)
	}
}

func TestSkipVerifyAndPlainLoopback(t *testing.T) {
	ca := newAuthority(t)
	url, _ := serve(t, ca.issue(t, false), good)
	var log strings.Builder
	c := client(url, Trust{SkipVerify: true})
	c.Log = slog.New(slog.NewTextHandler(&log, nil))
	if _, err := c.Fetch(t.Context(), Request{}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), "INSECURE") {
		t.Error("no warning")
	}
	plain := httptest.NewServer(http.HandlerFunc(good))
	defer plain.Close()
	if _, err := client(plain.URL, Trust{}).Fetch(t.Context(), Request{}); err != nil {
		t.Error(err)
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	ca := newAuthority(t)
	s := httptest.NewUnstartedServer(http.HandlerFunc(good))
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{ca.issue(t, false)}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
	s.StartTLS()
	defer s.Close()
	c := client(s.URL, Trust{CACert: ca.pem})
	c.MaxDuration = time.Nanosecond
	if _, err := c.Fetch(t.Context(), Request{}); err == nil {
		t.Error("accepted TLS 1.1")
	}
}
