package policy

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// Meta identifies an object in what inspection tells.
type Meta struct {
	Type   string            `json:"type"`
	Mesh   string            `json:"mesh"`
	Name   string            `json:"name"`
	Labels map[string]string `json:"labels"`
}

// MetaOf returns an object's Meta.
func MetaOf(o *model.Object) Meta {
	m := Meta{Type: o.Kind.Name, Mesh: o.Meta.Mesh, Name: o.Meta.Name, Labels: o.Meta.Labels}
	if m.Labels == nil {
		m.Labels = map[string]string{}
	}
	return m
}

// KindRules are the rules of one policy kind for one proxy, as the API tells them.
type KindRules struct {
	Type            string         `json:"type"`
	ProxyRule       *ProxyRule     `json:"proxyRule,omitempty"`
	ToRules         []TagRule      `json:"toRules"`
	ToResourceRules []ResourceRule `json:"toResourceRules"`
	FromRules       []FromRule     `json:"fromRules"`
	InboundRules    []InboundRule  `json:"inboundRules"`
	Warnings        []string       `json:"warnings"`
}

// ProxyRule is the conf of a kind that has one for the whole proxy.
type ProxyRule struct {
	Conf   any    `json:"conf"`
	Origin []Meta `json:"origin"`
}

// TagRule is a conf for destinations or clients that fit all matchers.
type TagRule struct {
	Matchers []TagMatch `json:"matchers"`
	Conf     any        `json:"conf"`
	Origin   []Meta     `json:"origin"`
}

// ResourceRule is a conf for a resource, or for all of a mesh.
type ResourceRule struct {
	ResourceMeta        Meta         `json:"resourceMeta"`
	ResourceSectionName string       `json:"resourceSectionName"`
	Conf                []any        `json:"conf"`
	Origin              []RuleOrigin `json:"origin"`
}

// RuleOrigin names a rule of a policy.
type RuleOrigin struct {
	ResourceMeta Meta `json:"resourceMeta"`
	RuleIndex    int  `json:"ruleIndex"`
}

// FromRule are the confs of an inbound by client.
type FromRule struct {
	Inbound InboundMeta `json:"inbound"`
	Rules   []TagRule   `json:"rules"`
}

// InboundRule is the conf of an inbound.
type InboundRule struct {
	Inbound InboundMeta `json:"inbound"`
	Rules   []PlainRule `json:"rules"`
}

// PlainRule is a conf with the rules that it was merged from.
type PlainRule struct {
	Conf   []any        `json:"conf"`
	Origin []RuleOrigin `json:"origin"`
}

// InboundMeta identifies an inbound.
type InboundMeta struct {
	Name string            `json:"name,omitempty"`
	Tags map[string]string `json:"tags"`
	Port uint32            `json:"port"`
}

// HTTPMatch are the matches of a route's rule with their hash, which is the name
// of the routes made from it.
type HTTPMatch struct {
	Hash  string          `json:"hash"`
	Match json.RawMessage `json:"match"`
}

// HTTPMatcher is implemented by confs that hold matches of routes.
type HTTPMatcher interface{ HTTPMatches() []HTTPMatch }

// World is what inspection looks destinations up in.
type World struct {
	// Mesh is the Mesh object; Tables hold its services.
	Mesh   *model.Object
	Tables model.Tables
	// Exclusive: the mesh knows destinations as resources only.
	Exclusive bool
}

// Rules returns the rules for the proxy, by kind in the order of the catalog.
// Kinds without rules are left out. The confs are those that Dress uses.
func (m *Matched) Rules(w World, memo *Memo) []KindRules {
	out := []KindRules{}
	for _, mt := range m.list {
		if len(mt.sel) == 0 {
			continue
		}
		in := inspector{m: m, r: newResolver(mt, memo), p: mt.policy, w: w}
		if k, ok := in.rules(); ok {
			out = append(out, k)
		}
	}
	return out
}

