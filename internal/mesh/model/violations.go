package model

import (
	"fmt"
	"strconv"
	"strings"
)

// Violation is one thing that is wrong with an object.
type Violation struct {
	// Field is the path: a.b, list index a[0], map key a["k"].
	Field string
	// Message says what is wrong and, where it helps, what to do.
	Message string
}

// Violations collects what is wrong with an object. The zero value is ready.
// A *Violations may be positioned at a path with At; all positions of one
// collection share the list.
type Violations struct {
	list *[]Violation
	path string
}

// At returns the same collection positioned at a path below the current one.
// Elements are strings (field names), ints (list indexes) and Q (map keys).
func (v *Violations) At(path ...any) *Violations {
	if v.list == nil {
		v.list = new([]Violation)
	}
	return &Violations{list: v.list, path: joinPath(v.path, path)}
}

// Q is a map key in a path: Q("a/b") prints as ["a/b"].
type Q string

func joinPath(base string, path []any) string {
	var b strings.Builder
	b.WriteString(base)
	for _, p := range path {
		switch p := p.(type) {
		case int:
			b.WriteString("[" + strconv.Itoa(p) + "]")
		case Q:
			b.WriteString("[" + strconv.Quote(string(p)) + "]")
		case string:
			if p == "" {
				continue
			}
			if b.Len() > 0 {
				b.WriteByte('.')
			}
			b.WriteString(p)
		default:
			panic(fmt.Sprintf("model: path element %v of type %T", p, p))
		}
	}
	return b.String()
}

// Path returns the current position.
func (v *Violations) Path() string { return v.path }

// Add adds a violation at the current position.
func (v *Violations) Add(format string, args ...any) {
	if v.list == nil {
		v.list = new([]Violation)
	}
	msg := format
	if len(args) > 0 {
		msg = fmt.Sprintf(format, args...)
	}
	*v.list = append(*v.list, Violation{Field: v.path, Message: msg})
}

// List returns what was collected, in the order of adding.
func (v *Violations) List() []Violation {
	if v.list == nil {
		return nil
	}
	return *v.list
}

// Empty tells whether nothing is wrong.
func (v *Violations) Empty() bool { return v.list == nil || len(*v.list) == 0 }

// Err returns nil or an *Invalid with all violations.
func (v *Violations) Err() error {
	if v.Empty() {
		return nil
	}
	return &Invalid{Violations: v.List()}
}

// Invalid is the error for an object that breaks rules of its kind.
type Invalid struct{ Violations []Violation }

// Error returns "field: message; field: message".
func (e *Invalid) Error() string {
	parts := make([]string, len(e.Violations))
	for i, v := range e.Violations {
		parts[i] = v.Message
		if v.Field != "" {
			parts[i] = v.Field + ": " + v.Message
		}
	}
	return strings.Join(parts, "; ")
}
