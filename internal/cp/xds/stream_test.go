package xds

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// pipe is a connection in memory. The test reads what the server sends from out
// and says what the client says through in.
type pipe struct {
	in      chan *Request
	out     chan *Response
	fail    chan error
	aborted chan struct{}
	once    sync.Once
}

func newPipe() *pipe {
	return &pipe{in: make(chan *Request), out: make(chan *Response), fail: make(chan error, 1), aborted: make(chan struct{})}
}

func (p *pipe) Recv() (*Request, error) {
	select {
	case r := <-p.in:
		return r, nil
	case err := <-p.fail:
		return nil, err
	case <-p.aborted:
		return nil, errors.New("connection closed")
	}
}

func (p *pipe) Send(r *Response) error {
	select {
	case p.out <- r:
		return nil
	case <-p.aborted:
		return errors.New("connection closed")
	}
}

func (p *pipe) Abort() { p.once.Do(func() { close(p.aborted) }) }

// running is a stream that runs.
type running struct {
	*Stream
	t    *testing.T
	pipe *pipe
	done chan error
	stop context.CancelFunc
	// drained is where responses wait, if they do not wait in the stream.
	drained chan *Response
}

func run(t *testing.T, delta bool, o Options, first *Request) *running {
	t.Helper()
	p := newPipe()
	ctx, cancel := context.WithCancel(t.Context())
	r := &running{Stream: NewStream(p, delta, o), t: t, pipe: p, done: make(chan error, 1), stop: cancel}
	go func() { r.done <- r.Run(ctx, first) }()
	t.Cleanup(func() { cancel(); p.Abort() })
	return r
}

const patience = 10 * time.Second

func (r *running) next() *Response {
	r.t.Helper()
	out := r.drained
	if out == nil {
		out = r.pipe.out
	}
	select {
	case res := <-out:
		return res
	case err := <-r.done:
		r.t.Fatalf("the stream ended: %v", err)
	case <-time.After(patience):
		r.t.Fatal("nothing is sent")
	}
	return nil
}

// drain lets the stream send while the test speaks.
func (r *running) drain() (undo func()) {
	from, to := r.pipe.out, make(chan *Response, 1000)
	done := make(chan struct{})
	relayed := make(chan struct{})
	go func() {
		defer close(relayed)
		for {
			select {
			case res := <-from:
				to <- res
			case <-done:
				return
			}
		}
	}()
	r.drained = to
	return func() { close(done); <-relayed }
}

func (r *running) say(q *Request) {
	r.t.Helper()
	select {
	case r.pipe.in <- q:
	case <-time.After(patience):
		r.t.Fatal("the stream does not listen")
	}
}

func (r *running) end() error {
	r.t.Helper()
	select {
	case err := <-r.done:
		return err
	case <-time.After(patience):
		r.t.Fatal("the stream does not end")
	}
	return nil
}

func clusters(version string, names ...string) []*Resource {
	var out []*Resource
	for _, n := range names {
		out = append(out, NewResource(Cluster, n, []byte(n+version)))
	}
	return out
}

func TestStreamSendsAndEnds(t *testing.T) {
	r := run(t, true, Options{Identifier: "cp-1"}, &Request{Node: "n", Type: Cluster})
	r.Publish(NewSet(clusters("1", "a", "b"), nil))
	res := r.next()
	if len(res.Resources) != 2 || res.Identifier != "cp-1" {
		t.Errorf("got %+v", res)
	}
	r.say(&Request{Type: Cluster, Nonce: res.Nonce})
	close(r.pipe.in)
	if err := r.end(); err != nil {
		t.Errorf("a client that leaves in order ends the stream with %v", err)
	}
}

