package view_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"weft/internal/cp/view"
	"weft/internal/mesh/kinds"
)

// reached lists the names of what a proxy's workload reaches.
func reached(t *testing.T, m *view.Mesh, proxy string) string {
	t.Helper()
	in, ok := m.For(kinds.Dataplane, proxy, view.Metadata{})
	if !ok {
		t.Fatalf("there is no %s", proxy)
	}
	var out []string
	for _, o := range in.Outbounds.List() {
		name := o.Dest.Name
		if o.Dest.Kind != "" && o.Dest.Kind != kinds.ExternalService.Name {
			name = o.Dest.Kind + "/" + name
		}
		if !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// permission is a MeshTrafficPermission: target, then client=action pairs.
func permission(name, target string, from ...string) string {
	var items []string
	for _, f := range from {
		client, action, _ := strings.Cut(f, "=")
		ref := `{"kind": "MeshService", "name": "` + client + `"}`
		if client == "*" {
			ref = `{"kind": "Mesh"}`
		}
		items = append(items, `{"targetRef": `+ref+`, "default": {"action": "`+action+`"}}`)
	}
	return fmt.Sprintf(`{"type": "MeshTrafficPermission", "mesh": "m", "name": %q, "spec": {"targetRef": %s, "from": [%s]}}`, name, target, strings.Join(items, ","))
}

const (
	anyTarget = `{"kind": "Mesh"}`
	toA       = `{"kind": "MeshService", "name": "a"}`
)

// TestTrimming: what no permission lets a client reach is left out, and nothing
// that some might.
func TestTrimming(t *testing.T) {
	all := "MeshExternalService/mes MeshMultiZoneService/mz MeshService/ms-a MeshService/ms-b a b client out"
	cases := map[string]struct {
		docs []string
		proxy,
		want string
	}{
		"no permission":       {nil, "client", "MeshExternalService/mes MeshMultiZoneService/mz out"},
		"all":                 {[]string{permission("p", anyTarget, "*=Allow")}, "client", all},
		"shadow denied":       {[]string{permission("p", anyTarget, "*=AllowWithShadowDeny")}, "client", all},
		"one service":         {[]string{permission("p", toA, "client=Allow")}, "client", "MeshExternalService/mes MeshMultiZoneService/mz MeshService/ms-a a out"},
		"another client":      {[]string{permission("p", toA, "b=Allow")}, "client", "MeshExternalService/mes MeshMultiZoneService/mz out"},
		"denied later":        {[]string{permission("p", anyTarget, "*=Allow", "client=Deny")}, "client", "MeshExternalService/mes MeshMultiZoneService/mz out"},
		"denied by a weaker":  {[]string{permission("p", anyTarget, "*=Deny"), permission("q", toA, "client=Allow")}, "client", "MeshExternalService/mes MeshMultiZoneService/mz MeshService/ms-a a out"},
		"denied for some":     {[]string{permission("p", anyTarget, "*=Allow"), permission("q", `{"kind": "MeshServiceSubset", "name": "a", "tags": {"version": "1"}}`, "*=Deny")}, "client", all},
		"allowed for some":    {[]string{permission("p", `{"kind": "MeshSubset", "tags": {"version": "1"}}`, "*=Allow")}, "client", all},
		"in another zone":     {[]string{permission("p", `{"kind": "MeshSubset", "tags": {"kuma.io/zone": "y"}}`, "*=Allow")}, "client", "MeshExternalService/mes MeshMultiZoneService/mz MeshService/ms-b a b client out"},
		"of gateways":         {[]string{permission("p", `{"kind": "Mesh", "proxyTypes": ["Gateway"]}`, "*=Allow")}, "client", "MeshExternalService/mes MeshMultiZoneService/mz out"},
		"effect shadow":       {[]string{strings.Replace(permission("p", anyTarget, "*=Allow"), `"name": "p",`, `"name": "p", "labels": {"kuma.io/effect": "shadow"},`, 1)}, "client", "MeshExternalService/mes MeshMultiZoneService/mz out"},
		"older permissions":   {[]string{`{"type": "TrafficPermission", "mesh": "m", "name": "tp", "sources": [{"match": {"kuma.io/service": "*"}}], "destinations": [{"match": {"kuma.io/service": "*"}}]}`}, "client", all},
		"lists services":      {[]string{permission("p", toA, "client=Allow")}, "lists-services", "b"},
		"lists resources":     {[]string{permission("p", toA, "client=Allow")}, "lists-resources", "MeshService/ms-b a out"},
		"lists no resources":  {[]string{permission("p", anyTarget, "*=Allow")}, "lists-nothing", "a b client out"},
		"two inbounds' union": {[]string{permission("p", toA, "client=Deny", "b=Allow")}, "two", "MeshExternalService/mes MeshMultiZoneService/mz MeshService/ms-a a out"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := trimWorld(true)
			for _, d := range c.docs {
				w.put(d)
			}
			set := settings()
			set.AutoReachable = true
			if got := reached(t, view.NewMesh("m", set).Next(w.tables()), c.proxy); got != c.want {
				t.Errorf("reaches\n%s\nwant\n%s", got, c.want)
			}
		})
	}
	t.Run("without mutual TLS", func(t *testing.T) {
		set := settings()
		set.AutoReachable = true
		if got := reached(t, view.NewMesh("m", set).Next(trimWorld(false).tables()), "client"); got != all {
			t.Errorf("reaches %s", got)
		}
	})
	t.Run("switched off", func(t *testing.T) {
		if got := reached(t, view.NewMesh("m", settings()).Next(trimWorld(true).tables()), "client"); got != all {
			t.Errorf("reaches %s", got)
		}
	})
}

// trimWorld has services of all kinds with addresses.
func trimWorld(mtls bool) *world {
	w := newWorld(1)
	ca := ""
	if mtls {
		ca = `, "mtls": {"enabledBackend": "ca", "backends": [{"name": "ca", "type": "builtin"}]}`
	}
	w.put(`{"type": "Mesh", "name": "m"` + ca + `}`)
	proxy := func(name, service, more string) {
		w.put(`{"type": "Dataplane", "mesh": "m", "name": "` + name + `", "networking": {"address": "10.0.0.1",
			"inbound": [` + service + `], "transparentProxying": {"redirectPortInbound": 15006, "redirectPortOutbound": 15001` + more + `}}}`)
	}
	in := func(s string) string { return `{"port": 80, "tags": {"kuma.io/service": "` + s + `"}}` }
	proxy("client", in("client"), "")
	proxy("two", in("client")+`, {"port": 81, "tags": {"kuma.io/service": "b"}}`, "")
	proxy("lists-services", in("client"), `, "reachableServices": ["b"]`)
	proxy("lists-resources", in("client"), `, "reachableBackends": {"refs": [{"kind": "MeshService", "name": "ms-b"}]}`)
	proxy("lists-nothing", in("client"), `, "reachableBackends": {}`)
	for i, s := range []string{"a", "b"} {
		zone := ""
		if s == "a" {
			zone = `"labels": {"kuma.io/zone": "z", "kuma.io/origin": "zone"},`
		}
		w.put(fmt.Sprintf(`{"type": "MeshService", "mesh": "m", "name": "ms-%s", %s "spec": {"selector": {"dataplaneTags": {"kuma.io/service": "%s"}}, "ports": [{"port": 80}]},
			"status": {"vips": [{"ip": "241.0.0.%d"}]}}`, s, zone, s, i))
	}
	w.put(`{"type": "MeshMultiZoneService", "mesh": "m", "name": "mz", "spec": {"selector": {"meshService": {"matchLabels": {"l": "x"}}}, "ports": [{"port": 80}]}, "status": {"vips": [{"ip": "243.0.0.1"}]}}`)
	w.put(`{"type": "MeshExternalService", "mesh": "m", "name": "mes", "spec": {"match": {"port": 80}}, "status": {"vip": {"ip": "242.0.0.1"}}}`)
	w.put(`{"type": "ExternalService", "mesh": "m", "name": "es", "tags": {"kuma.io/service": "out"}, "networking": {"address": "192.0.2.1:80"}}`)
	vips := view.VIPs{}
	for i, s := range []string{"a", "b", "client", "out"} {
		vips[view.VIPKey{Type: view.VIPService, Name: s}] = view.VIPEntry{
			Address: fmt.Sprint("240.0.0.", i), Outbounds: []view.VIPOutbound{{TagSet: map[string]string{"kuma.io/service": s}}},
		}
	}
	text, err := vips.Encode()
	if err != nil {
		panic(err)
	}
	config := kinds.Config.Make("", view.VIPConfigName("m"))
	config.Spec = &kinds.ConfigSpec{Config: text}
	w.objects[config.Key()] = config
	return w
}

// TestTrimmingIsShared: proxies with equal tags share one list, which survives
// changes that do not concern it.
func TestTrimmingIsShared(t *testing.T) {
	w := trimWorld(true)
	w.put(permission("p", anyTarget, "*=Allow"))
	endpoint := func(name string) {
		w.put(`{"type": "Dataplane", "mesh": "m", "name": "` + name + `", "networking": {"address": "10.0.1.1", "inbound": [{"port": 80, "tags": {"kuma.io/service": "a"}}]}}`)
	}
	endpoint("a-1")
	set := settings()
	set.AutoReachable = true
	m := view.NewMesh("m", set).Next(w.tables())
	of := func(m *view.Mesh) *view.Outbounds {
		in, ok := m.For(kinds.Dataplane, "client", view.Metadata{})
		if !ok {
			t.Fatal("there is no client")
		}
		return in.Outbounds
	}
	first := of(m)
	if of(m) != first {
		t.Error("two equal proxies have lists of their own")
	}
	endpoint("a-2")
	if of(m.Next(w.tables())) != first {
		t.Error("another endpoint made another list")
	}
	w.put(permission("p", anyTarget, "*=Deny"))
	if of(m.Next(w.tables())) == first {
		t.Error("a changed permission did not")
	}
}
