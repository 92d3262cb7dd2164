//go:build !linux

package probe

import (
	"context"
	"net"
	"net/netip"
	"time"
)

func dialAs(context.Context, uint32, string, netip.Addr, netip.AddrPort, time.Duration) (net.Conn, error) {
	return nil, errCannot
}

// OriginalDestination returns where a redirected connection was going.
func OriginalDestination(*net.TCPConn) (netip.AddrPort, error) {
	return netip.AddrPort{}, errCannot
}
