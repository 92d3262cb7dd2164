package dpserver

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"weft/internal/cp/auth"
	"weft/internal/mesh/model"
)

// streams are the open configuration streams, one per proxy.
//
// A second stream of a proxy takes the place of the first if it comes from the
// same host: the first is then what is left of a connection that broke without
// notice, and an Envoy that reconnects must not be locked out by it. From another
// host it is refused as long as the first is alive (a dead one is noticed within
// 30 seconds by HTTP/2 pings): then two proxies claim one name, and throwing each
// other out for ever would hurt both. For the same reason a host that replaces
// its stream again and again is refused after a while.
type streams struct {
	now func() time.Time

	mu   sync.Mutex
	open map[model.Key]*stream
	// replaced are the times at which streams were replaced lately.
	replaced map[model.Key][]time.Time
	// leaving are the proxies whose objects are being deleted because they left;
	// the channel is closed when that is done.
	leaving map[model.Key]chan struct{}
}

// stream is one proxy's open stream, as far as others must know it.
type stream struct {
	key        model.Key
	peer       string // host
	credential string
	proxy      auth.Proxy
	// end makes the stream end with an error; set before the stream is entered.
	end func(error)
	// renew gets a new certificate for the proxy's admin listener; set likewise.
	renew func(context.Context)
	// expired: it was ended because its credential is over. Its proxy still serves,
	// so that its object stays until it is cleaned up like those of lost proxies.
	expired atomic.Bool
}

// Replacements of one proxy's stream that are let pass within a window.
const (
	maxReplaced    = 10
	replacedWindow = time.Minute
)

func newStreams(now func() time.Time) *streams {
	return &streams{now: now, open: map[model.Key]*stream{}, replaced: map[model.Key][]time.Time{}, leaving: map[model.Key]chan struct{}{}}
}

// enter adds a stream. It returns the one whose place it takes, which was told
// to end; nil = none.
func (s *streams) enter(ctx context.Context, n *stream) (before *stream, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.leaving[n.key] != nil {
		done := s.leaving[n.key]
		s.mu.Unlock()
		select {
		case <-done:
		case <-ctx.Done():
		}
		s.mu.Lock()
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("wait for the end of an earlier stream: %w", err)
		}
	}
	before = s.open[n.key]
	if before != nil {
		if before.peer != n.peer {
			return nil, fmt.Errorf("there is already an active stream of %s from %s; only one proxy may have a name at a time", n.key, before.peer)
		}
		now := s.now()
		times := s.replaced[n.key]
		for len(times) > 0 && now.Sub(times[0]) > replacedWindow {
			times = times[1:]
		}
		if len(times) >= maxReplaced {
			return nil, fmt.Errorf("streams of %s replaced each other %d times within %s; are there two proxies of that name on %s?", n.key, len(times), replacedWindow, n.peer)
		}
		s.replaced[n.key] = append(times, now)
	}
	s.open[n.key] = n
	return before, nil
}

// leave removes a stream, unless another one has its place.
func (s *streams) leave(n *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[n.key] == n {
		delete(s.open, n.key)
		delete(s.replaced, n.key)
	}
}

// away keeps a proxy that has no stream from entering until release is called;
// false if it has one.
func (s *streams) away(key model.Key) (release func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[key] != nil || s.leaving[key] != nil {
		return nil, false
	}
	done := make(chan struct{})
	s.leaving[key] = done
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.leaving, key)
		close(done)
	}, true
}

// of returns the streams of a mesh; "" = all.
func (s *streams) of(mesh string) []*stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*stream
	for _, st := range s.open {
		if mesh == "" || st.key.Mesh == mesh {
			out = append(out, st)
		}
	}
	return out
}

// host returns the host of an address.
func host(a net.Addr) string {
	if a == nil {
		return ""
	}
	h, _, err := net.SplitHostPort(a.String())
	if err != nil {
		return a.String()
	}
	return h
}
