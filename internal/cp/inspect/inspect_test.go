package inspect

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"weft/internal/mesh/ir"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
	"weft/internal/testkit/corpus"
)

// apply executes a patch of the three operations that Diff makes.
func apply(t *testing.T, doc any, ops []Op) any {
	t.Helper()
	root := map[string]any{"": doc}
	for _, op := range ops {
		edit(t, root, append([]string{""}, segments(op.Path)...), op)
	}
	return root[""]
}

func segments(path string) []string {
	if path == "" {
		return nil
	}
	var out []string
	cur := ""
	for i := 1; i <= len(path); i++ {
		switch {
		case i == len(path) || path[i] == '/':
			out = append(out, cur)
			cur = ""
		case path[i] == '~':
			i++
			cur += map[byte]string{'0': "~", '1': "/"}[path[i]]
		default:
			cur += string(path[i])
		}
	}
	return out
}

// edit returns the value after the operation at the segments.
func edit(t *testing.T, v any, at []string, op Op) any {
	t.Helper()
	last := len(at) == 1
	switch x := v.(type) {
	case map[string]any:
		switch {
		case !last:
			x[at[0]] = edit(t, x[at[0]], at[1:], op)
		case op.Op == "add":
			x[at[0]] = op.Value
		case op.Op == "remove":
			delete(x, at[0])
		case !cmp.Equal(x[at[0]], op.Value):
			t.Errorf("test %s: %v, want %v", op.Path, x[at[0]], op.Value)
		}
		return x
	case []any:
		var i int
		if err := json.Unmarshal([]byte(at[0]), &i); err != nil || i > len(x) {
			t.Fatalf("%s: index %s of %d", op.Path, at[0], len(x))
		}
		switch {
		case !last:
			x[i] = edit(t, x[i], at[1:], op)
		case op.Op == "add":
			x = append(x[:i:i], append([]any{op.Value}, x[i:]...)...)
		case op.Op == "remove":
			x = append(x[:i:i], x[i+1:]...)
		case !cmp.Equal(x[i], op.Value):
			t.Errorf("test %s: %v, want %v", op.Path, x[i], op.Value)
		}
		return x
	}
	t.Fatalf("%s leads nowhere", op.Path)
	return nil
}

func config(t testing.TB, text string) Config {
	t.Helper()
	var c Config
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		t.Skip(err)
	}
	return c
}

// FuzzDiff checks that the patch makes the one of the other.
func FuzzDiff(f *testing.F) {
	f.Add(`{"a/b~c": {"x": {"l": [1, 2, 3], "k": "v"}}}`, `{"a/b~c": {"x": {"l": [0, 1, 3, {"y": []}], "k": {"v": null}}}, "t": {"n": 1}}`)
	f.Add(`{"a": {"x": [1, 2, 3, 4]}}`, `{"a": {"x": [4]}}`)
	f.Add(`{"a": {"x": [[1], [2]]}}`, `{"a": {"x": [[1, 1], [2], [3], [2]]}, "b": {}}`)
	f.Add(`{"a": {"": {"": 1}}}`, `{}`)
	f.Fuzz(func(t *testing.T, from, to string) {
		a, b := config(t, from), config(t, to)
		ops, err := Diff(a, b)
		if err != nil {
			return
		}
		have, err := tree(a)
		if err != nil {
			t.Fatal(err)
		}
		want, err := tree(b)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(any(want), apply(t, have, ops)); d != "" {
			t.Errorf("%v does not lead there: %s", ops, d)
		}
		if cmp.Equal(from, to) && len(ops) > 0 {
			t.Errorf("equal, but %v", ops)
		}
	})
}

func TestPlain(t *testing.T) {
	d, zero := 3*time.Second, time.Duration(0)
	p := &ir.Proxy{
		ID: ir.ProxyID{Mesh: "m", Name: "x"}, IPv6: true, WorkDir: "/tmp", Tags: map[string][]string{"Kuma.io/X": {"1"}},
		InternalCIDRs: []string{"10.0.0.0/8"},
		Admin:         &ir.Admin{Port: 9901, CertPEM: []byte("cert"), KeyPEM: []byte("very secret")},
		Inbounds:      []*ir.Inbound{{Listener: ir.Listener{Port: 80, HTTP: &ir.HTTP{IdleTimeout: &d, RequestTimeout: &zero}}}},
	}
	b, err := json.Marshal(Plain(p))
	if err != nil {
		t.Fatal(err)
	}
	var got, want any
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(`{"id":{"mesh":"m","name":"x"},"ipv6":true,"workDir":"/tmp","tags":{"Kuma.io/X":["1"]},
		"internalCIDRs":["10.0.0.0/8"],"admin":{"port":9901,"certPEM":"cert","keyPEM":"[redacted]"},
		"inbounds":[{"port":80,"http":{"idleTimeout":"3s","requestTimeout":"0s"}}]}`), &want); err != nil {
		t.Fatal(err)
	}
	// A local cluster without anything is left out, too.
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestHostnamesOfAllZones(t *testing.T) {
	generator := func(name, origin, template string) *model.Object {
		o := kinds.HostnameGenerator.Make("", name)
		o.Spec = &kinds.HostnameGeneratorSpec{Template: template, Selector: kinds.HostnameSelector{
			MeshService: &kinds.LabelSelector{MatchLabels: map[string]string{model.LabelOrigin: origin}},
		}}
		return o
	}
	service := kinds.MeshService.Make("m", "api-x2")
	service.Spec = &kinds.MeshServiceSpec{}
	service.Meta.Labels = map[string]string{model.LabelOrigin: model.OriginZone, model.LabelZone: "east", model.LabelDisplayName: "api"}
	tables := corpus.NewTables(
		kinds.Zone.Make("", "east"), kinds.Zone.Make("", "west"), kinds.Zone.Make("", "north"),
		generator("local", model.OriginZone, "{{ .DisplayName }}.local"),
		generator("synced", model.OriginGlobal, "{{ .DisplayName }}.{{ .Zone }}.test"),
		generator("other", model.OriginGlobal, "{{ .Nothing }}"),
	)
	got, err := json.Marshal(Hostnames(tables, service, ""))
	if err != nil {
		t.Fatal(err)
	}
	want := `[{"hostname":"api.east.test","zones":[{"name":"north"},{"name":"west"}]},{"hostname":"api.local","zones":[{"name":"east"}]}]`
	if string(got) != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	service.Status = &kinds.MeshServiceStatus{HostnameGenerators: []kinds.HostnameGeneratorStatus{{
		HostnameGeneratorRef: kinds.GeneratorRef{CoreName: "local"},
		Conditions:           []kinds.Condition{{Type: kinds.ConditionGenerated, Status: "False", Reason: kinds.ReasonCollision}},
	}}}
	if list := Hostnames(tables, service, "east"); len(list) != 0 {
		t.Errorf("a name that another service has: %v", list)
	}
}
