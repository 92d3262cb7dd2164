package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"weft/internal/tproxy/rules"
)

// dialAs opens a connection as a user. The kernel asks who opened the socket, and
// that is the thread's user for files; so a thread of its own changes only this,
// and ends. from may be zero.
func dialAs(ctx context.Context, uid uint32, network string, from netip.Addr, to netip.AddrPort, timeout time.Duration) (net.Conn, error) {
	type result struct {
		c   net.Conn
		err error
	}
	done := make(chan result, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked
		if err := becomeOnThread(uid); err != nil {
			done <- result{nil, err}
			return
		}
		d := net.Dialer{Timeout: timeout}
		if from.IsValid() && network == rules.TCP {
			d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
		}
		c, err := d.DialContext(ctx, network, to.String())
		switch {
		case errors.Is(err, syscall.ENETUNREACH) || errors.Is(err, syscall.EADDRNOTAVAIL):
			err = fmt.Errorf("%w: no route: %w", errCannot, err)
		case err != nil:
			err = fmt.Errorf("connect as user %d: %w", uid, err)
		}
		done <- result{c, err}
	}()
	r := <-done
	return r.c, r.err
}

func becomeOnThread(uid uint32) error {
	// setfsuid returns the former id and never says whether it worked; asking with
	// an id that cannot exist tells.
	_, _, _ = unix.RawSyscall(unix.SYS_SETFSUID, uintptr(uid), 0, 0)
	now, _, _ := unix.RawSyscall(unix.SYS_SETFSUID, ^uintptr(0), 0, 0)
	if uint32(now) != uid {
		return fmt.Errorf("%w: connections cannot be opened as user %d", errCannot, uid)
	}
	return nil
}

// OriginalDestination returns where a redirected connection was going.
func OriginalDestination(c *net.TCPConn) (netip.AddrPort, error) {
	var out netip.AddrPort
	raw, err := c.SyscallConn()
	if err != nil {
		return out, fmt.Errorf("ask for the original destination: %w", err)
	}
	local, err := netip.ParseAddrPort(c.LocalAddr().String())
	if err != nil {
		return out, fmt.Errorf("ask for the original destination: %w", err)
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { out, inner = originalDestination(fd, local.Addr().Unmap().Is4()) }); err != nil {
		return out, fmt.Errorf("ask for the original destination: %w", err)
	}
	if inner != nil {
		return out, fmt.Errorf("ask for the original destination: %w", inner)
	}
	return out, nil
}

// soOriginalDst is SO_ORIGINAL_DST and IP6T_SO_ORIGINAL_DST.
const soOriginalDst = 80

func originalDestination(fd uintptr, four bool) (netip.AddrPort, error) {
	if four {
		var a unix.RawSockaddrInet4
		if err := getOption(fd, unix.SOL_IP, unsafe.Pointer(&a), unsafe.Sizeof(a)); err != nil {
			return netip.AddrPort{}, err
		}
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), swap(a.Port)), nil
	}
	var a unix.RawSockaddrInet6
	if err := getOption(fd, unix.SOL_IPV6, unsafe.Pointer(&a), unsafe.Sizeof(a)); err != nil {
		return netip.AddrPort{}, err
	}
	return netip.AddrPortFrom(netip.AddrFrom16(a.Addr), swap(a.Port)), nil
}

func getOption(fd uintptr, level int, p unsafe.Pointer, size uintptr) error {
	length := uint32(size)
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, uintptr(level), soOriginalDst, uintptr(p), uintptr(unsafe.Pointer(&length)), 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// swap turns a port from the order of the network into that of the host.
func swap(port uint16) uint16 {
	b := (*[2]byte)(unsafe.Pointer(&port))
	return uint16(b[0])<<8 | uint16(b[1])
}
