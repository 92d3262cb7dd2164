// Package envoy spells what a proxy should do in Envoy's terms: an ir.Proxy
// becomes resources, and a node becomes its bootstrap document. It is the only
// maker of Envoy messages in the control plane. All functions are pure and safe
// for concurrent use; equal arguments give equal bytes.
package envoy

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"weft/internal/cp/xds"
	"weft/internal/mesh/ir"
)

// Origins of resources, which patches match on.
const (
	originAdmin       = "admin"
	originPrometheus  = "prometheus"
	originTransparent = "transparent"
	originInbound     = "inbound"
	originOutbound    = "outbound"
	originDirect      = "direct-access"
	originProbe       = "probe"
	originDNS         = "dns"
)

// message is an Envoy message that can check itself.
type message interface {
	proto.Message
	Validate() error
}

// item is a finished resource before it is encoded, so that patches can still
// change it.
type item struct {
	origin string
	typ    xds.Type
	name   string
	msg    message
}

// list collects the resources of one proxy. Of two with one name the later one
// takes the earlier one's place.
type list struct {
	items []item
	index map[key]int
}

type key struct {
	typ  xds.Type
	name string
}

func (l *list) add(origin string, typ xds.Type, name string, msg message) {
	k := key{typ, name}
	it := item{origin: origin, typ: typ, name: name, msg: msg}
	if i, ok := l.index[k]; ok {
		l.items[i] = it
		return
	}
	l.index[k] = len(l.items)
	l.items = append(l.items, it)
}

// Resources returns what the proxy should hold: its resources, and the names of
// the endpoint lists that its clusters refer to. An error names the resource
// that breaks one of Envoy's rules; then nothing is returned. Patches that cannot
// be applied add a warning to p.
func Resources(p *ir.Proxy) ([]*xds.Resource, []ir.EndpointsRef, error) {
	l := &list{index: make(map[key]int, 2*len(p.Inbounds)+len(p.Outbounds)+len(p.Clusters)+12)}
	steps := []func(*list, *ir.Proxy) error{
		addAdmin, addMetrics, addTransparent, addInbounds, addOutbounds, addClusters,
		addDirectAccess, addProbes, addDNS, addObservability, addBackends,
	}
	for _, step := range steps {
		if err := step(l, p); err != nil {
			return nil, nil, fmt.Errorf("describe proxy %s/%s to Envoy: %w", p.ID.Mesh, p.ID.Name, err)
		}
	}
	applyPatches(l, p)
	out := make([]*xds.Resource, 0, len(l.items))
	for _, it := range l.items {
		r, err := encode(it.typ, it.name, it.msg)
		if err != nil {
			return nil, nil, fmt.Errorf("describe proxy %s/%s to Envoy: %w", p.ID.Mesh, p.ID.Name, err)
		}
		out = append(out, r)
	}
	return out, refs(p), nil
}

// refs returns the endpoint lists of all clusters, each once.
func refs(p *ir.Proxy) []ir.EndpointsRef {
	out := make([]ir.EndpointsRef, 0, len(p.Clusters))
	seen := make(map[string]bool, len(p.Clusters))
	for _, c := range p.Clusters {
		if c.Endpoints != nil && !seen[c.Name] {
			seen[c.Name] = true
			out = append(out, *c.Endpoints)
		}
	}
	return out
}

// deterministic sorts map entries, so that equal content has equal bytes.
var deterministic = proto.MarshalOptions{Deterministic: true}

// encode checks a message and returns it as a resource.
func encode(typ xds.Type, name string, msg message) (*xds.Resource, error) {
	if err := msg.Validate(); err != nil {
		return nil, fmt.Errorf("resource %q of type %s: %w", name, typ.URL(), err)
	}
	body, err := deterministic.Marshal(msg)
	if err != nil {
		return nil, fmt.Errorf("encode resource %q of type %s: %w", name, typ.URL(), err)
	}
	return xds.NewResource(typ, name, body), nil
}
