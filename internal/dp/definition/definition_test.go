package definition

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const web = `
# a comment first
type: Dataplane
mesh: default
name: web-1
labels: {team: a}
networking:
  address: 10.0.0.1
  inbound:
  - port: 8080
    tags: {kuma.io/service: web, version: "1.10", date: 2024-01-02, on: yes}
`

func TestParseKeepsWhatIsWritten(t *testing.T) {
	d, err := Parse(web, "dataplane")
	if err != nil {
		t.Fatal(err)
	}
	if d.Type != "Dataplane" || d.Mesh != "default" || d.Name != "web-1" {
		t.Errorf("got %+v", d)
	}
	want := `{"type":"Dataplane","mesh":"default","name":"web-1","creationTime":"0001-01-01T00:00:00Z","modificationTime":"0001-01-01T00:00:00Z","labels":{"team":"a"},` +
		`"networking":{"address":"10.0.0.1","inbound":[{"port":8080,"tags":{"date":"2024-01-02","kuma.io/service":"web","on":"yes","version":"1.10"}}]}}`
	if diff := cmp.Diff(want, d.JSON); diff != "" {
		t.Error(diff)
	}
	if !json.Valid([]byte(d.JSON)) {
		t.Error("not JSON")
	}
}

func TestParseZoneProxies(t *testing.T) {
	for proxyType, kind := range map[string]string{"ingress": "ZoneIngress", "egress": "ZoneEgress"} {
		d, err := Parse("type: "+kind+"\nname: z\nnetworking: {address: 1.2.3.4, port: 10001}\n", proxyType)
		if err != nil {
			t.Fatal(err)
		}
		if d.Type != kind || d.Mesh != "" {
			t.Errorf("got %+v", d)
		}
	}
}

func TestParseWithoutContent(t *testing.T) {
	for _, text := range []string{"", " \n", "# only a comment\n", "---\n---\n", "null"} {
		if d, err := Parse(text, "dataplane"); d != nil || err != nil {
			t.Errorf("%q: got %v, %v", text, d, err)
		}
	}
}

func TestParseJSONAndLeadingDocumentMarks(t *testing.T) {
	for _, text := range []string{`{"type":"Dataplane","mesh":"m","name":"n","networking":{}}`, "---\ntype: Dataplane\nmesh: m\nname: n\n---\n# end\n"} {
		d, err := Parse(text, "dataplane")
		if err != nil || d.Name != "n" {
			t.Errorf("%q: got %+v, %v", text, d, err)
		}
	}
}

func TestParseMergesAndAliases(t *testing.T) {
	d, err := Parse("type: Dataplane\nmesh: m\nname: n\nx: &a {p: 1, q: 2}\ny: {<<: *a, q: 3}\nz: *a\n", "dataplane")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(d.JSON, `"y":{"p":1,"q":3}`) || !strings.Contains(d.JSON, `"z":{"p":1,"q":2}`) {
		t.Error(d.JSON)
	}
}

