package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// startEgress starts a zone egress and waits until it serves.
func (cp *controlPlane) startEgress(t testing.TB, name string, args ...string) *dataplane {
	t.Helper()
	p := ports(t, 3)
	s := sidecar{
		name: name, address: "127.0.0.1", inbound: p[1], cpPort: cp.xds, args: append([]string{"--proxy-type=egress"}, args...),
		token: cp.must(http.MethodPost, "/tokens/zone", map[string]any{"zone": "default", "scope": []string{"egress"}, "validFor": "1h"}),
	}
	d := cp.kumaDP(t, s, fmt.Sprintf("{type: ZoneEgress, name: %s, networking: {address: 127.0.0.1, port: %d, admin: {port: %d}}}", name, p[1], p[0]), p[0], p[2])
	d.awaitReady(t)
	return d
}

// serveTLS serves a handler with a certificate for a name; clients may show one of
// the same authority.
func serveTLS(t testing.TB, ca *signer, name string, h http.Handler) int {
	t.Helper()
	pair, err := tls.X509KeyPair(bytesOf(ca.leaf(name)))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: roots})
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: h, ErrorLog: log.New(io.Discard, "", 0)}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close() })
	return l.Addr().(*net.TCPAddr).Port
}

func bytesOf(cert, key string) (certPEM, keyPEM []byte) { return []byte(cert), []byte(key) }

// external writes a MeshExternalService of port 80.
func (cp *controlPlane) external(name, protocol, address string, port int, tlsBlock map[string]any) {
	cp.t.Helper()
	spec := map[string]any{
		"match":     map[string]any{"type": "HostnameGenerator", "port": 80, "protocol": protocol},
		"endpoints": []any{map[string]any{"address": address, "port": port}},
	}
	if tlsBlock != nil {
		tlsBlock["enabled"] = true
		spec["tls"] = tlsBlock
	}
	cp.must(http.MethodPut, "/meshes/default/meshexternalservices/"+name, map[string]any{"type": "MeshExternalService", "mesh": "default", "name": name, "spec": spec})
}

// externalCaller starts a client with an outbound to each MeshExternalService.
func (cp *controlPlane) externalCaller(t testing.TB, names ...string) (*dataplane, map[string]string) {
	t.Helper()
	p := ports(t, len(names)+1)
	urls := map[string]string{}
	inbounds := fmt.Sprintf("  - {port: %d, tags: {kuma.io/service: client, kuma.io/protocol: http}}\n  outbound:\n", p[0])
	for i, name := range names {
		urls[name] = fmt.Sprintf("http://127.0.0.1:%d/", p[i+1])
		inbounds += fmt.Sprintf("  - {port: %d, backendRef: {kind: MeshExternalService, name: %s, port: 80}}\n", p[i+1], name)
	}
	return cp.startDP(t, sidecar{name: "client", inbounds: inbounds}), urls
}

// answerOf asks a URL and returns the status of the answer and its body.
func answerOf(url string) string {
	resp, err := (&http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}).Get(url)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	return strconv.Itoa(resp.StatusCode) + " " + string(body)
}

func awaitStatus(t testing.TB, url, want string) {
	t.Helper()
	eventually(t, 20*time.Second, url+" answers "+want, func() error {
		if got := answerOf(url); !strings.HasPrefix(got, want) {
			return fmt.Errorf("it answers %s", got)
		}
		return nil
	})
}

