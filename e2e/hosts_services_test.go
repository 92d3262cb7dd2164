package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"weft/internal/testkit/netns"
)

// answers waits until a call is answered with these parts.
func (h *host) answers(t testing.TB, parts []string, args ...string) {
	t.Helper()
	eventually(t, 20*time.Second, fmt.Sprintf("%v is answered on %s", args, h.name), func() error {
		text, err := h.curl(args...)
		if err != nil {
			return err
		}
		return contains(text, parts...)
	})
}

// knows waits until a name of the mesh is known on a host, or is not.
func (m *meshOfHosts) knows(t testing.TB, h *host, name, prefix string) {
	t.Helper()
	eventually(t, 20*time.Second, fmt.Sprintf("%s is at %q for %s", name, prefix, h.name), func() error {
		a, err := h.ask(m.gateway4, "udp", name, dns.TypeA, false)
		if err != nil {
			return err
		}
		if prefix == "" && a.Rcode == dns.RcodeNameError {
			return nil
		}
		if len(a.Answer) == 1 && prefix != "" && strings.HasPrefix(a.Answer[0].(*dns.A).A.String(), prefix) {
			return nil
		}
		return fmt.Errorf("the answer is %v", a)
	})
}

// signer is an authority that signs certificates.
type signer struct {
	t    testing.TB
	ca   string // its own certificate, PEM
	cert *x509.Certificate
	key  any
}

func newSigner(t testing.TB) *signer {
	t.Helper()
	cert, key := newAuthority(t)
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	return &signer{t: t, ca: string(cert), cert: pair.Leaf, key: pair.PrivateKey}
}

// leaf returns a certificate for a name, and its key, in PEM.
func (a *signer) leaf(name string) (cert, key string) {
	a.t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.cert, k.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		a.t.Fatal(err)
	}
	block := func(kind string, b []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}))
	}
	return block("CERTIFICATE", der), block("PRIVATE KEY", raw)
}

// serveTLS starts a server on the host that demands certificates of clients.
func (h *host) serveTLS(t testing.TB, port int, a *signer, name string) {
	t.Helper()
	cert, key := a.leaf(name)
	pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
	if err != nil {
		t.Fatal(err)
	}
	trusted := x509.NewCertPool()
	trusted.AddCert(a.cert)
	l := netns.Listen(t, h.ns, "tcp", fmt.Sprintf(":%d", port))
	srv := &http.Server{ErrorLog: log.New(io.Discard, "", 0), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s over TLS as %s by %s", h.name, r.TLS.ServerName, r.TLS.PeerCertificates[0].Subject.CommonName)
	})}
	go func() {
		_ = srv.Serve(tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: trusted, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12}))
	}()
	t.Cleanup(func() { _ = srv.Close() })
}

// put writes an object of the mesh.
func (m *meshOfHosts) put(kind, plural, name string, rest map[string]any) {
	body := map[string]any{"type": kind, "mesh": "default", "name": name}
	for k, v := range rest {
		body[k] = v
	}
	m.cp.must(http.MethodPut, "/meshes/default/"+plural+"/"+name, body)
}

