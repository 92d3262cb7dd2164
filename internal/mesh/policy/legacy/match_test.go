package legacy

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"weft/internal/mesh/ir"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
	"weft/internal/mesh/policy"
	"weft/internal/mesh/policy/meshaccesslog"
)

// world holds objects by kind.
type world map[*model.Kind][]model.Row

func (w world) Table(k *model.Kind, _ string) *model.Table {
	return model.NewTable(append([]model.Row(nil), w[k]...))
}

// add adds an object that was made at that second.
func (w world) add(t testing.TB, k *model.Kind, name string, second int, body string) {
	t.Helper()
	o, err := k.Decode([]byte(fmt.Sprintf(`{"type":%q,"mesh":"m","name":%q,%s}`, k.Name, name, body)))
	if err != nil {
		t.Fatal(err)
	}
	var v model.Violations
	if k.Validate(o, &v); !v.Empty() {
		t.Fatal(v.Err())
	}
	o.Meta.Created = time.Date(2026, 1, 1, 0, 0, second, 0, time.UTC)
	w[k] = append(w[k], model.Row{Object: o, Hash: model.ContentHash(o)})
}

func between(from, to string) string {
	sel := func(s string) string {
		var tags []string
		for _, p := range strings.Split(s, ",") {
			k, v, _ := strings.Cut(p, "=")
			if k != "v" {
				k = "kuma.io/" + k
			}
			tags = append(tags, fmt.Sprintf("%q:%q", k, v))
		}
		return `[{"match":{` + strings.Join(tags, ",") + `}}]`
	}
	return `"sources":` + sel(from) + `,"destinations":` + sel(to)
}

func proxy(tags map[string]string) *kinds.DataplaneSpec {
	return &kinds.DataplaneSpec{Networking: &kinds.DataplaneNetworking{Inbound: []kinds.Inbound{{Port: 80, Tags: tags}}}}
}

var web = map[string]string{"kuma.io/service": "web", "v": "1"}

