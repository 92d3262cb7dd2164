package config

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"weft/internal/config/loader"
)

// onlyChecked are files of this package that read settings to judge them, which
// is no effect.
var onlyChecked = []string{"validate.go", "intervals.go", "risks.go", "checks.go"}

// TestEverySettingHasAnEffect: the field of a setting is read somewhere, or its
// tag says why not. It compares names, so a name that others have too may hide a
// setting that nobody reads; it has no false alarms.
func TestEverySettingHasAnEffect(t *testing.T) {
	read := map[string]bool{}
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		inConfig := filepath.Dir(path) == filepath.Join("..", "..", "internal", "config")
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") ||
			inConfig && slices.Contains(onlyChecked, d.Name()) {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok {
				read[s.Sel.Name] = true
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range loader.Fields(Default(), prefix) {
		if f.Unused == "" && !read[f.Declared.Name] && f.Path != "access.type" && f.Path != "store.postgres.driverName" {
			t.Errorf("nobody reads %s (%s.%s): let it have its effect, or say why not in a tag unused", f.Path, f.Declared.Owner.Name(), f.Declared.Name)
		}
	}
}
