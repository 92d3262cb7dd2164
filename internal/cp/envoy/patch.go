package envoy

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	jsonpatch "github.com/evanphx/json-patch/v5"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"

	"weft/internal/cp/xds"
	"weft/internal/mesh/ir"
)

// originPatch is the origin of resources that patches add.
const originPatch = "mesh-proxy-patch"

// Targets and operations of patches, as ir.Patch has them.
const (
	onCluster       = "cluster"
	onListener      = "listener"
	onNetworkFilter = "networkFilter"
	onHTTPFilter    = "httpFilter"
	onVirtualHost   = "virtualHost"

	opAdd    = "Add"
	opRemove = "Remove"
	opPatch  = "Patch"
	opFirst  = "AddFirst"
	opBefore = "AddBefore"
	opAfter  = "AddAfter"
	opLast   = "AddLast"
)

// applyPatches changes finished resources as the proxy's patches say, one after
// the other. A patch that cannot be applied, or after which Envoy would refuse a
// resource, is left out there with a warning, so that it does not cost the rest.
func applyPatches(l *list, p *ir.Proxy) {
	for _, pt := range p.Patches {
		if err := l.apply(pt); err != nil {
			p.Warnings = append(p.Warnings, ir.Warning{
				Kind: pt.Origin.Kind, Name: pt.Origin.Name,
				Message: fmt.Sprintf("the %s of %s is left out: %v", pt.Operation, pt.Target, err),
			})
		}
	}
}

// CheckPatch tells what is wrong with a patch's value: it must be a message of
// the target's type, and for additions one that Envoy accepts.
func CheckPatch(pt ir.Patch) error {
	if len(pt.Value) == 0 {
		return nil
	}
	m := patchMessage(pt.Target)
	if m == nil {
		return fmt.Errorf("unknown target %q", pt.Target)
	}
	if err := fromJSON(pt.Value, m); err != nil {
		return err
	}
	if pt.Operation == opPatch {
		return nil
	}
	if err := m.Validate(); err != nil {
		return err
	}
	return checkPacked(m)
}

// CheckResource tells what is wrong with a whole resource, which has its @type.
func CheckResource(b json.RawMessage) error {
	a := &anypb.Any{}
	if err := fromJSON(b, a); err != nil {
		return err
	}
	m, err := unpack(a)
	if err != nil {
		return err
	}
	return m.Validate()
}

// checkPacked checks the settings inside of a filter.
func checkPacked(m message) error {
	var a *anypb.Any
	switch f := m.(type) {
	case *listener.Filter:
		a = f.GetTypedConfig()
	case *hcm.HttpFilter:
		a = f.GetTypedConfig()
	}
	if a == nil {
		return nil
	}
	_, err := unpack(a)
	return err
}

func patchMessage(target string) message {
	switch target {
	case onCluster:
		return &cluster.Cluster{}
	case onListener:
		return &listener.Listener{}
	case onNetworkFilter:
		return &listener.Filter{}
	case onHTTPFilter:
		return &hcm.HttpFilter{}
	case onVirtualHost:
		return &route.VirtualHost{}
	}
	return nil
}

func (l *list) apply(pt ir.Patch) error {
	switch pt.Target {
	case onCluster:
		return l.patchResources(pt, xds.Cluster)
	case onListener:
		return l.patchResources(pt, xds.Listener)
	case onNetworkFilter:
		return l.patchChains(pt, pt.Match.ListenerName, func(c *listener.FilterChain) error {
			var err error
			c.Filters, err = patchList(c.Filters, pt, networkElements)
			return err
		})
	case onHTTPFilter:
		return l.patchManagers(pt, pt.Match.ListenerName, func(m *hcm.HttpConnectionManager) error {
			var err error
			m.HttpFilters, err = patchList(m.HttpFilters, pt, httpElements)
			return err
		})
	case onVirtualHost:
		return l.patchManagers(pt, "", func(m *hcm.HttpConnectionManager) error {
			rc := m.GetRouteConfig()
			if rc == nil || (pt.Match.RouteConfigurationName != "" && pt.Match.RouteConfigurationName != rc.Name) {
				return nil
			}
			var err error
			rc.VirtualHosts, err = patchList(rc.VirtualHosts, pt, hostElements)
			return err
		})
	}
	return fmt.Errorf("unknown target %q", pt.Target)
}

// patchResources adds, removes or changes whole resources.
func (l *list) patchResources(pt ir.Patch, typ xds.Type) error {
	if pt.Operation == opAdd {
		m := patchMessage(pt.Target)
		if err := fromJSON(pt.Value, m); err != nil {
			return err
		}
		if err := m.Validate(); err != nil {
			return err
		}
		l.add(cmp.Or(pt.Added, originPatch), typ, nameOf(m), m)
		return nil
	}
	matches := func(it item) bool {
		return it.typ == typ && fits(pt.Match.Origin, it.origin) && fits(pt.Match.Name, it.name) && tagsFit(pt.Match.Tags, it.msg)
	}
	if pt.Operation == opRemove {
		l.items = slices.DeleteFunc(l.items, matches)
		l.reindex()
		return nil
	}
	return l.edit(matches, func(m message) error { return patchOne(m, pt) })
}

