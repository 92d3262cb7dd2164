package legacy

import (
	"slices"
	"strconv"

	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// Kinds are the older policies, with the templates, which are matched alike.
func Kinds() []*model.Kind {
	return []*model.Kind{
		kinds.ProxyTemplate, TrafficPermission, TrafficRoute, TrafficLog, TrafficTrace, FaultInjection,
		HealthCheck, CircuitBreaker, Retry, Timeout, RateLimit,
	}
}

// Set holds the older policies of one mesh at one moment. It is immutable.
type Set struct {
	tables map[*model.Kind]*model.Table
	count  int
	hash   model.Hash
}

// NewSet returns the older policies of a mesh, prev if nothing differs.
func NewSet(t model.Tables, mesh string, prev *Set) *Set {
	s := &Set{tables: map[*model.Kind]*model.Table{}}
	var hs []model.Hash
	for _, k := range Kinds() {
		table := t.Table(k, mesh)
		s.tables[k] = table
		s.count += table.Len()
		hs = append(hs, table.Hash())
		for _, row := range table.Rows() {
			hs = append(hs, born(row))
		}
	}
	s.hash = model.Fold(hs...)
	if prev != nil && prev.hash == s.hash {
		return prev
	}
	return s
}

// Hash covers all older policies of the mesh.
func (s *Set) Hash() model.Hash { return s.hash }

// Routes tells whether the mesh has a TrafficRoute. Then these make the outbounds
// of services known by their tags, unless newer routes select the proxy.
func (s *Set) Routes() bool { return s.tables[TrafficRoute].Len() > 0 }

// ClientTags tells whether someone in the mesh tells clients apart by their tags.
func (s *Set) ClientTags() bool {
	return s.tables[FaultInjection].Len()+s.tables[RateLimit].Len() > 0
}

// Matched are the older policies that matter to one proxy. It is immutable and
// part of the proxy's inputs.
type Matched struct {
	routes bool
	// clients are policies whose sources select the proxy, with how specific they
	// do; servers those whose destinations select one of its inbounds.
	clients map[*model.Kind][]candidate
	servers map[*model.Kind][]*model.Object
	// permissions are all of the mesh: they decide which ExternalServices the
	// proxy may use.
	permissions []*model.Object
	tagSets     []map[string]string
	trace       *model.Object
	template    *model.Object
	hash        model.Hash
}

// born covers when and as what a policy was made: of equal ones the later one
// counts, so that this is an input, too.
func born(r model.Row) model.Hash {
	return model.HashOf(strconv.AppendInt([]byte(r.Meta.Name+"/"), r.Meta.Created.UnixNano(), 10))
}

// candidate is a policy with how specific its sources select the proxy.
type candidate struct {
	object *model.Object
	from   kinds.Specificity
}

// connected is what the policies on connections have in common.
type connected interface{ ends() *Connections }

func (c *Connections) ends() *Connections { return c }

// none are no policies; its hash is zero.
var none = &Matched{}

// Match returns the policies that matter to a Dataplane.
func (s *Set) Match(dp *kinds.DataplaneSpec) *Matched {
	if s.count == 0 {
		return none
	}
	m := &Matched{
		routes:  s.Routes(),
		clients: map[*model.Kind][]candidate{}, servers: map[*model.Kind][]*model.Object{},
		tagSets: tagSets(dp),
	}
	var hs []model.Hash
	take := func(r model.Row) { hs = append(hs, r.Hash, born(r)) }
	for _, k := range Kinds() {
		if k == TrafficTrace || k == kinds.ProxyTemplate {
			continue
		}
		for _, row := range s.tables[k].Rows() {
			if m.add(k, row.Object) {
				take(row)
			}
		}
	}
	trace := s.selecting(TrafficTrace, m.tagSets, func(o *model.Object) []kinds.Selector { return model.Spec[TrafficTraceSpec](o).Selectors })
	if trace.Object != nil {
		m.trace = trace.Object
		take(trace)
	}
	template := s.selecting(kinds.ProxyTemplate, m.tagSets, func(o *model.Object) []kinds.Selector { return model.Spec[kinds.ProxyTemplateSpec](o).Selectors })
	if template.Object != nil {
		m.template = template.Object
		take(template)
	}
	if m.routes {
		hs = append(hs, model.HashOf([]byte("routes")))
	}
	if len(hs) == 0 {
		return none
	}
	m.hash = model.Fold(hs...)
	return m
}

// add tells whether a policy matters to the proxy, and keeps it.
func (m *Matched) add(k *model.Kind, o *model.Object) bool {
	ends := o.Spec.(connected).ends()
	used := false
	if k != TrafficPermission && k != FaultInjection {
		if from, ok := kinds.BestMatch(ends.Sources, m.tagSets...); ok {
			m.clients[k] = append(m.clients[k], candidate{o, from})
			used = true
		}
	}
	if k == TrafficPermission || k == FaultInjection || k == RateLimit {
		if _, ok := kinds.BestMatch(ends.Destinations, m.tagSets...); ok {
			m.servers[k] = append(m.servers[k], o)
			used = true
		}
	}
	if k == TrafficPermission && m.routes {
		m.permissions = append(m.permissions, o)
		used = true
	}
	return used
}

// selecting returns the most specific object of a kind that selects a proxy.
func (s *Set) selecting(k *model.Kind, tags []map[string]string, selectors func(o *model.Object) []kinds.Selector) model.Row {
	var best model.Row
	var how kinds.Specificity
	for _, row := range s.tables[k].Rows() {
		sp, ok := kinds.BestMatch(selectors(row.Object), tags...)
		if ok && (best.Object == nil || kinds.CompareMatched(row.Object, best.Object, sp, how) < 0) {
			best, how = row, sp
		}
	}
	return best
}

func tagSets(dp *kinds.DataplaneSpec) []map[string]string {
	var out []map[string]string
	for i := range dp.Inbounds() {
		out = append(out, dp.Inbounds()[i].Tags)
	}
	if g := dp.Gateway(); g != nil {
		out = append(out, g.Tags)
	}
	return out
}

// Hash covers the policies that matter.
func (m *Matched) Hash() model.Hash { return m.hash }

// Routes tells whether the mesh has a TrafficRoute; see Set.Routes.
func (m *Matched) Routes() bool { return m != nil && m.routes }

// outbound returns the policy of a kind for a service that the proxy calls, nil
// if there is none.
func (m *Matched) outbound(k *model.Kind, service string) *model.Object {
	var best *model.Object
	var how kinds.Specificity
	for _, c := range m.clients[k] {
		to, ok := kinds.BestMatch(c.object.Spec.(connected).ends().Destinations, map[string]string{model.TagService: service})
		if !ok {
			continue
		}
		sp := c.from.Plus(to)
		if best == nil || kinds.CompareMatched(c.object, best, sp, how) < 0 {
			best, how = c.object, sp
		}
	}
	return best
}

// inbound returns the policies of a kind whose destinations select the tags of
// an inbound, with how specific they do.
func (m *Matched) inbound(k *model.Kind, tags map[string]string) []candidate {
	var out []candidate
	for _, o := range m.servers[k] {
		if to, ok := kinds.BestMatch(o.Spec.(connected).ends().Destinations, tags); ok {
			out = append(out, candidate{o, to})
		}
	}
	return out
}

// Permits tells whether the proxy may use an ExternalService with these tags.
// Without a TrafficRoute in the mesh nobody asks for a permission.
func (m *Matched) Permits(tags map[string]string) bool {
	if !m.Routes() {
		return true
	}
	var best *model.Object
	var how kinds.Specificity
	for _, o := range m.permissions {
		to, ok := kinds.BestMatch(o.Spec.(connected).ends().Destinations, tags)
		if ok && (best == nil || kinds.CompareMatched(o, best, to, how) < 0) {
			best, how = o, to
		}
	}
	if best == nil {
		return false
	}
	_, ok := kinds.BestMatch(best.Spec.(connected).ends().Sources, m.tagSets...)
	return ok
}

// newestFirst orders the more specific ones first, of equal ones the newest.
func newestFirst[T any](list []T, key func(T) (*model.Object, kinds.Specificity)) {
	slices.SortStableFunc(list, func(a, b T) int {
		x, sx := key(a)
		y, sy := key(b)
		return kinds.CompareMatched(x, y, sx, sy)
	})
}