// Services outside of the mesh that are known to it, by address and by host name,
// in plain text and with TLS that the proxy does for the application: it verifies
// the server, names it and shows a certificate.
func testHostExternalServices(t *testing.T, m *meshOfHosts) {
	external := func(service, address string, tls map[string]any) {
		n := map[string]any{"address": address}
		if tls != nil {
			n["tls"] = tls
		}
		m.put("ExternalService", "external-services", service, map[string]any{"tags": map[string]any{"kuma.io/service": service, "kuma.io/protocol": "http"}, "networking": n})
		t.Cleanup(func() { m.cp.request(http.MethodDelete, "/meshes/default/external-services/"+service, nil) })
	}
	external("static", m.outside.ip4+":80", nil)
	m.client.answers(t, []string{"outside called"}, "http://static.mesh/")
	external("static6", "["+m.outside.ip6+"]:80", nil)
	m.client.answers(t, []string{"outside called"}, "-6", "http://static6.mesh/")
	external("named", "outside.test:8081", nil)
	m.client.answers(t, []string{"outside called as outside.test"}, "http://named.mesh/")
	m.client.answers(t, []string{"outside called as outside.test"}, "http://named.mesh:8081/")
	m.knows(t, m.client, "outside.test.", "240.") // the host name leads there, too
	m.client.answers(t, []string{"outside called as outside.test"}, "http://outside.test:8081/")

	a := newSigner(t)
	m.outside.serveTLS(t, 8443, a, "shop.test")
	cert, key := a.leaf("the mesh")
	secured := func(ca, name string) map[string]any {
		return map[string]any{
			"enabled": true, "caCert": map[string]any{"inlineString": ca}, "serverName": name,
			"clientCert": map[string]any{"inlineString": cert}, "clientKey": map[string]any{"inlineString": key},
		}
	}
	address := m.outside.ip4 + ":8443"
	external("secured", address, secured(a.ca, "shop.test"))
	m.client.answers(t, []string{"outside over TLS as shop.test by the mesh"}, "http://secured.mesh/")
	external("misnamed", address, secured(a.ca, "other.test"))
	external("stranger", address, secured(newSigner(t).ca, "shop.test"))
	for _, service := range []string{"misnamed", "stranger"} {
		eventually(t, 20*time.Second, service+" is refused", func() error {
			if text, err := m.client.curl("http://" + service + ".mesh/"); err == nil || !strings.Contains(text, "upstream connect error") {
				return fmt.Errorf("%q, %s", text, fmt.Sprint(err))
			}
			return nil
		})
	}
	skip := secured(a.ca, "other.test")
	skip["skipHostnameVerification"] = true
	external("misnamed", address, skip)
	m.client.answers(t, []string{"outside over TLS as other.test by the mesh"}, "http://misnamed.mesh/")
}

// Names that objects give: VirtualOutbound, HostnameGenerator for a
// MeshMultiZoneService in its own zone; and a MeshExternalService, which needs a zone
// egress for traffic.
func testHostNamesByObjects(t *testing.T, m *meshOfHosts) {
	m.put("VirtualOutbound", "virtual-outbounds", "shop", map[string]any{
		"selectors": []any{map[string]any{"match": map[string]any{"kuma.io/service": "*"}}},
		"conf":      map[string]any{"host": "{{.service}}.shop", "port": "8082", "parameters": []any{map[string]any{"name": "service", "tagKey": "kuma.io/service"}}},
	})
	m.client.answers(t, []string{"called as backend.shop:8082", "spiffe://default/client"}, "http://backend.shop:8082/")

	m.put("MeshMultiZoneService", "meshmultizoneservices", "everywhere", map[string]any{"spec": map[string]any{
		"selector": map[string]any{"meshService": map[string]any{"matchLabels": map[string]any{"kuma.io/display-name": "backend"}}},
		"ports":    []any{map[string]any{"port": 80, "appProtocol": "http"}},
	}})
	m.cp.must(http.MethodPut, "/hostnamegenerators/multi", map[string]any{"type": "HostnameGenerator", "name": "multi", "spec": map[string]any{
		"selector": map[string]any{"meshMultiZoneService": map[string]any{"matchLabels": map[string]any{}}}, "template": "{{ .DisplayName }}.mzsvc.mesh.local",
	}})
	m.client.answers(t, []string{"called as everywhere.mzsvc.mesh.local", "spiffe://default/client"}, "http://everywhere.mzsvc.mesh.local/")

	m.put("MeshExternalService", "meshexternalservices", "pay", map[string]any{"spec": map[string]any{
		"match": map[string]any{"type": "HostnameGenerator", "port": 80, "protocol": "http"}, "endpoints": []any{map[string]any{"address": m.outside.ip4, "port": 80}},
	}})
	m.knows(t, m.client, "pay.extsvc.mesh.local.", "242.")
	if text, err := m.client.curl("http://pay.extsvc.mesh.local/"); err == nil || !strings.Contains(text, "no healthy upstream") {
		t.Errorf("without a zone egress a MeshExternalService answers %q, %v", text, err)
	}
	m.host("egress").egress(t, m.cp)
	m.client.answers(t, []string{"outside called as pay.extsvc.mesh.local"}, "http://pay.extsvc.mesh.local/")
}