func fits(want, got string) bool { return want == "" || want == got }

// tagsFit tells whether a listener has the tags; clusters have none.
func tagsFit(want map[string]string, m message) bool {
	if len(want) == 0 {
		return true
	}
	ls, ok := m.(*listener.Listener)
	if !ok {
		return false
	}
	have := ls.GetMetadata().GetFilterMetadata()[tagsKey].GetFields()
	for k, v := range want {
		if f := have[k]; f == nil || f.GetStringValue() != v {
			return false
		}
	}
	return true
}

func (l *list) reindex() {
	clear(l.index)
	for i, it := range l.items {
		l.index[key{it.typ, it.name}] = i
	}
}

// edit changes copies of the items that match, and keeps those that stay valid.
// It returns the first error, having edited the other items.
func (l *list) edit(matches func(item) bool, change func(message) error) error {
	var first error
	for i := range l.items {
		it := &l.items[i]
		if !matches(*it) {
			continue
		}
		m := proto.Clone(it.msg).(message)
		err := change(m)
		if err == nil {
			err = m.Validate()
		}
		if err != nil {
			if first == nil {
				first = fmt.Errorf("%s: %w", it.name, err)
			}
			continue
		}
		it.msg, it.name = m, nameOf(m)
	}
	l.reindex()
	return first
}

func nameOf(m message) string {
	if n, ok := m.(interface{ GetName() string }); ok {
		return n.GetName()
	}
	return ""
}

// patchChains changes the filter chains of listeners that match.
func (l *list) patchChains(pt ir.Patch, name string, change func(*listener.FilterChain) error) error {
	matches := func(it item) bool {
		return it.typ == xds.Listener && fits(pt.Match.Origin, it.origin) && fits(name, it.name) && tagsFit(pt.Match.Tags, it.msg)
	}
	return l.edit(matches, func(m message) error {
		for _, c := range m.(*listener.Listener).FilterChains {
			if err := change(c); err != nil {
				return err
			}
		}
		return nil
	})
}

// patchManagers changes the HTTP filters of listeners that match.
func (l *list) patchManagers(pt ir.Patch, name string, change func(*hcm.HttpConnectionManager) error) error {
	return l.patchChains(pt, name, func(c *listener.FilterChain) error {
		for _, f := range c.Filters {
			m := &hcm.HttpConnectionManager{}
			if !f.GetTypedConfig().MessageIs(m) {
				continue
			}
			if err := proto.Unmarshal(f.GetTypedConfig().Value, m); err != nil {
				return err
			}
			if err := change(m); err != nil {
				return err
			}
			packed, err := pack(m)
			if err != nil {
				return err
			}
			f.ConfigType = &listener.Filter_TypedConfig{TypedConfig: packed}
		}
		return nil
	})
}

// element says how elements of a list are handled. patch changes one.
type element[E message] struct {
	make  func() E
	patch func(E, ir.Patch) error
}

//nolint:gochecknoglobals // because these are tables
var (
	networkElements = element[*listener.Filter]{
		make: func() *listener.Filter { return &listener.Filter{} },
		patch: func(f *listener.Filter, pt ir.Patch) error {
			a, err := patchSettings(f.GetTypedConfig(), pt, &listener.Filter{})
			f.ConfigType = &listener.Filter_TypedConfig{TypedConfig: a}
			return err
		},
	}
	httpElements = element[*hcm.HttpFilter]{
		make: func() *hcm.HttpFilter { return &hcm.HttpFilter{} },
		patch: func(f *hcm.HttpFilter, pt ir.Patch) error {
			a, err := patchSettings(f.GetTypedConfig(), pt, &hcm.HttpFilter{})
			f.ConfigType = &hcm.HttpFilter_TypedConfig{TypedConfig: a}
			return err
		},
	}
	hostElements = element[*route.VirtualHost]{
		make:  func() *route.VirtualHost { return &route.VirtualHost{} },
		patch: func(v *route.VirtualHost, pt ir.Patch) error { return patchOne(v, pt) },
	}
)

// patchList adds, removes or changes elements of a list.
func patchList[E message](in []E, pt ir.Patch, el element[E]) ([]E, error) {
	named := func(e E) bool { return fits(pt.Match.Name, nameOf(e)) }
	switch pt.Operation {
	case opRemove:
		return slices.DeleteFunc(slices.Clone(in), named), nil
	case opPatch:
		for _, e := range in {
			if named(e) {
				if err := el.patch(e, pt); err != nil {
					return in, err
				}
			}
		}
		return in, nil
	}
	add := el.make()
	if err := fromJSON(pt.Value, add); err != nil {
		return in, err
	}
	if err := add.Validate(); err != nil {
		return in, err
	}
	at := len(in)
	switch pt.Operation {
	case opFirst:
		at = 0
	case opBefore, opAfter:
		at = slices.IndexFunc(in, named)
		if at < 0 {
			return in, nil
		}
		if pt.Operation == opAfter {
			at++
		}
	case opLast, opAdd:
		if at > 0 && terminal(nameOf(in[at-1])) && !terminal(nameOf(add)) {
			at-- // after a filter that ends the chain Envoy accepts none
		}
	default:
		return in, fmt.Errorf("unknown operation %q", pt.Operation)
	}
	return slices.Insert(slices.Clone(in), at, add), nil
}

