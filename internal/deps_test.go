// Package internal holds no code; its test keeps the direction in which the
// packages of the house may know each other.
package internal

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// ban says that packages below From must not import anything below To.
type ban struct {
	from, to []string
	but      []string // packages below From that may
	why      string
}

// The table of architecture.md, section 3. A new edge needs a reason here.
var bans = []ban{
	{
		from: []string{"weft/internal/mesh/model"},
		to:   []string{"weft/internal"},
		why:  "the vocabulary knows nothing but itself, so that everybody can know it",
	},
	{
		from: []string{"weft/internal/mesh/ir"},
		to:   []string{"weft/internal"},
		why:  "what a proxy should do is plain data",
	},
	{
		from: []string{"weft/internal/mesh/kinds"},
		to:   []string{"weft/internal/mesh/policy", "weft/internal/mesh/ir", "weft/internal/mesh/catalog", "weft/internal/cp", "weft/internal/dp", "weft/internal/cli"},
		why:  "kinds describe objects, not what is made of them",
	},
	{
		from: []string{"weft/internal/mesh"},
		to:   []string{"weft/internal/cp", "weft/internal/dp", "weft/internal/cli", "weft/internal/config"},
		why:  "all three binaries share the vocabulary; it must not pull in one of them",
	},
	{
		from: []string{"weft/internal/mesh", "weft/internal/cp/view", "weft/internal/cp/build"},
		to:   []string{"google.golang.org", "github.com/envoyproxy", "k8s.io", "weft/internal/cp/store", "weft/internal/cp/state", "os", "net/http"},
		why:  "a proxy's configuration is a pure function: no wire types, no environment, no store, so that equal inputs mean equal output",
	},
	{
		from: []string{"weft/internal"},
		to:   []string{"weft/internal/mesh/policy/mesh"},
		// The older TrafficLog writes its lines as MeshAccessLog does.
		but: []string{"weft/internal/mesh/catalog", "weft/internal/mesh/policy/legacy"},
		why: "a policy is a folder that only the catalog names: delete both and it is gone",
	},
	{
		from: []string{"weft/internal"},
		to:   []string{"github.com/envoyproxy/go-control-plane"},
		but: []string{
			"weft/internal/cp/envoy", "weft/internal/cp/xds", "weft/internal/cp/dpserver", "weft/internal/cp/hds",
			"weft/internal/dp", "weft/internal/testkit",
		},
		why: "Envoy's words stay where Envoy is spoken to",
	},
	{
		from: []string{"weft/internal"},
		to:   []string{"k8s.io"},
		but:  []string{"weft/internal/cp/kube", "weft/internal/install", "weft/internal/dp/dns"},
		why:  "Kubernetes is one platform among others",
	},
	{
		from: []string{"weft/internal/cli", "weft/internal/dp"},
		to:   []string{"weft/internal/cp"},
		but:  []string{"weft/internal/cli"},
		why:  "a sidecar must not carry a control plane",
	},
	{
		from: []string{"weft/internal/cp/xds"},
		to:   []string{"weft/internal/mesh/kinds", "weft/internal/mesh/ir", "weft/internal/mesh/policy", "weft/internal/cp/engine", "weft/internal/cp/store"},
		why:  "the transport knows bytes, names and versions, not what they mean",
	},
	{
		from: []string{"weft/internal"},
		to:   []string{"github.com/pkg/errors", "github.com/stretchr", "github.com/ghodss", "github.com/onsi", "github.com/sirupsen"},
		why:  "the standard library does it",
	},
}

// listed is what `go list` tells about a package.
type listed struct {
	ImportPath  string
	Imports     []string
	TestImports []string
}

func TestDependencies(t *testing.T) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	dec := json.NewDecoder(strings.NewReader(string(out)))
	n := 0
	for {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		n++
		for _, b := range bans {
			check(t, p, b)
		}
	}
	if n < 10 {
		t.Fatalf("go list named only %d packages", n)
	}
}

func check(t *testing.T, p listed, b ban) {
	t.Helper()
	if !below(p.ImportPath, b.from) || below(p.ImportPath, b.but) {
		return
	}
	for _, imp := range p.Imports {
		if below(imp, b.to) && !samePackageTree(p.ImportPath, imp, b) {
			t.Errorf("%s imports %s: %s", p.ImportPath, imp, b.why)
		}
	}
}

// below tells whether a path is one of the roots or beneath it. A root that ends
// in a word fragment ("…/policy/mesh") matches by prefix.
func below(path string, roots []string) bool {
	return slices.ContainsFunc(roots, func(r string) bool {
		return path == r || strings.HasPrefix(path, r+"/") || strings.HasSuffix(r, "/mesh") && strings.Contains(r, "/policy/") && strings.HasPrefix(path, r)
	})
}

// samePackageTree lets a package import its own sub-packages.
func samePackageTree(pkg, imp string, b ban) bool {
	return slices.ContainsFunc(b.from, func(r string) bool {
		return r != "weft/internal" && below(pkg, []string{r}) && below(imp, []string{r}) && !below(imp, strictly(b.to))
	})
}

// strictly returns the bans that hold even inside one tree.
func strictly(to []string) []string {
	return slices.DeleteFunc(slices.Clone(to), func(s string) bool { return s == "weft/internal" })
}
