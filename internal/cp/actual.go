package cp

import (
	"context"
	"net"
	"net/netip"

	"weft/internal/cp/actual"
	"weft/internal/logging"
)

// newFilter returns what stands between the state and those who configure
// proxies: it resolves host names and notices which proxies are gone.
func (p *parts) newFilter() *actual.Filter {
	return actual.New(actual.Deps{
		State: p.state,
		Lookup: func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		},
		TTL: p.General.DNSCacheTTL, Instance: p.instance,
		// Only PostgreSQL is shared by several instances.
		Alone: p.Store.Type != "postgres",
		// What registered itself is deleted after the whole delay.
		Grace: p.XDSServer.DataplaneDeregistrationDelay / 2,
		Log:   logging.Named(p.log, "actual"), Now: p.host.Now,
	})
}
