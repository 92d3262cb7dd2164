package admit

import (
	"strings"

	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// Limits of names beyond what every name must keep.
const (
	maxMeshName = 63
	maxName     = 253
)

// CheckMeta adds what is wrong with name, mesh and labels. Admit does it too; it
// is of use where a request fails before Admit and all that is wrong shall be told.
func (g *Gate) CheckMeta(o, prior *model.Object, v *model.Violations) {
	name := v.At("name")
	model.CheckName(o.Meta.Name, name)
	if g.Federated && !g.Global && len(g.Zone)+1+len(o.Meta.Name) >= maxName {
		name.Add("is too long: together with the zone's name it must stay below %d characters", maxName)
	}
	if o.Kind == kinds.Mesh && prior == nil && len(o.Meta.Name) > maxMeshName {
		name.Add("must be at most %d characters long", maxMeshName)
	}
	if o.Kind.Scope == model.InMesh {
		model.CheckMeshRef(o.Meta.Mesh, v.At("mesh"))
	}
	labels := v.At("labels")
	model.CheckLabels(o.Meta.Labels, labels)
	g.checkOrigin(o, labels)
}

// checkOrigin adds what is wrong with the labels that say where an object is
// from; v is positioned at the labels.
func (g *Gate) checkOrigin(o *model.Object, v *model.Violations) {
	origin, has := o.Meta.Labels[model.LabelOrigin]
	at := v.At(model.Q(model.LabelOrigin))
	if has && origin != model.OriginGlobal && origin != model.OriginZone {
		at.Add("%q is no origin; use %s or %s", origin, model.OriginGlobal, model.OriginZone)
	}
	switch {
	case g.Global:
		if origin == model.OriginZone {
			at.Add("must not be %s on a global control plane: objects of zones are written there", model.OriginZone)
		}
		if z, ok := o.Meta.Labels[model.LabelZone]; ok {
			v.At(model.Q(model.LabelZone)).Add("must not be set on a global control plane: the object would count as coming from zone %q", z)
		}
		return
	case g.Federated && !g.AnyOrigin && origin != model.OriginZone && (o.Kind.Shape == model.SpecBlock || has):
		at.Add("must be %s on the control plane of a zone", model.OriginZone)
	}
	if origin == model.OriginGlobal {
		return
	}
	if z, ok := o.Meta.Labels[model.LabelZone]; ok && z != g.Zone {
		v.At(model.Q(model.LabelZone)).Add("is %q, but this is zone %q; leave the label out", z, g.Zone)
	}
	if m, ok := o.Meta.Labels[model.LabelMesh]; ok && m != o.Meta.Mesh {
		v.At(model.Q(model.LabelMesh)).Add("is %q, but the object is in mesh %q; leave the label out", m, o.Meta.Mesh)
	}
}

// computeLabels adds the labels that the control plane knows. What a user set
// stays, apart from those that only the control plane can know.
func (g *Gate) computeLabels(o *model.Object) error {
	ifAbsent := func(key, value string) {
		if _, ok := o.Meta.Labels[key]; !ok && value != "" {
			setLabel(o, key, value)
		}
	}
	if o.Kind.Scope == model.InMesh {
		ifAbsent(model.LabelMesh, o.Meta.Mesh)
	}
	if !g.Global && o.Kind.Flow&model.ZoneWrites != 0 {
		ifAbsent(model.LabelOrigin, model.OriginZone)
		if o.Label(model.LabelOrigin) != model.OriginGlobal {
			ifAbsent(model.LabelZone, g.Zone)
			ifAbsent(model.LabelEnv, g.environment())
		}
	}
	if o.Kind == kinds.MeshService && !g.Global && !g.Kubernetes {
		// MeshMultiZoneServices select by it, and must find the local one too.
		ifAbsent(model.LabelDisplayName, o.Meta.Name)
	}
	if t := proxyType(o); t != "" {
		setLabel(o, model.LabelProxyType, t)
	}
	if !g.Kubernetes || !g.local(o) {
		return nil
	}
	ns := namespaceOf(o)
	ifAbsent(model.LabelK8sNamespace, ns)
	if o.Kind.Policy == nil || !o.Kind.Policy.TargetRef || ns == "" {
		return nil
	}
	role, err := g.policyRole(o, ns)
	if err != nil {
		return err
	}
	setLabel(o, model.LabelPolicyRole, role)
	return nil
}

func setLabel(o *model.Object, key, value string) {
	if o.Meta.Labels == nil {
		o.Meta.Labels = map[string]string{}
	}
	o.Meta.Labels[key] = value
}

func (g *Gate) environment() string {
	if g.Kubernetes {
		return model.EnvKubernetes
	}
	return model.EnvUniversal
}

// local tells whether the object was written at this control plane.
func (g *Gate) local(o *model.Object) bool {
	origin := o.Label(model.LabelOrigin)
	if g.Global {
		return origin == "" || origin == model.OriginGlobal
	}
	return origin == "" || origin == model.OriginZone
}

func proxyType(o *model.Object) string {
	switch spec := o.Spec.(type) {
	case *kinds.DataplaneSpec:
		return spec.ProxyType()
	case *kinds.ZoneIngressSpec:
		return kinds.ProxyTypeZoneIngress
	case *kinds.ZoneEgressSpec:
		return kinds.ProxyTypeZoneEgress
	}
	return ""
}

// namespaceOf returns the namespace in the name of a namespaced Kubernetes
// object: "name.namespace", and a namespace has no dots.
func namespaceOf(o *model.Object) string {
	namespaced := o.Kind.Shape == model.SpecBlock || proxyType(o) != ""
	i := strings.LastIndexByte(o.Meta.Name, '.')
	if !namespaced || i < 0 {
		return ""
	}
	return o.Meta.Name[i+1:]
}

// CheckIdentity adds what differs between the object that a URL names and the
// one in its body. A SpecBlock kind may leave out the mesh.
func CheckIdentity(kind *model.Kind, url model.Key, body model.Head, v *model.Violations) {
	if body.Name != url.Name {
		v.At("name").Add("is %q, but the URL names %q; make them equal", body.Name, url.Name)
	}
	if body.Type != kind.Name {
		v.At("type").Add("is %q, but the URL is of the collection of %s", body.Type, kind.Name)
	}
	if kind.Scope == model.InMesh && body.Mesh != url.Mesh && (kind.Shape == model.Flat || body.Mesh != "") {
		v.At("mesh").Add("is %q, but the URL names %q; make them equal", body.Mesh, url.Mesh)
	}
}
