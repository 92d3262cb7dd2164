package build_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"weft/internal/cp/build"
	"weft/internal/cp/view"
	"weft/internal/mesh/catalog"
	"weft/internal/mesh/ir"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
	"weft/internal/testkit/corpus"
)

// proxy describes the Dataplane dp of mesh m among objects, which are JSON.
func proxy(t *testing.T, md view.Metadata, docs ...string) *ir.Proxy {
	t.Helper()
	var objects []*model.Object
	for _, d := range docs {
		o, err := catalog.Decode([]byte(d))
		if err != nil {
			t.Fatalf("%v\n%s", err, d)
		}
		objects = append(objects, o)
	}
	s := view.Settings{Zone: "z", DNSDomain: "mesh", ServiceVIPs: true, ServiceVIPPort: 80, Policies: catalog.Policies}
	in, ok := view.NewMesh("m", s).Next(corpus.NewTables(objects...)).For(kinds.Dataplane, "dp", md)
	if !ok {
		t.Fatal("there is no proxy dp")
	}
	return build.Proxy(in)
}

const mesh = `{"type": "Mesh", "name": "m"}`

func dataplane(networking string) string {
	return `{"type": "Dataplane", "mesh": "m", "name": "dp", "networking": {"address": "10.0.0.1", ` + networking + `}}`
}

func TestKafkaFilterOnlyWhereEnvoyHasIt(t *testing.T) {
	dp := dataplane(`"inbound": [{"port": 9092, "tags": {"kuma.io/service": "k", "kuma.io/protocol": "kafka"}}],
		"outbound": [{"port": 1, "tags": {"kuma.io/service": "k"}}]`)
	p := proxy(t, view.Metadata{}, mesh, dp)
	if !p.Inbounds[0].Kafka || !p.Outbounds[0].Kafka || len(p.Warnings) != 0 {
		t.Errorf("Kafka is not counted: %+v, %+v, %v", p.Inbounds[0].Listener, p.Outbounds[0].Listener, p.Warnings)
	}
	p = proxy(t, view.Metadata{NoKafka: true}, mesh, dp)
	if p.Inbounds[0].Kafka || p.Outbounds[0].Kafka {
		t.Error("an Envoy without the filter gets it")
	}
	if len(p.Warnings) != 1 || !strings.Contains(p.Warnings[0].Message, "Kafka") {
		t.Errorf("warnings are %v; one must say that Kafka is not counted", p.Warnings)
	}
}

