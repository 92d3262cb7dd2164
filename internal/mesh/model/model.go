// Package model is the vocabulary that kuma-cp, kuma-dp and kumactl share: what
// an object is, how it is named, which kind it has and what is wrong with it.
// It holds pure values and functions and imports only the standard library and
// a hash. All values are safe for concurrent reads; objects are immutable once
// they were stored or published.
package model

import (
	"cmp"
	"maps"
	"strings"
	"time"
)

// Object is one instance of a kind. It is immutable once it was handed to a
// store or put into a snapshot: to change one, Clone it (or copy the struct),
// replace the parts that change with new values, and write it back.
type Object struct {
	Kind *Kind
	Meta Meta
	// Spec points to the kind's spec struct (what Kind.New returns); never nil.
	Spec any
	// Status points to the kind's status struct, or is nil where the kind has none.
	Status any
}

// Meta is what every object carries beside its spec.
type Meta struct {
	// Mesh is empty for kinds of global scope.
	Mesh   string
	Name   string
	Labels map[string]string
	// Created and Modified are set by the store, in UTC.
	Created  time.Time
	Modified time.Time
	// Version is the store's optimistic lock: a write of an object whose Version
	// is not the stored one fails with store.ErrConflict. 0 = not stored yet.
	Version uint64
}

// Key identifies an object within one store. It is comparable.
type Key struct {
	Kind string // Kind.Name
	Mesh string // empty for global scope
	Name string
}

// String returns "Kind mesh/name" or "Kind name", for logs and errors.
func (k Key) String() string {
	if k.Mesh == "" {
		return k.Kind + " " + k.Name
	}
	return k.Kind + " " + k.Mesh + "/" + k.Name
}

// Compare orders keys by kind, mesh and name.
func (k Key) Compare(o Key) int {
	return cmp.Or(strings.Compare(k.Kind, o.Kind), strings.Compare(k.Mesh, o.Mesh), strings.Compare(k.Name, o.Name))
}

// Key returns the object's identity.
func (o *Object) Key() Key { return Key{Kind: o.Kind.Name, Mesh: o.Meta.Mesh, Name: o.Meta.Name} }

// Label returns the label's value, or "".
func (o *Object) Label(key string) string { return o.Meta.Labels[key] }

// DisplayName returns the name that the object has where it was written: the
// label kuma.io/display-name, else its name. References go by it.
func (o *Object) DisplayName() string {
	if n := o.Meta.Labels[LabelDisplayName]; n != "" {
		return n
	}
	return o.Meta.Name
}

// Clone returns a copy whose struct and labels may be changed. Spec and Status
// are shared: replace them, do not write through them.
func (o *Object) Clone() *Object {
	c := *o
	c.Meta.Labels = maps.Clone(o.Meta.Labels)
	return &c
}

// Spec returns the object's spec as a *T. It panics if the object is of another
// kind, which is a programming error.
func Spec[T any](o *Object) *T { return o.Spec.(*T) }

// Status returns the object's status as a *T, nil if it has none.
func Status[T any](o *Object) *T {
	s, _ := o.Status.(*T)
	return s
}
