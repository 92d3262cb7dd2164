package engine

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"weft/internal/cp/envoy"
	"weft/internal/cp/preview"
	"weft/internal/cp/services"
	"weft/internal/cp/view"
	"weft/internal/cp/vip"
	"weft/internal/cp/xds"
	"weft/internal/mesh/catalog"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
	"weft/internal/testkit/corpus"
)

// reachCase is a way to say what a proxy behind a transparent proxy reaches.
type reachCase struct {
	name, mode, proxy string
	auto              bool
}

var reachCases = []reachCase{
	{"all/both-worlds", "Everywhere", "", false},
	{"all/exclusive", "Exclusive", "", false},
	{"ten/reachable-backends", "Exclusive", `, "reachableBackends": {"refs": [` + tenRefs() + `]}`, false},
	{"ten/permissions", "Exclusive", "", true},
}

func tenRefs() string {
	out := ""
	for i := range 10 {
		if i > 0 {
			out += ","
		}
		out += fmt.Sprintf(`{"kind": "MeshService", "name": "svc-%d"}`, i)
	}
	return out
}

// reachWorld is a mesh of n services that permit ten of them to a client.
func reachWorld(t testing.TB, n int, c reachCase) (view.Settings, model.Tables) {
	t.Helper()
	var objects []*model.Object
	add := func(format string, args ...any) {
		o, err := catalog.Decode(fmt.Appendf(nil, format, args...))
		if err != nil {
			t.Fatal(err)
		}
		o.Meta.Created = time.Unix(int64(len(objects)), 0)
		objects = append(objects, o)
	}
	add(`{"type": "Mesh", "name": "m", "meshServices": {"mode": %q}, "mtls": {"enabledBackend": "ca", "backends": [{"name": "ca", "type": "builtin"}]}}`, c.mode)
	add(`{"type": "HostnameGenerator", "name": "g", "spec": {"selector": {"meshService": {}}, "template": "{{ .DisplayName }}.svc.mesh.local"}}`)
	for _, kind := range []string{"MeshTimeout", "MeshRetry", "MeshCircuitBreaker"} {
		conf := map[string]string{
			"MeshTimeout":        `{"connectionTimeout": "5s", "http": {"requestTimeout": "15s"}}`,
			"MeshRetry":          `{"http": {"numRetries": 5}}`,
			"MeshCircuitBreaker": `{"connectionLimits": {"maxConnections": 1024}}`,
		}[kind]
		add(`{"type": %q, "mesh": "m", "name": "d", "spec": {"targetRef": {"kind": "Mesh"}, "to": [{"targetRef": {"kind": "Mesh"}, "default": %s}]}}`, kind, conf)
	}
	for i := range n {
		add(`{"type": "Dataplane", "mesh": "m", "name": "dp-%d", "networking": {"address": "10.0.%d.%d", "inbound": [{"port": 8080, "tags": {"kuma.io/service": "svc-%d", "kuma.io/protocol": "http"}}]}}`, i, i>>8, i&255, i)
		if i < 10 {
			add(`{"type": "MeshTrafficPermission", "mesh": "m", "name": "p-%d", "spec": {"targetRef": {"kind": "MeshService", "name": "svc-%d"}, "from": [{"targetRef": {"kind": "MeshService", "name": "client"}, "default": {"action": "Allow"}}]}}`, i, i)
		}
	}
	add(`{"type": "Dataplane", "mesh": "m", "name": "client", "networking": {"address": "10.9.0.1", "inbound": [{"port": 8080, "tags": {"kuma.io/service": "client", "kuma.io/protocol": "http"}}],
		"transparentProxying": {"redirectPortInbound": 15006, "redirectPortOutbound": 15001%s}}}`, c.proxy)
	objects = services.Settle(objects, services.Settings{
		Zone: "z", Generate: true, Hostnames: true, Addresses: true,
		MeshServices: netip.MustParsePrefix("241.0.0.0/8"), ExternalServices: netip.MustParsePrefix("242.0.0.0/8"), MeshMultiZoneServices: netip.MustParsePrefix("243.0.0.0/8"),
	}, time.Unix(1e9, 0))
	entries, _ := vip.Entries(corpus.NewTables(objects...), "m", "z")
	vips, err := vip.Allocate(nil, entries, netip.MustParsePrefix("240.0.0.0/8"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	text, err := vips.Encode()
	if err != nil {
		t.Fatal(err)
	}
	config := kinds.Config.Make("", view.VIPConfigName("m"))
	config.Spec = &kinds.ConfigSpec{Config: text}
	s := settings
	s.Zone, s.AutoReachable = "z", c.auto
	return s, corpus.NewTables(append(objects, config)...)
}

// reachBuild makes what a client is sent, without the endpoints, which all share.
func reachBuild(t testing.TB, v *view.Mesh, memo *envoy.Memo) (rs []*xds.Resource, bytes int) {
	t.Helper()
	md := metadata
	md.DNSPort = 15053
	in, ok := v.For(kinds.Dataplane, "client", md)
	if !ok {
		t.Fatal("there is no client")
	}
	_, rs, _, err := preview.Sharing(memo)(in)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rs {
		bytes += len(r.Body)
	}
	return rs, bytes
}

// TestTrimmedIsSmall: with a thousand services a client that may use ten of them
// gets a configuration for ten.
func TestTrimmedIsSmall(t *testing.T) {
	for _, c := range reachCases {
		s, tables := reachWorld(t, 1000, c)
		rs, bytes := reachBuild(t, view.NewMesh("m", s).Next(tables), nil)
		n := len(rs)
		t.Logf("%-24s %5d resources, %8d bytes", c.name, n, bytes)
		if small := n < 40; small != (c.name[:3] == "ten") {
			t.Errorf("%s: %d resources", c.name, n)
		}
	}
}

// BenchmarkReach builds a client of a mesh of a thousand services: the first one,
// and those that share what was made for it.
func BenchmarkReach(b *testing.B) {
	for _, c := range reachCases {
		for _, memo := range []*envoy.Memo{nil, envoy.NewMemo()} {
			name := c.name + "/first"
			if memo != nil {
				name = c.name + "/others"
			}
			b.Run(name, func(b *testing.B) {
				s, tables := reachWorld(b, 1000, c)
				v := view.NewMesh("m", s).Next(tables)
				first, bytes := reachBuild(b, v, memo)
				b.ReportAllocs()
				for b.Loop() {
					reachBuild(b, v, memo)
				}
				b.ReportMetric(float64(len(first)), "resources")
				b.ReportMetric(float64(bytes), "bytes")
				runtime.KeepAlive(first) // the memo holds weakly
			})
		}
	}
}

// BenchmarkSettle is the leader's work for a thousand services at once.
func BenchmarkSettle(b *testing.B) {
	for b.Loop() {
		reachWorld(b, 1000, reachCases[1])
	}
}