// Services outside of the mesh are reached through the zone's egress, which talks to
// them as their MeshExternalService says.
func TestExternalServicesThroughEgress(t *testing.T) {
	t.Parallel()
	cp := startCP(t, t.TempDir())
	cp.setMTLS("default", &mtls{enabled: "ca-1", backends: []string{"ca-1"}})
	who := func(w http.ResponseWriter, r *http.Request) {
		client := "nobody"
		if len(r.TLS.PeerCertificates) > 0 {
			client = r.TLS.PeerCertificates[0].Subject.CommonName
		}
		fmt.Fprintf(w, "%s %s %s", r.Host, r.TLS.ServerName, client)
	}
	ca, other := newSigner(t), newSigner(t)
	bank := serveTLS(t, ca, "bank.example", http.HandlerFunc(who))
	plain := &upstream{name: "plain"}
	plain.port = serve(t, "", plain) // localhost may be either family
	echo := serveTCP(t, "127.0.0.1:0", func(c net.Conn) { _, _ = io.Copy(c, c) })
	cert, key := ca.leaf("egress")
	cp.must(http.MethodPut, "/meshes/default/secrets/bank-key", map[string]any{"type": "Secret", "mesh": "default", "name": "bank-key", "data": []byte(key)})

	cp.external("plain", "http", "localhost", plain.port, nil)
	cp.external("echo", "tcp", "127.0.0.1", echo, nil)
	named := func(authority *signer, more map[string]any) map[string]any {
		v := map[string]any{"serverName": "bank.example", "caCert": map[string]any{"inlineString": authority.ca}}
		for k, x := range more {
			v[k] = x
		}
		return map[string]any{"verification": v}
	}
	cp.external("bank", "http", "127.0.0.1", bank, named(ca, map[string]any{
		"clientCert": map[string]any{"inlineString": cert}, "clientKey": map[string]any{"secret": "bank-key"},
	}))
	cp.external("stranger", "http", "127.0.0.1", bank, named(other, nil))
	cp.external("misnamed", "http", "127.0.0.1", bank, named(ca, map[string]any{"serverName": "shop.example"}))
	cp.external("alias", "http", "127.0.0.1", bank, named(ca, map[string]any{"serverName": "shop.example", "subjectAltNames": []any{map[string]any{"type": "Prefix", "value": "bank."}}}))
	cp.external("any-name", "http", "127.0.0.1", bank, named(ca, map[string]any{"mode": "SkipSAN"}))
	cp.external("any-ca", "http", "127.0.0.1", bank, named(other, map[string]any{"mode": "SkipCA"}))
	cp.external("anything", "http", "127.0.0.1", bank, named(other, map[string]any{"mode": "SkipAll"}))
	cp.external("system", "http", "127.0.0.1", bank, map[string]any{"verification": map[string]any{"serverName": "bank.example"}})

	client, urls := cp.externalCaller(t, "plain", "echo", "bank", "stranger", "misnamed", "alias", "any-name", "any-ca", "anything", "system")
	awaitStatus(t, urls["plain"], "503") // there is no egress yet
	egress := cp.startEgress(t, "egress-1")
	for name, want := range map[string]string{
		"plain": "200 plain", "bank": "200", "alias": "200", "any-name": "200", "any-ca": "200", "anything": "200",
		"stranger": "503", "misnamed": "503", "system": "503",
	} {
		awaitStatus(t, urls[name], want)
	}
	if got := answerOf(urls["bank"]); !strings.HasSuffix(got, " bank.example egress") {
		t.Errorf("bank was asked %q, with another name or certificate", got)
	}
	if got := answerOf(urls["alias"]); !strings.HasSuffix(got, " shop.example nobody") {
		t.Errorf("alias was asked %q", got)
	}
	if host := plain.last(t, "/").Host; host != "localhost" {
		t.Errorf("the service was asked as host %q, not by its own name", host)
	}
	conn, err := net.Dial("tcp", strings.TrimSuffix(strings.TrimPrefix(urls["echo"], "http://"), "/"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := conn.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if b := make([]byte, 5); func() bool { _, err := io.ReadFull(conn, b); return err != nil || string(b) != "hello" }() {
		t.Errorf("echo says %q", b)
	}
	for _, d := range []*dataplane{client, egress} {
		d.rejectsNothing(t)
	}

	// The egress is seen by the API, as what it is.
	var insight struct {
		ZoneEgressInsight struct{ Subscriptions []any } `json:"zoneEgressInsight"`
	}
	if err := json.Unmarshal([]byte(cp.must(http.MethodGet, "/zoneegresses/egress-1/_overview", nil)), &insight); err != nil || len(insight.ZoneEgressInsight.Subscriptions) != 1 {
		t.Errorf("the egress has the insight %+v, %v", insight, err)
	}
	if text := cp.must(http.MethodGet, "/zoneegresses/egress-1/clusters", nil); !strings.Contains(text, "extsvc_80") {
		t.Errorf("its clusters are %.300s", text)
	}

	mesh := map[string]any{"type": "Mesh", "name": "default", "mtls": mtls{enabled: "ca-1", backends: []string{"ca-1"}}.block()}
	mesh["routing"] = map[string]any{"defaultForbidMeshExternalServiceAccess": true}
	cp.must(http.MethodPut, "/meshes/default", mesh)
	awaitStatus(t, urls["plain"], "403")
	eventually(t, 5*time.Second, "the egress logs that it denied the request", func() error {
		return contains(egress.output(), "denied by permissions")
	})
	delete(mesh, "routing")
	cp.must(http.MethodPut, "/meshes/default", mesh)
	awaitStatus(t, urls["plain"], "200")
}

// With two egresses the mesh changes its authority, and one of them leaves, without a
// failed request; one that is killed can be replaced.
func TestEgressLeaves(t *testing.T) {
	t.Parallel()
	cp := startCP(t, t.TempDir())
	cp.setMTLS("default", &mtls{enabled: "ca-1", backends: []string{"ca-1"}})
	cp.external("plain", "http", "127.0.0.1", app(t, "plain"), nil)
	one, two := cp.startEgress(t, "egress-1"), cp.startEgress(t, "egress-2")
	_, urls := cp.externalCaller(t, "plain")
	awaitStatus(t, urls["plain"], "200")
	l := startLoad(t, urls["plain"], 4)
	for _, d := range []*dataplane{one, two} {
		eventually(t, 10*time.Second, "requests take both ways", func() error {
			if n := d.stat(t, "cluster.default_plain__default_extsvc_80.upstream_rq_total"); n < 10 {
				return fmt.Errorf("%s sent %d", d.name, n)
			}
			return nil
		})
	}
	// Another authority signs: the egresses take part in the switch.
	cp.setMTLS("default", &mtls{enabled: "ca-2", backends: []string{"ca-2"}})
	cp.awaitCertificates("default", "client", "uses and trusts only the other", func(c *certificates) bool {
		return c.IssuedBackend == "ca-2" && len(c.SupportedAuthorities) == 1
	})
	var egress struct {
		ZoneEgressInsight struct {
			MTLS map[string]*certificates `json:"mTLS"`
		} `json:"zoneEgressInsight"`
	}
	if err := json.Unmarshal([]byte(cp.must(http.MethodGet, "/zoneegresses/egress-1/_overview", nil)), &egress); err != nil {
		t.Fatal(err)
	}
	if c := egress.ZoneEgressInsight.MTLS["default"]; c == nil || c.IssuedBackend != "ca-2" || c.CertificateRegenerations != 2 {
		t.Errorf("the egress has the certificate %+v", c)
	}
	one.signal(syscall.SIGTERM)
	if err := one.wait(20 * time.Second); err != nil {
		t.Error(err)
	}
	time.Sleep(500 * time.Millisecond)
	l.verdict(t)
	if code, text := cp.request(http.MethodGet, "/zoneegresses/egress-1", nil); code != http.StatusNotFound {
		t.Errorf("it left and is still there: %d %s", code, text)
	}
	two.kill()
	cp.startEgress(t, "egress-3")
	awaitStatus(t, urls["plain"], "200")
}

// In a mesh that sends what leaves the zone through its egress, older
// ExternalServices are protected there: by permissions, and by limits.
func TestOlderExternalServicesThroughEgress(t *testing.T) {
	t.Parallel()
	cp := startCP(t, t.TempDir())
	cp.must(http.MethodPut, "/meshes/default", map[string]any{
		"type": "Mesh", "name": "default", "mtls": mtls{enabled: "ca-1", backends: []string{"ca-1"}}.block(), "routing": map[string]any{"zoneEgress": true},
	})
	site := &upstream{name: "site"}
	site.port = serve(t, "", site) // localhost may be either family
	cp.must(http.MethodPut, "/meshes/default/external-services/site", map[string]any{
		"type": "ExternalService", "mesh": "default", "name": "site",
		"tags":       map[string]string{"kuma.io/service": "site", "kuma.io/protocol": "http", "kind": "public"},
		"networking": map[string]any{"address": fmt.Sprintf("localhost:%d", site.port)},
	})
	egress := cp.startEgress(t, "egress-1")
	urls := map[string]string{}
	for _, name := range []string{"friend", "foe"} {
		port := ports(t, 1)[0]
		cp.startDP(t, sidecar{name: name, service: name, protocol: "http", outbounds: map[int]map[string]string{port: to("site")}})
		urls[name] = fmt.Sprintf("http://127.0.0.1:%d/", port)
		awaitStatus(t, urls[name], "403") // nobody may, before a permission says so
	}
	permit := map[string]any{
		"targetRef": map[string]any{"kind": "MeshSubset", "tags": map[string]string{"kind": "public"}},
		"from":      []any{map[string]any{"targetRef": map[string]any{"kind": "MeshService", "name": "friend"}, "default": map[string]any{"action": "Allow"}}},
	}
	cp.must(http.MethodPut, "/meshes/default/meshtrafficpermissions/friends", map[string]any{"type": "MeshTrafficPermission", "mesh": "default", "name": "friends", "spec": permit})
	awaitStatus(t, urls["friend"], "200 site")
	awaitStatus(t, urls["foe"], "403")
	if n := len(site.seen("/")); n == 0 {
		t.Error("the service was not asked")
	}
	cp.must(http.MethodPut, "/meshes/default/meshratelimits/few", map[string]any{"type": "MeshRateLimit", "mesh": "default", "name": "few", "spec": map[string]any{
		"targetRef": map[string]any{"kind": "MeshService", "name": "site"},
		"from": []any{map[string]any{"targetRef": map[string]any{"kind": "Mesh"}, "default": map[string]any{
			"local": map[string]any{"http": map[string]any{"requestRate": map[string]any{"num": 1, "interval": "1h"}}},
		}}},
	}})
	awaitStatus(t, urls["friend"], "429")
	cp.must(http.MethodDelete, "/meshes/default/meshratelimits/few", nil)
	// Faults for the clients of a service: these send their tags then, which stay inside.
	cp.must(http.MethodPut, "/meshes/default/meshfaultinjections/friend", map[string]any{"type": "MeshFaultInjection", "mesh": "default", "name": "friend", "spec": map[string]any{
		"targetRef": map[string]any{"kind": "MeshSubset", "tags": map[string]string{"kind": "public"}, "proxyTypes": []string{"Sidecar"}},
		"from": []any{map[string]any{"targetRef": map[string]any{"kind": "MeshService", "name": "foe"}, "default": map[string]any{
			"http": []any{map[string]any{"abort": map[string]any{"httpStatus": 418, "percentage": 100}}},
		}}},
	}})
	permit["from"] = []any{map[string]any{"targetRef": map[string]any{"kind": "Mesh"}, "default": map[string]any{"action": "Allow"}}}
	cp.must(http.MethodPut, "/meshes/default/meshtrafficpermissions/friends", map[string]any{"type": "MeshTrafficPermission", "mesh": "default", "name": "friends", "spec": permit})
	awaitStatus(t, urls["foe"], "418")
	awaitStatus(t, urls["friend"], "200 site")
	if tags := site.last(t, "/").Header.Get("X-Kuma-Tags"); tags != "" {
		t.Errorf("the service outside was told the client's tags: %s", tags)
	}
	egress.rejectsNothing(t)
}

// A service that Envoy refuses costs neither the others nor their changes.
func TestEgressSurvivesABadService(t *testing.T) {
	t.Parallel()
	cp := startCP(t, t.TempDir())
	cp.setMTLS("default", &mtls{enabled: "ca-1", backends: []string{"ca-1"}})
	cp.external("good", "http", "127.0.0.1", app(t, "good"), nil)
	cp.external("later", "http", "127.0.0.1", app(t, "later"), nil)
	cp.external("bad", "http", "127.0.0.1", app(t, "bad"), map[string]any{"verification": map[string]any{"caCert": map[string]any{"inlineString": "garbage"}}})
	cp.startEgress(t, "egress-1")
	_, urls := cp.externalCaller(t, "good", "bad", "later", "new")
	awaitStatus(t, urls["good"], "200 good")
	awaitStatus(t, urls["bad"], "503")
	cp.external("new", "http", "127.0.0.1", app(t, "new"), nil)
	awaitStatus(t, urls["new"], "200 new")
	cp.external("later", "http", "127.0.0.1", app(t, "moved"), nil)
	awaitStatus(t, urls["later"], "200 moved")
}
