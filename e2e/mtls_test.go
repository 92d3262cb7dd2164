package e2e

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// mtls is the mtls block of a Mesh.
type mtls struct {
	mode       string // "" = STRICT
	expiration string // of proxies' certificates; "" = 24h
	enabled    string
	backends   []string
}

func (m mtls) block() map[string]any {
	var list []map[string]any
	for _, name := range m.backends {
		b := map[string]any{"name": name, "type": "builtin"}
		if m.mode != "" {
			b["mode"] = m.mode
		}
		if m.expiration != "" {
			b["dpCert"] = map[string]any{"rotation": map[string]any{"expiration": m.expiration}}
		}
		list = append(list, b)
	}
	return map[string]any{"enabledBackend": m.enabled, "backends": list}
}

// setMTLS changes mutual TLS of a mesh; nil = off. The mesh is made if absent.
func (cp *controlPlane) setMTLS(mesh string, m *mtls) {
	cp.t.Helper()
	body := map[string]any{"type": "Mesh", "name": mesh}
	if m != nil {
		body["mtls"] = m.block()
	}
	cp.must(http.MethodPut, "/meshes/"+mesh, body)
}

// allow lets the clients with these tags call everything in a mesh; nil = all clients.
func (cp *controlPlane) allow(mesh, name, action string, tags map[string]string) {
	cp.t.Helper()
	from := map[string]any{"kind": "Mesh"}
	if tags != nil {
		from = map[string]any{"kind": "MeshSubset", "tags": tags}
	}
	cp.must(http.MethodPut, "/meshes/"+mesh+"/meshtrafficpermissions/"+name, map[string]any{
		"type": "MeshTrafficPermission", "mesh": mesh, "name": name,
		"spec": map[string]any{
			"targetRef": map[string]any{"kind": "Mesh"},
			"from":      []any{map[string]any{"targetRef": from, "default": map[string]any{"action": action}}},
		},
	})
}

// certificates is DataplaneInsight.mTLS.
type certificates struct {
	CertificateExpirationTime   time.Time `json:"certificateExpirationTime"`
	LastCertificateRegeneration time.Time `json:"lastCertificateRegeneration"`
	CertificateRegenerations    int       `json:"certificateRegenerations"`
	IssuedBackend               string    `json:"issuedBackend"`
	SupportedBackends           []string  `json:"supportedBackends"`
	IssuedAuthority             string    `json:"issuedAuthority"`
	SupportedAuthorities        []string  `json:"supportedAuthorities"`
}

// certificatesOf returns what the API tells about a proxy's certificates.
func (cp *controlPlane) certificatesOf(mesh, proxy string) (*certificates, error) {
	status, text := cp.request(http.MethodGet, "/meshes/"+mesh+"/dataplanes/"+proxy+"/_overview", nil)
	if status != http.StatusOK {
		return nil, fmt.Errorf("overview of %s: %d %s", proxy, status, text)
	}
	var o struct {
		DataplaneInsight struct {
			MTLS *certificates `json:"mTLS"`
		} `json:"dataplaneInsight"`
	}
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return nil, err
	}
	if o.DataplaneInsight.MTLS == nil {
		return nil, fmt.Errorf("%s has no certificate", proxy)
	}
	return o.DataplaneInsight.MTLS, nil
}

// awaitCertificates waits until the API tells of a proxy's certificates what ok wants.
func (cp *controlPlane) awaitCertificates(mesh, proxy, what string, ok func(*certificates) bool) *certificates {
	cp.t.Helper()
	var last *certificates
	eventually(cp.t, 30*time.Second, proxy+" "+what, func() error {
		c, err := cp.certificatesOf(mesh, proxy)
		if err == nil && !ok(c) {
			err = fmt.Errorf("it has %+v", *c)
		}
		last = c
		return err
	})
	return last
}

// pair is a web server and a client that calls it through an outbound.
type pair struct {
	web, client *dataplane
	url         string
}

func (cp *controlPlane) startPair(t testing.TB, mesh string) *pair {
	t.Helper()
	p := ports(t, 1)
	return &pair{
		web: cp.startDP(t, sidecar{mesh: mesh, name: "web-1", service: "web", protocol: "http", app: app(t, "web")}),
		client: cp.startDP(t, sidecar{
			mesh: mesh, name: "client", service: "client", protocol: "http", outbounds: map[int]map[string]string{p[0]: to("web")},
		}),
		url: fmt.Sprintf("http://127.0.0.1:%d/", p[0]),
	}
}

// answers waits until a call through both proxies succeeds.
func (p *pair) answers(t testing.TB) {
	t.Helper()
	eventually(t, 20*time.Second, "the call succeeds", func() error {
		_, err := fetch(p.url)
		return err
	})
}

// direct is the URL of the server's inbound, for callers without a proxy.
func (p *pair) direct() string { return fmt.Sprintf("http://127.0.0.1:%d/", p.web.inbound) }