// HTTPMatches returns the matches of all routes for destinations known by their
// tag, sorted by hash.
func HTTPMatches(rules []KindRules) []HTTPMatch {
	out := []HTTPMatch{}
	seen := map[string]bool{}
	for _, k := range rules {
		for _, r := range k.ToRules {
			h, ok := r.Conf.(HTTPMatcher)
			if !ok {
				continue
			}
			for _, m := range h.HTTPMatches() {
				if !seen[m.Hash] {
					seen[m.Hash] = true
					out = append(out, m)
				}
			}
		}
	}
	slices.SortFunc(out, func(a, b HTTPMatch) int { return strings.Compare(a.Hash, b.Hash) })
	return out
}

// inspector tells the rules of one kind.
type inspector struct {
	m *Matched
	r *resolver
	p *Policy
	w World
}

func (in *inspector) rules() (KindRules, bool) {
	k := KindRules{
		Type: in.p.Kind.Name, ToRules: []TagRule{}, ToResourceRules: []ResourceRule{},
		FromRules: []FromRule{}, InboundRules: []InboundRule{}, Warnings: []string{},
	}
	if in.p.has(ListDefault) {
		c := in.r.forProxy()
		if c == nil {
			return k, false
		}
		k.ProxyRule = &ProxyRule{Conf: c.conf, Origin: in.policies(c.refs)}
		return k, true
	}
	if !in.w.Exclusive {
		k.ToRules = in.toRules(&k.Warnings)
	}
	k.ToResourceRules = in.resourceRules()
	in.inboundRules(&k)
	some := len(k.ToRules)+len(k.FromRules)+len(k.InboundRules) > 0
	return k, some || len(k.ToResourceRules) > 0
}

func (in *inspector) policies(refs []ref) []Meta {
	out := []Meta{}
	seen := map[model.Key]bool{}
	for _, r := range refs {
		if k := r.c.row.Key(); !seen[k] {
			seen[k] = true
			out = append(out, MetaOf(r.c.row.Object))
		}
	}
	return out
}

func origins(refs []ref) []RuleOrigin {
	out := []RuleOrigin{}
	for _, r := range refs {
		o := RuleOrigin{ResourceMeta: MetaOf(r.c.row.Object), RuleIndex: r.idx}
		same := func(x RuleOrigin) bool {
			return x.RuleIndex == o.RuleIndex && x.ResourceMeta.Name == o.ResourceMeta.Name
		}
		if !slices.ContainsFunc(out, same) {
			out = append(out, o)
		}
	}
	return out
}

// routeHash is the key under which a route counts as a tag of its destination.
const routeHash = "__rule-matches-hash__"

// toRules spells out the rules for destinations known by their tag.
func (in *inspector) toRules(warnings *[]string) []TagRule {
	var items []tagItem
	keys := map[string]bool{}
	for _, s := range in.r.m.sel {
		for i := range s.parts.to {
			r := ref{s.compiled, ListTo, i}
			for _, sub := range toSubsets(s.compiled, s.parts.to[i].ref) {
				items = append(items, tagItem{sub, r})
				for k := range sub {
					keys[k] = true
				}
			}
		}
	}
	if len(keys) > 1 {
		return in.spell(items, warnings)
	}
	var out []TagRule
	var seen []subset
	for _, it := range items {
		if slices.ContainsFunc(seen, func(s subset) bool { return maps.Equal(s, it.sub) }) {
			continue
		}
		seen = append(seen, it.sub)
		out = append(out, in.tagRule(matchers(it.sub), items))
	}
	slices.SortStableFunc(out, func(a, b TagRule) int { return len(b.Matchers) - len(a.Matchers) })
	if out == nil {
		out = []TagRule{}
	}
	return out
}

// tagItem is an item with what it selects by tags.
type tagItem struct {
	sub subset
	ref ref
}

