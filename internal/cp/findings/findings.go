// Package findings tells what is accepted and most likely not meant: policies
// that select nothing or have no effect, references to what does not exist,
// secrets that are not there. It asks the code that configures proxies (matching
// and resolution of package policy, the destinations of package view, the status
// that package services writes), so that a finding and what proxies get agree. It
// is pure.
package findings

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"weft/internal/cp/inspect"
	"weft/internal/cp/view"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
	"weft/internal/mesh/policy"
	"weft/internal/mesh/policy/legacy"
)

// Severity says how bad a finding is.
type Severity string

// The severities. Errors are what a control plane refuses; package findings has
// none, whoever adds them does.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
	Info    Severity = "info"
)

// AtLeast tells whether s is as bad as other, or worse.
func (s Severity) AtLeast(other Severity) bool {
	order := []Severity{Info, Warning, Error}
	return slices.Index(order, s) >= slices.Index(order, other)
}

// Finding is one thing that is likely not meant.
type Finding struct {
	Severity Severity `json:"severity"`
	// Rule names the sort of finding: selects-nothing, unknown-reference and so on.
	Rule string `json:"rule"`
	Kind string `json:"type"`
	Mesh string `json:"mesh,omitempty"`
	Name string `json:"name"`
	// Field is the path in the object, "" for the object as a whole.
	Field   string `json:"field,omitempty"`
	Message string `json:"message"`
	// Advice says what to do.
	Advice string `json:"advice,omitempty"`
}

// Text says what is wrong and what to do, without the object's name.
func (f *Finding) Text() string {
	var b strings.Builder
	if f.Field != "" {
		b.WriteString(f.Field + ": ")
	}
	b.WriteString(f.Message)
	if f.Advice != "" {
		b.WriteString("; " + f.Advice)
	}
	return b.String()
}

// MissingSecret is the rule of findings that tell whether there is a Secret.
const MissingSecret = "missing-secret"

// The other rules.
const (
	ruleSelectsNothing = "selects-nothing"
	ruleUnknown        = "unknown-reference"
	ruleOverruled      = "overruled"
	ruleNeedsMTLS      = "needs-mtls"
	ruleNeedsEgress    = "needs-egress"
	ruleProtocol       = "protocol-mismatch"
	ruleShadow         = "shadow"
	ruleReplaced       = "replaced"
	ruleNoWeight       = "no-weight"
	ruleCollision      = "hostname-collision"
	ruleTemplate       = "hostname-failed"
	ruleNoProxies      = "no-dataplanes"
)

// World is one mesh at one moment.
type World struct {
	Mesh string
	// Tables hold the objects, View is the view of the mesh in (almost) the same
	// moment.
	Tables   model.Tables
	View     *view.Mesh
	Policies []*policy.Policy
}

// All returns the findings of all objects of the mesh, the worst first.
func (w *World) All() []Finding {
	c := newCheck(w)
	for _, k := range checked(w.Policies) {
		for _, row := range w.Tables.Table(k, c.meshOf(k)).Rows() {
			c.object(row.Object)
		}
	}
	c.overruled(nil)
	c.noProxies()
	c.leaveInitial()
	return sorted(c.out)
}

// Concerning returns the findings of a proxy, of its mesh, and of the policies that
// select it.
func (w *World) Concerning(dp *model.Object) []Finding {
	c := newCheck(w)
	if row, ok := w.Tables.Table(kinds.Mesh, "").Get(w.Mesh); ok {
		c.object(row.Object)
	}
	c.object(dp)
	acting := map[model.Key]bool{}
	for _, s := range w.View.Policies().Match(c.factsOf(dp)).Selecting() {
		for _, o := range s.Objects {
			acting[o.Key()] = true
			c.object(o)
		}
	}
	for _, k := range legacy.Kinds() {
		for _, row := range w.Tables.Table(k, w.Mesh).Rows() {
			if concerns := inspect.Concern(w.Policies, w.Tables, row.Object); concerns != nil && concerns(dp) {
				c.object(row.Object)
			}
		}
	}
	told := len(c.out)
	c.overruled(dp)
	rest := slices.DeleteFunc(c.out[told:], func(f Finding) bool { return !acting[f.key()] })
	c.out = c.out[:told+len(rest)]
	c.leaveInitial()
	return sorted(c.out)
}

// leaveInitial drops what is found in the policies that meshes start with: that they
// are replaced, or wait for proxies, is what they are for.
func (c *check) leaveInitial() {
	given := c.initial()
	c.out = slices.DeleteFunc(c.out, func(f Finding) bool { return given[f.key()] })
}

func (f *Finding) key() model.Key { return model.Key{Kind: f.Kind, Mesh: f.Mesh, Name: f.Name} }

// Of returns the findings of one object, which needs not be in the tables. It
// costs at most one look at each proxy of the mesh, and leaves out what depends on
// all policies together.
func (w *World) Of(o *model.Object) []Finding {
	c := newCheck(w)
	c.object(o)
	return sorted(c.out)
}

func sorted(list []Finding) []Finding {
	slices.SortStableFunc(list, func(a, b Finding) int {
		switch {
		case a.Severity != b.Severity && a.Severity.AtLeast(b.Severity):
			return -1
		case a.Severity != b.Severity:
			return 1
		}
		return cmp.Or(cmp.Compare(a.Mesh, b.Mesh), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Field, b.Field))
	})
	if list == nil {
		return []Finding{}
	}
	return list
}

// at is where findings are added.
type at struct {
	c *check
	o *model.Object
}

func (a at) add(s Severity, rule string, path []any, advice, message string, args ...any) {
	var v model.Violations
	v.At(path...).Add("")
	a.c.out = append(a.c.out, Finding{
		Severity: s, Rule: rule, Kind: a.o.Kind.Name, Mesh: a.o.Meta.Mesh, Name: a.o.Meta.Name,
		Field: v.List()[0].Field, Message: fmt.Sprintf(message, args...), Advice: advice,
	})
}
