package xds

import (
	"strconv"
	"time"
)

// Options are the settings of a stream. The zero value of each means its default.
type Options struct {
	// Identifier names the control plane instance to the client.
	Identifier string
	// NackBackoff is the wait before a rejected resource is tried again; it
	// doubles with every further rejection, up to MaxNackBackoff. Default 5 s.
	NackBackoff time.Duration
	// WarmWait is how long listeners and routes wait for the client to accept the
	// clusters that go with them. Envoy accepts clusters when they are ready to
	// take traffic; one that never gets ready must not stop everything. Default 5 s.
	WarmWait time.Duration
	// RemovalGrace is how long a cluster stays after the listeners and routes
	// without it were accepted, because connections of a listener that drains
	// still use it; negative = no grace. Default 30 s, the drain time of kuma-dp.
	// There is none where the target changed without a change of listeners and
	// routes: then nothing drains, and who took the cluster away means to stop it.
	RemovalGrace time.Duration
	// LastListener is told of after all other listeners, which it makes known to
	// others; may be empty.
	LastListener string
	// MaxNames bounds the names of one type that a client may subscribe to, and
	// MaxNameBytes their length in sum. Defaults 50,000 and 8 MiB.
	MaxNames, MaxNameBytes int
	// ChunkBytes is the size that responses are split at where the protocol lets
	// them. Default 1 MiB.
	ChunkBytes int
	// SendTimeout is how long a client may take to read a response. Default 30 s.
	SendTimeout time.Duration
	// Rate and Burst bound the requests that are read per second; what is above
	// waits in the network. Defaults 200 and 2,000.
	Rate, Burst int
	// Reporter is told what happens; may be nil.
	Reporter Reporter
}

// MaxNackBackoff is the longest wait before a rejected resource is tried again.
const MaxNackBackoff = 5 * time.Minute

func (o Options) withDefaults() Options {
	duration := func(d *time.Duration, def time.Duration) {
		if *d == 0 {
			*d = def
		}
	}
	number := func(n *int, def int) {
		if *n == 0 {
			*n = def
		}
	}
	duration(&o.NackBackoff, 5*time.Second)
	duration(&o.WarmWait, 5*time.Second)
	duration(&o.RemovalGrace, 30*time.Second)
	duration(&o.SendTimeout, 30*time.Second)
	number(&o.MaxNames, 50_000)
	number(&o.MaxNameBytes, 8<<20)
	number(&o.ChunkBytes, 1<<20)
	number(&o.Rate, 200)
	number(&o.Burst, 2_000)
	o.RemovalGrace = max(o.RemovalGrace, 0)
	if o.Reporter == nil {
		o.Reporter = silent{}
	}
	return o
}

// Machine is the state of one client. Feed it with SetTarget, Dirty and Request,
// and send what Next returns until there is nothing more; call Next again after
// each input and at the time that Wake names. It is not safe for concurrent use.
//
// The order that it keeps, so that no request ever meets a hole:
//
//	cluster added or changed → its endpoints, at once → secrets
//	  → (clusters accepted, that is warm) listeners → routes
//	  → (listeners and routes accepted, grace over) clusters removed
//
// Endpoints never wait for anything.
type Machine struct {
	opt   Options
	delta bool
	watch Watcher

	target *Set
	seq    uint64 // number of the target; 0 = none yet
	nonce  uint64
	types  [NumTypes]typeState

	// lingering are the clusters that the client holds and the target does not.
	lingering map[string]*linger
	// starving are the clusters that were sent and whose endpoints were not sent
	// since: Envoy warms such a cluster until it gets them.
	starving map[string]struct{}
	// watched are the live lists of the subscribed endpoint names.
	watched map[string]*Live
	// gated is when listeners or routes began to wait for clusters.
	gated time.Time
	wake  time.Time
	// holding is what the reporter was told last.
	holding Holding
}

// typeState is what the client said about a type and was told of it.
type typeState struct {
	seen     bool // the client asked for the type on this stream
	wildcard bool
	named    bool // it has ever asked by name
	names    map[string]struct{}
	bytes    int // length of all names

	// sent is what the client was told, by name.
	sent map[string]held
	sum  uint64 // over the versions in sent
	// claim is the version that a state-of-the-world client says it has from an
	// earlier stream; looked at once there is a target.
	claim string

	// scan asks for a comparison of everything, touched for that of some names.
	scan    bool
	touched map[string]struct{}
	// answer asks for a response even if there is nothing to tell.
	answer bool
	// since is the time of the oldest change that waits to be sent.
	since time.Time
	// absent are names that must be answered with "does not exist".
	absent map[string]struct{}

	flights []flight
	acked   uint64 // newest target that the client accepted completely

	// rejected are the resources that the client refused, by name; the name ""
	// stands for the whole type.
	rejected map[string]*rejection
	// suspects are parts of refused responses, to be sent apart, and suspect are
	// the names in them.
	suspects [][]*Resource
	suspect  map[string]struct{}
	nacks    int       // in a row
	holdTill time.Time // new versions of rejected resources wait until then
}

// held is a resource as the client was told. ver is 0 if what it really has is
// not known; res is nil for what it brought along.
type held struct {
	ver uint64
	res *Resource
}

