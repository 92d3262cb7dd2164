// Package storetest holds the conformance suite that every store passes, and a
// store that breaks on command for the tests of those who use one.
package storetest

import (
	"weft/internal/mesh/model"
)

// The suite brings its own kinds, so that it depends on no real one.
var (
	// Mesh owns what is in a mesh; the name is the one that model.Kind.Ownership knows.
	Mesh = &model.Kind{
		Name: "Mesh", Plural: "meshes", Scope: model.Global, Shape: model.Flat,
		New: func() any { return new(MeshSpec) },
	}
	// Thing is the common case: in a mesh, with labels and a status.
	Thing = &model.Kind{
		Name: "Thing", Plural: "things", Scope: model.InMesh,
		New: func() any { return new(ThingSpec) }, NewStatus: func() any { return new(ThingStatus) },
	}
	// Part belongs to a Thing or to another Part, as its spec says.
	Part = &model.Kind{
		Name: "Part", Plural: "parts", Scope: model.InMesh,
		New:   func() any { return new(PartSpec) },
		Owner: partOwner,
	}
	// Loose belongs to nobody.
	Loose = &model.Kind{
		Name: "Loose", Plural: "loose", Scope: model.Global, Shape: model.Flat,
		New: func() any { return new(LooseSpec) },
	}
)

// Kinds returns the suite's kind of that name, nil if there is none.
func Kinds(name string) *model.Kind {
	for _, k := range []*model.Kind{Mesh, Thing, Part, Loose} {
		if k.Name == name {
			return k
		}
	}
	return nil
}

// MeshSpec is the spec of Mesh.
type MeshSpec struct {
	Note string `json:"note,omitempty"`
}

// ThingSpec is the spec of Thing.
type ThingSpec struct {
	Count int               `json:"count,omitempty"`
	Text  string            `json:"text,omitempty"`
	List  []string          `json:"list,omitempty"`
	Map   map[string]string `json:"map,omitempty"`
}

// ThingStatus is the status of Thing.
type ThingStatus struct {
	Seen int `json:"seen,omitempty"`
}

// PartSpec is the spec of Part: which object it belongs to.
type PartSpec struct {
	OfKind string `json:"ofKind"`
	Of     string `json:"of"`
}

// LooseSpec is the spec of Loose.
type LooseSpec struct {
	Count int   `json:"count,omitempty"`
	Big   int64 `json:"big,omitempty,string"`
}

func partOwner(o *model.Object) (model.Key, bool) {
	s := model.Spec[PartSpec](o)
	return model.Key{Kind: s.OfKind, Mesh: o.Meta.Mesh, Name: s.Of}, true
}

// NewMesh returns a Mesh.
func NewMesh(name string) *model.Object { return Mesh.Make("", name) }

// NewThing returns a Thing.
func NewThing(mesh, name string, count int) *model.Object {
	o := Thing.Make(mesh, name)
	o.Spec = &ThingSpec{Count: count}
	return o
}

// NewPart returns a Part that belongs to the owner.
func NewPart(name string, owner *model.Object) *model.Object {
	o := Part.Make(owner.Meta.Mesh, name)
	o.Spec = &PartSpec{OfKind: owner.Kind.Name, Of: owner.Meta.Name}
	return o
}

// NewLoose returns a Loose.
func NewLoose(name string, count int) *model.Object {
	o := Loose.Make("", name)
	o.Spec = &LooseSpec{Count: count}
	return o
}

// count returns the number in a Thing or Loose.
func count(o *model.Object) int {
	switch s := o.Spec.(type) {
	case *ThingSpec:
		return s.Count
	case *LooseSpec:
		return s.Count
	}
	return -1
}

// counted returns a copy with another number.
func counted(o *model.Object, n int) *model.Object {
	c := o.Clone()
	switch s := o.Spec.(type) {
	case *ThingSpec:
		spec := *s
		spec.Count = n
		c.Spec = &spec
	case *LooseSpec:
		spec := *s
		spec.Count = n
		c.Spec = &spec
	}
	return c
}
