package services

import (
	"maps"
	"net/netip"
	"reflect"

	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// draft is an object as it shall be. Nothing of the object that was is changed:
// what becomes different is copied first.
type draft struct {
	was, now          *model.Object // was is nil for a new object
	ownSpec, ownState bool
	// counted: counts are different; shaped: anything else is.
	counted, shaped bool
}

func newDraft(was, now *model.Object) *draft { return &draft{was: was, now: now, shaped: was == nil} }

// of returns a draft of an object that is there.
func draftOf(o *model.Object) *draft { return &draft{was: o, now: o} }

func (d *draft) spec() *kinds.MeshServiceSpec { return model.Spec[kinds.MeshServiceSpec](d.now) }

// clone makes now a copy whose fields may be replaced.
func (d *draft) clone() {
	if d.now == d.was {
		d.now = d.was.Clone()
	}
}

// newSpec returns the spec of a MeshService to be changed.
func (d *draft) newSpec() *kinds.MeshServiceSpec {
	d.clone()
	d.shaped = true
	if !d.ownSpec {
		s := *d.spec()
		d.now.Spec, d.ownSpec = &s, true
	}
	return d.spec()
}

// label sets a label, or removes it if the value is empty.
func (d *draft) label(key, value string) {
	d.clone()
	d.shaped = true
	d.now.Meta.Labels = maps.Clone(d.now.Meta.Labels)
	if value == "" {
		delete(d.now.Meta.Labels, key)
	} else {
		d.now.Meta.Labels[key] = value
	}
}

// newStatus makes the status one that may be changed.
func (d *draft) newStatus() any {
	d.clone()
	if d.ownState {
		return d.now.Status
	}
	d.ownState = true
	fresh := d.now.Kind.NewStatus()
	if old := reflect.ValueOf(d.now.Status); old.IsValid() && !old.IsNil() {
		reflect.ValueOf(fresh).Elem().Set(old.Elem())
	}
	d.now.Status = fresh
	return fresh
}

func (d *draft) serviceStatus() *kinds.MeshServiceStatus {
	if s := model.Status[kinds.MeshServiceStatus](d.now); s != nil {
		return s
	}
	return &kinds.MeshServiceStatus{}
}

func (d *draft) newServiceStatus() *kinds.MeshServiceStatus {
	d.counted = true
	return d.newStatus().(*kinds.MeshServiceStatus)
}

// names returns the parts of the status that tell about hostnames.
func (d *draft) names() naming {
	addresses, generators := kinds.HostnamesOf(d.now)
	return naming{addresses, generators}
}

func (d *draft) setNames(n naming) {
	d.shaped = true
	switch s := d.newStatus().(type) {
	case *kinds.MeshServiceStatus:
		s.Addresses, s.HostnameGenerators = n.addresses, n.generators
	case *kinds.MeshMultiZoneServiceStatus:
		s.Addresses, s.HostnameGenerators = n.addresses, n.generators
	case *kinds.MeshExternalServiceStatus:
		s.Addresses, s.HostnameGenerators = n.addresses, n.generators
	}
}

// vips returns the virtual addresses of the status.
func (d *draft) vips() []netip.Addr {
	var list []kinds.VIP
	switch s := d.now.Status.(type) {
	case *kinds.MeshServiceStatus:
		list = s.VIPs
	case *kinds.MeshMultiZoneServiceStatus:
		list = s.VIPs
	case *kinds.MeshExternalServiceStatus:
		list = []kinds.VIP{s.VIP}
	}
	var out []netip.Addr
	for _, v := range list {
		if a, err := netip.ParseAddr(v.IP); err == nil {
			out = append(out, a)
		}
	}
	return out
}

func (d *draft) setVIPs(list []netip.Addr) {
	d.shaped = true
	vips := make([]kinds.VIP, len(list))
	for i, a := range list {
		vips[i].IP = a.String()
	}
	switch s := d.newStatus().(type) {
	case *kinds.MeshServiceStatus:
		s.VIPs = vips
	case *kinds.MeshMultiZoneServiceStatus:
		s.VIPs = vips
	case *kinds.MeshExternalServiceStatus:
		s.VIP = vips[0]
	}
}
