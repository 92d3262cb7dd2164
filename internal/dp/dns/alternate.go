package dns

import (
	"context"
	"fmt"
	"strings"
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
//	alternate [original] RCODE[,RCODE…] . RESOLVER…
//
// where a resolver is an address or a file like /etc/resolv.conf. With
// "original" the query is repeated as it came in even if a later plugin
// changed it.
type alternate struct {
	next  plugin.Handler
	rules map[int]*rule
}

type rule struct {
	original  bool
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
	code, err := plugin.NextOrFailure(a.Name(), a.next, ctx, first, r)
	if first.Msg != nil {
		code = first.Msg.Rcode
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
	return dns.RcodeSuccess, w.WriteMsg(answer)
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
	a := &alternate{rules: map[int]*rule{}}
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
	if len(args) < 3 {
		return c.Errf("write it like: alternate [original] NXDOMAIN,SERVFAIL . /etc/resolv.conf")
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