// terminal tells whether a filter ends its chain.
func terminal(name string) bool {
	return name == filterRouter || name == filterTCPProxy || name == filterHTTP
}

// patchOne merges a patch's value into a message, or applies its steps to the
// message's JSON form.
func patchOne(m message, pt ir.Patch) error {
	if len(pt.JSONPatch) > 0 {
		return patchJSON(m, pt.JSONPatch)
	}
	value := m.ProtoReflect().New().Interface()
	if err := fromJSON(pt.Value, value); err != nil {
		return err
	}
	return merge(m, value)
}

// patchSettings does the same with the settings of a filter. holder is an empty
// filter of the value's type.
func patchSettings(a *anypb.Any, pt ir.Patch, holder message) (*anypb.Any, error) {
	if a == nil {
		return nil, fmt.Errorf("the filter has no settings")
	}
	m, err := unpack(a)
	if err != nil {
		return a, err
	}
	if len(pt.JSONPatch) > 0 {
		if err := patchJSON(m, pt.JSONPatch); err != nil {
			return a, err
		}
		return pack(m)
	}
	if err := fromJSON(pt.Value, holder); err != nil {
		return a, err
	}
	with := holder.(interface{ GetTypedConfig() *anypb.Any }).GetTypedConfig()
	if with == nil {
		return a, nil
	}
	if with.TypeUrl != a.TypeUrl {
		return a, fmt.Errorf("the filter's settings are of type %s, those of the patch of type %s", a.TypeUrl, with.TypeUrl)
	}
	value, err := unpack(with)
	if err != nil {
		return a, err
	}
	if err := merge(m, value); err != nil {
		return a, err
	}
	return pack(m)
}

func unpack(a *anypb.Any) (message, error) {
	m, err := a.UnmarshalNew()
	if err != nil {
		return nil, err
	}
	v, ok := m.(message)
	if !ok {
		return nil, fmt.Errorf("%s is no type of Envoy", a.TypeUrl)
	}
	return v, nil
}

// patchJSON applies RFC 6902 to a message's JSON form: negative indexes count
// from the end, what is removed may be missing, and parents are made.
func patchJSON(m message, steps json.RawMessage) error {
	patch, err := jsonpatch.DecodePatch(steps)
	if err != nil {
		return err
	}
	doc, err := protojson.Marshal(m)
	if err != nil {
		return err
	}
	o := jsonpatch.NewApplyOptions()
	o.AllowMissingPathOnRemove, o.EnsurePathExistsOnAdd = true, true
	if doc, err = patch.ApplyWithOptions(doc, o); err != nil {
		return err
	}
	proto.Reset(m)
	return fromJSON(doc, m)
}

// fromJSON reads a message; fields that Envoy does not have are ignored.
func fromJSON(b json.RawMessage, m proto.Message) error {
	return protojson.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(b, m)
}

// merge lays src over dst: messages field by field, lists appended, and values
// that mean one thing (durations, optional numbers) replaced.
func merge(dst, src proto.Message) error {
	if err := clearReplaced(dst.ProtoReflect(), src.ProtoReflect()); err != nil {
		return err
	}
	proto.Merge(dst, src)
	return nil
}

// clearReplaced clears in dst what src replaces, and merges settings that both
// have packed.
func clearReplaced(dst, src protoreflect.Message) error {
	var err error
	src.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if f.Message() == nil || f.IsList() || f.IsMap() || !dst.Has(f) {
			return true
		}
		switch name := f.Message().FullName(); {
		case name == "google.protobuf.Any":
			err = mergeAny(dst.Mutable(f).Message().Interface().(*anypb.Any), v.Message().Interface().(*anypb.Any))
		case name == "google.protobuf.Duration" || isWrapper(name):
			dst.Clear(f)
		default:
			err = clearReplaced(dst.Mutable(f).Message(), v.Message())
		}
		return err == nil
	})
	return err
}

// isWrapper tells whether a message stands for an optional scalar.
func isWrapper(name protoreflect.FullName) bool {
	return name.Parent() == "google.protobuf" && strings.HasSuffix(string(name), "Value") && name.Name() != "Value" && name.Name() != "ListValue"
}

// mergeAny leaves the merged settings in both, so that merging the outer
// messages changes nothing more.
func mergeAny(dst, src *anypb.Any) error {
	if dst.TypeUrl != src.TypeUrl {
		return nil
	}
	d, err := unpack(dst)
	if err != nil {
		return err
	}
	s, err := unpack(src)
	if err != nil {
		return err
	}
	if err := merge(d, s); err != nil {
		return err
	}
	packed, err := pack(d)
	if err != nil {
		return err
	}
	dst.Value, src.Value = packed.Value, packed.Value
	return nil
}