// toSubsets returns what an item selects by tags: one set for each route of a
// policy on a MeshHTTPRoute.
func toSubsets(c *compiled, t TargetRef) []subset {
	s, ok := subsetOf(t)
	if !ok {
		return nil
	}
	if c.kind != RefMeshHTTPRoute {
		return []subset{s}
	}
	var out []subset
	for i := range c.routes {
		sub := subset{routeHash: c.routes[i].Hash}
		if c.routes[i].Target.Kind != RefMesh {
			sub[model.TagService] = c.routes[i].Target.Name
		}
		out = append(out, sub)
	}
	return out
}

func matchers(s subset) []TagMatch {
	out := []TagMatch{}
	for k, v := range s {
		out = append(out, TagMatch{Key: k, Value: v})
	}
	slices.SortFunc(out, func(a, b TagMatch) int { return strings.Compare(a.Key, b.Key) })
	return out
}

// tagRule merges the items that contain all destinations with these tags.
func (in *inspector) tagRule(tags []TagMatch, items []tagItem) TagRule {
	var refs []ref
	for _, it := range items {
		r := it.ref
		if it.sub.contains(tags) && !slices.Contains(refs, r) {
			refs = append(refs, r)
		}
	}
	if tags == nil {
		tags = []TagMatch{}
	}
	return TagRule{Matchers: tags, Conf: in.r.conf(refs).conf, Origin: in.policies(refs)}
}

// spell returns a rule for each way to have or not to have the items' tags.
func (in *inspector) spell(items []tagItem, warnings *[]string) []TagRule {
	subs := make([]subset, len(items))
	for i, it := range items {
		subs[i] = it.sub
	}
	combos, ok := combinations(subs)
	if !ok {
		*warnings = append(*warnings, "the items speak of so many tags that their combinations are not spelled out here; "+
			"they are applied all the same, the last item that fits wins")
		return []TagRule{}
	}
	out := []TagRule{}
	seen := map[string]bool{}
	for _, tags := range combos {
		k := tagsKey(tags)
		if seen[k] || !slices.ContainsFunc(items, func(it tagItem) bool { return it.sub.contains(tags) }) {
			continue
		}
		seen[k] = true
		out = append(out, in.tagRule(tags, items))
	}
	slices.SortStableFunc(out, func(a, b TagRule) int { return positives(b.Matchers) - positives(a.Matchers) })
	return out
}

// ports returns what the rules for inbounds are told of: inbounds, or listeners
// of a builtin gateway.
func (f *Facts) ports() []InboundMeta {
	var out []InboundMeta
	if f.Gateway == BuiltinGateway {
		if f.Definition != nil {
			for _, l := range f.Definition.Listeners {
				out = append(out, InboundMeta{Tags: f.Tags, Port: l.Port})
			}
		}
		return out
	}
	for _, p := range f.Ports {
		out = append(out, InboundMeta{Name: p.Name, Tags: p.Tags, Port: p.Port})
	}
	return out
}

// inboundRules tells the rules of each inbound, by port.
func (in *inspector) inboundRules(k *KindRules) {
	ports := in.m.facts.ports()
	order := make([]int, len(ports))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return int(ports[a].Port) - int(ports[b].Port) })
	for _, i := range order {
		meta := ports[i]
		if in.p.has(ListFrom) {
			if rules := in.fromRules(i, &k.Warnings); len(rules) > 0 {
				k.FromRules = append(k.FromRules, FromRule{Inbound: meta, Rules: rules})
			}
		}
		if !in.p.fromAsRules {
			continue
		}
		if c := in.r.forPort(i); c != nil {
			k.InboundRules = append(k.InboundRules, InboundRule{
				Inbound: meta, Rules: []PlainRule{{Conf: []any{c.conf}, Origin: origins(c.refs)}},
			})
		}
	}
}