func TestOutboundWinner(t *testing.T) {
	const conf = `,"conf":{"tcp":{"maxConnectAttempts":1}}`
	for _, tc := range []struct {
		name, want string
		policies   [][2]string // sources, destinations; named a, b … and made one after the other
	}{
		{"exact beats any", "b", [][2]string{{"service=*", "service=*"}, {"service=web", "service=*"}, {"service=*", "service=*"}}},
		{"both ends count", "b", [][2]string{{"service=web", "service=*"}, {"service=web", "service=api"}}},
		{"more tags beat exact ones", "a", [][2]string{{"service=*,v=*", "service=*"}, {"service=web", "service=api"}}},
		{"of equal ones the later", "b", [][2]string{{"service=web", "service=*"}, {"service=*", "service=api"}}},
		{"another client", "", [][2]string{{"service=api", "service=*"}}},
		{"another service", "", [][2]string{{"service=*", "service=db"}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := world{}
			for i, p := range tc.policies {
				w.add(t, Retry, string(rune('a'+i)), i, between(p[0], p[1])+conf)
			}
			got := ""
			if o := NewSet(w, "m", nil).Match(proxy(web)).outbound(Retry, "api"); o != nil {
				got = o.Meta.Name
			}
			if got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestPermissions(t *testing.T) {
	w := world{}
	w.add(t, TrafficPermission, "all", 9, between("service=*", "service=*"))
	w.add(t, TrafficPermission, "ops", 1, between("service=ops,v=*", "service=web"))
	in := &ir.Inbound{Listener: ir.Listener{Tags: web}, TLS: &ir.ServerTLS{Mesh: "m"}, Access: &ir.Access{}}
	p := &ir.Proxy{Inbounds: []*ir.Inbound{in}}
	Dress(p, NewSet(w, "m", nil).Match(proxy(web)), &Env{})
	if !in.Access.Network || in.Access.PolicyName != "ops" || len(in.Access.Allow) != 1 {
		t.Fatalf("the more specific permission does not decide alone: %+v", in.Access)
	}
	if all := in.Access.Allow[0].All; len(all) != 1 || all[0].URI != "spiffe://m/ops" {
		t.Errorf("the client is %v", all)
	}
}

func TestExternalServicePermissions(t *testing.T) {
	ext := map[string]string{"kuma.io/service": "ext"}
	w := world{}
	w.add(t, TrafficPermission, "others", 1, between("service=api", "service=ext"))
	if !NewSet(w, "m", nil).Match(proxy(web)).Permits(ext) {
		t.Error("without a TrafficRoute a permission is asked for")
	}
	w.add(t, TrafficRoute, "all", 1, between("service=*", "service=*")+`,"conf":{"destination":{"kuma.io/service":"*"}}`)
	if NewSet(w, "m", nil).Match(proxy(web)).Permits(ext) {
		t.Error("a client is permitted that no permission names")
	}
	w.add(t, TrafficPermission, "web", 2, between("service=web", "service=ext"))
	if !NewSet(w, "m", nil).Match(proxy(web)).Permits(ext) {
		t.Error("a client is not permitted that the newer permission names")
	}
}

func TestTemplate(t *testing.T) {
	w := world{}
	const empty = `"conf":{}`
	w.add(t, kinds.ProxyTemplate, "any", 1, `"selectors":[{"match":{"kuma.io/service":"*"}}],`+empty)
	w.add(t, kinds.ProxyTemplate, "web", 1, `"selectors":[{"match":{"kuma.io/service":"web"}}],"conf":{
		"resources":[{"name":"c","version":"1","resource":"'@type': type.googleapis.com/envoy.config.cluster.v3.Cluster\nname: c"},
			{"name":"r","version":"1","resource":"'@type': type.googleapis.com/envoy.config.route.v3.RouteConfiguration\nname: r"}],
		"modifications":[{"listener":{"operation":"remove","match":{"origin":"inbound"}}},
			{"httpFilter":{"operation":"addFirst","match":{"listenerName":"l"},"value":"name: f"}}]}`)
	p := &ir.Proxy{}
	Patch(p, NewSet(w, "m", nil).Match(proxy(web)))
	var got []string
	for _, x := range p.Patches {
		got = append(got, fmt.Sprintf("%s %s %s%s %s as %s", x.Operation, x.Target, x.Match.Origin, x.Match.ListenerName, x.Value, x.Added))
	}
	want := `Add cluster  {"name":"c"} as proxy-template-raw; Remove listener inbound  as proxy-template-modifications; ` +
		`AddFirst httpFilter l {"name":"f"} as proxy-template-modifications`
	if s := strings.Join(got, "; "); s != want {
		t.Errorf("got  %s\nwant %s", s, want)
	}
	if len(p.Warnings) != 1 || !strings.Contains(p.Warnings[0].Message, `"r"`) {
		t.Errorf("the resource that cannot be added is not told of: %v", p.Warnings)
	}
}

func TestShortIntervals(t *testing.T) {
	for _, tc := range []struct {
		num      uint32
		interval time.Duration
		want     ir.Rate
	}{
		{5, time.Second, ir.Rate{Num: 5, Interval: time.Second}},
		{5, 10 * time.Millisecond, ir.Rate{Num: 25, Interval: 50 * time.Millisecond}},
		{4_000_000_000, time.Nanosecond, ir.Rate{Num: 4_294_967_295, Interval: 50 * time.Millisecond}},
	} {
		if got := rate(tc.num, tc.interval); got != tc.want {
			t.Errorf("%d in %s: got %v, want %v", tc.num, tc.interval, got, tc.want)
		}
	}
}

// TestIndexFindsAll: what the index finds is what a look at every policy finds.
func TestIndexFindsAll(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	value := func() string { return []string{"a", "b", "c", kinds.MatchAll}[r.IntN(4)] }
	tags := func() map[string]string {
		out := map[string]string{model.TagService: value()}
		for _, k := range []string{"v", model.TagZone, model.TagProtocol} {
			if r.IntN(2) == 0 {
				out[k] = value()
			}
		}
		return out
	}
	selectors := func(onlyService bool) []kinds.Selector {
		var out []kinds.Selector
		for range 1 + r.IntN(2) {
			match := tags()
			if onlyService {
				match = map[string]string{model.TagService: value()}
			}
			out = append(out, kinds.Selector{Match: match})
		}
		return out
	}
	w := world{}
	put := func(k *model.Kind, i int, spec any) {
		o := k.Make("m", fmt.Sprintf("p-%03d", i))
		o.Spec, o.Meta.Created = spec, time.Unix(int64(r.IntN(5)), 0)
		w[k] = append(w[k], model.Row{Object: o, Hash: model.HashOf([]byte(o.Meta.Name))})
	}
	for i := range 60 {
		put(Timeout, i, &TimeoutSpec{Connections: Connections{Sources: selectors(false), Destinations: selectors(true)}})
		put(TrafficPermission, i, &TrafficPermissionSpec{Connections: Connections{Sources: selectors(false), Destinations: selectors(false)}})
		put(TrafficTrace, i, &TrafficTraceSpec{Selectors: selectors(false)})
	}
	s := NewSet(w, "m", nil)
	for range 200 {
		own := tags()
		for k, v := range own {
			if v == kinds.MatchAll {
				own[k] = "d"
			}
		}
		m := s.Match(proxy(own))
		for _, service := range []string{"a", "b", "d"} {
			want := winner(w[Timeout], func(o *model.Object) (kinds.Specificity, bool) {
				return model.Spec[TimeoutSpec](o).Between([]map[string]string{own}, map[string]string{model.TagService: service})
			})
			if got := m.outbound(Timeout, service); got != want {
				t.Fatalf("proxy %v calls %s: got %+v, want %+v", own, service, got, want)
			}
		}
		var want []string
		for _, row := range w[TrafficPermission] {
			if _, ok := kinds.BestMatch(model.Spec[TrafficPermissionSpec](row.Object).Destinations, own); ok {
				want = append(want, row.Meta.Name)
			}
		}
		var got []string
		for _, c := range m.inbound(TrafficPermission, own) {
			got = append(got, c.object.Meta.Name)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("permissions of %v (-want +got):\n%s", own, d)
		}
		trace := winner(w[TrafficTrace], func(o *model.Object) (kinds.Specificity, bool) {
			return kinds.BestMatch(model.Spec[TrafficTraceSpec](o).Selectors, own)
		})
		if m.trace != trace {
			t.Fatalf("trace of %v: got %+v, want %+v", own, m.trace, trace)
		}
	}
}

// winner is the strongest of those that match, by a look at every one.
func winner(rows []model.Row, match func(*model.Object) (kinds.Specificity, bool)) *model.Object {
	var best *model.Object
	var how kinds.Specificity
	for _, row := range rows {
		if sp, ok := match(row.Object); ok && (best == nil || kinds.CompareMatched(row.Object, best, sp, how) < 0) {
			best, how = row.Object, sp
		}
	}
	return best
}

// TestUnreadableFormat: a format that proxies cannot read costs its log, with a
// warning, and not the listener.
func TestUnreadableFormat(t *testing.T) {
	w := world{}
	w.add(t, TrafficLog, "log", 1, between("service=*", "service=*")+`,"conf":{"backend":"b"}`)
	for format, logs := range map[string]int{"100%": 0, "%KUMA_NOPE%": 0, "%KUMA_MESH% 100%%": 1} {
		p := &ir.Proxy{}
		env := &Env{Env: &policy.Env{}, Logging: &kinds.MeshLogging{Backends: []kinds.LoggingBackend{{
			Name: "b", Type: "file", Format: format, Conf: model.Struct{"path": "/tmp/log"},
		}}}}
		s := &shaper{p: p, m: NewSet(w, "m", nil).Match(proxy(web)), env: env}
		if got := s.logs("api", meshaccesslog.Line{Destination: "api"}); len(got) != logs || len(p.Warnings) != 1-logs {
			t.Errorf("%q: logs %+v, warnings %+v", format, got, p.Warnings)
		}
	}
}
