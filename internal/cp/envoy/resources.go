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
	originEgress      = "egress"
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
	// ready is the resource, encoded before; then msg is nil.
	ready *xds.Resource
	// share tells whether the memo is to have the resource, under from.
	share bool
	from  memoKey
}

// list collects the resources of one proxy. Of two with one name the later one
// takes the earlier one's place.
type list struct {
	items []item
	index map[key]int
	memo  *Memo // nil = nothing is shared
	buf   []byte
}

type key struct {
	typ  xds.Type
	name string
}

func (l *list) add(origin string, typ xds.Type, name string, msg message) {
	l.put(item{origin: origin, typ: typ, name: name, msg: msg})
}

func (l *list) put(it item) {
	k := key{it.typ, it.name}
	if i, ok := l.index[k]; ok {
		l.items[i] = it
		return
	}
	l.index[k] = len(l.items)
	l.items = append(l.items, it)
}

// share adds a resource that is made from the given values and nothing else, as it
// was made before from equal ones.
func (l *list) share(origin string, typ xds.Type, name string, make func() (message, error), from ...any) error {
	it := item{origin: origin, typ: typ, name: name}
	if l.memo != nil {
		it.share, it.from.typ = true, typ
		it.from.from, l.buf = digest(l.buf, from...)
		it.ready = l.memo.made.Find(it.from)
	}
	if it.ready == nil {
		var err error
		if it.msg, err = make(); err != nil {
			return err
		}
	}
	l.put(it)
	return nil
}

// Resources returns what the proxy should hold: its resources, and the names of
// the endpoint lists that its clusters refer to. An error names the resource
// that breaks one of Envoy's rules; then nothing is returned. Patches that cannot
// be applied add a warning to p.
func Resources(p *ir.Proxy) ([]*xds.Resource, []ir.EndpointsRef, error) {
	return (*Memo)(nil).Resources(p)
}

// Resources is the function Resources; what m remembers is not made again.
func (m *Memo) Resources(p *ir.Proxy) ([]*xds.Resource, []ir.EndpointsRef, error) {
	l := &list{index: make(map[key]int, 2*len(p.Inbounds)+len(p.Outbounds)+len(p.Clusters)+12)}
	if len(p.Patches) == 0 { // patches change messages of this proxy only
		l.memo = m
	}
	steps := []func(*list, *ir.Proxy) error{
		addAdmin, addMetrics, addTransparent, addPassage, addInbounds, addOutbounds, addClusters,
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
		if it.ready != nil {
			out = append(out, it.ready)
			continue
		}
		r, err := encode(it.typ, it.name, it.msg)
		if err != nil {
			return nil, nil, fmt.Errorf("describe proxy %s/%s to Envoy: %w", p.ID.Mesh, p.ID.Name, err)
		}
		if it.share {
			r = m.made.Keep(it.from, r)
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
