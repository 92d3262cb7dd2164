package rest_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"weft/internal/cp/rest"
	"weft/internal/tlsutil"
)

// listening is an API on real ports.
type listening struct {
	*world
	http, https string // URLs
	roots       *x509.CertPool
	stop        func() error
}

// listen opens ports that the kernel chooses and answers on them.
func listen(t *testing.T, env map[string]string) *listening {
	t.Helper()
	dir := t.TempDir()
	certFile, keyFile, err := tlsutil.KeepOwn(dir, tlsutil.Wish{Hosts: []string{"localhost", "127.0.0.1"}}, testLog(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, env, func(d *rest.Deps) {
		a := &d.Config.APIServer // nobody has read it yet
		a.HTTP.Port, a.HTTPS.Port, a.HTTP.Interface, a.HTTPS.Interface = 0, 0, "127.0.0.1", "127.0.0.1"
		a.HTTPS.TLSCertFile, a.HTTPS.TLSKeyFile = certFile, keyFile
	})
	l := &listening{world: w, roots: x509.NewCertPool()}
	text, err := os.ReadFile(certFile)
	if err != nil {
		t.Fatal(err)
	}
	l.roots.AppendCertsFromPEM(text)
	ctx, cancel := context.WithCancel(context.Background())
	if err := w.api.Listen(ctx); err != nil {
		t.Fatal(err)
	}
	l.http, l.https = "http://"+w.api.Addr("http").String(), "https://"+w.api.Addr("https").String()
	done := make(chan error, 1)
	go func() { done <- w.api.Run(ctx) }()
	l.stop = func() error {
		cancel()
		err := <-done
		done <- err
		return err
	}
	t.Cleanup(func() { _ = l.stop() })
	return l
}

func (l *listening) get(t *testing.T, url string, certs ...tls.Certificate) (answer, error) {
	t.Helper()
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: l.roots, Certificates: certs}, DisableKeepAlives: true}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, string(b)}, err
}

func TestListen(t *testing.T) {
	l := listen(t, localAdmin)
	for _, url := range []string{l.http, l.https} {
		got, err := l.get(t, url+"/meshes?size=1")
		if err != nil || got.status != 200 {
			t.Errorf("%s: %v %d %s", url, err, got.status, got.text)
		}
	}
	if got, err := l.get(t, l.http+"/meshes?name="+strings.Repeat("x", 100<<10)); err != nil || got.status != 431 {
		t.Errorf("a long query: %v %d", err, got.status)
	}
	if err := l.stop(); err != nil {
		t.Errorf("stopping: %v", err)
	}
	if _, err := l.get(t, l.http+"/"); err == nil {
		t.Error("it still answers")
	}
}

// TestSlowHeader: a client that sends its header slowly is let go.
func TestSlowHeader(t *testing.T) {
	l := listen(t, nil)
	c, err := net.Dial("tcp", strings.TrimPrefix(l.http, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if _, err := c.Write([]byte("GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")); err != nil {
		t.Fatal(err)
	}
	if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(c); err != nil {
		t.Errorf("the connection stays open: %v after %q", err, b)
	}
}

func TestPortInUse(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	port := taken.Addr().(*net.TCPAddr).Port
	w := newWorld(t, map[string]string{"KUMA_API_SERVER_HTTP_PORT": strconv.Itoa(port)})
	if err := w.api.Listen(t.Context()); err == nil || !strings.Contains(err.Error(), "apiServer.http.port") {
		t.Errorf("got %v", err)
	}
}

// TestClientCertificates: whoever has a trusted certificate is an administrator.
func TestClientCertificates(t *testing.T) {
	dir := t.TempDir()
	trusted, stranger := selfSigned(t), selfSigned(t)
	file := filepath.Join(dir, "admin.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: trusted.Certificate[0]}), 0o600); err != nil {
		t.Fatal(err)
	}
	l := listen(t, map[string]string{"KUMA_API_SERVER_AUTHN_TYPE": "adminClientCerts", "KUMA_API_SERVER_AUTH_CLIENT_CERTS_DIR": dir})
	who := l.https + "/who-am-i"
	if got, err := l.get(t, who, trusted); err != nil || got.field("name") != "mesh-system:admin" {
		t.Errorf("trusted: %v %s", err, got.text)
	}
	if got, err := l.get(t, who); err != nil || got.field("name") != "mesh-system:anonymous" {
		t.Errorf("without: %v %s", err, got.text)
	}
	if got, err := l.get(t, who, stranger); err == nil && got.field("name") != "mesh-system:anonymous" {
		t.Errorf("a stranger is %s", got.text)
	}
	if got, _ := l.get(t, l.http+"/tokens/user"); got.status != 404 {
		t.Errorf("user tokens are issued although nobody accepts them: %d", got.status)
	}
	strict := listen(t, map[string]string{
		"KUMA_API_SERVER_AUTH_CLIENT_CERTS_DIR": dir, "KUMA_API_SERVER_HTTPS_REQUIRE_CLIENT_CERT": "true",
	})
	if got, err := strict.get(t, strict.https+"/"); err == nil {
		t.Errorf("a client without certificate got %d", got.status)
	}
	if got, err := strict.get(t, strict.https+"/", trusted); err != nil || got.status != 200 {
		t.Errorf("with certificate: %v %d", err, got.status)
	}
}

func selfSigned(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "client"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