// What a proxy lists as reachable is all that it knows; and services that it lists
// for direct access can be called by the addresses of their instances.
func testHostReachable(t *testing.T, m *meshOfHosts) {
	h := m.host("narrow")
	h.install(t)
	p := h.joinAt(t, m.cp, h.ip4, ", reachableServices: [backend], directAccessServices: [backend]", inbound(8080, "narrow", "http"))
	h.answers(t, []string{"spiffe://default/narrow"}, "http://backend.mesh/")
	h.answers(t, []string{"one called", "spiffe://default/narrow"}, "http://"+m.one.ip4+"/")
	h.answers(t, []string{"two called", "spiffe://default/narrow"}, "http://["+m.two.ip6+"]/")
	for _, name := range []string{"client.mesh.", "backend.svc.mesh.local."} {
		m.knows(t, h, name, "")
	}
	if text, err := m.client.curl("http://" + m.one.ip4 + "/"); err == nil {
		t.Errorf("without direct access an instance answers %q", text)
	}
	p.kill()
	h.joinAt(t, m.cp, h.ip4, ", reachableBackends: {refs: [{kind: MeshService, name: backend, port: 80}]}, reachableServices: [client]", inbound(8080, "narrow", "http"))
	h.answers(t, []string{"called as backend.svc.mesh.local", "spiffe://default/narrow"}, "http://backend.svc.mesh.local/")
	m.knows(t, h, "client.mesh.", "240.")
	for _, name := range []string{"backend.mesh.", "client.svc.mesh.local."} {
		m.knows(t, h, name, "")
	}
	// Without a transparent proxy the same object is reached by an outbound.
	port := ports(t, 2)
	m.cp.startDP(t, sidecar{name: "plain", inbounds: fmt.Sprintf("  - {port: %d, tags: {kuma.io/service: plain, kuma.io/protocol: http}}\n"+
		"  outbound:\n  - {port: %d, backendRef: {kind: MeshService, name: backend, port: 80}}\n", port[0], port[1])})
	eventually(t, 20*time.Second, "the outbound is answered", func() error {
		text, err := fetch(fmt.Sprintf("http://127.0.0.1:%d/", port[1]))
		if err != nil {
			return err
		}
		return contains(text, "spiffe://default/plain")
	})
}

// An instance whose application does not listen is no endpoint: the proxy's probe
// comes to the application although all connections are redirected.
func testHostServiceProbe(t *testing.T, m *meshOfHosts) {
	h := m.host("probed")
	h.install(t)
	h.join(t, m.cp, "  inbound:\n  - {port: 80, tags: {kuma.io/service: probed, kuma.io/protocol: http}, serviceProbe: {interval: 1s, timeout: 1s, tcp: {}}}\n")
	endpoints := func(n int, what string) {
		t.Helper()
		start := time.Now()
		eventually(t, 20*time.Second, what, func() error {
			return between("endpoints", m.clientDP.endpoints(t, "probed"), n, n)
		})
		t.Logf("%s after %s", what, time.Since(start).Round(time.Millisecond))
	}
	endpoints(0, "no endpoint without an application")
	l := netns.Listen(t, h.ns, "tcp", ":80")
	srv := &http.Server{Handler: whoami("probed")}
	go func() { _ = srv.Serve(l) }()
	endpoints(1, "an endpoint with it")
	m.client.answers(t, []string{"probed called"}, "http://probed.mesh/")
	_ = srv.Close()
	endpoints(0, "no endpoint when it stopped")
	if c, err := netns.Dial(t.Context(), h.ns, 0, &net.Dialer{Timeout: time.Second}, "tcp", "127.0.0.1:80"); err == nil {
		_ = c.Close()
		t.Error("the application still listens")
	}
}
