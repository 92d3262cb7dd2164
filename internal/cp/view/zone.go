package view

import (
	"weft/internal/mesh/ir"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// Subject is what the configuration of one proxy depends on: *Inputs of a proxy in
// a mesh, or *ZoneInputs of one between meshes and the world. Equal fingerprints
// mean equal configurations.
type Subject interface {
	Fingerprint() model.Hash
	// Stage names the step of a change that goes on in stages; "" = none does.
	Stage() string
}

// ZoneInputs are the inputs of a zone proxy.
type ZoneInputs struct {
	ID   ir.ProxyID
	Own  model.Row
	Node Metadata
	CP   *Settings
	// Meshes are those for which it reaches something, sorted by name.
	Meshes []*Mesh

	cpHash model.Hash
}

// Egress returns the inputs of an egress of this zone; false if there is no such
// object. meshes are the views of all meshes, sorted by name.
func Egress(t model.Tables, meshes []*Mesh, name string, md Metadata, s *Settings) (*ZoneInputs, bool) {
	row, ok := t.Table(kinds.ZoneEgress, "").Get(name)
	if !ok {
		return nil, false
	}
	in := &ZoneInputs{ID: ir.ProxyID{Name: name}, Own: row, Node: md, CP: s, cpHash: s.digest()}
	for _, m := range meshes {
		if len(m.reached) > 0 {
			in.Meshes = append(in.Meshes, m)
		}
	}
	return in, true
}

// Fingerprint implements Subject.
func (in *ZoneInputs) Fingerprint() model.Hash {
	var h digest
	h.str(in.ID.Name)
	h.hash(in.Own.Hash)
	in.Node.digest(&h)
	h.hash(in.cpHash)
	for _, m := range in.Meshes {
		h.hash(m.reachedHash)
	}
	return h.sum()
}

// foldReached returns what ReachedHash returns.
func (m *Mesh) foldReached() model.Hash {
	if len(m.reached) == 0 {
		return model.Hash{}
	}
	var h digest
	h.str(m.name)
	h.hash(m.meshHash)
	h.hash(m.policies.Hash())
	h.hash(m.legacy.Hash())
	for _, r := range m.reached {
		h.hash(r.hash)
	}
	return h.sum()
}

// ReachedHash covers everything that egresses depend on.
func (m *Mesh) ReachedHash() model.Hash { return m.reachedHash }

// Stage implements Subject.
func (in *ZoneInputs) Stage() string { return "" }

// Stage implements Subject: of turning mutual TLS off.
func (in *Inputs) Stage() string { return string(in.Mesh.Leaving) }