// Only the newest of several sets is looked at.
func TestNewestSetWins(t *testing.T) {
	r := run(t, true, Options{}, &Request{Node: "n", Type: Cluster})
	r.Publish(NewSet(clusters("0", "a"), nil))
	deadline := time.Now().Add(patience)
	for i := 1; i <= 1000; i++ {
		r.Publish(NewSet(clusters(fmt.Sprint(i), "a"), nil)) // the stream is busy sending
	}
	last, count := "", 0
	for last != "a1000" {
		if time.Now().After(deadline) {
			t.Fatal("the newest set did not come")
		}
		last = string(r.next().Resources[0].Body)
		count++
	}
	if count > 10 {
		t.Errorf("%d of 1000 sets were sent to a client that had no time", count)
	}
}

func TestEndpointsAreTold(t *testing.T) {
	r := run(t, true, Options{}, &Request{Node: "n", Type: Endpoints, Subscribe: []string{"a"}})
	l := NewLive(NewResource(Endpoints, "a", []byte("1")))
	r.Publish(NewSet(nil, map[string]*Live{"a": l}))
	if got := string(r.next().Resources[0].Body); got != "1" {
		t.Errorf("got %q", got)
	}
	l.Store(NewResource(Endpoints, "a", []byte("2")))
	if got := string(r.next().Resources[0].Body); got != "2" {
		t.Errorf("got %q", got)
	}
	l.Store(NewResource(Endpoints, "a", []byte("2")))
	r.stop()
	if err := r.end(); !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.watchers) > 0 {
		t.Error("the list is still watched")
	}
}

func TestClientThatDoesNotRead(t *testing.T) {
	r := run(t, true, Options{SendTimeout: 20 * time.Millisecond}, &Request{Node: "n", Type: Cluster})
	r.Publish(NewSet(clusters("1", "a"), nil))
	if err := r.end(); !errors.Is(err, ErrSlow) {
		t.Errorf("ended with %v", err)
	}
}

func TestStreamErrors(t *testing.T) {
	many := make([]string, 11)
	for i := range many {
		many[i] = fmt.Sprint("name", i)
	}
	o := Options{MaxNames: 10, MaxNameBytes: 1000}
	for name, c := range map[string]struct {
		say  *Request
		want func(error) bool
	}{
		"node changes":   {&Request{Node: "other", Type: Cluster}, func(err error) bool { return errors.Is(err, ErrNode) }},
		"too many names": {&Request{Type: Endpoints, Subscribe: many}, isLimit},
		"too long names": {&Request{Type: Secret, Subscribe: []string{string(make([]byte, 1001))}}, isLimit},
		"too many brought along": {&Request{Type: Listener, Have: func() map[string]string {
			m := map[string]string{}
			for _, n := range many {
				m[n] = ""
			}
			return m
		}()}, isLimit},
	} {
		t.Run(name, func(t *testing.T) {
			r := run(t, true, o, &Request{Node: "n", Type: Cluster})
			r.say(c.say)
			if err := r.end(); !c.want(err) {
				t.Errorf("ended with %v", err)
			}
		})
	}
	t.Run("state of the world", func(t *testing.T) {
		r := run(t, false, o, &Request{Node: "n", Type: Endpoints, Names: many})
		if err := r.end(); !isLimit(err) {
			t.Errorf("ended with %v", err)
		}
	})
	t.Run("connection breaks", func(t *testing.T) {
		r := run(t, true, o, &Request{Node: "n", Type: Cluster})
		broken := errors.New("reset by peer")
		r.pipe.fail <- broken
		if err := r.end(); !errors.Is(err, broken) {
			t.Errorf("ended with %v", err)
		}
	})
	t.Run("closed from outside", func(t *testing.T) {
		r := run(t, true, o, &Request{Node: "n", Type: Cluster})
		revoked := errors.New("revoked")
		r.Close(revoked)
		r.Close(errors.New("later"))
		if err := r.end(); !errors.Is(err, revoked) {
			t.Errorf("ended with %v", err)
		}
	})
}

func isLimit(err error) bool {
	var l *LimitError
	return errors.As(err, &l)
}

// counting counts what is reported.
type counting struct {
	sent, acked, rejected atomic.Int64
	mu                    sync.Mutex
	names                 [][]string
	delay                 time.Duration
}

