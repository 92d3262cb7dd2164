package dns

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/coredns/coredns/plugin/pkg/parse"
	"github.com/coredns/coredns/plugin/pkg/proxy"
	"github.com/coredns/coredns/plugin/pkg/transport"
	"github.com/coredns/coredns/request"
	"github.com/miekg/dns"
)

const (
	// recheck is how often a resolver file is looked at; DHCP and VPN clients
	// rewrite /etc/resolv.conf while the proxy runs.
	recheck = 2 * time.Second
	// askTimeout bounds one query over all resolvers.
	askTimeout = 5 * time.Second
	// maxFails is after how many failed checks a resolver is asked last.
	maxFails       = 2
	healthInterval = 500 * time.Millisecond
)

var errNoResolver = errors.New("no resolver answers")

// resolvers asks a list of DNS servers in the order in which they are listed,
// as the C library does with resolv.conf.
type resolvers struct {
	targets []string
	now     func() time.Time

	mu      sync.Mutex
	checked time.Time
	stamps  []time.Time
	list    []*proxy.Proxy
	// known keeps one client for each address ever seen; it is bounded by
	// what an administrator writes, and stop ends them all.
	known   map[string]*proxy.Proxy
	stopped bool
}

func newResolvers(targets []string, now func() time.Time) (*resolvers, error) {
	r := &resolvers{targets: targets, now: now, known: map[string]*proxy.Proxy{}}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r, r.load()
}

// load reads the targets. A file without nameservers is not an error: the host
// may get them later.
func (r *resolvers) load() error {
	r.checked, r.stamps = r.now(), r.stamp()
	var list []*proxy.Proxy
	for _, t := range r.targets {
		addresses, err := parse.HostPortOrFile(t)
		if errors.Is(err, parse.ErrNoNameservers) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read resolvers: %w", err)
		}
		for _, a := range addresses {
			if trans, _ := parse.Transport(a); trans != transport.DNS {
				return fmt.Errorf("resolver %s: only plain DNS is supported", a)
			}
			if p := r.client(a); !slices.Contains(list, p) {
				list = append(list, p)
			}
		}
	}
	r.list = list
	return nil
}

func (r *resolvers) client(address string) *proxy.Proxy {
	p := r.known[address]
	if p == nil {
		p = proxy.NewProxy("alternate", address, transport.DNS)
		p.Start(healthInterval)
		r.known[address] = p
	}
	return p
}

// stamp notes when each target was changed; zero for addresses.
func (r *resolvers) stamp() []time.Time {
	stamps := make([]time.Time, len(r.targets))
	for i, t := range r.targets {
		if info, err := os.Stat(t); err == nil {
			stamps[i] = info.ModTime()
		}
	}
	return stamps
}

// current returns the servers to ask. A file that became unreadable leaves the
// last good list in place.
func (r *resolvers) current() []*proxy.Proxy {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.stopped && r.now().Sub(r.checked) >= recheck {
		r.checked = r.now()
		if !slices.Equal(r.stamps, r.stamp()) {
			before := r.list
			if r.load() != nil || len(r.list) == 0 {
				r.list = before
			}
		}
	}
	return r.list
}

func (r *resolvers) empty() bool { return len(r.current()) == 0 }

// ask tries each server once, those that failed lately last.
func (r *resolvers) ask(ctx context.Context, query request.Request) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	list := slices.Clone(r.current())
	slices.SortStableFunc(list, func(a, b *proxy.Proxy) int {
		return rank(a) - rank(b)
	})
	last := errNoResolver
	for _, p := range list {
		if ctx.Err() != nil {
			break
		}
		answer, err := askOne(ctx, p, query)
		if err == nil && answer.Rcode != dns.RcodeServerFailure && answer.Rcode != dns.RcodeRefused && answer.Rcode != dns.RcodeNotImplemented {
			return answer, nil
		}
		if err == nil && p == list[len(list)-1] {
			return answer, nil
		}
		if err != nil {
			p.Healthcheck()
			last = err
		}
	}
	return nil, fmt.Errorf("ask the resolvers of this host: %w", last)
}

func rank(p *proxy.Proxy) int {
	if p.Down(maxFails) {
		return 1
	}
	return 0
}

func askOne(ctx context.Context, p *proxy.Proxy, query request.Request) (*dns.Msg, error) {
	for {
		answer, _, _, err := p.Connect(ctx, query, proxy.Options{})
		if errors.Is(err, proxy.ErrCachedClosed) && ctx.Err() == nil {
			continue // the server closed a kept connection; take a fresh one
		}
		if err != nil {
			return nil, err
		}
		if !query.Match(answer) {
			return nil, fmt.Errorf("%s answers another question", p.Addr())
		}
		return answer, nil
	}
}

func (r *resolvers) stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped {
		return
	}
	r.stopped = true
	for _, p := range r.known {
		p.Stop()
	}
}
