package meshhttproute

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"weft/internal/mesh/ir"
	"weft/internal/mesh/model"
	"weft/internal/mesh/policy"
)

// world has the services web (http), raw (tcp) and an external one.
type world struct{ used []string }

func (w *world) Own(o *ir.Outbound) policy.Backend {
	return policy.Backend{Destination: o.Destination, Protocol: o.Protocol}
}

func (w *world) Resolve(ref policy.BackendRef, _ policy.Source) (policy.Backend, bool) {
	b := policy.Backend{Destination: ir.Destination{Name: ref.Name}, Protocol: ir.ProtocolHTTP}
	switch ref.Name {
	case "web":
		return b, true
	case "raw":
		b.Protocol = ir.ProtocolTCP
		return b, true
	case "outside":
		b.Destination.External = true
		return b, true
	}
	return b, false
}

func (w *world) Use(b policy.Backend) string {
	w.used = append(w.used, b.Destination.Name)
	return b.Destination.Name
}
func (w *world) Labels(ir.Destination) map[string]string { return nil }

// routesOf shapes an outbound to "api" with rules in JSON and prints its routes.
func routesOf(t *testing.T, protocol ir.Protocol, rules string) (string, []ir.Warning) {
	t.Helper()
	var c *Conf
	if rules != "" {
		c = &Conf{}
		if err := json.Unmarshal([]byte(rules), &c.Rules); err != nil {
			t.Fatal(err)
		}
		c = merge([]policy.Contribution[Conf]{{Conf: c, Object: &model.Object{}}})
	}
	p := &ir.Proxy{}
	o := &ir.Outbound{Listener: ir.Listener{Protocol: protocol}, Destination: ir.Destination{Name: "api"}}
	shape(c, o, &policy.Context{Proxy: p, Env: &policy.Env{Backends: &world{}}})
	if o.HTTP == nil {
		return "", p.Warnings
	}
	var out []string
	for _, r := range o.HTTP.Routes {
		out = append(out, printRoute(r))
	}
	return strings.Join(out, "\n"), p.Warnings
}

func printRoute(r *ir.Route) string {
	s := "prefix " + r.Match.Prefix
	switch {
	case r.Match.Path != "":
		s = "path " + r.Match.Path
	case r.Match.Regex != "":
		s = "regex " + r.Match.Regex
	}
	if r.Match.Method != "" {
		s += " " + r.Match.Method
	}
	for _, h := range r.Match.Headers {
		s += " header " + h.Name
	}
	for _, q := range r.Match.Query {
		s += " query " + q.Name
	}
	s += " ->"
	for _, x := range r.Splits {
		s += " " + x.Cluster
	}
	if r.AutoHostRewrite {
		s += " (its host)"
	}
	for _, m := range r.Mirrors {
		s += " mirror " + m.Cluster
	}
	if d := r.Redirect; d != nil {
		s += " redirect " + d.Host + show(d.Path) + show(d.Prefix)
	}
	if w := r.Rewrite; w != nil {
		s += " rewrite " + w.Host + show(w.Path) + show(w.Prefix)
	}
	return s
}

