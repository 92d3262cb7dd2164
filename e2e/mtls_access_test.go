package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// mtlsCaller is a client proxy with an outbound to a service.
type mtlsCaller struct {
	*dataplane
	port int
}

func (cp *controlPlane) startCaller(t testing.TB, name, service string, tags map[string]string) *mtlsCaller {
	t.Helper()
	p := ports(t, 1)
	return &mtlsCaller{cp.startDP(t, sidecar{
		name: name, service: name, protocol: "http", tags: tags, outbounds: map[int]map[string]string{p[0]: to(service)},
	}), p[0]}
}

// gets waits until calls have a status for a while.
func (c *mtlsCaller) gets(t testing.TB, want int) {
	t.Helper()
	in := 0
	eventually(t, 20*time.Second, fmt.Sprintf("%s gets %d", c.name, want), func() error {
		resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/", c.port))
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		if resp.StatusCode != want {
			in = 0
			return fmt.Errorf("%s: %.200s", resp.Status, text)
		}
		if in++; in < 3 {
			return fmt.Errorf("%d times", in)
		}
		return nil
	})
}

// MeshTrafficPermission decides by verified tags: allow, deny, and deny in the
// shadow, which only counts. The older TrafficPermission decides likewise.
func TestMTLSPermissions(t *testing.T) {
	t.Parallel()
	cp := startCP(t, t.TempDir())
	cp.setMTLS("default", &mtls{enabled: "ca-1", backends: []string{"ca-1"}})
	web := cp.startDP(t, sidecar{name: "web-1", service: "web", protocol: "http", app: app(t, "web")})
	red, blue := cp.startCaller(t, "red", "web", map[string]string{"team": "red"}), cp.startCaller(t, "blue", "web", map[string]string{"team": "blue"})
	red.gets(t, 403)
	blue.gets(t, 403)

	cp.allow("default", "red", "Allow", map[string]string{"team": "red"})
	red.gets(t, 200)
	blue.gets(t, 403)
	denied := fmt.Sprintf("http.localhost_%d.rbac.denied", web.app)
	if n := web.stat(t, denied); n == 0 {
		t.Errorf("%s is %d", denied, n)
	}

	web.logsDenial(t, `"client":"spiffe://default/blue`, `"permissions":"MeshTrafficPermission default/red rule 0"`, `"service":"web"`, `"method":"GET"`)

	cp.allow("default", "red", "AllowWithShadowDeny", map[string]string{"team": "red"})
	shadow := fmt.Sprintf("http.localhost_%d.rbac.shadow_denied", web.app)
	eventually(t, 10*time.Second, "the shadow counts", func() error {
		red.gets(t, 200)
		if n := web.stat(t, shadow); n == 0 {
			return fmt.Errorf("%s is %d", shadow, n)
		}
		return nil
	})

	cp.must(http.MethodDelete, "/meshes/default/meshtrafficpermissions/red", nil)
	red.gets(t, 403)
	cp.must(http.MethodPut, "/meshes/default/traffic-permissions/blue", map[string]any{
		"type": "TrafficPermission", "mesh": "default", "name": "blue",
		"sources":      []any{map[string]any{"match": map[string]string{"kuma.io/service": "blue"}}},
		"destinations": []any{map[string]any{"match": map[string]string{"kuma.io/service": "web"}}},
	})
	blue.gets(t, 200)
	red.gets(t, 503) // the older policy decides about connections, which are closed
}

// logsDenial waits for a line about a denied call that has all these parts.
func (d *dataplane) logsDenial(t testing.TB, parts ...string) {
	t.Helper()
	eventually(t, 20*time.Second, fmt.Sprintf("%s logs a denial with %q", d.name, parts), func() error {
		var last string
		for line := range strings.Lines(d.output()) {
			if !strings.Contains(line, "denied by permissions") {
				continue
			}
			last = line
			if !slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(line, p) }) {
				return nil
			}
		}
		return fmt.Errorf("the last line is %q", last)
	})
}