func (c *counting) Sent(Type) { c.sent.Add(1) }

func (c *counting) Acked(d Delivery) {
	c.acked.Add(1)
	if !d.Changed.IsZero() {
		c.mu.Lock()
		c.delay = d.Acked.Sub(d.Changed)
		c.mu.Unlock()
	}
}

func (c *counting) Holds(Holding) {}

func (c *counting) Rejected(r Rejection) {
	c.rejected.Add(1)
	c.mu.Lock()
	c.names = append(c.names, r.Names)
	c.mu.Unlock()
}

// last returns how many resources the last rejection names.
func (c *counting) last() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.names) == 0 {
		return 100
	}
	return len(c.names[len(c.names)-1])
}

// One bad resource among many is found, reported, and kept back; all others get
// through. When it is mended the new version goes out.
func TestBadResourceIsFound(t *testing.T) {
	rep := &counting{}
	r := run(t, true, Options{NackBackoff: time.Hour, Reporter: rep}, &Request{Node: "n", Type: Cluster})
	defer r.drain()()
	names := []string{"a", "b", "c", "d", "e", "bad", "f", "g", "h"}
	r.Publish(NewSet(clusters("1", names...), nil))
	good := map[string]bool{}
	for said := int64(0); len(good) < len(names)-1 || rep.last() > 1; said++ {
		for rep.acked.Load()+rep.rejected.Load() < said {
			time.Sleep(time.Millisecond)
		}
		if len(good) == len(names)-1 && rep.last() == 1 {
			break
		}
		res := r.next()
		q := &Request{Type: Cluster, Nonce: res.Nonce}
		for _, c := range res.Resources {
			if string(c.Body) == "bad1" {
				q.Rejected, q.Error = true, "bad is bad"
			}
		}
		if !q.Rejected {
			for _, c := range res.Resources {
				good[c.Name] = true
			}
		}
		r.say(q)
	}
	rep.mu.Lock()
	last := rep.names[len(rep.names)-1]
	rep.mu.Unlock()
	if len(last) != 1 || last[0] != "bad" {
		t.Errorf("the last rejection is of %v", last)
	}
	set := NewSet(append(clusters("1", "a", "b", "c", "d", "e", "f", "g", "h"), clusters("2", "bad")...), nil)
	set.Changed = time.Now().Add(-time.Minute)
	r.Publish(set)
	res := r.next()
	if len(res.Resources) != 1 || string(res.Resources[0].Body) != "bad2" {
		t.Errorf("after mending it %v is sent", res.Resources)
	}
	r.say(&Request{Type: Cluster, Nonce: res.Nonce})
	r.say(&Request{Type: Cluster}) // the confirmation was handled when this is
	r.stop()
	_ = r.end()
	rep.mu.Lock()
	defer rep.mu.Unlock()
	if rep.delay < time.Minute || rep.delay > time.Minute+patience {
		t.Errorf("the change took %v", rep.delay)
	}
}

// A client that rejects everything is not flooded.
func TestRejectingClientIsNotFlooded(t *testing.T) {
	for _, delta := range []bool{true, false} {
		m := NewMachine(delta, nil, Options{})
		now := time.Unix(0, 0)
		if err := m.Request(&Request{Type: Cluster}, now); err != nil {
			t.Fatal(err)
		}
		sent := 0
		for i := range 2000 {
			if i%100 == 0 { // a new set every second
				m.SetTarget(NewSet(clusters(fmt.Sprint(i), "a", "b", "c"), nil))
				now = now.Add(time.Second)
			}
			r, ok := m.Next(now)
			if !ok {
				continue
			}
			sent++
			if err := m.Request(&Request{Type: Cluster, Nonce: r.Nonce, Rejected: true}, now); err != nil {
				t.Fatal(err)
			}
		}
		// 20 seconds: at most the first try with its parts, then one per back-off.
		if most := 5 + 5*(20/5+1); sent > most {
			t.Errorf("delta=%v: %d responses, want at most %d", delta, sent, most)
		}
	}
}
