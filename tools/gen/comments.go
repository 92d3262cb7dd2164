package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"strings"
)

// modulePath is the import path of the module that the kinds live in.
const modulePath = "weft"

// comments finds the comments of packages, variables, types and fields in the
// sources. Packages are read when they are first asked for.
type comments struct {
	root     string
	packages map[string]*packageDocs
}

type packageDocs struct {
	name, doc string
	vars      map[string]string
	types     map[string]string
	fields    map[string]string // "Type.Field"
}

func newComments(root string) *comments {
	return &comments{root: root, packages: map[string]*packageDocs{}}
}

// of returns the comments of a package; none for packages outside of the module.
func (c *comments) of(path string) (*packageDocs, error) {
	if p := c.packages[path]; p != nil {
		return p, nil
	}
	p := &packageDocs{vars: map[string]string{}, types: map[string]string{}, fields: map[string]string{}}
	c.packages[path] = p
	dir, ok := strings.CutPrefix(path, modulePath+"/")
	if !ok {
		return p, nil
	}
	dir = filepath.Join(c.root, filepath.FromSlash(dir))
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read comments of %s: %w", path, err)
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, e.Name()), nil, parser.ParseComments)
		if err != nil {
			return nil, fmt.Errorf("read comments of %s: %w", path, err)
		}
		p.add(f)
	}
	return p, nil
}

func (p *packageDocs) add(f *ast.File) {
	p.name = f.Name.Name
	if f.Doc != nil {
		p.doc = paragraphs(f.Doc)
	}
	for _, d := range f.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok {
			continue
		}
		for _, s := range g.Specs {
			switch s := s.(type) {
			case *ast.TypeSpec:
				p.addType(s, first(s.Doc, g.Doc))
			case *ast.ValueSpec:
				for _, n := range s.Names {
					p.vars[n.Name] = paragraphs(first(s.Doc, g.Doc))
				}
			}
		}
	}
}

func (p *packageDocs) addType(s *ast.TypeSpec, doc *ast.CommentGroup) {
	p.types[s.Name.Name] = paragraphs(doc)
	st, ok := s.Type.(*ast.StructType)
	if !ok {
		return
	}
	for _, f := range st.Fields.List {
		for _, n := range f.Names {
			p.fields[s.Name.Name+"."+n.Name] = paragraphs(first(f.Doc, f.Comment))
		}
	}
}

func first(groups ...*ast.CommentGroup) *ast.CommentGroup {
	for _, g := range groups {
		if g != nil {
			return g
		}
	}
	return nil
}

// paragraphs returns a comment with one line for each paragraph.
func paragraphs(g *ast.CommentGroup) string {
	if g == nil {
		return ""
	}
	var out []string
	for p := range strings.SplitSeq(g.Text(), "\n\n") {
		if p = strings.Join(strings.Fields(p), " "); p != "" {
			out = append(out, p)
		}
	}
	return strings.Join(out, "\n")
}

// typeDoc returns the comment of a named type.
func (c *comments) typeDoc(t reflect.Type) (string, error) {
	if t.Name() == "" {
		return "", nil
	}
	p, err := c.of(t.PkgPath())
	if err != nil {
		return "", err
	}
	return p.types[plainName(t)], nil
}

// fieldDoc returns the comment of a field of a struct; sf may be promoted from
// an embedded one.
func (c *comments) fieldDoc(t reflect.Type, sf reflect.StructField) (string, error) {
	for _, i := range sf.Index[:len(sf.Index)-1] {
		t = t.Field(i).Type
		if t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
	}
	if t.Name() == "" {
		return "", nil
	}
	p, err := c.of(t.PkgPath())
	if err != nil {
		return "", err
	}
	return p.fields[plainName(t)+"."+sf.Name], nil
}

// plainName is a type's name without its type arguments.
func plainName(t reflect.Type) string {
	name, _, _ := strings.Cut(t.Name(), "[")
	return name
}
