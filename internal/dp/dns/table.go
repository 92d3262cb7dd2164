package dns

import (
	"context"
	"net"
	"strconv"
	"time"

	"github.com/miekg/dns"
)

const tableTimeout = 200 * time.Millisecond

// HasTable reports whether Envoy answers names on a port of loopback, which it
// does as soon as it has its first table. Any answer will do.
func HasTable(ctx context.Context, port uint16) bool {
	q := new(dns.Msg)
	q.SetQuestion("weft-ready.invalid.", dns.TypeA)
	c := &dns.Client{Net: "udp", Timeout: tableTimeout}
	_, _, err := c.ExchangeContext(ctx, q, net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port))))
	return err == nil
}
