package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// With autoReachableServices a proxy knows only the services that a permission lets
// it call: those answer, the others have no name; and a new permission is enough
// for a running proxy.
func TestAutoReachable(t *testing.T) {
	t.Parallel()
	w := newNetwork(t)
	m := &meshOfHosts{network: w, client: w.host("client"), one: w.host("one"), two: w.host("two")}
	m.names = startNameServer(t, w, nil)
	m.cp = startCP(t, t.TempDir(), "KUMA_EXPERIMENTAL_AUTO_REACHABLE_SERVICES=true")
	m.cp.must(http.MethodPut, "/meshes/default", map[string]any{
		"type": "Mesh", "name": "default", "meshServices": map[string]any{"mode": "Everywhere"},
		"mtls": mtls{enabled: "ca", backends: []string{"ca"}}.block(),
	})
	permit := func(service, client string) {
		m.cp.must(http.MethodPut, "/meshes/default/meshtrafficpermissions/"+service, fmt.Sprintf(`{"type":"MeshTrafficPermission","mesh":"default","name":%q,"spec":{
			"targetRef":{"kind":"MeshSubset","tags":{"kuma.io/service":%q}},
			"from":[{"targetRef":{"kind":"MeshSubset","tags":{"kuma.io/service":%q}},"default":{"action":"Allow"}}]}}`, service, service, client))
	}
	permit("one", "client")
	for _, h := range []*host{m.one, m.two, m.client} {
		h.serve(t, 80, whoami(h.name))
		h.install(t)
		h.join(t, m.cp, inbound(80, h.name, "http"))
	}
	for _, name := range []string{"one.mesh", "one.svc.mesh.local"} {
		m.client.answers(t, []string{"one called as " + name, "spiffe://default/client"}, "http://"+name+"/")
	}
	for _, name := range []string{"two.mesh.", "two.svc.mesh.local."} {
		m.knows(t, m.client, name, "")
	}
	for _, name := range []string{"one.mesh.", "two.mesh."} {
		m.knows(t, m.two, name, "") // nobody permits two anything, not even to call itself
	}
	permit("two", "client")
	for _, name := range []string{"two.mesh", "two.svc.mesh.local"} {
		m.client.answers(t, []string{"two called as " + name, "spiffe://default/client"}, "http://"+name+"/")
	}
	m.cp.must(http.MethodDelete, "/meshes/default/meshtrafficpermissions/one", nil)
	eventually(t, 20*time.Second, "the name is gone with the permission", func() error {
		if text, err := m.client.curl("http://one.mesh/"); err == nil || !strings.Contains(err.Error(), "resolve") {
			return fmt.Errorf("%q, %s", text, fmt.Sprint(err))
		}
		return nil
	})
}

// An application that speaks nothing but HTTP/2 serves clients of either version,
// without and with mutual TLS.
func TestHTTP2Only(t *testing.T) {
	t.Parallel()
	for name, secured := range map[string]bool{"plain": false, "mutual TLS": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cp := startCP(t, t.TempDir())
			if secured {
				cp.setMTLS("default", &mtls{enabled: "ca-1", backends: []string{"ca-1"}})
				cp.allow("default", "all", "Allow", nil)
			}
			p := ports(t, 2)
			version := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Proto) })
			cp.startDP(t, sidecar{name: "api-1", service: "api", protocol: "http2", app: h2OnlyApp(t, version)})
			cp.startDP(t, sidecar{name: "rpc-1", service: "rpc", protocol: "grpc", app: h2OnlyApp(t, version)})
			cp.startDP(t, sidecar{name: "client", service: "client", protocol: "tcp", outbounds: map[int]map[string]string{p[0]: to("api"), p[1]: to("rpc")}})
			for _, port := range p {
				url := fmt.Sprintf("http://127.0.0.1:%d/", port)
				for _, c := range []*caller{httpCaller("HTTP/1.1", url, true), http2Caller("HTTP/2", url)} {
					eventually(t, 20*time.Second, c.name+" is answered", c.call)
				}
				if got, err := fetch(url); err != nil || got != "HTTP/2.0" {
					t.Errorf("the application was asked with %q, %v", got, err)
				}
			}
		})
	}
}