// fromRules tells the rules of an inbound by client.
func (in *inspector) fromRules(port int, warnings *[]string) []TagRule {
	var items []tagItem
	for _, s := range in.r.m.sel {
		if !slices.Contains(s.ports, port) {
			continue
		}
		for i := range s.parts.from {
			if sub, ok := subsetOf(s.parts.from[i].ref); ok {
				items = append(items, tagItem{sub, ref{s.compiled, ListFrom, i}})
			}
		}
	}
	if len(items) == 0 {
		return nil
	}
	return in.spell(items, warnings)
}

// resourceRules tells the rules of destinations that are resources and are named
// by an item, and of the mesh as a whole.
func (in *inspector) resourceRules() []ResourceRule {
	out := []ResourceRule{}
	if slices.ContainsFunc(in.r.m.sel, func(s selected) bool {
		return s.kind != RefMeshHTTPRoute && slices.ContainsFunc(s.parts.to, func(it item) bool { return it.ref.Kind == RefMesh })
	}) {
		d := &destination{kind: RefMesh}
		if c := in.r.conf(in.r.toRefs(d)); c != nil && in.w.Mesh != nil {
			out = append(out, ResourceRule{
				ResourceMeta: MetaOf(in.w.Mesh), Conf: []any{c.conf}, Origin: origins(c.refs),
			})
		}
	}
	for _, kind := range []*model.Kind{kinds.MeshService, kinds.MeshExternalService, kinds.MeshMultiZoneService} {
		for _, row := range in.w.Tables.Table(kind, in.m.facts.Mesh).Rows() {
			out = append(out, in.rulesOf(row.Object)...)
		}
	}
	slices.SortStableFunc(out, func(a, b ResourceRule) int {
		return cmp.Or(strings.Compare(a.ResourceMeta.Name, b.ResourceMeta.Name),
			strings.Compare(a.ResourceMeta.Type, b.ResourceMeta.Type),
			strings.Compare(a.ResourceSectionName, b.ResourceSectionName))
	})
	return out
}

// rulesOf tells the rules of a resource as a whole and of those of its ports
// that an item names.
func (in *inspector) rulesOf(o *model.Object) []ResourceRule {
	d := &destination{
		kind: o.Kind.Name, labels: o.Meta.Labels,
		id: identity{o.DisplayName(), o.Meta.Mesh, o.Label(model.LabelK8sNamespace), o.Label(model.LabelZone)},
	}
	var out []ResourceRule
	for _, section := range append([]string{""}, sections(o)...) {
		d.section = section
		if !in.named(d) {
			continue
		}
		if c := in.r.conf(in.r.toRefs(d)); c != nil {
			out = append(out, ResourceRule{
				ResourceMeta: MetaOf(o), ResourceSectionName: section, Conf: []any{c.conf}, Origin: origins(c.refs),
			})
		}
	}
	return out
}

// named tells whether an item names just this section of the resource, or, where
// there is no section, the resource as a whole.
func (in *inspector) named(d *destination) bool {
	for _, s := range in.r.m.sel {
		if s.kind == RefMeshHTTPRoute {
			continue
		}
		for i := range s.parts.to {
			t := s.parts.to[i].ref
			if t.Kind == RefMesh || !refSelects(&t, s.row.Object, d) {
				continue
			}
			_, _, port, kube := kubeServiceName(t.Name)
			narrow := t.SectionName != "" || (kube && port != "" && t.Kind == RefMeshService)
			if narrow == (d.section != "") {
				return true
			}
		}
	}
	return false
}

// sections returns the names of a resource's ports.
func sections(o *model.Object) []string {
	var out []string
	switch s := o.Spec.(type) {
	case *kinds.MeshServiceSpec:
		for i := range s.Ports {
			out = append(out, s.Ports[i].SectionName())
		}
	case *kinds.MeshMultiZoneServiceSpec:
		for i := range s.Ports {
			out = append(out, s.Ports[i].SectionName())
		}
	}
	return out
}
