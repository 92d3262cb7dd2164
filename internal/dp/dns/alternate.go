package dns

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/pkg/nonwriter"
	"github.com/coredns/coredns/request"
	"github.com/miekg/dns"
)

// alternate repeats a query to other resolvers when the plugins after it
// answered with one of the given codes, or failed in that way. Its line in a
// Corefile is
//
//	alternate [original] [lenient] RCODE[,RCODE…] . RESOLVER…
//
// where a resolver is an address or a file like /etc/resolv.conf. With
// "original" the query is repeated as it came in even if a later plugin
// changed it.
//
// While Envoy does not answer at all, nobody knows which names the mesh has;
// that is so from the start until the first table is in. Then queries wait a
// moment for it, and where the other resolvers know of no such name, the answer
// is SERVFAIL: clients keep an NXDOMAIN in mind, and one about a name of the
// mesh would be false. With "lenient" it is passed on all the same, for proxies
// whose Envoy never answers names.
//
// Envoy compares names letter by letter, and says NXDOMAIN also of a name that
// has an IPv4 address only when it is asked for the IPv6 one. Neither may reach
// a client: an NXDOMAIN speaks of all types, so that musl gives up the name, and
// a cache on the host forgets its address.
type alternate struct {
	next  plugin.Handler
	rules map[int]*rule
	// patience is how long a query waits for the first table.
	patience time.Duration
	// until is when the waiting ends for good.
	until time.Time
	now   func() time.Time
	// answered is set once Envoy has its table.
	answered atomic.Bool
}

const (
	firstPatience = 2 * time.Second
	patienceFor   = time.Minute
	patiencePause = 20 * time.Millisecond
)

type rule struct {
	original  bool
	lenient   bool
	resolvers *resolvers
}

// Name is that of the directive.
func (a *alternate) Name() string { return "alternate" }

// ServeDNS implements plugin.Handler.
func (a *alternate) ServeDNS(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
	query := r
	if a.needsOriginal() {
		query = r.Copy()
	}
	first := nonwriter.New(w)
	code, err := a.askNext(ctx, first, r)
	if first.Msg != nil && code == dns.RcodeNameError {
		if m := a.known(ctx, w, r); m != nil {
			return dns.RcodeSuccess, w.WriteMsg(m)
		}
	}
	rule := a.rules[code]
	if rule == nil || rule.resolvers.empty() {
		if first.Msg == nil {
			return code, err
		}
		return dns.RcodeSuccess, w.WriteMsg(first.Msg)
	}
	if !rule.original {
		query = r
	}
	answer, err := rule.resolvers.ask(ctx, request.Request{W: w, Req: query})
	if err != nil {
		return dns.RcodeServerFailure, err
	}
	switch {
	case answer.Rcode != dns.RcodeNameError:
	case first.Msg == nil && !rule.lenient:
		answer = notReady(r)
	case code == dns.RcodeNotImplemented && a.lookUp(ctx, w, r, r.Question[0].Name, dns.TypeA) != nil:
		answer = blank(r, dns.RcodeSuccess)
	}
	return dns.RcodeSuccess, w.WriteMsg(answer)
}

// known returns the answer to a query for an address, of which the plugins after
// this one said that there is no such name, if they know the name in lower case,
// or with an IPv4 address only; else nil.
func (a *alternate) known(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) *dns.Msg {
	q := r.Question[0]
	if q.Qtype != dns.TypeA && q.Qtype != dns.TypeAAAA {
		return nil
	}
	if lower := strings.ToLower(q.Name); lower != q.Name {
		if m := a.lookUp(ctx, w, r, lower, q.Qtype); m != nil {
			return reply(m, r)
		}
	}
	if q.Qtype == dns.TypeAAAA && a.lookUp(ctx, w, r, q.Name, dns.TypeA) != nil {
		return blank(r, dns.RcodeSuccess)
	}
	return nil
}

