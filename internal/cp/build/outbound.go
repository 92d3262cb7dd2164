package build

import (
	"maps"

	"weft/internal/cp/view"
	"weft/internal/mesh/ir"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// outbounds makes the ports of destinations; policies decide where their traffic
// goes. Of two on one address and port the later one counts.
func (b *builder) outbounds() {
	own := b.ownPorts()
	at := map[place]int{}
	list := b.in.Outbounds.List()
	b.p.Outbounds = make([]*ir.Outbound, 0, len(list))
	for i := range list {
		o := &list[i]
		here := place{o.Address, o.Port}
		if o.Virtual && own[here] {
			continue // a headless service's address is the proxy's own
		}
		out := b.outbound(o)
		if j, taken := at[here]; taken {
			b.p.Outbounds[j] = out
			b.ends[j] = o
			continue
		}
		at[here] = len(b.p.Outbounds)
		b.p.Outbounds = append(b.p.Outbounds, out)
		b.ends = append(b.ends, o)
	}
}

type place struct {
	address string
	port    uint32
}

func (b *builder) ownPorts() map[place]bool {
	out := map[place]bool{}
	for _, in := range b.p.Inbounds {
		out[place{in.Address, in.Port}] = true
	}
	return out
}

func (b *builder) outbound(o *view.Outbound) *ir.Outbound {
	d := o.Dest
	out := &ir.Outbound{
		Listener: ir.Listener{
			Address: o.Address, Port: o.Port, Bind: !b.spec.IsTransparent(),
			Tags: visibleTags(o.Tags), Protocol: effective(d.Protocol),
		},
		Destination: d.Destination,
		Stat:        destinationName(d.Destination),
	}
	out.RouteName = "outbound:" + out.Stat
	if d.Kind == kinds.MeshExternalService.Name {
		out.RouteName = out.Stat
	}
	return out
}

// visibleTags leaves out the tag that is for internal use.
func visibleTags(tags map[string]string) map[string]string {
	if _, ok := tags[model.TagMesh]; !ok {
		return tags
	}
	tags = maps.Clone(tags)
	delete(tags, model.TagMesh)
	return tags
}

// clientTags makes outbounds send the client's tags where someone looks at them.
func (b *builder) clientTags() {
	if !b.in.Mesh.ClientTags {
		return
	}
	for _, o := range b.p.Outbounds {
		if o.HTTP != nil {
			o.HTTP.AddClientTags = b.p.Tags
		}
	}
}
