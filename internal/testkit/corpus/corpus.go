// Package corpus plays recorded answers of 2.10 against our code: it finds the
// recorded cases, compares trees of JSON apart from the words of messages, and
// knows the deliberate differences, which are listed with reasons in one file.
// For tests only.
package corpus

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.yaml.in/yaml/v3"
)

// Difference is a deliberate difference to a recorded answer.
type Difference struct {
	// Area is the folder of the corpus, Case a glob over its cases.
	Area, Case string
	// Path is a glob over <file>/<path in the JSON>; ** crosses slashes.
	Path string
	// Reason says why ours differs.
	Reason string
}

// Skip is a class of cases that is not played yet.
type Skip struct{ Area, Case, Reason string }

// List is what differs and what is left out.
type List struct {
	Differences []Difference
	Skipped     []Skip

	mu   sync.Mutex // cases may be played side by side
	used map[int]bool
}

//go:embed differences.yaml
var differences []byte

// Known returns the list of differences.yaml, of one area.
func Known(t *testing.T, area string) *List {
	t.Helper()
	var all List
	d := yaml.NewDecoder(strings.NewReader(string(differences)))
	d.KnownFields(true)
	if err := d.Decode(&all); err != nil {
		t.Fatalf("differences.yaml: %v", err)
	}
	out := &List{used: map[int]bool{}}
	for _, x := range all.Differences {
		if x.Reason == "" {
			t.Errorf("differences.yaml: %s %s %s has no reason", x.Area, x.Case, x.Path)
		}
		if x.Area == area {
			out.Differences = append(out.Differences, x)
		}
	}
	for _, x := range all.Skipped {
		if x.Reason == "" {
			t.Errorf("differences.yaml: skipped %s %s has no reason", x.Area, x.Case)
		}
		if x.Area == area {
			out.Skipped = append(out.Skipped, x)
		}
	}
	return out
}

// Skips returns why a case is not played, "" if it is.
func (l *List) Skips(name string) string {
	for _, s := range l.Skipped {
		if ok, err := path.Match(s.Case, name); err == nil && ok {
			return s.Reason
		}
	}
	return ""
}

// Deliberate returns why a difference is meant, "" if it is not.
func (l *List) Deliberate(name, at string) string {
	for i, d := range l.Differences {
		if ok, err := path.Match(d.Case, name); err == nil && ok && glob(d.Path).MatchString(at) {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.used[i] = true
			return d.Reason
		}
	}
	return ""
}

// Unused returns the differences of cases that were played without showing them.
func (l *List) Unused() []Difference {
	var out []Difference
	for i, d := range l.Differences {
		if !l.used[i] {
			out = append(out, d)
		}
	}
	return out
}

// glob compiles a pattern in which * stands for anything but a slash and ** for
// anything.
func glob(pattern string) *regexp.Regexp {
	parts := strings.Split(pattern, "**")
	for i, p := range parts {
		parts[i] = strings.ReplaceAll(regexp.QuoteMeta(p), `\*`, `[^/]*`)
	}
	return regexp.MustCompile("^" + strings.Join(parts, ".*") + "$")
}

// Root returns the folder of an area of the recorded corpus; the test is
// skipped where there is none.
func Root(t *testing.T, area string) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		root := filepath.Join(dir, "shared", "compat", area)
		if _, err := os.Stat(root); err == nil {
			return root
		}
	}
	t.Skipf("SKIPPED: no recorded corpus shared/compat/%s above the working directory", area)
	return ""
}

// Cases returns the names of the cases below a root, sorted.
func Cases(t *testing.T, root string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, "*", "case.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases below %s (%v)", root, err)
	}
	out := make([]string, len(files))
	for i, f := range files {
		out[i] = filepath.Base(filepath.Dir(f))
	}
	slices.Sort(out)
	return out
}

// ReadYAML reads a file into a value.
func ReadYAML(t *testing.T, file string, to any) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(b, to); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

// ReadJSON reads a file as a tree.
func ReadJSON(t *testing.T, file string) any {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var tree any
	if err := json.Unmarshal(b, &tree); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return tree
}

// words are keys whose texts are ours.
var words = map[string]bool{"reason": true, "message": true, "detail": true, "details": true, "title": true, "warnings": true}

// missing stands for what is not there.
type missing struct{}

// Diff is a place where two trees differ.
type Diff struct{ Path, Want, Got string }

// Compare returns where two trees differ, apart from the words of messages.
func Compare(at string, want, got any) []Diff {
	switch w := want.(type) {
	case map[string]any:
		if g, ok := got.(map[string]any); ok {
			return compareObjects(at, w, g)
		}
	case []any:
		if g, ok := got.([]any); ok {
			return compareLists(at, w, g)
		}
	default:
		if want == got {
			return nil
		}
	}
	return []Diff{{at, show(want), show(got)}}
}

func compareObjects(at string, want, got map[string]any) []Diff {
	keys := map[string]bool{}
	for k := range want {
		keys[k] = true
	}
	for k := range got {
		keys[k] = true
	}
	var out []Diff
	for _, k := range sortedKeys(keys) {
		w, inWant := want[k]
		g, inGot := got[k]
		sub := at + "/" + k
		switch {
		case words[k] && texts(w) && texts(g):
		case !inWant:
			out = append(out, Diff{sub, show(missing{}), show(g)})
		case !inGot:
			out = append(out, Diff{sub, show(w), show(missing{})})
		default:
			out = append(out, Compare(sub, w, g)...)
		}
	}
	return out
}

func compareLists(at string, want, got []any) []Diff {
	if len(want) != len(got) {
		return []Diff{{at, show(want), show(got)}}
	}
	var out []Diff
	for i := range want {
		out = append(out, Compare(fmt.Sprintf("%s/%d", at, i), want[i], got[i])...)
	}
	return out
}

// texts tells whether a value is text, or absent.
func texts(v any) bool {
	switch v.(type) {
	case nil, string, []any:
		return true
	}
	return false
}

func show(v any) string {
	if _, ok := v.(missing); ok {
		return "(absent)"
	}
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	if s := string(b); len(s) <= 240 {
		return s
	}
	return string(b[:237]) + "..."
}

func sortedKeys(m map[string]bool) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