// flight is a response that was not confirmed yet.
type flight struct {
	nonce  string
	items  []*Resource
	sum    uint64 // of the whole type, for state-of-the-world
	covers uint64 // target that is sent completely with it; 0 = more follows
	probe  bool   // it is a part of a refused response
	waived bool   // waited for long enough
	since  time.Time
	sent   time.Time
}

// maxFlights bounds the unconfirmed responses that are remembered. Envoy holds
// back its confirmation of clusters while one is not ready, so several are usual.
const maxFlights = 64

type linger struct {
	seq   uint64        // target since which the cluster is not wanted
	grace time.Duration // that its users have to go
	due   time.Time     // when it is removed; zero = its users are not gone yet
}

// NewMachine returns the state of a client that has just connected. watch is told
// of changed endpoints, and should see to it that Dirty is called.
func NewMachine(delta bool, watch Watcher, o Options) *Machine {
	m := &Machine{
		opt: o.withDefaults(), delta: delta, watch: watch,
		lingering: map[string]*linger{}, starving: map[string]struct{}{}, watched: map[string]*Live{},
	}
	for i := range m.types {
		m.types[i] = typeState{
			names: map[string]struct{}{}, sent: map[string]held{}, touched: map[string]struct{}{},
			absent: map[string]struct{}{}, rejected: map[string]*rejection{},
		}
	}
	return m
}

// Close gives up the watches.
func (m *Machine) Close() {
	for _, l := range m.watched {
		l.Unwatch(m.watch)
	}
	clear(m.watched)
}

// SetTarget says what the client should hold from now on.
func (m *Machine) SetTarget(s *Set) {
	first := m.target == nil
	grace := m.opt.RemovalGrace
	if !first && m.target.same(s, Listener) && m.target.same(s, Route) {
		grace = 0
	}
	m.target = s
	m.seq++
	m.updateLingering(grace)
	for name := range m.types[Endpoints].names {
		m.follow(name)
	}
	for t := range NumTypes {
		st := &m.types[t]
		if !st.seen {
			continue
		}
		st.scan = true
		if !first {
			st.changed(s.Changed)
		}
	}
}

// changed notes when the oldest change that waits was made.
func (st *typeState) changed(at time.Time) {
	if st.since.IsZero() || !at.IsZero() && at.Before(st.since) {
		st.since = at
	}
}

// updateLingering compares the clusters that the client holds with the target.
// grace is what the users of those have that are newly not wanted.
func (m *Machine) updateLingering(grace time.Duration) {
	want := m.target.Of(Cluster)
	for name := range m.lingering {
		if _, ok := want[name]; ok {
			delete(m.lingering, name)
		}
	}
	for name := range m.types[Cluster].sent {
		if _, ok := want[name]; !ok && m.lingering[name] == nil {
			m.lingering[name] = &linger{seq: m.seq, grace: grace}
		}
	}
}

// Dirty says that a live list has a new value.
func (m *Machine) Dirty(l *Live) {
	v := l.current.Load()
	if m.watched[v.res.Name] != l {
		return
	}
	st := &m.types[Endpoints]
	st.touched[v.res.Name] = struct{}{}
	st.changed(v.at)
}

// follow watches the live list of a subscribed endpoint name. The list of a
// lingering cluster stays watched, although the target does not name it.
func (m *Machine) follow(name string) {
	var l *Live
	if m.target != nil {
		l = m.target.live[name]
	}
	old := m.watched[name]
	if l == old || l == nil && m.lingering[name] != nil {
		return
	}
	if old != nil {
		old.Unwatch(m.watch)
		delete(m.watched, name)
	}
	if l != nil {
		m.watched[name] = l
		// Two names never share a list, so one watch per list is enough.
		l.Watch(m.watch)
	}
}

func (m *Machine) unfollow(name string) {
	if l := m.watched[name]; l != nil {
		l.Unwatch(m.watch)
		delete(m.watched, name)
	}
}

// want returns what the client should hold under a name; nil = nothing.
func (m *Machine) want(t Type, name string) *Resource {
	if t == Endpoints {
		if l := m.watched[name]; l != nil {
			return l.Load()
		}
	}
	return m.target.byType[t][name]
}

// Wake returns when Next must be called again without other cause; zero = never.
func (m *Machine) Wake() time.Time { return m.wake }

func (m *Machine) wakeAt(t time.Time) {
	if m.wake.IsZero() || t.Before(m.wake) {
		m.wake = t
	}
}

// set notes what the client is told.
func (st *typeState) set(name string, h held) {
	st.sum += mix(h.ver) - mix(st.sent[name].ver)
	st.sent[name] = h
}

// drop notes that the client does not hold the name.
func (st *typeState) drop(name string) {
	st.sum -= mix(st.sent[name].ver)
	delete(st.sent, name)
}

// doubt notes that it is not known what the client holds under the name.
func (st *typeState) doubt(name string) {
	if h, ok := st.sent[name]; ok {
		st.set(name, held{res: h.res})
	}
}

// mix spreads a version so that sums of several do not collide; mix(0) is 0.
func mix(v uint64) uint64 {
	v = (v ^ v>>30) * 0xbf58476d1ce4e5b9
	v = (v ^ v>>27) * 0x94d049bb133111eb
	return v ^ v>>31
}

func (m *Machine) nextNonce() string {
	m.nonce++
	return strconv.FormatUint(m.nonce, 10)
}
