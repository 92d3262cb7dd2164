package xds

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

var seedFlag = flag.Uint64("seed", 0, "run TestClientConverges with this seed only and print what happens")

// world is a control plane with one proxy: what should be, the machine, the
// client, and the wires between them. Time is a number that only the test moves.
type world struct {
	t      *testing.T
	rnd    *rand.Rand
	now    time.Time
	delta  bool
	chunk  int
	live   map[string]*Live
	set    *Set
	m      *Machine
	dirty  map[*Live]bool
	client *simClient
	toward []*Response
	back   []*Request
	bad    bool // some resources are bad
	stays  bool // the client never reconnects
}

func newWorld(t *testing.T, seed uint64, delta, bad bool) *world {
	w := &world{t: t, rnd: rand.New(rand.NewPCG(seed, 1)), now: time.Unix(1_000_000, 0), delta: delta, bad: bad, live: map[string]*Live{}}
	w.chunk = []int{1, 150, 1 << 20}[w.rnd.IntN(3)]
	w.client = newSimClient(delta, func() time.Time { return w.now })
	// Envoy applies the good part of a response that it rejects, and does not
	// remember those versions over a reconnection; then nobody can know.
	w.stays = w.rnd.IntN(2) == 0 || bad && delta
	// A state-of-the-world client that reconnects brings along one version for all
	// clusters, so that the new stream cannot know which ones to keep for a while.
	w.client.strict = !bad && (delta || w.stays)
	w.publish()
	w.connect()
	return w
}

func (w *world) Changed(l *Live) { w.dirty[l] = true }

// connect gives the client a new stream at a control plane that knows nothing.
func (w *world) connect() {
	if w.m != nil {
		w.m.Close()
	}
	w.dirty = map[*Live]bool{}
	o := Options{ChunkBytes: w.chunk, NackBackoff: time.Second}
	if w.client.strict { // messages may take long here
		o.WarmWait, o.RemovalGrace = time.Hour, 24*time.Hour
	}
	w.m = NewMachine(w.delta, w, o)
	w.toward, w.back = nil, nil
	w.client.connect()
	if w.rnd.IntN(2) == 0 {
		w.m.SetTarget(w.set)
	} else {
		w.step(3)
		w.m.SetTarget(w.set)
	}
}

func (w *world) body(name string, more ...string) []byte {
	b := fmt.Sprintf("%s v%d %s", name, w.rnd.IntN(3), strings.Join(more, " "))
	if w.bad && w.rnd.IntN(8) == 0 {
		b += " bad"
	}
	return []byte(b)
}

// publish makes a new set. What refers to clusters refers to those of the set.
func (w *world) publish() {
	var rs []*Resource
	live := map[string]*Live{}
	var clusters []string
	for i := range 6 {
		if w.rnd.IntN(3) == 0 {
			continue
		}
		name := fmt.Sprintf("c%d", i)
		clusters = append(clusters, name)
		more := []string{}
		if i%3 != 0 {
			more = append(more, "eds")
			if w.live[name] == nil || w.rnd.IntN(10) == 0 {
				w.live[name] = NewLive(NewResource(Endpoints, name, w.body(name)))
			}
			live[name] = w.live[name]
		}
		if i%2 == 0 {
			more = append(more, "secret=s1")
		}
		rs = append(rs, NewResource(Cluster, name, w.body(name, more...)))
	}
	uses := func() string {
		if len(clusters) == 0 {
			return ""
		}
		return "uses=" + clusters[w.rnd.IntN(len(clusters))] + "," + clusters[w.rnd.IntN(len(clusters))]
	}
	for i := range 4 {
		if w.rnd.IntN(3) == 0 {
			continue
		}
		more := []string{uses()}
		if i%2 == 0 {
			more = append(more, "route=r1")
		}
		rs = append(rs, NewResource(Listener, fmt.Sprintf("l%d", i), w.body(fmt.Sprintf("l%d", i), more...)))
	}
	rs = append(rs, NewResource(Secret, "s1", w.body("s1")), NewResource(Route, "r1", w.body("r1", uses())))
	w.set = NewSet(rs, live)
	w.trace("set: %s, live %v", bodies(rs), slices.Sorted(maps.Keys(live)))
}

func bodies(rs []*Resource) string {
	var out []string
	for _, r := range rs {
		out = append(out, r.Type.String()+" "+string(r.Body))
	}
	return strings.Join(out, "; ")
}

// trace tells what happens when one seed is looked at.
func (w *world) trace(format string, args ...any) {
	if *seedFlag != 0 {
		w.t.Logf("%d "+format, append([]any{w.now.Unix()}, args...)...)
	}
}

