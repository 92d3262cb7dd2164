package envoy_test

import (
	"encoding/json"
	"strings"
	"testing"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"

	"weft/internal/cp/envoy"
	"weft/internal/mesh/ir"
)

// patched returns the cluster and the listener of a small proxy after patches.
func patched(t *testing.T, patches ...ir.Patch) (*cluster.Cluster, *listener.Listener, []ir.Warning) {
	t.Helper()
	p := &ir.Proxy{
		ID: ir.ProxyID{Mesh: "m", Name: "web-1"}, Type: ir.Sidecar,
		Outbounds: []*ir.Outbound{{
			Listener: ir.Listener{Address: "127.0.0.1", Port: 80, Bind: true, Tags: map[string]string{"kuma.io/service": "api"}, HTTP: &ir.HTTP{
				Routes: []*ir.Route{{Match: ir.Match{Prefix: "/"}, Splits: []ir.Split{{Cluster: "api", Weight: 1}}}},
			}},
			RouteName: "outbound:api", Stat: "api",
		}},
		Clusters: []*ir.Cluster{{Name: "api", HTTP2: true, Static: []ir.Endpoint{{Address: "10.0.0.1", Port: 1}}}},
		Patches:  patches,
	}
	rs, _, err := envoy.Resources(p)
	if err != nil {
		t.Fatal(err)
	}
	var c *cluster.Cluster
	var l *listener.Listener
	for _, r := range rs {
		m, err := envoy.Decode(r)
		if err != nil {
			t.Fatal(err)
		}
		switch m := m.(type) {
		case *cluster.Cluster:
			c = m
		case *listener.Listener:
			l = m
		}
	}
	return c, l, p.Warnings
}

func manager(t *testing.T, l *listener.Listener) *hcm.HttpConnectionManager {
	t.Helper()
	m := &hcm.HttpConnectionManager{}
	fs := l.FilterChains[0].Filters
	if err := fs[len(fs)-1].GetTypedConfig().UnmarshalTo(m); err != nil {
		t.Fatal(err)
	}
	return m
}

func patch(target, operation, value string) ir.Patch {
	return ir.Patch{
		Target: target, Operation: operation, Value: json.RawMessage(value),
		Origin: ir.Origin{Kind: "MeshProxyPatch", Name: "p"},
	}
}

// TestPatchMerges: messages field by field, lists appended, durations and
// optional numbers replaced, even by 0.
func TestPatchMerges(t *testing.T) {
	c, _, ws := patched(
		t,
		patch("cluster", "Patch", `{"connectTimeout":"1.5s","perConnectionBufferLimitBytes":7,"circuitBreakers":{"thresholds":[{"maxRetries":1}]}}`),
		patch("cluster", "Patch", `{"connectTimeout":"2s","perConnectionBufferLimitBytes":0,"circuitBreakers":{"thresholds":[{"maxRetries":2}]},"aFieldOfTomorrow":1}`),
	)
	if d := c.GetConnectTimeout().AsDuration().String(); d != "2s" {
		t.Errorf("timeout %s", d)
	}
	if b := c.GetPerConnectionBufferLimitBytes(); b == nil || b.GetValue() != 0 {
		t.Errorf("limit %v", b)
	}
	if n := len(c.GetCircuitBreakers().GetThresholds()); n != 2 || len(ws) > 0 {
		t.Errorf("%d thresholds, warnings %+v", n, ws)
	}
}

// TestBadPatchIsAlone: a patch that cannot be applied costs nobody else anything.
func TestBadPatchIsAlone(t *testing.T) {
	for name, bad := range map[string]ir.Patch{
		"wrong type":     patch("cluster", "Patch", `{"connectTimeout":"soon"}`),
		"invalid result": patch("cluster", "Patch", `{"connectTimeout":"-1s"}`),
		"unknown type":   patch("httpFilter", "AddFirst", `{"name":"x","typedConfig":{"@type":"type.googleapis.com/nope"}}`),
		"other settings": func() ir.Patch {
			p := patch("httpFilter", "Patch", `{"name":"x","typedConfig":{"@type":"type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua"}}`)
			p.Match.Name = "envoy.filters.http.router"
			return p
		}(),
		"bad steps":      {Target: "cluster", Operation: "Patch", JSONPatch: json.RawMessage(`[{"op":"replace","path":"/nope/deeper","value":1}]`)},
		"unknown target": patch("route", "Add", `{}`),
		"no name":        patch("virtualHost", "Add", `{"domains":["a"]}`),
	} {
		t.Run(name, func(t *testing.T) {
			c, _, ws := patched(t, bad, patch("cluster", "Patch", `{"altStatName":"still"}`))
			if c.GetAltStatName() != "still" {
				t.Errorf("the next patch was lost: %v", c)
			}
			if len(ws) != 1 || ws[0].Message == "" {
				t.Errorf("warnings %+v", ws)
			}
		})
	}
}

