package view

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"weft/internal/mesh/ir"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// MeshKey is the tag that tells endpoints of different meshes apart at an egress.
const MeshKey = "mesh"

// Reached is a service outside of all meshes as the egress of the zone reaches it.
type Reached struct {
	Dest *Destination
	// Endpoints are where it is, TLS how it is talked to (nil = plain), with the
	// egress's system authorities where SystemCA says so.
	Endpoints []ir.Endpoint
	TLS       *ir.ExternalTLS
	SystemCA  bool
	Warnings  []ir.Warning
	hash      model.Hash
}

func (r *Reached) seal() *Reached {
	var h digest
	h.hash(r.Dest.hash)
	h.num(uint64(len(r.Endpoints)))
	for i := range r.Endpoints {
		h.endpoint(&r.Endpoints[i])
	}
	h.flag(r.SystemCA)
	h.hash(model.HashJSON(r.TLS))
	h.hash(model.HashJSON(r.Warnings))
	r.hash = h.sum()
	return r
}

// reachedServices returns the MeshExternalServices that the egress of this zone
// reaches, sorted by name. Those with an extension are for somebody else.
func reachedServices(resources []*Resource, secrets *model.Table, f *facts) []*Reached {
	var out []*Reached
	for _, res := range resources {
		o := res.Object
		spec := model.Spec[kinds.MeshExternalServiceSpec](o)
		if zone := o.Label(model.LabelZone); spec.Extension != nil || zone != "" && zone != f.zone {
			continue
		}
		r := &Reached{Dest: res.Ports[0]}
		tags := maps.Clone(o.Meta.Labels)
		if tags == nil {
			tags = map[string]string{}
		}
		tags[MeshKey] = o.Meta.Mesh
		for _, e := range spec.Endpoints {
			r.Endpoints = append(r.Endpoints, ir.Endpoint{
				Address: e.Address, Port: uint32(e.Port), Weight: 1, Tags: tags, Zone: o.Label(model.LabelZone),
			})
		}
		if spec.TLS != nil && spec.TLS.Enabled {
			if err := r.secure(spec, secrets); err != nil {
				r.Endpoints, r.TLS = nil, nil // better none than unprotected
				r.Warnings = append(r.Warnings, ir.Warning{Kind: o.Kind.Name, Name: o.Meta.Name, Message: err.Error()})
			}
		}
		out = append(out, r.seal())
	}
	slices.SortFunc(out, func(a, b *Reached) int { return cmp.Compare(a.Dest.Name, b.Dest.Name) })
	return out
}

// secure says how the service is talked to. One way holds for all of its endpoints.
func (r *Reached) secure(spec *kinds.MeshExternalServiceSpec, secrets *model.Table) error {
	t := spec.TLS
	out := &ir.ExternalTLS{SNI: spec.ServerName(), AllowRenegotiation: t.AllowRenegotiation}
	r.TLS = out
	if v := t.Version; v != nil {
		out.Min, out.Max = bound(v.Min), bound(v.Max)
	}
	ver := t.Verification
	if ver == nil {
		ver = &kinds.TLSVerification{}
	}
	read := func(field string, s *kinds.SecretSource) ([]byte, error) {
		b, err := readSecretSource(s, secrets)
		if err != nil {
			return nil, fmt.Errorf("tls.verification.%s: %w; until this is solved the service cannot be reached", field, err)
		}
		return b, nil
	}
	var err error
	if ver.Mode != kinds.VerifySkipAll {
		if out.CertPEM, err = read("clientCert", ver.ClientCert); err != nil {
			return err
		}
		if out.KeyPEM, err = read("clientKey", ver.ClientKey); err != nil {
			return err
		}
	}
	if ver.Mode == kinds.VerifySkipCA || ver.Mode == kinds.VerifySkipAll {
		return nil
	}
	r.SystemCA = ver.CaCert == nil
	if out.CAPEM, err = read("caCert", ver.CaCert); err != nil {
		return err
	}
	if ver.Mode == kinds.VerifySkipSAN {
		return nil
	}
	out.Name = out.SNI
	if out.Name == "" && len(spec.Endpoints) > 0 {
		out.Name = spec.Endpoints[0].Address
	}
	for _, s := range ver.SubjectAltNames {
		out.SANs = append(out.SANs, ir.NameMatch{Value: s.Value, Prefix: s.Type == kinds.SANPrefix})
	}
	return nil
}

// bound is a bound of the TLS version; "" = none.
func bound(version string) string {
	if version == kinds.TLSAuto {
		return ""
	}
	return version
}

// readSecretSource returns the data that a source names; nil if there is no source.
func readSecretSource(s *kinds.SecretSource, secrets *model.Table) ([]byte, error) {
	switch {
	case s == nil:
		return nil, nil
	case s.Inline != nil:
		return s.Inline, nil
	case s.InlineString != "":
		return []byte(s.InlineString), nil
	}
	row, ok := secrets.Get(s.Secret)
	if !ok {
		return nil, fmt.Errorf("there is no Secret %q in this mesh", s.Secret)
	}
	return model.Spec[kinds.SecretSpec](row.Object).Data, nil
}

// reachedOutside returns the ExternalServices that the egress of this zone reaches,
// sorted by service. Endpoints that a tag pins to another zone are left to that one.
func reachedOutside(outside map[string]*Destination, f *facts) []*Reached {
	var out []*Reached
	for _, name := range slices.Sorted(maps.Keys(outside)) {
		d := *outside[name]
		d.Outside = nil
		for _, o := range outside[name].Outside {
			if o.Zone != "" && o.Zone != f.zone {
				continue
			}
			o.Tags = maps.Clone(o.Tags)
			o.Tags[MeshKey] = f.mesh
			d.Outside = append(d.Outside, o)
		}
		if len(d.Outside) > 0 || len(outside[name].Outside) == 0 {
			out = append(out, (&Reached{Dest: d.seal()}).seal())
		}
	}
	return out
}
