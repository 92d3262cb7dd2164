package tproxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"weft/internal/tproxy/rules"
)

// Validator checks, as the user of the proxy, that rules are installed: what the
// proxy sends to an address of its own host must arrive at its inbound port. It is
// the init container of pods whose rules a CNI plugin installs.
type Validator struct {
	Families []rules.Family
	// Port is the proxy's inbound port.
	Port uint16
	// Tries is how often a connection is tried, with Pause in between.
	Tries int
	Pause time.Duration
	// Timeout of one connection.
	Timeout time.Duration
	Tell    func(format string, args ...any)
}

// Run returns an error if a connection of some family does not arrive.
func (v *Validator) Run(ctx context.Context) error {
	for _, f := range v.Families {
		if err := v.family(ctx, f); err != nil {
			return fmt.Errorf("%s: connections are not redirected to port %d, so the rules are missing or for another user: %w", f, v.Port, err)
		}
		v.Tell("%s: connections are redirected to port %d", f, v.Port)
	}
	return nil
}

func (v *Validator) family(ctx context.Context, f rules.Family) error {
	local, to := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.6")
	if f == rules.IPv6 {
		local, to = netip.MustParseAddr("::1"), netip.MustParseAddr("::6")
	}
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(local, v.Port)))
	if err != nil {
		return fmt.Errorf("listen on port %d: %w", v.Port, err)
	}
	defer l.Close()
	d := net.Dialer{Timeout: v.Timeout, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(local, 0))}
	var last error
	for try := range v.Tries {
		if try > 0 {
			select {
			case <-ctx.Done():
				return errors.Join(ctx.Err(), last)
			case <-time.After(v.Pause):
			}
		}
		// Nobody listens at this port of the address, so that an answer can only
		// come from our own listener.
		c, err := d.DialContext(ctx, "tcp", netip.AddrPortFrom(to, v.strangePort()).String())
		if err == nil {
			c.Close()
			return nil
		}
		last = err
	}
	return last
}

// strangePort is a port on which nobody listens, other than the one that is tested.
func (v *Validator) strangePort() uint16 {
	const port = 20003
	if v.Port == port {
		return port + 1
	}
	return port
}