func TestAdmin(t *testing.T) {
	dp := dataplane(`"inbound": [{"port": 80, "tags": {"kuma.io/service": "a"}}]`)
	for name, tc := range map[string]struct {
		md   view.Metadata
		want *ir.Admin
	}{
		"no port":       {view.Metadata{}, nil},
		"default":       {view.Metadata{AdminPort: 9901}, &ir.Admin{ListenAddress: "10.0.0.1", Address: "127.0.0.1", Port: 9901}},
		"any":           {view.Metadata{AdminPort: 1, AdminAddress: "0.0.0.0"}, &ir.Admin{ListenAddress: "10.0.0.1", Address: "127.0.0.1", Port: 1}},
		"any of IPv6":   {view.Metadata{AdminPort: 1, AdminAddress: "::"}, &ir.Admin{ListenAddress: "10.0.0.1", Address: "::1", Port: 1}},
		"not loopback":  {view.Metadata{AdminPort: 1, AdminAddress: "10.0.0.1"}, nil},
		"own readiness": {view.Metadata{AdminPort: 1, ReadinessPort: 2}, &ir.Admin{ListenAddress: "10.0.0.1", Address: "127.0.0.1", Port: 1, ReadinessPort: 2}},
		"certificate": {
			view.Metadata{AdminPort: 1, AdminCert: &view.AdminCert{CertPEM: []byte("c"), KeyPEM: []byte("k"), CAPEM: []byte("a")}},
			&ir.Admin{ListenAddress: "10.0.0.1", Address: "127.0.0.1", Port: 1, CertPEM: []byte("c"), KeyPEM: []byte("k"), CAPEM: []byte("a")},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if d := cmp.Diff(tc.want, proxy(t, tc.md, mesh, dp).Admin); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestAdminOnLoopbackProxy(t *testing.T) {
	p := proxy(t, view.Metadata{AdminPort: 9901}, mesh,
		`{"type": "Dataplane", "mesh": "m", "name": "dp", "networking": {"address": "127.0.0.1", "inbound": [{"port": 80, "tags": {"kuma.io/service": "a"}}]}}`)
	if p.Admin == nil || p.Admin.ListenAddress != "" {
		t.Errorf("admin is %+v; the proxy's own port must not be opened twice", p.Admin)
	}
}

func TestWorkloadsOfOnePortAreToldApart(t *testing.T) {
	for name, tc := range map[string]struct {
		inbounds string
		want     []string
	}{
		"same workload": {
			`{"port": 1, "servicePort": 9, "tags": {"kuma.io/service": "a"}}, {"port": 2, "servicePort": 9, "tags": {"kuma.io/service": "b"}}`,
			[]string{"localhost:9", "localhost:9"},
		},
		"other protocol": {
			`{"port": 1, "servicePort": 9, "tags": {"kuma.io/service": "a", "kuma.io/protocol": "http"}},
			 {"port": 2, "servicePort": 9, "tags": {"kuma.io/service": "b", "kuma.io/protocol": "http2"}}`,
			[]string{"localhost:9", "localhost:9:http2"},
		},
		"other address": {
			`{"port": 1, "servicePort": 9, "serviceAddress": "127.0.0.1", "tags": {"kuma.io/service": "a"}},
			 {"port": 2, "servicePort": 9, "serviceAddress": "127.0.0.2", "tags": {"kuma.io/service": "b"}}`,
			[]string{"localhost:9", "localhost:9:127.0.0.2"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, in := range proxy(t, view.Metadata{}, mesh, dataplane(`"inbound": [`+tc.inbounds+`]`)).Inbounds {
				got = append(got, in.Local.Name)
				var target string
				if in.HTTP != nil {
					target = in.HTTP.Routes[0].Splits[0].Cluster
				} else {
					target = in.TCP.Splits[0].Cluster
				}
				if target != in.Local.Name {
					t.Errorf("inbound %d sends to %s instead of %s", in.Port, target, in.Local.Name)
				}
			}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestSourceAddress: traffic to the workload must not be redirected back.
func TestSourceAddress(t *testing.T) {
	for name, tc := range map[string]struct{ address, workload, want string }{
		"own address":       {"10.0.0.1", "", "127.0.0.6"},
		"loopback":          {"10.0.0.1", `"serviceAddress": "127.0.0.1",`, ""},
		"IPv6":              {"fd00::1", "", "::6"},
		"loopback of IPv6":  {"fd00::1", `"serviceAddress": "::1",`, ""},
		"IPv4 behind IPv6":  {"fd00::1", `"serviceAddress": "10.0.0.2",`, "127.0.0.6"},
		"a name, resolved":  {"web.example.org", "", "127.0.0.6"},
		"IPv6 behind IPv4":  {"10.0.0.1", `"serviceAddress": "fd00::2",`, "::6"},
		"other loopback ip": {"10.0.0.1", `"serviceAddress": "127.0.0.2",`, "127.0.0.6"},
	} {
		t.Run(name, func(t *testing.T) {
			p := proxy(t, view.Metadata{}, mesh, `{"type": "Dataplane", "mesh": "m", "name": "dp", "networking": {"address": "`+tc.address+`",
				"inbound": [{"port": 80, `+tc.workload+` "tags": {"kuma.io/service": "a"}}],
				"transparentProxying": {"redirectPortInbound": 15006, "redirectPortOutbound": 15001}}}`)
			if got := p.Inbounds[0].Local.SourceAddress; got != tc.want {
				t.Errorf("connections to the workload come from %q, want %q", got, tc.want)
			}
		})
	}
}

// TestMissingSecret: one endpoint that cannot be secured costs neither the
// others nor the proxy, and the proxy says so.
func TestMissingSecret(t *testing.T) {
	es := func(name, tls string) string {
		return `{"type": "ExternalService", "mesh": "m", "name": "` + name + `", "tags": {"kuma.io/service": "out", "kuma.io/protocol": "http"},
			"networking": {"address": "` + name + `.example.org:443", "tls": {"enabled": true` + tls + `}}}`
	}
	p := proxy(t, view.Metadata{}, mesh, es("good", ""), es("bad", `, "caCert": {"secret": "none"}`),
		dataplane(`"inbound": [{"port": 80, "tags": {"kuma.io/service": "a"}}], "outbound": [{"port": 1, "tags": {"kuma.io/service": "out"}}]`))
	if len(p.Clusters) != 1 || len(p.Clusters[0].Static) != 1 || p.Clusters[0].Static[0].Address != "good.example.org" {
		t.Errorf("clusters are %+v; want one with the good endpoint", p.Clusters)
	}
	if len(p.Warnings) != 1 || p.Warnings[0].Name != "bad" || !strings.Contains(p.Warnings[0].Message, `"none"`) {
		t.Errorf("warnings are %v; one must name the ExternalService and its Secret", p.Warnings)
	}
}

// TestMutualTLS: who speaks to whom with which names.
func TestMutualTLS(t *testing.T) {
	mtls := func(mode string) string {
		return `{"type": "Mesh", "name": "m", "mtls": {"enabledBackend": "ca", "backends": [{"name": "ca", "type": "builtin", "mode": "` + mode + `"}]}}`
	}
	ms := func(tls string) string {
		return `{"type": "MeshService", "mesh": "m", "name": "ms", "spec": {"selector": {"dataplaneTags": {"kuma.io/service": "a"}},
			"ports": [{"port": 80, "appProtocol": "http"}], "identities": [{"type": "ServiceTag", "value": "a"}]}, "status": {"tls": {"status": "` + tls + `"}}}`
	}
	dp := dataplane(`"inbound": [{"port": 80, "tags": {"kuma.io/service": "a"}}], "outbound": [
		{"port": 1, "tags": {"kuma.io/service": "b", "version": "2"}}, {"port": 2, "backendRef": {"kind": "MeshService", "name": "ms", "port": 80}}]`)
	p := proxy(t, view.Metadata{}, mtls("STRICT"), ms("NotReady"), dp)
	want := map[string]ir.ClientTLS{
		p.Clusters[0].Name: {
			MeshIdentity: true, IdentityMesh: "m", Mesh: "m", ALPN: []string{"kuma"},
			SNI: "b{mesh=m,version=2}", ExactSANs: []string{"spiffe://m/b"},
		},
		"m_ms___msvc_80": {
			MeshIdentity: true, IdentityMesh: "m", Mesh: "m", ALPN: []string{"kuma"},
			SNI: p.Clusters[1].TLS.SNI, ExactSANs: []string{"spiffe://m/a"},
		},
	}
	for _, c := range p.Clusters {
		if d := cmp.Diff(want[c.Name], *c.TLS); d != "" {
			t.Errorf("%s:\n%s", c.Name, d)
		}
	}
	if p.Inbounds[0].TLS.Mode != ir.TLSStrict || p.Inbounds[0].Access == nil || len(p.Identities) != 1 {
		t.Errorf("inbound is %+v, identity %+v", p.Inbounds[0], p.Identities)
	}
	for status, secured := range map[string]bool{"NotReady": false, "Ready": true} {
		p := proxy(t, view.Metadata{}, mtls("PERMISSIVE"), ms(status), dp)
		if got := p.Clusters[1].TLS != nil; got != secured {
			t.Errorf("a permissive mesh, service %s: secured %v, want %v", status, got, secured)
		}
		if p.Clusters[0].TLS != nil {
			t.Error("a permissive mesh secures traffic to a service that nobody knows to be ready")
		}
	}
}

// TestEmptyNetworking must not panic: the gate refuses it, older stores may hold it.
func TestEmptyNetworking(t *testing.T) {
	proxy(t, view.Metadata{AdminPort: 9901, DNSPort: 15053}, mesh, `{"type": "Dataplane", "mesh": "m", "name": "dp"}`)
}

// Whatever a service is called, it gets no traffic that is not for it.
func TestNoServiceTakesAnothersCluster(t *testing.T) {
	stolen := []string{
		"localhost:8080", "inbound:passthrough:ipv4", "outbound:passthrough:ipv4", "direct_access", "ads_cluster", "access_log_sink",
		"kuma:envoy:admin", "kuma:readiness", "kuma:metrics:hijacker", "_kuma:metrics:hijacker", "m_ms___msvc_80",
		"web-91642e14b96057cb", // what version 1 of web is called
	}
	docs := []string{mesh, `{"type": "MeshService", "mesh": "m", "name": "ms", "spec": {"selector": {"dataplaneTags": {"kuma.io/service": "web"}}, "ports": [{"port": 80}]}}`}
	outbounds := []string{`{"port": 1, "tags": {"kuma.io/service": "web", "version": "1"}}`, `{"port": 2, "backendRef": {"kind": "MeshService", "name": "ms", "port": 80}}`}
	for i, s := range append(stolen, "web") {
		docs = append(docs, fmt.Sprintf(`{"type": "Dataplane", "mesh": "m", "name": "p%d", "networking": {"address": "10.0.1.%d", "inbound": [{"port": 80, "tags": {"kuma.io/service": %q}}]}}`, i, i+1, s))
		outbounds = append(outbounds, fmt.Sprintf(`{"port": %d, "tags": {"kuma.io/service": %q}}`, 10+i, s))
	}
	for range 2 { // in either order
		slices.Reverse(outbounds)
		dp := dataplane(`"inbound": [{"port": 80, "servicePort": 8080, "tags": {"kuma.io/service": "dp"}}], "outbound": [` + strings.Join(outbounds, ",") + `]`)
		p := proxy(t, view.Metadata{}, append(docs, dp)...)
		names := map[string]bool{}
		for _, s := range stolen {
			names[s] = true
		}
		if p.Inbounds[0].Local.Name != "localhost:8080" {
			t.Errorf("the own workload is behind %s", p.Inbounds[0].Local.Name)
		}
		seen := map[string]bool{}
		for _, c := range p.Clusters {
			if seen[c.Name] {
				t.Errorf("two clusters are called %s", c.Name)
			}
			seen[c.Name] = true
			d := c.Endpoints.Dest
			if names[c.Name] && d.Name != "ms" && c.Endpoints.Subset == "" && c.Name != "web-91642e14b96057cb" {
				t.Errorf("the service %s has the cluster %s", d.Name, c.Name)
			}
		}
		for _, o := range p.Outbounds {
			i := slices.IndexFunc(p.Clusters, func(c *ir.Cluster) bool { return c.Name == o.TCP.Splits[0].Cluster })
			if i < 0 {
				t.Fatalf("outbound %d leads nowhere", o.Port)
			}
			ref := p.Clusters[i].Endpoints
			if ref.Dest.Name != o.Destination.Name || ref.Dest.Kind != o.Destination.Kind || (ref.Subset != "") != (o.Port == 1) {
				t.Errorf("outbound %d to %s leads to %+v", o.Port, o.Destination.Name, ref)
			}
		}
	}
}
