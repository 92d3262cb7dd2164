package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCheck writes the files somewhere and breaks them in every way that the
// check has to notice.
func TestCheck(t *testing.T) {
	files := generated(t)
	root := t.TempDir()
	look := func() error {
		stale, err := staleFiles(root, files)
		if err != nil {
			t.Fatal(err)
		}
		return compare(root, files, stale)
	}
	if err := look(); err == nil || !strings.Contains(err.Error(), openAPIPath) {
		t.Errorf("nothing is written, but: %v", err)
	}
	if err := write(root, files, nil); err != nil {
		t.Fatal(err)
	}
	if err := look(); err != nil {
		t.Errorf("all is written, but: %v", err)
	}

	mesh := filepath.Join(root, referenceDir, "mesh.md")
	extra := filepath.Join(root, "api/crds/kuma.io_others.yaml")
	for path, text := range map[string]string{mesh: "changed", extra: "of a kind that is gone"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	err := look()
	for _, want := range []string{"mesh.md", "kuma.io_others.yaml"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not up to date, but: %v", want, err)
		}
	}
	stale, err := staleFiles(root, files)
	if err != nil {
		t.Fatal(err)
	}
	if err := write(root, files, stale); err != nil {
		t.Fatal(err)
	}
	if err := look(); err != nil {
		t.Errorf("written again, but: %v", err)
	}
}
