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
	kinds map[*model.Kind]*index
	count int
	hash  model.Hash
}

// NewSet returns the older policies of a mesh, prev if nothing differs.
func NewSet(t model.Tables, mesh string, prev *Set) *Set {
	s := &Set{kinds: map[*model.Kind]*index{}}
	var hs []model.Hash
	for _, k := range Kinds() {
		var before *index
		if prev != nil {
			before = prev.kinds[k]
		}
		x := newIndex(k, t.Table(k, mesh), before)
		s.kinds[k] = x
		s.count += x.table.Len()
		hs = append(hs, x.hash)
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
func (s *Set) Routes() bool { return s.kinds[TrafficRoute].table.Len() > 0 }

// ClientTags tells whether someone in the mesh tells clients apart by their tags.
func (s *Set) ClientTags() bool {
	return s.kinds[FaultInjection].table.Len()+s.kinds[RateLimit].table.Len() > 0
}

// Matched are the older policies that matter to one proxy. It is immutable and
// part of the proxy's inputs.
type Matched struct {
	routes bool
	// clients are policies whose sources select the proxy, with how specific they
	// do; servers those whose destinations select one of its inbounds.
	clients map[*model.Kind]clientSide
	servers map[*model.Kind][]*model.Object
	// permissions are all of the mesh: they decide which ExternalServices the
	// proxy may use.
	permissions *model.Table
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
	row    int // in its table
}

// clientSide are the policies of one kind whose sources select the proxy.
type clientSide struct {
	list []candidate // by their rows
	// destinations finds rows by the service that is called.
	destinations *side
}

// none are no policies; its hash is zero.
var none = &Matched{}

// Match returns the policies that matter to a Dataplane.
func (s *Set) Match(dp *kinds.DataplaneSpec) *Matched {
	if s.count == 0 {
		return none
	}
	m := &Matched{
		routes:  s.Routes(),
		clients: map[*model.Kind]clientSide{}, servers: map[*model.Kind][]*model.Object{},
		tagSets: tagSets(dp),
	}
	var hs []model.Hash
	take := func(r model.Row) { hs = append(hs, r.Hash, born(r)) }
	for _, k := range Kinds() {
		switch x := s.kinds[k]; k {
		case TrafficTrace:
			m.trace = x.selecting(k, m.tagSets, take)
		case kinds.ProxyTemplate:
			m.template = x.selecting(k, m.tagSets, take)
		default:
			m.addClients(k, x, take)
			m.addServers(k, x, take)
		}
	}
	if m.routes {
		m.permissions = s.kinds[TrafficPermission].table
		hs = append(hs, s.kinds[TrafficPermission].hash, model.HashOf([]byte("routes")))
	}
	if len(hs) == 0 {
		return none
	}
	m.hash = model.Fold(hs...)
	return m
}

// addClients keeps the policies of a kind whose sources select the proxy.
func (m *Matched) addClients(k *model.Kind, x *index, take func(model.Row)) {
	if k == TrafficPermission || k == FaultInjection {
		return // they are about servers only
	}
	side := clientSide{destinations: &x.destinations}
	for _, i := range x.sources.rows(m.tagSets...) {
		row := x.table.Rows()[i]
		if from, ok := kinds.BestMatch(row.Spec.(connected).ends().Sources, m.tagSets...); ok {
			side.list = append(side.list, candidate{row.Object, from, i})
			take(row)
		}
	}
	if len(side.list) > 0 {
		m.clients[k] = side
	}
}

// addServers keeps the policies of a kind whose destinations select an inbound.
func (m *Matched) addServers(k *model.Kind, x *index, take func(model.Row)) {
	if k != TrafficPermission && k != FaultInjection && k != RateLimit {
		return
	}
	for _, i := range x.destinations.rows(m.tagSets...) {
		row := x.table.Rows()[i]
		if _, ok := kinds.BestMatch(row.Spec.(connected).ends().Destinations, m.tagSets...); ok {
			m.servers[k] = append(m.servers[k], row.Object)
			take(row)
		}
	}
}

// selecting returns the most specific object that selects a proxy, nil if none does.
func (x *index) selecting(k *model.Kind, tags []map[string]string, take func(model.Row)) *model.Object {
	var best model.Row
	var how kinds.Specificity
	for _, i := range x.subjects.rows(tags...) {
		row := x.table.Rows()[i]
		sp, ok := kinds.BestMatch(subjects(k, row.Object), tags...)
		if ok && (best.Object == nil || kinds.CompareMatched(row.Object, best.Object, sp, how) < 0) {
			best, how = row, sp
		}
	}
	if best.Object != nil {
		take(best)
	}
	return best.Object
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
	side, ok := m.clients[k]
	if !ok {
		return nil
	}
	called := map[string]string{model.TagService: service}
	var best *model.Object
	var how kinds.Specificity
	for _, row := range side.destinations.rows(called) {
		i, ok := slices.BinarySearchFunc(side.list, row, func(c candidate, row int) int { return c.row - row })
		if !ok {
			continue // its sources do not select the proxy
		}
		c := side.list[i]
		to, ok := kinds.BestMatch(c.object.Spec.(connected).ends().Destinations, called)
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
			out = append(out, candidate{object: o, from: to})
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
	for _, row := range m.permissions.Rows() {
		to, ok := kinds.BestMatch(row.Spec.(connected).ends().Destinations, tags)
		if ok && (best == nil || kinds.CompareMatched(row.Object, best, to, how) < 0) {
			best, how = row.Object, to
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
