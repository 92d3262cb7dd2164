// Package admit is the one gate that every written object passes, whichever
// entrance it came through: REST, registration of a proxy, or the Kubernetes
// API. It checks names, labels and origin, fills in defaults, validates, and
// computes labels. A Gate may be used by many goroutines.
package admit

import (
	"context"
	"errors"
	"fmt"
	"reflect"

	"weft/internal/cp/store"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
	"weft/internal/mesh/policy/legacy"
)

// Reader is what the gate asks about other objects; store.Store has it.
type Reader interface {
	Get(ctx context.Context, key model.Key) (*model.Object, error)
	List(ctx context.Context, kind *model.Kind, mesh string) ([]*model.Object, error)
}

// Gate knows the role of this control plane.
type Gate struct {
	Reader Reader
	// Global says that this is a global control plane; else it is a zone's.
	Global bool
	// Federated says that this zone has a global control plane.
	Federated bool
	// Zone is the name of the local zone; empty on global.
	Zone string
	// Kubernetes says that objects live in the Kubernetes API; else Universal.
	Kubernetes bool
	// SystemNamespace is the namespace of the control plane on Kubernetes.
	SystemNamespace string
	// ReadOnly refuses every write through the API (Writable).
	ReadOnly bool
	// AnyOrigin lets federated zones accept objects without the label
	// kuma.io/origin (multizone.zone.disableOriginLabelValidation).
	AnyOrigin bool
	// UnsafeDelete lets meshes go that still have proxies, and zones that are online.
	UnsafeDelete bool
	// Native adds what is wrong with parts of an object that only the proxy's own
	// types can tell (patches), and returns sentences about what is accepted but
	// likely not meant. nil = nobody can.
	Native func(o *model.Object, v *model.Violations) (warnings []string)
	// ReadFile reads files that data sources name, with a bound. nil = they are refused.
	ReadFile func(path string) ([]byte, error)
}

// Admit returns the object as it shall be stored, with sentences about what is
// accepted but likely not meant. prior is the stored object, nil when the object
// is new. Neither argument is changed.
//
// Errors: *model.Invalid for what is wrong with the object; *Clash (which wraps
// one) for what does not go with other objects; *ReadOnly if the object belongs
// to another control plane.
func (g *Gate) Admit(ctx context.Context, o, prior *model.Object) (*model.Object, []string, error) {
	if prior != nil {
		if err := g.owned(prior); err != nil {
			return nil, nil, err
		}
	}
	out := o.Clone()
	out.Spec, out.Status = model.CopyValue(o.Spec), model.CopyValue(o.Status)
	if prior != nil {
		out.Meta.Created, out.Meta.Version = prior.Meta.Created, prior.Meta.Version
		if out.Status == nil || reflect.ValueOf(out.Status).Elem().IsZero() {
			out.Status = prior.Status // who writes no status does not mean to remove it
		}
	}

	var v model.Violations
	g.CheckMeta(out, prior, &v)
	if out.Kind.Default != nil {
		out.Kind.Default(out)
	}
	if out.Kind.Validate != nil {
		out.Kind.Validate(out, &v)
	}
	var warnings []string
	if g.Native != nil && v.Empty() {
		warnings = g.Native(out, &v)
	}
	if err := v.Err(); err != nil {
		return nil, nil, err
	}
	mesh, err := g.meshOf(ctx, out)
	if err != nil {
		return nil, nil, err
	}
	g.putZone(out, prior)
	if err := g.computeLabels(out); err != nil {
		return nil, nil, err
	}
	if err := g.checkOthers(ctx, out, mesh); err != nil {
		return nil, nil, err
	}
	if out.Kind.Warn != nil {
		warnings = append(warnings, out.Kind.Warn(out)...)
	}
	return out, warnings, nil
}

// meshOf returns the mesh that the object belongs to, nil for global objects.
func (g *Gate) meshOf(ctx context.Context, o *model.Object) (*model.Object, error) {
	if o.Kind.Scope == model.Global {
		return nil, nil
	}
	mesh, err := g.Reader.Get(ctx, kinds.Mesh.Key("", o.Meta.Mesh))
	if errors.Is(err, store.ErrNotFound) {
		var v model.Violations
		v.At("mesh").Add("there is no mesh %q; create it first", o.Meta.Mesh)
		return nil, &Clash{Invalid: &model.Invalid{Violations: v.List()}}
	}
	if err != nil {
		return nil, fmt.Errorf("look up mesh %q: %w", o.Meta.Mesh, err)
	}
	return mesh, nil
}

// checkOthers checks what depends on other objects.
func (g *Gate) checkOthers(ctx context.Context, o, mesh *model.Object) error {
	var v model.Violations
	var err error
	switch spec := o.Spec.(type) {
	case *kinds.MeshSpec:
		err = g.checkMesh(ctx, o, spec, &v)
	case *kinds.DataplaneSpec:
		checkMembership(spec, mesh, &v)
	case *kinds.ExternalServiceSpec:
		err = g.checkRateLimits(ctx, o, spec, &v)
	case *legacy.RateLimitSpec:
		err = g.checkExternalServices(ctx, o, spec, &v)
	}
	if err != nil {
		return err
	}
	return clash(&v)
}

// Clash is the error for an object that is right by itself but does not go with
// other objects, or with its stored self.
type Clash struct{ Invalid *model.Invalid }

// Error returns the violations.
func (c *Clash) Error() string { return c.Invalid.Error() }

// Unwrap returns the violations as *model.Invalid.
func (c *Clash) Unwrap() error { return c.Invalid }

// Late tells the API that the object was refused after it was found valid, for
// which it has another title.
func (c *Clash) Late() bool { return true }

func clash(v *model.Violations) error {
	if v.Empty() {
		return nil
	}
	return &Clash{Invalid: &model.Invalid{Violations: v.List()}}
}