// step lets n messages move.
func (w *world) step(n int) {
	for range n {
		w.back = append(w.back, w.client.out...)
		w.client.out = nil
		for l := range w.dirty {
			w.m.Dirty(l)
		}
		clear(w.dirty)
		if len(w.back) > 0 && w.rnd.IntN(2) == 0 {
			w.trace("→ %+v", *w.back[0])
			if err := w.m.Request(w.back[0], w.now); err != nil {
				w.t.Fatal(err)
			}
			w.back = w.back[1:]
		}
		if len(w.toward) < 4 {
			if r, ok := w.m.Next(w.now); ok {
				w.trace("← %s nonce %s: %s, without %v", r.Type, r.Nonce, bodies(r.Resources), r.Removed)
				w.toward = append(w.toward, r)
			}
		}
		if len(w.toward) > 0 && w.rnd.IntN(2) == 0 {
			w.trace("client takes %s nonce %s", w.toward[0].Type, w.toward[0].Nonce)
			w.client.receive(w.toward[0])
			w.toward = w.toward[1:]
		}
	}
}

// settle lets everything move, and time too, until nothing is left to do but to
// try again what is bad.
func (w *world) settle() {
	quiet, jumps := 0, 0
	for i := 0; quiet < 30; i++ {
		if i > 100_000 {
			w.t.Fatalf("no end: %d responses and %d requests under way", len(w.toward), len(w.back))
		}
		before := w.m.nonce
		w.step(1)
		if w.m.nonce != before || len(w.toward) > 0 || len(w.back) > 0 || len(w.client.out) > 0 {
			quiet = 0
			continue
		}
		w.now = w.now.Add(time.Second)
		w.client.warm()
		quiet++
		if wake := w.m.Wake(); quiet == 30 && !wake.IsZero() && jumps < 40 {
			jumps++
			quiet = 0
			w.now = wake
		}
	}
}

func (w *world) edit() {
	switch w.rnd.IntN(10) {
	case 0, 1, 2:
		w.publish()
		w.m.SetTarget(w.set)
	case 3, 4, 5:
		names := slices.Sorted(maps.Keys(w.live))
		if len(names) > 0 {
			name := names[w.rnd.IntN(len(names))]
			w.live[name].Store(NewResource(Endpoints, name, w.body(name)))
		}
	case 6:
		if !w.stays {
			w.trace("client reconnects")
			w.connect()
		}
	case 7:
		w.now = w.now.Add(time.Duration(w.rnd.IntN(40)) * time.Second)
		w.client.warm()
	default:
		w.step(w.rnd.IntN(20))
	}
}

// check compares what the client holds with what it should.
func (w *world) check() {
	for t := range NumTypes {
		want := map[string]string{}
		for name, r := range w.set.Of(t) {
			if t.wildcard() || w.client.names[t][name] {
				want[name] = string(r.Body)
			}
		}
		if t == Endpoints {
			for name, l := range w.set.Live() {
				if w.client.names[t][name] {
					want[name] = string(l.Load().Body)
				}
			}
		}
		for name, body := range want {
			if word(body, "bad") != "" {
				delete(want, name) // the client has an older one or none
				delete(w.client.hold[t], name)
			}
		}
		if (t == Cluster || t == Endpoints) && w.userRejected() {
			// A rejected listener or route may still use a cluster that is to go.
			for name := range w.client.hold[t] {
				if w.set.Of(Cluster)[name] == nil {
					delete(w.client.hold[t], name)
				}
			}
		}
		if !maps.Equal(want, w.client.hold[t]) {
			w.t.Errorf("%s: client holds %v, should hold %v", t, w.client.hold[t], want)
		}
	}
	if len(w.client.cold) > 0 {
		w.t.Errorf("clusters never got warm: %v", w.client.cold)
	}
	for _, p := range w.client.problems {
		w.t.Error(p)
	}
}

func (w *world) userRejected() bool {
	for _, t := range []Type{Listener, Route} {
		for _, r := range w.set.Of(t) {
			if word(string(r.Body), "bad") != "" {
				return true
			}
		}
	}
	return false
}

// After any script of new sets, endpoint changes, reconnections, rejections and
// delays the client holds what the last set says, and on the way no listener or
// route ever pointed to a cluster that was not there.
func TestClientConverges(t *testing.T) {
	n := 400
	if testing.Short() {
		n = 40
	}
	start := rand.Uint64()
	if *seedFlag != 0 {
		start, n = *seedFlag, 1
	}
	for i := range n {
		seed := start + uint64(i)
		for _, delta := range []bool{true, false} {
			for _, bad := range []bool{false, true} {
				ok := t.Run(fmt.Sprintf("seed=%d,delta=%v,bad=%v", seed, delta, bad), func(t *testing.T) {
					converge(t, seed, delta, bad)
				})
				if !ok {
					t.FailNow()
				}
			}
		}
	}
}

func converge(t *testing.T, seed uint64, delta, bad bool) {
	w := newWorld(t, seed, delta, bad)
	for range 60 {
		w.edit()
	}
	w.settle()
	w.check()
	// A control plane that restarts sends nothing that the client has.
	if !bad && !t.Failed() {
		w.connect()
		w.settle()
		w.check()
		if delta && w.client.got > 0 {
			t.Errorf("%d resources were sent again after a restart", w.client.got)
		}
	}
	w.m.Close()
	for name, l := range w.live {
		if len(l.watchers) > 0 {
			t.Errorf("endpoints of %s are still watched", name)
		}
	}
}
