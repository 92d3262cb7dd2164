package view

import (
	"sync"

	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// trims tells whether destinations are left out that no permission lets a proxy
// reach. Without mutual TLS permissions have no effect, and nothing is left out.
func (m *Mesh) trims() bool { return m.cp.AutoReachable && m.mesh.MTLS }

// trimmed are the virtual outbounds that clients with equal tags may reach. It is
// filled on demand and safe for concurrent use.
type trimmed struct {
	mu       sync.Mutex
	byClient map[string]*Outbounds
}

// permitted returns the virtual outbounds of a proxy with these tags that does not
// list what it reaches.
func (m *Mesh) permitted(client kinds.MultiTags) *Outbounds {
	key := ""
	if m.trims() {
		key = client.String()
	}
	m.trimmed.mu.Lock()
	defer m.trimmed.mu.Unlock()
	if o := m.trimmed.byClient[key]; o != nil {
		return o
	}
	var list []Outbound
	for i := range m.virtual.list {
		o := &m.virtual.list[i]
		if o.Tags == nil && m.mode == kinds.MeshServicesReachableBackends {
			continue // resources only where they are listed
		}
		if m.mayReach(client, o) {
			list = append(list, *o)
		}
	}
	o := newOutbounds(list)
	m.trimmed.byClient[key] = o
	return o
}

// mayReach tells whether some permission may let a client reach an outbound. What
// the proxies of other meshes, egresses and other zones permit is not known here.
func (m *Mesh) mayReach(client kinds.MultiTags, o *Outbound) bool {
	if !m.trims() {
		return true
	}
	d := o.Dest
	var to map[string]string
	switch {
	case d.Kind == "" && o.Tags[model.TagMesh] == "":
		to = o.Tags
	case d.Kind == kinds.MeshService.Name:
		to = make(map[string]string, len(d.Selects)+2)
		for k, v := range d.Selects {
			to[k] = v
		}
		for _, k := range []string{model.LabelOrigin, model.LabelZone} { // tags and labels have equal names
			if v := d.Labels[k]; v != "" {
				to[k] = v
			}
		}
	default:
		return true
	}
	allowed, decided := m.permissions.Allow(client, to)
	if !decided {
		return m.olderPermissions // they decide where no MeshTrafficPermission does
	}
	return allowed
}