func show(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func TestShape(t *testing.T) {
	for name, c := range map[string]struct {
		protocol ir.Protocol
		rules    string
		want     string
	}{
		"no policy":               {ir.ProtocolHTTP, "", "prefix / -> api"},
		"no policy, no HTTP":      {ir.ProtocolTCP, "", ""},
		"a prefix is two":         {ir.ProtocolHTTP, `[{"matches":[{"path":{"type":"PathPrefix","value":"/a"}}],"default":{"backendRefs":[{"kind":"MeshService","name":"web"}]}}]`, "path /a -> web\nprefix /a/ -> web\nprefix / -> api"},
		"no catch-all of its own": {ir.ProtocolHTTP, `[{"matches":[{"path":{"type":"PathPrefix","value":"/"}}],"default":{"backendRefs":[{"kind":"MeshService","name":"web"}]}}]`, "prefix / -> web"},
		"the more specific first": {ir.ProtocolHTTP, `[
			{"matches":[{"method":"GET"}],"default":{}},
			{"matches":[{"path":{"type":"RegularExpression","value":"/r.*"}}],"default":{}},
			{"matches":[{"path":{"type":"Exact","value":"/e"}},{"path":{"type":"Exact","value":"/e"},"method":"GET","headers":[{"name":"x","value":"1"}]}],"default":{}},
			{"matches":[{"queryParams":[{"type":"Exact","name":"q","value":"1"}]}],"default":{}},
			{"matches":[{"path":{"type":"PathPrefix","value":"/long"}}],"default":{}},
			{"matches":[{"path":{"type":"PathPrefix","value":"/longer"}}],"default":{}}]`,
			"path /e GET header x -> api\npath /e -> api\npath /longer -> api\nprefix /longer/ -> api\npath /long -> api\nprefix /long/ -> api\n" +
				"regex /r.* -> api\nprefix / GET -> api\nprefix / query q -> api\nprefix / -> api"},
		"unknown and unfit backends are left out": {ir.ProtocolHTTP, `[{"matches":[{"method":"GET"}],"default":{"backendRefs":[
			{"kind":"MeshService","name":"nobody"},{"kind":"MeshService","name":"raw"},{"kind":"MeshService","name":"web","weight":0},{"kind":"MeshService","name":"outside"}]}}]`,
			"prefix / GET -> outside (its host)\nprefix / -> api"},
		"a route without backends is left out": {ir.ProtocolHTTP, `[{"matches":[{"method":"GET"}],"default":{"backendRefs":[{"kind":"MeshService","name":"nobody"}]}}]`, "prefix / -> api"},
		"redirects need no backend": {ir.ProtocolHTTP, `[{"matches":[{"path":{"type":"PathPrefix","value":"/old"}}],"default":{"filters":[
			{"type":"RequestRedirect","requestRedirect":{"hostname":"h","path":{"type":"ReplacePrefixMatch","replacePrefixMatch":"/new"}}}]}}]`,
			"path /old -> redirect h/new\nprefix /old/ -> redirect h/new/\nprefix / -> api"},
		"every path below a new prefix": {ir.ProtocolHTTP, `[{"matches":[{"path":{"type":"PathPrefix","value":"/"}}],"default":{"filters":[
			{"type":"URLRewrite","urlRewrite":{"path":{"type":"ReplacePrefixMatch","replacePrefixMatch":"/new"}}}]}}]`,
			"prefix / -> api rewrite /new/"},
		"a prefix may go away": {ir.ProtocolHTTP, `[{"matches":[{"path":{"type":"PathPrefix","value":"/old"}}],"default":{"filters":[
			{"type":"URLRewrite","urlRewrite":{"path":{"type":"ReplacePrefixMatch","replacePrefixMatch":""}}}]}}]`,
			"path /old -> api rewrite /\nprefix /old/ -> api rewrite /\nprefix / -> api"},
		"mirrors": {ir.ProtocolHTTP, `[{"matches":[{"method":"GET"}],"default":{"filters":[
			{"type":"RequestMirror","requestMirror":{"backendRef":{"kind":"MeshService","name":"web"}}},
			{"type":"RequestMirror","requestMirror":{"backendRef":{"kind":"MeshService","name":"nobody"}}}]}}]`,
			"prefix / GET -> api mirror web\nprefix / -> api"},
		"the first condition on a name": {ir.ProtocolHTTP, `[{"matches":[{"headers":[{"name":"x","value":"1"},{"name":"x","value":"2"}]}],"default":{}}]`, "prefix / header x -> api\nprefix / -> api"},
		"grpc":                          {ir.ProtocolGRPC, "", "prefix / -> api"},
	} {
		t.Run(name, func(t *testing.T) {
			got, _ := routesOf(t, c.protocol, c.rules)
			if d := cmp.Diff(c.want, got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// TestWarnings: what has no effect is told, once.
func TestWarnings(t *testing.T) {
	_, ws := routesOf(t, ir.ProtocolHTTP, `[{"matches":[{"method":"GET"},{"method":"PUT"}],"default":{"backendRefs":[{"kind":"MeshService","name":"nobody"},{"kind":"MeshService","name":"raw"}]}}]`)
	if len(ws) != 2 || !strings.Contains(ws[0].Message, "nobody") || !strings.Contains(ws[1].Message, "raw") {
		t.Errorf("warnings: %+v", ws)
	}
}

// TestMerge: rules of stronger policies come first; of rules with equal matches
// the stronger lends what it lacks from the weaker.
func TestMerge(t *testing.T) {
	conf := func(doc string) *Conf {
		c := &Conf{}
		if err := json.Unmarshal([]byte(doc), &c.Rules); err != nil {
			t.Fatal(err)
		}
		return c
	}
	object := func(zone string) *model.Object {
		return &model.Object{Meta: model.Meta{Labels: map[string]string{model.LabelZone: zone}}}
	}
	weak := conf(`[{"matches":[{"method":"GET"}],"default":{"backendRefs":[{"kind":"MeshService","name":"weak"}],"filters":[{"type":"URLRewrite","urlRewrite":{"hostname":"weak"}}]}},
		{"matches":[{"method":"PUT"}],"default":{}}]`)
	strong := conf(`[{"matches":[{"method":"POST"}],"default":{}},{"matches":[{"method":"GET"}],"default":{"backendRefs":[{"kind":"MeshService","name":"strong"}]}},
		{"matches":[{"method":"GET"}],"default":{"backendRefs":[{"kind":"MeshService","name":"second"}]}}]`)
	got := merge([]policy.Contribution[Conf]{{Conf: weak, Object: object("w")}, {Conf: strong, Object: object("s")}})
	var order []string
	for _, r := range got.Rules {
		order = append(order, r.Matches[0].Method)
	}
	if d := cmp.Diff([]string{"POST", "GET", "PUT"}, order); d != "" {
		t.Errorf("order (-want +got):\n%s", d)
	}
	get := got.Rules[1]
	if get.Default.BackendRefs[0].Name != "strong" || get.Default.Filters[0].URLRewrite.Hostname != "weak" {
		t.Errorf("merged rule: %+v", get.Default)
	}
	if get.backends.Zone != "s" || get.filters.Zone != "w" {
		t.Errorf("references are resolved for the zones %s and %s", get.backends.Zone, get.filters.Zone)
	}
}
