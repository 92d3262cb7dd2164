package manifest

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"weft/internal/mesh/catalog"
	"weft/internal/mesh/model"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		name, in string
		want     []string // JSON of documents
		lines    []int
	}{
		{"empty", "", nil, nil},
		{"comments only", "# nothing\n---\n# here\n", nil, nil},
		{"empty documents are skipped", "---\n---\ntype: Mesh\nname: a\n---\n\n---\n", []string{`{"name":"a","type":"Mesh"}`}, []int{3}},
		{"two documents", "type: Mesh\nname: a\n---\ntype: Mesh\nname: b\n", []string{`{"name":"a","type":"Mesh"}`, `{"name":"b","type":"Mesh"}`}, []int{1, 4}},
		{"scalars", "type: T\ni: 0x10\nf: 1.50\nb: true\nn: null\ns: '1'\nt: 2024-01-02\nd: 5s\n8080: x\n", []string{`{"8080":"x","b":true,"d":"5s","f":1.5,"i":16,"n":null,"s":"1","t":"2024-01-02","type":"T"}`}, []int{1}},
		{"aliases and merges", "type: T\na: &a {x: 1, y: 2}\nb: *a\nc:\n  <<: *a\n  y: 3\n", []string{`{"a":{"x":1,"y":2},"b":{"x":1,"y":2},"c":{"x":1,"y":3},"type":"T"}`}, []int{1}},
		{"html is kept", "type: T\na: <&>\n", []string{`{"a":"<&>","type":"T"}`}, []int{1}},
		{"json with tabs", "{\n\t\"type\": \"Mesh\",\n\t\"name\": \"a\"\n}\n{\"type\": \"Mesh\", \"name\": \"b\", \"n\": 12345678901234567}", []string{`{"name":"a","type":"Mesh"}`, `{"n":12345678901234567,"name":"b","type":"Mesh"}`}, []int{1, 5}},
		{"yaml in flow style", "{type: Mesh, name: a}\n", []string{`{"name":"a","type":"Mesh"}`}, []int{1}},
		{"byte order mark", "\xef\xbb\xbftype: Mesh\n", []string{`{"type":"Mesh"}`}, []int{1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			docs, err := Parse([]byte(c.in))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			var lines []int
			for _, d := range docs {
				got = append(got, string(d.JSON))
				lines = append(lines, d.Line)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("documents (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(c.lines, lines); diff != "" {
				t.Errorf("lines (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	bomb := "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
	for i := range 9 {
		p, n := string(rune('0'+i)), string(rune('1'+i))
		bomb += "a" + n + ": &a" + n + " [*a" + p + ", *a" + p + ", *a" + p + ", *a" + p + ", *a" + p + ", *a" + p + ", *a" + p + ", *a" + p + ", *a" + p + "]\n"
	}
	for _, c := range []struct {
		name, in, want string
	}{
		{"broken YAML", "type: Mesh\n name: x\n", "document 1, line 2: is not YAML: mapping values are not allowed in this context"},
		{"scalar", "hello\n", "document 1, line 1: must be an object"},
		{"list", "type: Mesh\n---\n\n- type: Mesh\n", "document 2, line 4: must be an object"},
		{"duplicate key", "type: Mesh\nname: a\nname: b\n", `document 1, line 3: the key "name" is there twice, the first time in line 2`},
		{"duplicate key in JSON", "{\"name\": \"a\",\n\"name\": \"b\"}", `document 1, line 2: the key "name" is there twice`},
		{"not a number", "type: T\na: .nan\n", "document 1, line 2: \".nan\" is no number that JSON has"},
		{"unknown tag", "type: T\na: !foo b\n", "document 1, line 2: the tag !foo is not possible here"},
		{"list as key", "? [a]\n: b\n", "document 1, line 1: a key must be text"},
		{"merge of text", "a:\n  <<: b\n", "line 2: only objects can be merged"},
		{"wrong type of head", "type: Mesh\nname: [a]\n", "document 1, line 2: name: must be a string, not a list"},
		{"alias bomb", bomb, "more than 500000 values"},
		{"alias of itself", "a: &a\n  b: *a\n", "nested more than 64 deep"},
		{"deep", strings.Repeat("[", 80) + strings.Repeat("]", 80), "nested more than 64 deep"},
		{"large", strings.Repeat("#", MaxSize+1), "at most 16777216 are read"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse([]byte(c.in))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q in it", err, c.want)
			}
			var one *Error
			var all Errors
			if !errors.As(err, &one) && !errors.As(err, &all) {
				t.Errorf("the error is a %T", err)
			}
		})
	}
}

const badDataplane = `# comment
type: Dataplane
mesh: default
name: web
networking:
  address: 10.0.0.1
  inbound:
  - port: 80
    tags:
      kuma.io/service: web
      a b: c
  - port: 0
    tags: {kuma.io/service: web}
  transparentProxying:
    redirectPortInbound: 1
    reachableBackends:
      refs:
      - kind: Moon
        name: x
`

func TestObjectErrorsHaveLines(t *testing.T) {
	for _, c := range []struct {
		name, in string
		want     []string
	}{
		{"no type", "name: x\n", []string{`document 1, line 1: type: is missing: every object says its type, such as "type: Mesh"`}},
		{"unknown type", "\ntype: Mehs\nname: x\n", []string{`document 1, line 2: type: there is no type "Mehs"`}},
		{"collection as type", "type: meshes\nname: x\n", []string{`document 1, line 1: type: there is no type "meshes"; did you mean "Mesh"?`}},
		{"Kubernetes form", "apiVersion: kuma.io/v1alpha1\nkind: Mesh\nmetadata: {name: x}\n", []string{"document 1, line 1: apiVersion: this is an object of the Kubernetes API; apply it with kubectl, or write type and name instead of kind and metadata"}},
		{"wrong type of a field", "type: Mesh\nname: x\nrouting:\n  zoneEgress: yes please\n", []string{"document 1, line 4: routing.zoneEgress: must be true or false, not a string"}},
		{"schema", "type: MeshExternalService\nname: x\nmesh: default\nspec:\n  match:\n    port: 0\n    protocol: smoke\n", []string{
			"document 1, line 6: spec.match.port: must be at least 1",
			`document 1, line 7: spec.match.protocol: "smoke" is not possible here; use one of tcp, grpc, http, http2`,
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			docs, err := Parse([]byte(c.in))
			if err != nil {
				t.Fatal(err)
			}
			_, err = docs[0].Object(catalog.Find)
			var all Errors
			if !errors.As(err, &all) {
				t.Fatalf("got %v (%T), want Errors", err, err)
			}
			var got []string
			for _, e := range all {
				got = append(got, e.Error())
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestLocate(t *testing.T) {
	docs, err := Parse([]byte(badDataplane))
	if err != nil {
		t.Fatal(err)
	}
	o, err := docs[0].Object(catalog.Find)
	if err != nil {
		t.Fatal(err)
	}
	var v model.Violations
	o.Kind.Validate(o, &v)
	got := map[string]int{}
	for _, e := range docs[0].Locate(v.Err()) {
		got[e.Field] = e.Line
	}
	want := map[string]int{
		`networking.inbound[0].tags["a b"]`: 11,
		"networking.inbound[1].port":        12,
		// 2.10's spelling is not in the document: the nearest value around it counts.
		"networking.transparentProxing.reachableBackends.refs[0].kind": 5,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestUnknown(t *testing.T) {
	for _, c := range []struct {
		in   string
		want []string
	}{
		{"type: Mesh\nname: x\nmtsl: {}\nrouting:\n  zoneEgres: true\n  zone_egress: true\n", []string{
			"document 1, line 3: mtsl: there is no such field in Mesh",
			"document 1, line 5: routing.zoneEgres: there is no such field in Mesh",
		}},
		{"type: MeshService\nname: x\nmesh: default\nextra: 1\nspec:\n  ports:\n  - port: 80\n    app.protocol: http\nstatus: {}\n", []string{
			"document 1, line 4: extra: there is no such field in MeshService",
			`document 1, line 8: spec.ports[0]["app.protocol"]: there is no such field in MeshService`,
		}},
		{"type: Mesh\nname: x\nmtls:\n  backends:\n  - name: a\n    conf: {anything: goes}\n", nil},
	} {
		docs, err := Parse([]byte(c.in))
		if err != nil {
			t.Fatal(err)
		}
		o, err := docs[0].Object(catalog.Find)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range docs[0].Unknown(o.Kind) {
			got = append(got, e.Error())
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

// FuzzParse: whatever comes in, there is no panic, and what is accepted decodes
// to an object or to errors.
func FuzzParse(f *testing.F) {
	f.Add([]byte(badDataplane))
	f.Add([]byte("type: Mesh\na: &a {x: 1}\nb: {<<: *a}\n"))
	f.Add([]byte(`{"type": "Mesh", "name": "a"}`))
	f.Add([]byte("a: &a\n  b: *a\n"))
	// The recorded requests, where they are, reach every kind.
	seeds, err := filepath.Glob("../../../../shared/compat/rest/*/*-request.json")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range seeds {
		b, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		docs, err := Parse(data)
		if err != nil {
			return
		}
		for i := range docs {
			o, err := docs[i].Object(catalog.Find)
			if err != nil {
				continue
			}
			_ = docs[i].Unknown(o.Kind)
			if o.Kind.Default != nil {
				o.Kind.Default(o)
			}
			if o.Kind.Validate != nil {
				var v model.Violations
				o.Kind.Validate(o, &v)
				if !v.Empty() {
					_ = docs[i].Locate(v.Err())
				}
			}
			if _, err := model.Encode(o); err != nil {
				t.Fatalf("what was read cannot be written: %v", err)
			}
		}
	})
}
