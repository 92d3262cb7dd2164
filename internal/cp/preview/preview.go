// Package preview is the way from the view of a mesh to what one proxy gets:
// inputs, description, Envoy resources. The engine sends what it gives, the API
// and kumactl show it; since it is one function for all, what is shown is what
// is sent. It is pure.
package preview

import (
	"fmt"

	"weft/internal/cp/build"
	"weft/internal/cp/envoy"
	"weft/internal/cp/view"
	"weft/internal/cp/xds"
	"weft/internal/mesh/ir"
	"weft/internal/mesh/model"
)

// Preview is what a proxy's configuration looks like without sending it.
type Preview struct {
	Inputs      *view.Inputs
	Proxy       *ir.Proxy
	Resources   []*xds.Resource
	Assignments []*xds.Resource
	view        *view.Mesh
}

// Endpoints returns the endpoints that a reference of the proxy stands for.
func (p *Preview) Endpoints(ref ir.EndpointsRef) []ir.Endpoint { return p.view.Endpoints(ref) }

// Maker turns what a proxy depends on into resources and the endpoint lists that they
// refer to.
type Maker func(s view.Subject) (*ir.Proxy, []*xds.Resource, []ir.EndpointsRef, error)

// Of previews a proxy. It returns false if the view does not hold it.
func Of(v *view.Mesh, kind *model.Kind, name string, md view.Metadata, make Maker) (*Preview, bool, error) {
	in, ok := v.For(kind, name, md)
	if !ok {
		return nil, false, nil
	}
	p, rs, refs, err := make(in)
	if err != nil {
		return nil, true, err
	}
	out := &Preview{Inputs: in, Proxy: p, Resources: rs, view: v}
	for _, ref := range refs {
		out.Assignments = append(out.Assignments, Assignment(v, ref))
	}
	return out, true, nil
}

// OfEgress previews an egress. Its Inputs are nil.
func OfEgress(in *view.ZoneInputs) (*Preview, error) {
	p, rs, _, err := Make(in)
	if err != nil {
		return nil, err
	}
	return &Preview{Proxy: p, Resources: rs}, nil
}

// Make is the Maker of real resources.
func Make(s view.Subject) (*ir.Proxy, []*xds.Resource, []ir.EndpointsRef, error) {
	return Sharing(nil)(s)
}

// Sharing returns Make for many proxies: what the memo has is not made again.
func Sharing(memo *envoy.Memo) Maker {
	return func(s view.Subject) (*ir.Proxy, []*xds.Resource, []ir.EndpointsRef, error) {
		p := build.Of(s)
		rs, refs, err := memo.Resources(p)
		if err != nil {
			return nil, nil, nil, fmt.Errorf("translate proxy %s/%s: %w", p.ID.Mesh, p.ID.Name, err)
		}
		return p, rs, refs, nil
	}
}

// Assignment encodes the endpoints of a ref as a view knows them.
func Assignment(v *view.Mesh, ref ir.EndpointsRef) *xds.Resource {
	return envoy.Assignment(ref, v.Endpoints(ref))
}