func TestParseRefuses(t *testing.T) {
	bomb := "type: Dataplane\nmesh: m\nname: n\na0: &a0 [1,1,1,1,1,1,1,1,1,1]\n"
	for i := 1; i < 9; i++ {
		prev, cur := string(rune('0'+i-1)), string(rune('0'+i))
		bomb += "a" + cur + ": &a" + cur + " [" + strings.TrimSuffix(strings.Repeat("*a"+prev+",", 10), ",") + "]\n"
	}
	for name, tc := range map[string]struct{ text, proxyType, want string }{
		"other type":     {web, "ingress", "--proxy-type"},
		"no type":        {"mesh: m\nname: n", "dataplane", "type is missing"},
		"no mesh":        {"type: Dataplane\nname: n", "dataplane", "mesh is missing"},
		"mesh of a zone": {"type: ZoneIngress\nname: n\nmesh: m", "ingress", "mesh must not be set"},
		"no name":        {"type: Dataplane\nmesh: m", "dataplane", "name is missing"},
		"bad name":       {"type: Dataplane\nmesh: m\nname: A_b", "dataplane", `"A_b"`},
		"long name":      {"type: Dataplane\nmesh: m\nname: " + strings.Repeat("a", 254), "dataplane", "254"},
		"name no text":   {"type: Dataplane\nmesh: m\nname: 7", "dataplane", "name must be text, not a number"},
		"bad mesh":       {"type: Dataplane\nmesh: M\nname: n", "dataplane", `mesh "M"`},
		"label no text":  {"type: Dataplane\nmesh: m\nname: n\nlabels: {a: 1}", "dataplane", `labels["a"]`},
		"labels a list":  {"type: Dataplane\nmesh: m\nname: n\nlabels: [a]", "dataplane", "labels must be a map"},
		"kubernetes":     {"apiVersion: kuma.io/v1alpha1\nkind: Dataplane", "dataplane", "Kubernetes"},
		"two documents":  {"type: Dataplane\nmesh: m\nname: n\n---\ntype: Dataplane", "dataplane", "second document"},
		"twice":          {"type: Dataplane\nmesh: m\nname: n\nname: o", "dataplane", "line 4"},
		"no map":         {"- a", "dataplane", "expected a map"},
		"no YAML":        {"type: [", "dataplane", "line 1"},
		"key no text":    {"[a]: 1", "dataplane", "plain text"},
		"infinite":       {"a: .inf", "dataplane", "JSON"},
		"huge number":    {"a: 99999999999999999999", "dataplane", ""},
		"alias bomb":     {bomb, "dataplane", "too large"},
		"too large":      {strings.Repeat("#", maxSize+1), "dataplane", "bytes long"},
		"self reference": {"type: Dataplane\nmesh: m\nname: n\na: &a [*a]", "dataplane", ""},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := Parse(tc.text, tc.proxyType)
			if err == nil {
				t.Fatalf("accepted: %+v", d)
			}
			if !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %q does not say %q", err, tc.want)
			}
		})
	}
}

func TestRender(t *testing.T) {
	for name, tc := range map[string]struct {
		text    string
		vars    map[string]string
		want    string
		missing []string
	}{
		"plain":   {"name: {{ name }}", map[string]string{"name": "a"}, "name: a", nil},
		"dotted":  {"{{a.b}} {{#a}}{{b}}{{/a}}", map[string]string{"a.b": "1"}, "1 1", nil},
		"missing": {"x: {{ y }}{{ y }}", nil, "x: ", []string{"y"}},
		"escaped": {"{{v}} {{{v}}}", map[string]string{"v": `<"&>`}, `&lt;&#34;&amp;&gt; <"&>`, nil},
		"section": {"{{#off}}x{{/off}}", nil, "", nil},
		"none":    {"no variables", map[string]string{"a": "b"}, "no variables", nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, missing, err := Render(tc.text, tc.vars)
			if err != nil {
				t.Fatal(err)
			}
			if got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
			if !cmp.Equal(missing, tc.missing) {
				t.Errorf("missing %v, want %v", missing, tc.missing)
			}
		})
	}
}

func TestRenderRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		text string
		vars map[string]string
	}{
		"unclosed": {"{{ a", nil},
		"partial":  {"{{> /etc/passwd}}", nil},
		"conflict": {"{{ a }}", map[string]string{"a": "1", "a.b": "2"}},
	} {
		t.Run(name, func(t *testing.T) {
			if got, _, err := Render(tc.text, tc.vars); err == nil {
				t.Errorf("accepted: %q", got)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add(web)
	f.Add("a: &a [*a]")
	f.Add("{{#a}}{{b}}{{/a}}")
	f.Fuzz(func(t *testing.T, text string) {
		rendered, _, err := Render(text, map[string]string{"a": "b"})
		if err != nil {
			return
		}
		d, err := Parse(rendered, "dataplane")
		if err == nil && d != nil && !json.Valid([]byte(d.JSON)) {
			t.Errorf("not JSON: %s", d.JSON)
		}
	})
}
