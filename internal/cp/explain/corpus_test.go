package explain_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"weft/internal/cp/build"
	"weft/internal/cp/explain"
	"weft/internal/cp/view"
	"weft/internal/mesh/catalog"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
	"weft/internal/mesh/policy"
	"weft/internal/testkit/corpus"
)

func settings() view.Settings {
	return view.Settings{Zone: "default", DNSDomain: "mesh", ServiceVIPs: true, ServiceVIPPort: 80, Policies: catalog.Policies}
}

// subject returns a proxy of a mesh; false if there is none of that name.
func subject(t testing.TB, v *view.Mesh, name string) (explain.Subject, bool) {
	t.Helper()
	in, ok := v.For(kinds.Dataplane, name, view.Metadata{})
	if !ok {
		return explain.Subject{}, false
	}
	return explain.Subject{Inputs: in, Proxy: build.Proxy(in), Endpoints: v.Endpoints}, true
}

// TestCitationsAreTrue holds what is said about all proxies of the recorded
// cases against the policies: who is said to have set a value has that value at
// that place, and who is said to have lost has the one that is shown.
func TestCitationsAreTrue(t *testing.T) {
	root := corpus.Root(t, "policies")
	cited, lost := 0, 0
	for _, name := range corpus.Cases(t, root) {
		t.Run(name, func(t *testing.T) {
			var c struct {
				Mesh    string
				Proxies []string
			}
			corpus.ReadYAML(t, root+"/"+name+"/case.yaml", &c)
			tables := corpus.NewTables(corpus.Led(t, corpus.Inputs(t, root+"/"+name+"/input.yaml"))...)
			v := view.NewMesh(c.Mesh, settings()).Next(tables)
			w := witness{t, tables}
			for _, p := range c.Proxies {
				s, ok := subject(t, v, p)
				if !ok {
					continue // a gateway without configuration yet
				}
				for _, value := range valuesOf(explain.Of(s)) {
					w.value(value)
					cited++
					lost += len(value.Over)
				}
			}
		})
	}
	if cited < 500 || lost < 30 {
		t.Errorf("only %d values and %d losers were looked at", cited, lost)
	}
}

// valuesOf returns all values of an explanation.
func valuesOf(p *explain.Proxy) []policy.Value {
	var all []policy.Verdict
	all = append(append(all, p.Policies...), p.Passthrough...)
	var out []policy.Value
	for _, in := range p.Inbounds {
		all = append(all, in.Policies...)
		for _, c := range in.Clients {
			for _, g := range c.Groups {
				out = append(out, g.Values...)
			}
		}
	}
	for _, o := range p.Outbounds {
		all = append(all, o.Policies...)
		for _, r := range o.Routes {
			all = append(all, r.Policies...)
		}
	}
	for _, v := range all {
		out = append(out, v.Values...)
	}
	return out
}

// witness looks into the policies.
type witness struct {
	t      *testing.T
	tables corpus.Tables
}

func (w witness) value(v policy.Value) {
	w.t.Helper()
	if len(v.From) == 0 {
		w.t.Errorf("nobody set %s", v.Path)
		return
	}
	if len(v.From) > 1 { // a list that several add to
		var joined []any
		for _, r := range v.From {
			list, _ := w.at(r, v.Path).([]any)
			joined = append(joined, list...)
		}
		w.same(v.From[0], v.Path, joined, v.Value)
		return
	}
	if v.Path != "" { // else the conf says nothing, and is cited for that
		w.same(v.From[0], v.Path, w.at(v.From[0], v.Path), v.Value)
	}
	for _, l := range v.Over {
		w.same(l.Cited, v.Path, w.at(l.Cited, v.Path), l.Value)
		if l.Because == "" {
			w.t.Errorf("%s: it is not said why %s lost", v.Path, l.Name)
		}
		if l.Cited == v.From[0] {
			w.t.Errorf("%s: %s %s lost against itself", v.Path, l.Name, l.Path)
		}
	}
}

func (w witness) same(r policy.Cited, path string, have, said any) {
	w.t.Helper()
	b, err := json.Marshal(said)
	if err != nil {
		w.t.Fatal(err)
	}
	if s := decode(w.t, b); !reflect.DeepEqual(have, s) {
		w.t.Errorf("%s %s %s: %s is %v there, but %v is said", r.Kind, r.Name, r.Path, path, have, s)
	}
}

var step = regexp.MustCompile(`^(\w+)(?:\[(\d+)\])?$`)

// at returns the value at a path below the conf that is cited.
func (w witness) at(r policy.Cited, path string) any {
	w.t.Helper()
	row, ok := w.tables.Table(catalog.ByName(r.Kind), r.Mesh).Get(r.Name)
	if !ok {
		w.t.Fatalf("there is no %s %s", r.Kind, r.Name)
	}
	b, err := model.EncodeSpec(row.Spec)
	if err != nil {
		w.t.Fatal(err)
	}
	tree := decode(w.t, b)
	cite := strings.TrimPrefix(r.Path, "spec.")
	if r.Path == "spec" {
		cite = ""
	}
	if at, rest, ok := strings.Cut(path, "."); ok && r.Kind == "MeshTCPRoute" {
		cite, path = cite+"."+at, rest
	}
	for s := range strings.SplitSeq(cite, ".") {
		m := step.FindStringSubmatch(s)
		if m == nil {
			w.t.Fatalf("%s is no path", r.Path)
		}
		node, _ := tree.(map[string]any)
		tree = node[m[1]]
		if m[2] != "" {
			i, _ := strconv.Atoi(m[2])
			list, _ := tree.([]any)
			if i >= len(list) {
				w.t.Fatalf("%s %s has no %s", r.Kind, r.Name, r.Path)
			}
			tree = list[i]
		}
	}
	if rest, keyed := strings.CutPrefix(path, "rules["); keyed {
		return ruleAt(w.t, tree, rest[strings.LastIndex(rest, "]")+1:], rest)
	}
	return below(tree, path)
}

// below follows a dotted path through objects.
func below(tree any, path string) any {
	if path == "" {
		return tree
	}
	for s := range strings.SplitSeq(path, ".") {
		node, _ := tree.(map[string]any)
		tree = node[s]
	}
	return tree
}

// ruleAt returns the value in the first rule of a route that has it. Which rule is
// meant is told in words; that it is the right one is tested by its value.
func ruleAt(t *testing.T, item any, path, label string) any {
	t.Helper()
	node, _ := item.(map[string]any)
	rules, _ := node["rules"].([]any)
	for _, r := range rules {
		rule := r.(map[string]any)
		b, _ := json.Marshal(rule["matches"])
		if !fitsLabel(string(b), label[:strings.LastIndex(label, "]")]) {
			continue
		}
		def := rule["default"]
		if def == nil {
			def = map[string]any{}
		}
		if v := below(def, strings.TrimPrefix(path, ".")); v != nil {
			return v
		}
	}
	t.Errorf("there is no rule for %s", label)
	return nil
}

// fitsLabel tells whether all words of a label stand in the matches.
func fitsLabel(matches, label string) bool {
	for word := range strings.FieldsSeq(strings.NewReplacer(",", " ", " or ", " ").Replace(label)) {
		switch word {
		case "header", "query", "all", "requests", "Exact":
			continue
		}
		if !strings.Contains(matches, word) {
			return false
		}
	}
	return true
}

func decode(t *testing.T, b []byte) any {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var tree any
	if err := d.Decode(&tree); err != nil {
		t.Fatal(err)
	}
	return tree
}