// lookUp asks the plugins after this one for a name, if need be in lower case;
// nil = they do not know it.
func (a *alternate) lookUp(ctx context.Context, w dns.ResponseWriter, r *dns.Msg, name string, kind uint16) *dns.Msg {
	for _, spelling := range slices.Compact([]string{name, strings.ToLower(name)}) {
		query := r.Copy()
		query.Question[0].Name, query.Question[0].Qtype = spelling, kind
		caught := nonwriter.New(w)
		if _, err := plugin.NextOrFailure(a.Name(), a.next, ctx, caught, query); err == nil && caught.Msg != nil && caught.Msg.Rcode == dns.RcodeSuccess {
			return caught.Msg
		}
	}
	return nil
}

// askNext asks the plugins behind this one, where Envoy is. Until it has its
// first table, it is asked again for a while.
func (a *alternate) askNext(ctx context.Context, w *nonwriter.Writer, r *dns.Msg) (code int, err error) {
	began := a.now()
	for {
		code, err = plugin.NextOrFailure(a.Name(), a.next, ctx, w, r)
		if w.Msg != nil {
			a.answered.Store(true)
			return w.Msg.Rcode, err
		}
		if now := a.now(); !a.waits(code, now) || now.Sub(began) >= a.patience {
			return code, err
		}
		t := time.NewTimer(patiencePause)
		select {
		case <-ctx.Done():
			t.Stop()
			return code, err
		case <-t.C:
		}
	}
}

func (a *alternate) waits(code int, now time.Time) bool {
	rule := a.rules[code]
	return rule != nil && !rule.lenient && !a.answered.Load() && now.Before(a.until)
}

// notReady is the answer to a query that nobody can answer yet; who understands
// it is told why (RFC 8914).
func notReady(r *dns.Msg) *dns.Msg {
	m := blank(r, dns.RcodeServerFailure)
	if opt := m.IsEdns0(); opt != nil {
		opt.Option = append(opt.Option, &dns.EDNS0_EDE{InfoCode: dns.ExtendedErrorCodeNotReady, ExtraText: "the proxy has no names of the mesh yet"})
	}
	return m
}

// blank is an answer without records.
func blank(r *dns.Msg, code int) *dns.Msg {
	m := new(dns.Msg)
	m.SetRcode(r, code)
	m.RecursionAvailable = true
	if asked := r.IsEdns0(); asked != nil {
		m.SetEdns0(asked.UDPSize(), asked.Do())
	}
	return m
}

func (a *alternate) needsOriginal() bool {
	for _, r := range a.rules {
		if r.original {
			return true
		}
	}
	return false
}

// setupAlternate reads all alternate lines of one server block.
func setupAlternate(c *caddy.Controller) error {
	a := &alternate{rules: map[int]*rule{}, patience: firstPatience, until: time.Now().Add(patienceFor), now: time.Now}
	for c.Next() {
		if err := a.parseLine(c); err != nil {
			return plugin.Error("alternate", err)
		}
	}
	dnsserver.GetConfig(c).AddPlugin(func(next plugin.Handler) plugin.Handler {
		a.next = next
		return a
	})
	c.OnShutdown(func() error {
		for _, r := range a.rules {
			r.resolvers.stop()
		}
		return nil
	})
	return nil
}

func (a *alternate) parseLine(c *caddy.Controller) error {
	args := c.RemainingArgs()
	r := &rule{}
	if len(args) > 0 && args[0] == "original" {
		r.original, args = true, args[1:]
	}
	if len(args) > 0 && args[0] == "lenient" {
		r.lenient, args = true, args[1:]
	}
	if len(args) < 3 {
		return c.Errf("write it like: alternate [original] [lenient] NXDOMAIN,SERVFAIL . /etc/resolv.conf")
	}
	if args[1] != "." {
		return c.Errf("only the zone \".\" is supported, not %q", args[1])
	}
	if c.NextBlock() {
		return c.Errf("a block { } is not supported")
	}
	var err error
	if r.resolvers, err = newResolvers(args[2:], time.Now); err != nil {
		return err
	}
	for _, name := range strings.Split(args[0], ",") {
		code, ok := dns.StringToRcode[strings.ToUpper(strings.TrimSpace(name))]
		if !ok {
			return fmt.Errorf("%q is no DNS response code such as NXDOMAIN", name)
		}
		if _, taken := a.rules[code]; taken {
			return fmt.Errorf("%s is listed twice", name)
		}
		a.rules[code] = r
	}
	return nil
}
