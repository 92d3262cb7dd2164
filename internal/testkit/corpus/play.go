package corpus

import (
	"path/filepath"
	"strings"
	"testing"
)

// Case is a recorded case while it is played.
type Case struct {
	// Name is the case's name, Dir its folder.
	Name, Dir string
	known     *List
}

// Play runs a subtest for each case of an area that is not listed as skipped.
// Afterwards the listed differences whose paths begin with files must have shown
// themselves: other tests play other files of the same area.
func Play(t *testing.T, area, files string, play func(t *testing.T, c *Case)) {
	t.Helper()
	root := Root(t, area)
	known := Known(t, area)
	equal, total := 0, 0
	for _, name := range Cases(t, root) {
		t.Run(name, func(t *testing.T) {
			if why := known.Skips(name); why != "" {
				t.Skip("SKIPPED: " + why)
			}
			play(t, &Case{Name: name, Dir: filepath.Join(root, name), known: known})
			total++
			if !t.Failed() {
				equal++
			}
		})
	}
	t.Logf("%d of %d cases equal", equal, total)
	if t.Failed() {
		return
	}
	for _, d := range known.Unused() {
		if strings.HasPrefix(d.Path, files) {
			t.Errorf("the difference %s %s does not occur: remove it from differences.yaml", d.Case, d.Path)
		}
	}
}

// Read reads the description of a case.
func (c *Case) Read(t *testing.T, to any) {
	t.Helper()
	ReadYAML(t, c.File("case.yaml"), to)
}

// File returns the path of one of the case's files.
func (c *Case) File(name string) string { return filepath.Join(c.Dir, name) }

// Check reports where an answer differs from the recorded one. file stands
// before the paths in the list of differences.
func (c *Case) Check(t *testing.T, file string, want, got any) {
	t.Helper()
	c.known.Check(t, c.Name, Compare(file, want, got))
}

// Check reports the differences of a case that are not deliberate.
func (l *List) Check(t *testing.T, name string, diffs []Diff) {
	t.Helper()
	for _, d := range diffs {
		if why := l.Deliberate(name, d.Path); why != "" {
			t.Logf("%s: %s", d.Path, why)
			continue
		}
		t.Errorf("%s\n  want %s\n  got  %s", d.Path, d.Want, d.Got)
	}
}