// named gives what a patch adds another name.
func named(p ir.Patch, name string) ir.Patch {
	p.Value = json.RawMessage(strings.Replace(string(p.Value), `"name":"lua"`, `"name":"`+name+`"`, 1))
	return p
}

func TestPatchFilters(t *testing.T) {
	lua := func(operation, match string) ir.Patch {
		p := patch("httpFilter", operation, `{"name":"lua","typedConfig":{"@type":"type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua","defaultSourceCode":{"inlineString":"x"}}}`)
		p.Match.Name = match
		return p
	}
	for name, c := range map[string]struct {
		patches []ir.Patch
		want    string
	}{
		"first":          {[]ir.Patch{lua("AddFirst", "")}, "lua envoy.filters.http.router"},
		"last":           {[]ir.Patch{lua("AddLast", "")}, "lua envoy.filters.http.router"},
		"before":         {[]ir.Patch{lua("AddBefore", "envoy.filters.http.router")}, "lua envoy.filters.http.router"},
		"after absent":   {[]ir.Patch{lua("AddAfter", "nobody")}, "envoy.filters.http.router"},
		"twice":          {[]ir.Patch{lua("AddFirst", ""), named(lua("AddAfter", "lua"), "LUA")}, "lua LUA envoy.filters.http.router"},
		"added, removed": {[]ir.Patch{lua("AddFirst", ""), {Target: "httpFilter", Operation: "Remove", Match: ir.PatchMatch{Name: "lua"}}}, "envoy.filters.http.router"},
		"other origin": {[]ir.Patch{func() ir.Patch {
			p := lua("AddFirst", "")
			p.Match.Origin = "inbound"
			return p
		}()}, "envoy.filters.http.router"},
		"other tags": {[]ir.Patch{func() ir.Patch {
			p := lua("AddFirst", "")
			p.Match.Tags = map[string]string{"kuma.io/service": "db"}
			return p
		}()}, "envoy.filters.http.router"},
		"its tags": {[]ir.Patch{func() ir.Patch {
			p := lua("AddFirst", "")
			p.Match.Tags = map[string]string{"kuma.io/service": "api"}
			return p
		}()}, "lua envoy.filters.http.router"},
	} {
		t.Run(name, func(t *testing.T) {
			_, l, ws := patched(t, c.patches...)
			var names []string
			for _, f := range manager(t, l).HttpFilters {
				names = append(names, f.Name)
			}
			if got := strings.Join(names, " "); got != c.want || len(ws) > 0 {
				t.Errorf("filters %s, want %s; warnings %+v", got, c.want, ws)
			}
		})
	}
}

// TestPatchRenames: a resource that is patched to another name has that name.
func TestPatchRenames(t *testing.T) {
	c, l, _ := patched(
		t,
		ir.Patch{Target: "cluster", Operation: "Patch", Match: ir.PatchMatch{Name: "api"}, JSONPatch: json.RawMessage(`[{"op":"replace","path":"/name","value":"other"}]`)},
		ir.Patch{Target: "cluster", Operation: "Patch", Match: ir.PatchMatch{Name: "other"}, Value: json.RawMessage(`{"altStatName":"found"}`)},
		ir.Patch{Target: "listener", Operation: "Remove", Match: ir.PatchMatch{Tags: map[string]string{"kuma.io/service": "api"}}},
	)
	if c.GetName() != "other" || c.GetAltStatName() != "found" || l != nil {
		t.Errorf("cluster %v, listener %v", c, l)
	}
}

func TestCheckPatch(t *testing.T) {
	for name, c := range map[string]struct {
		patch ir.Patch
		ok    bool
	}{
		"good":              {patch("cluster", "Add", `{"name":"a","connectTimeout":"1s"}`), true},
		"list for a text":   {patch("cluster", "Add", `{"name":[1]}`), false},
		"breaks a rule":     {patch("cluster", "Add", `{"name":""}`), false},
		"half a message":    {patch("cluster", "Patch", `{"name":""}`), true},
		"unknown settings":  {patch("httpFilter", "AddFirst", `{"name":"a","typedConfig":{"@type":"type.googleapis.com/nope"}}`), false},
		"steps only":        {ir.Patch{Target: "cluster", Operation: "Patch"}, true},
		"field of tomorrow": {patch("cluster", "Patch", `{"tomorrow":1}`), true},
	} {
		if err := envoy.CheckPatch(c.patch); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}
