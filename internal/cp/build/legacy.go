package build

import (
	"maps"

	"weft/internal/cp/view"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
	"weft/internal/mesh/policy"
	"weft/internal/mesh/policy/legacy"
)

// shape decides where the traffic of outbounds goes. In a mesh with a
// TrafficRoute the newer routes act only where one of them selects the proxy,
// and what they leave of services known by their tags is made by the older ones.
func (b *builder) shape(env *policy.Env) {
	if !b.in.Legacy.Routes() {
		policy.Shape(b.p, b.in.Policies, env, b.in.Memo)
		return
	}
	policy.ShapeSelected(b.p, b.in.Policies, env, b.in.Memo)
	legacy.Shape(b.p, b.in.Legacy, b.legacyEnv(env))
	policy.DropUnshaped(b.p)
}

func (b *builder) legacyEnv(env *policy.Env) *legacy.Env {
	return &legacy.Env{Env: env, Logging: b.in.Mesh.Logging, Tracing: b.in.Mesh.Tracing}
}

// permitted returns the endpoints of an ExternalService that the proxy may use.
func (b *builder) permitted(d *view.Destination) []view.Outside {
	if d.Kind != kinds.ExternalService.Name || !b.in.Legacy.Routes() {
		return d.Outside
	}
	var out []view.Outside
	for i := range d.Outside {
		tags := maps.Clone(d.Outside[i].Tags)
		if tags == nil {
			tags = map[string]string{}
		}
		tags[model.TagService] = d.Name
		if b.in.Legacy.Permits(tags) {
			out = append(out, d.Outside[i])
		}
	}
	return out
}
