package xds

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Conn is the connection of one client. Recv and Send are each called by one
// goroutine at a time. Abort makes a blocked Send return; it is called at most
// once, from another goroutine.
type Conn interface {
	Recv() (*Request, error)
	Send(*Response) error
	Abort()
}

// Errors that end a stream.
var (
	// ErrSlow says that the client did not read what it was sent.
	ErrSlow = errors.New("the client does not read what it is sent")
	// ErrNode says that the client changed its node id on the way.
	ErrNode = errors.New("the node id must stay the same within a stream")
)

// Stream runs one client's machine on its connection. Publish, Changed and Close
// may be called from anywhere and never block; Run owns everything else.
type Stream struct {
	conn    Conn
	opt     Options
	machine *Machine
	signal  chan struct{} // 1 slot: there is something in the mailbox

	mu     sync.Mutex
	set    *Set               // newest that Run has not looked at
	dirty  map[*Live]struct{} // lists that changed since Run looked
	closed error              // why the stream must end
}

// NewStream returns a stream that is ready to be published to.
func NewStream(conn Conn, delta bool, o Options) *Stream {
	o = o.withDefaults()
	s := &Stream{conn: conn, opt: o, signal: make(chan struct{}, 1)}
	s.machine = NewMachine(delta, s, o)
	return s
}

// Publish hands over what the client should hold; the newest set wins.
func (s *Stream) Publish(set *Set) {
	s.mu.Lock()
	s.set = set
	s.mu.Unlock()
	s.poke()
}

// Changed is told by the endpoint lists.
func (s *Stream) Changed(l *Live) {
	s.mu.Lock()
	if s.dirty == nil {
		s.dirty = make(map[*Live]struct{}, 1)
	}
	s.dirty[l] = struct{}{}
	s.mu.Unlock()
	s.poke()
}

// Close ends the stream with an error; the first call counts.
func (s *Stream) Close(err error) {
	s.mu.Lock()
	if s.closed == nil {
		s.closed = err
	}
	s.mu.Unlock()
	s.poke()
}

func (s *Stream) poke() {
	select {
	case s.signal <- struct{}{}:
	default:
	}
}

// Run serves the client until its connection or ctx ends. first is the request
// that was read to find out who the client is. Run returns nil when the client
// left in order. Once it has returned the caller must see to it that Recv
// returns; a gRPC stream does that by itself.
func (s *Stream) Run(ctx context.Context, first *Request) error {
	defer s.machine.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	requests := make(chan received)
	go s.receive(ctx, requests)

	guard := time.AfterFunc(time.Hour, s.conn.Abort)
	guard.Stop()
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	defer timer.Stop()
	if err := s.machine.Request(first, time.Now()); err != nil {
		return err
	}
	for {
		if err := s.flush(guard); err != nil {
			return err
		}
		if wake := s.machine.Wake(); wake.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(time.Until(wake))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.signal:
		case <-timer.C:
		case r := <-requests:
			if r.err != nil {
				return r.err
			}
			if r.req == nil {
				return nil
			}
			if r.req.Node != "" && r.req.Node != first.Node {
				return fmt.Errorf("%w: it began as %q and now says %q", ErrNode, first.Node, r.req.Node)
			}
			if err := s.machine.Request(r.req, time.Now()); err != nil {
				return err
			}
		}
	}
}

type received struct {
	req *Request // nil = the client left in order
	err error
}

// receive reads requests at a bounded rate; what a client sends above it waits
// in the network, where flow control stops it.
func (s *Stream) receive(ctx context.Context, out chan<- received) {
	limit := rate.NewLimiter(rate.Limit(s.opt.Rate), s.opt.Burst)
	for {
		if err := limit.Wait(ctx); err != nil {
			return
		}
		req, err := s.conn.Recv()
		select {
		case <-ctx.Done():
			return
		case out <- received{req, err}:
		}
		if req == nil || err != nil {
			return
		}
	}
}

// flush sends what there is. It looks into the mailbox before each response, so
// that nothing is sent that is out of date already.
func (s *Stream) flush(guard *time.Timer) error {
	for {
		if err := s.collect(); err != nil {
			return err
		}
		r, ok := s.machine.Next(time.Now())
		if !ok {
			return nil
		}
		guard.Reset(s.opt.SendTimeout)
		err := s.conn.Send(r)
		if !guard.Stop() {
			return ErrSlow
		}
		if err != nil {
			return fmt.Errorf("send %s response: %w", r.Type, err)
		}
	}
}

// collect takes what is in the mailbox.
func (s *Stream) collect() error {
	s.mu.Lock()
	set, dirty, closed := s.set, s.dirty, s.closed
	s.set, s.dirty = nil, nil
	s.mu.Unlock()
	if closed != nil {
		return closed
	}
	if set != nil {
		s.machine.SetTarget(set)
	}
	for l := range dirty {
		s.machine.Dirty(l)
	}
	return nil
}
