package explain_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"weft/internal/cp/explain"
	"weft/internal/cp/view"
	"weft/internal/testkit/corpus"
)

// world is what the example of docs/policies.md leaves to the reader.
const world = `
type: Mesh
name: default
---
type: Dataplane
mesh: default
name: web-1
labels: {app: web}
networking:
  address: 10.0.0.1
  inbound: [{port: 80, tags: {kuma.io/service: web, kuma.io/protocol: http}}]
  outbound:
    - {port: 10001, tags: {kuma.io/service: api}}
    - {port: 10002, tags: {kuma.io/service: search}}
---
type: Dataplane
mesh: default
name: api-1
networking:
  address: 10.0.0.2
  inbound: [{port: 80, tags: {kuma.io/service: api, kuma.io/protocol: http}}]
---
`

var (
	exampleBlock = regexp.MustCompile("(?s)```yaml\n(.*?)```")
	exampleRow   = regexp.MustCompile("(?m)^\\| `([^`]+)` \\| `([^`]+)` \\| `([^`]+)`")
)

// TestExampleOfPolicies: the example of docs/policies.md ends as its table says.
func TestExampleOfPolicies(t *testing.T) {
	b, err := os.ReadFile("../../../docs/policies.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(b), "\n### An example\n")
	if !ok {
		t.Fatal("docs/policies.md has no example")
	}
	section, _, _ = strings.Cut(section, "\n### ")
	block := exampleBlock.FindStringSubmatch(section)
	if block == nil {
		t.Fatal("the example has no policies")
	}
	input := filepath.Join(t.TempDir(), "input.yaml")
	if err := os.WriteFile(input, []byte(world+block[1]), 0o600); err != nil {
		t.Fatal(err)
	}
	tables := corpus.NewTables(corpus.Led(t, corpus.Inputs(t, input))...)
	s, ok := subject(t, view.NewMesh("default", settings()).Next(tables), "web-1")
	if !ok {
		t.Fatal("there is no web-1")
	}
	p := explain.Of(s)
	got := timeouts(p, "api")
	rows := exampleRow.FindAllStringSubmatch(section, -1)
	if len(rows) < 4 || len(got) != len(rows) {
		t.Errorf("the table has %d rows, the program says %v", len(rows), got)
	}
	for _, r := range rows {
		if want := r[2] + " from " + r[3]; got[r[1]] != want {
			t.Errorf("%s: the page says %s, the program %s", r[1], want, got[r[1]])
		}
	}
	if got := timeouts(p, "search")["http.requestTimeout"]; got != "9s from everyone" {
		t.Errorf("to another destination: %s", got)
	}
}

// timeouts returns what MeshTimeouts set on the outbound to a service.
func timeouts(p *explain.Proxy, service string) map[string]string {
	out := map[string]string{}
	for _, o := range p.Outbounds {
		for _, v := range o.Policies {
			if o.Destination.Name != service || v.Kind != "MeshTimeout" {
				continue
			}
			for _, x := range v.Values {
				out[x.Path] = fmt.Sprint(x.Value, " from ", x.From[len(x.From)-1].Name)
			}
		}
	}
	return out
}