// One line in a Mesh turns on mutual TLS: calls in the mesh go on, encrypted and
// with the names that the contract promises; plain text and foreign certificates
// are refused; nobody may call without permission.
func TestMTLSStrict(t *testing.T) {
	t.Parallel()
	cp := startCP(t, t.TempDir())
	p := cp.startPair(t, "default")
	p.answers(t)
	if _, err := fetch(p.direct()); err != nil {
		t.Fatalf("without mutual TLS the inbound accepts plain text, but: %v", err)
	}

	cp.setMTLS("default", &mtls{enabled: "ca-1", backends: []string{"ca-1"}})
	eventually(t, 20*time.Second, "calls are refused without permission", func() error {
		text, err := fetch(p.url)
		if err == nil || !strings.Contains(err.Error(), "403") {
			return fmt.Errorf("got %q, %w", text, err)
		}
		return nil
	})
	cp.allow("default", "all", "Allow", nil)
	p.answers(t)

	eventually(t, 10*time.Second, "plain text is refused", func() error {
		if text, err := fetch(p.direct()); err == nil {
			return fmt.Errorf("got %q", text)
		}
		return nil
	})
	shown := p.presented(t)
	if want := []string{"spiffe://default/web", "kuma://kuma.io/protocol/http", "kuma://kuma.io/service/web", "kuma://kuma.io/zone/default"}; !slices.Equal(shown, want) {
		t.Errorf("the certificate says %q, want %q", shown, want)
	}
	c := cp.awaitCertificates("default", "web-1", "has a certificate", func(*certificates) bool { return true })
	if c.IssuedBackend != "ca-1" || !slices.Equal(c.SupportedBackends, []string{"ca-1"}) || c.CertificateRegenerations != 1 {
		t.Errorf("the API tells %+v", *c)
	}
	if left := time.Until(c.CertificateExpirationTime); left < 23*time.Hour || left > 24*time.Hour {
		t.Errorf("the certificate is valid for %s", left)
	}
	if p.client.stat(t, "cluster.web.ssl.handshake") == 0 {
		t.Error("the client counted no TLS handshake")
	}
}

// presented returns the URIs in the certificate that the server's inbound shows.
func (p *pair) presented(t testing.TB) []string {
	t.Helper()
	var out []string
	conf := &tls.Config{InsecureSkipVerify: true, VerifyConnection: func(s tls.ConnectionState) error {
		for _, u := range s.PeerCertificates[0].URIs {
			out = append(out, u.String())
		}
		return nil
	}}
	conn, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(p.web.inbound)))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := tls.Client(conn, conf)
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	_ = c.Handshake() // the server may refuse the missing certificate afterwards
	return out
}

// PERMISSIVE accepts both: from members of the mesh TLS, from others plain text.
func TestMTLSPermissive(t *testing.T) {
	t.Parallel()
	cp := startCP(t, t.TempDir())
	cp.allow("default", "all", "Allow", nil)
	cp.setMTLS("default", &mtls{mode: "PERMISSIVE", enabled: "ca-1", backends: []string{"ca-1"}})
	p := cp.startPair(t, "default")
	p.answers(t)
	if text, err := fetch(p.direct()); err != nil || text != "web" {
		t.Errorf("plain text: %q, %v", text, err)
	}
	eventually(t, 10*time.Second, "the client uses TLS", func() error {
		if _, err := fetch(p.url); err != nil {
			return err
		}
		if n := p.client.stat(t, "cluster.web.ssl.handshake"); n == 0 {
			return fmt.Errorf("%d handshakes", n)
		}
		return nil
	})
	if text, err := fetch(p.direct()); err != nil || text != "web" {
		t.Errorf("plain text: %q, %v", text, err)
	}
}

// A running mesh goes from no TLS to PERMISSIVE to STRICT and no request fails.
func TestMTLSTurnedOnUnderLoad(t *testing.T) {
	t.Parallel()
	cp := startCP(t, t.TempDir())
	cp.allow("default", "all", "Allow", nil)
	p := cp.startPair(t, "default")
	cp.startDP(t, sidecar{name: "web-2", service: "web", protocol: "http", app: app(t, "two")})
	p.answers(t)
	l := startLoad(t, p.url, 8)
	time.Sleep(500 * time.Millisecond)
	cp.setMTLS("default", &mtls{mode: "PERMISSIVE", enabled: "ca-1", backends: []string{"ca-1"}})
	eventually(t, 20*time.Second, "the client uses TLS", func() error {
		if n := p.client.stat(t, "cluster.web.ssl.handshake"); n == 0 {
			return fmt.Errorf("%d handshakes", n)
		}
		return nil
	})
	time.Sleep(time.Second)
	cp.setMTLS("default", &mtls{enabled: "ca-1", backends: []string{"ca-1"}})
	eventually(t, 20*time.Second, "plain text is refused", func() error {
		if text, err := fetch(p.direct()); err == nil {
			return fmt.Errorf("got %q", text)
		}
		return nil
	})
	time.Sleep(time.Second)
	l.verdict(t)
	t.Logf("%d requests, none failed", l.ok.Load())
}
