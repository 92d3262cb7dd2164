// Command gen writes what is derived from the catalog of kinds: the OpenAPI
// document, the CRDs and the reference pages. It reads structs by reflection and
// their comments from the sources. Run it from anywhere in the module:
//
//	go run ./tools/gen          write the files
//	go run ./tools/gen -check   fail if a file is not up to date
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"weft/internal/mesh/catalog"
)

func main() {
	check := flag.Bool("check", false, "compare the files with what would be written, and fail on a difference")
	flag.Parse()
	if err := run(*check); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

// owned are the places whose files all come from here: others are removed.
var owned = []string{"api/crds", "docs/reference/kinds"}

func run(check bool) error {
	root, err := moduleRoot()
	if err != nil {
		return err
	}
	files, err := generate(root)
	if err != nil {
		return err
	}
	stale, err := staleFiles(root, files)
	if err != nil {
		return err
	}
	if check {
		return compare(root, files, stale)
	}
	return write(root, files, stale)
}

// generate returns the content of every file by its path below root.
func generate(root string) (map[string][]byte, error) {
	g := &generator{kinds: catalog.Kinds, docs: newComments(root)}
	files := map[string][]byte{}
	for _, step := range []func(map[string][]byte) error{g.openAPI, g.crds, g.reference} {
		if err := step(files); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// moduleRoot returns the nearest folder above that holds go.mod.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", errors.New("no go.mod here or above: run it inside the checkout")
		}
		dir = up
	}
}

// staleFiles returns the files in owned folders that are not generated any more.
func staleFiles(root string, files map[string][]byte) ([]string, error) {
	var stale []string
	for _, dir := range owned {
		entries, err := os.ReadDir(filepath.Join(root, dir))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if path := dir + "/" + e.Name(); files[path] == nil {
				stale = append(stale, path)
			}
		}
	}
	return stale, nil
}

func compare(root string, files map[string][]byte, stale []string) error {
	bad := slices.Clone(stale)
	for path, want := range files {
		got, err := os.ReadFile(filepath.Join(root, path))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if !bytes.Equal(got, want) {
			bad = append(bad, path)
		}
	}
	if len(bad) == 0 {
		return nil
	}
	slices.Sort(bad)
	return fmt.Errorf("not up to date, run `go run ./tools/gen` and commit the result:\n  %s", strings.Join(bad, "\n  "))
}

func write(root string, files map[string][]byte, stale []string) error {
	for _, path := range stale {
		if err := os.Remove(filepath.Join(root, path)); err != nil {
			return err
		}
	}
	for _, path := range slices.Sorted(maps.Keys(files)) {
		full := filepath.Join(root, path)
		if old, err := os.ReadFile(full); err == nil && bytes.Equal(old, files[path]) {
			continue // keep the time of files that did not change
		}
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(full, files[path], 0o644); err != nil {
			return err
		}
	}
	return nil
}
