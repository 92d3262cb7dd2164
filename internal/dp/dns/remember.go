package dns

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/pkg/nonwriter"
	"github.com/miekg/dns"
)

// maxRemembered bounds the answers; when it is reached all are forgotten,
// which is cheaper than to choose and rarely happens within one period.
const maxRemembered = 8192

// remember repeats good answers of the plugins after it for a moment, with
// their TTL unchanged. It stands before the forward to Envoy, whose answers
// live for 30 seconds at clients anyway, so a second more is not noticed; but
// a busy application is spared the way to Envoy and back, most of the cost of
// an answer. Its line in a Corefile is
//
//	remember DURATION
//
// CoreDNS's own cache would cap the TTL and keep failures too.
type remember struct {
	next plugin.Handler
	keep time.Duration
	now  func() time.Time

	mu      sync.RWMutex
	answers map[question]remembered
}

type question struct {
	name  string
	kind  uint16
	class uint16
}

type remembered struct {
	until  time.Time
	answer *dns.Msg
}

// Name is that of the directive.
func (c *remember) Name() string { return "remember" }

// ServeDNS implements plugin.Handler.
func (c *remember) ServeDNS(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
	if len(r.Question) != 1 {
		return plugin.NextOrFailure(c.Name(), c.next, ctx, w, r)
	}
	key := question{name: strings.ToLower(r.Question[0].Name), kind: r.Question[0].Qtype, class: r.Question[0].Qclass}
	now := c.now()
	c.mu.RLock()
	hit, ok := c.answers[key]
	c.mu.RUnlock()
	if ok && now.Before(hit.until) {
		return dns.RcodeSuccess, w.WriteMsg(reply(hit.answer, r))
	}
	caught := nonwriter.New(w)
	code, err := plugin.NextOrFailure(c.Name(), c.next, ctx, caught, r)
	if caught.Msg == nil {
		return code, err
	}
	if caught.Msg.Rcode == dns.RcodeSuccess && !caught.Msg.Truncated {
		c.put(key, remembered{until: now.Add(c.keep), answer: caught.Msg.Copy()})
	}
	return code, w.WriteMsg(caught.Msg)
}

// reply is a copy for one client: writers further out add to it, and clients
// want their own spelling of the name back.
func reply(answer, query *dns.Msg) *dns.Msg {
	m := *answer
	m.Id, m.RecursionDesired, m.CheckingDisabled = query.Id, query.RecursionDesired, query.CheckingDisabled
	m.Question = query.Question
	m.Answer = append([]dns.RR(nil), answer.Answer...)
	m.Extra = nil // holds only what belongs to one connection (EDNS)
	return &m
}

func (c *remember) put(key question, r remembered) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.answers) >= maxRemembered {
		clear(c.answers)
	}
	c.answers[key] = r
}

func setupRemember(c *caddy.Controller) error {
	p := &remember{now: time.Now, answers: map[question]remembered{}}
	for c.Next() {
		args := c.RemainingArgs()
		if len(args) != 1 {
			return plugin.Error("remember", c.Errf("write it like: remember 1s"))
		}
		var err error
		if p.keep, err = time.ParseDuration(args[0]); err != nil || p.keep <= 0 {
			return plugin.Error("remember", c.Errf("%q is no duration like 1s", args[0]))
		}
	}
	dnsserver.GetConfig(c).AddPlugin(func(next plugin.Handler) plugin.Handler {
		p.next = next
		return p
	})
	return nil
}