// Connections of other protocols are closed where a client has no permission.
func TestMTLSPermissionsTCP(t *testing.T) {
	t.Parallel()
	cp := startCP(t, t.TempDir())
	cp.setMTLS("default", &mtls{enabled: "ca-1", backends: []string{"ca-1"}})
	p := ports(t, 1)
	server := cp.startDP(t, sidecar{name: "echo-1", service: "echo", protocol: "tcp", app: echo(t)})
	cp.startDP(t, sidecar{name: "client", service: "client", protocol: "tcp", outbounds: map[int]map[string]string{p[0]: to("echo")}})
	eventually(t, 10*time.Second, "the connection is closed", func() error {
		if err := say(p[0], "hello"); err == nil {
			return fmt.Errorf("the echo came back")
		}
		text, err := fetch(fmt.Sprintf("http://127.0.0.1:%d/stats?filter=rbac.denied&usedonly", server.admin))
		if err != nil || !strings.Contains(text, "rbac.denied: ") {
			return fmt.Errorf("no denial is counted: %q, %w", text, err)
		}
		return nil
	})
	server.logsDenial(t, `"client":"spiffe://default/client`, `"permissions":"none applies`, `"service":"echo"`)
	cp.allow("default", "all", "Allow", nil)
	eventually(t, 10*time.Second, "the echo comes back", func() error { return say(p[0], "hello") })
}

// meshTLS writes a MeshTLS for the whole mesh.
func (cp *controlPlane) meshTLS(conf map[string]any) {
	cp.t.Helper()
	cp.must(http.MethodPut, "/meshes/default/meshtlses/tls", map[string]any{
		"type": "MeshTLS", "mesh": "default", "name": "tls",
		"spec": map[string]any{
			"targetRef": map[string]any{"kind": "Mesh"},
			"from":      []any{map[string]any{"targetRef": map[string]any{"kind": "Mesh"}, "default": conf}},
		},
	})
}

// MeshTLS changes modes, versions and ciphers of a running mesh; certificates have
// keys that go with the ciphers.
func TestMTLSMeshTLS(t *testing.T) {
	t.Parallel()
	cp := startCP(t, t.TempDir())
	cp.allow("default", "all", "Allow", nil)
	cp.setMTLS("default", &mtls{enabled: "ca-1", backends: []string{"ca-1"}})
	p := cp.startPair(t, "default")
	p.answers(t)
	plain := func(works bool) {
		t.Helper()
		eventually(t, 20*time.Second, fmt.Sprintf("plain text works: %v", works), func() error {
			if _, err := fetch(p.direct()); (err == nil) != works {
				return fmt.Errorf("got %w", err)
			}
			return nil
		})
	}
	plain(false)
	cp.meshTLS(map[string]any{"mode": "Permissive"})
	plain(true)
	p.answers(t)
	cp.meshTLS(map[string]any{"mode": "Strict"})
	plain(false)
	p.answers(t)

	for _, c := range []struct {
		conf    map[string]any
		version uint16
		refused uint16
		rsa     bool
	}{
		{map[string]any{"tlsVersion": map[string]any{"min": "TLS13"}}, tls.VersionTLS13, tls.VersionTLS12, false},
		{map[string]any{"tlsVersion": map[string]any{"min": "TLS12", "max": "TLS12"}, "tlsCiphers": []string{"ECDHE-ECDSA-AES256-GCM-SHA384"}}, tls.VersionTLS12, tls.VersionTLS13, false},
		{map[string]any{"tlsVersion": map[string]any{"min": "TLS12", "max": "TLS12"}, "tlsCiphers": []string{"ECDHE-RSA-AES256-GCM-SHA384"}}, tls.VersionTLS12, tls.VersionTLS13, true},
	} {
		cp.meshTLS(c.conf)
		eventually(t, 20*time.Second, fmt.Sprintf("%v holds", c.conf), func() error {
			if _, _, err := p.handshake(c.refused); err == nil {
				return fmt.Errorf("version %x is accepted", c.refused)
			}
			state, cert, err := p.handshake(c.version)
			if err != nil {
				return err
			}
			if rsa := cert.PublicKeyAlgorithm == x509.RSA; rsa != c.rsa {
				return fmt.Errorf("key %s, cipher %s", cert.PublicKeyAlgorithm, tls.CipherSuiteName(state.CipherSuite))
			}
			return nil
		})
		p.answers(t)
	}
}

// handshake speaks a version of TLS with the server's inbound.
func (p *pair) handshake(version uint16) (state tls.ConnectionState, cert *x509.Certificate, err error) {
	conf := &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version, VerifyConnection: func(s tls.ConnectionState) error {
		state, cert = s, s.PeerCertificates[0]
		return nil
	}}
	conn, err := net.DialTimeout("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(p.web.inbound)), 5*time.Second)
	if err != nil {
		return state, nil, err
	}
	defer conn.Close()
	c := tls.Client(conn, conf)
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	err = c.Handshake()
	if cert != nil {
		err = nil // what follows is about the certificate that this client lacks
	}
	return state, cert, err
}

// Who has no certificate of the mesh gets nowhere: no certificate, one of another
// mesh, one of a foreign authority with the right names, one of the mesh's own
// authority with the names of another mesh.
func TestMTLSForeignIdentities(t *testing.T) {
	t.Parallel()
	cp := startCP(t, t.TempDir())
	cp.allow("default", "all", "Allow", nil)
	cp.setMTLS("default", &mtls{enabled: "ca-1", backends: []string{"ca-1"}})
	cp.setMTLS("other", &mtls{enabled: "ca-1", backends: []string{"ca-1"}})
	cp.allow("other", "all", "Allow", nil)
	p := cp.startPair(t, "default")
	p.answers(t)

	own, other := cp.authority(t, "default", "ca-1"), cp.authority(t, "other", "ca-1")
	foreignCert, foreignKey := newAuthority(t)
	foreign, err := tls.X509KeyPair(foreignCert, foreignKey)
	if err != nil {
		t.Fatal(err)
	}
	call := func(certs ...tls.Certificate) error {
		client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
			DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true, Certificates: certs},
		}}
		resp, err := client.Get(fmt.Sprintf("https://127.0.0.1:%d/", p.web.inbound))
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%s", resp.Status)
		}
		return nil
	}
	if err := call(leafOf(t, own, "spiffe://default/client")); err != nil {
		t.Fatalf("with a certificate of the mesh: %v", err)
	}
	for what, certs := range map[string][]tls.Certificate{
		"no certificate":                              nil,
		"a certificate of another mesh":               {leafOf(t, other, "spiffe://other/client")},
		"another mesh's authority, this mesh's names": {leafOf(t, other, "spiffe://default/client")},
		"a foreign authority, this mesh's names":      {leafOf(t, foreign, "spiffe://default/client")},
		"this mesh's authority, another mesh's names": {leafOf(t, own, "spiffe://other/client")},
		"this mesh's authority, a longer name":        {leafOf(t, own, "spiffe://default-2/client")},
	} {
		if err := call(certs...); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
}

// authority returns the key pair of a builtin authority, which administrators can read.
func (cp *controlPlane) authority(t testing.TB, mesh, backend string) tls.Certificate {
	t.Helper()
	read := func(part string) []byte {
		var s struct{ Data string }
		if err := json.Unmarshal([]byte(cp.must(http.MethodGet, "/meshes/"+mesh+"/secrets/"+mesh+".ca-builtin-"+part+"-"+backend, nil)), &s); err != nil {
			t.Fatal(err)
		}
		b, err := base64.StdEncoding.DecodeString(s.Data)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	pair, err := tls.X509KeyPair(read("cert"), read("key"))
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

// leafOf makes a client certificate with a URI.
func leafOf(t testing.TB, ca tls.Certificate, uri string) tls.Certificate {
	t.Helper()
	parent, err := x509.ParseCertificate(ca.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(uri)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), URIs: []*url.URL{u},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, parent, key.Public(), ca.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := tls.X509KeyPair(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
	if err != nil {
		t.Fatal(err)
	}
	return c
}
