package tproxy

import (
	"errors"
	"fmt"
	"net"
	"unsafe"

	"golang.org/x/sys/unix"
)

// in6Request is struct in6_ifreq of the kernel.
type in6Request struct {
	addr   [16]byte
	length uint32
	index  int32
}

// addSource gives the loopback interface the address that the proxy uses towards
// the application over IPv6. (Over IPv4 all of 127.0.0.0/8 is there already.)
func addSource(loopback string) (bool, error) {
	err := sourceRequest(loopback, unix.SIOCSIFADDR)
	if errors.Is(err, unix.EEXIST) {
		return false, nil
	}
	return err == nil, err
}

func removeSource(loopback string) error {
	if err := sourceRequest(loopback, unix.SIOCDIFADDR); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
		return err
	}
	return nil
}

func sourceRequest(loopback string, request uint) error {
	i, err := net.InterfaceByName(loopback)
	if err != nil {
		return fmt.Errorf("find interface %s: %w", loopback, err)
	}
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open a socket of IPv6: %w", err)
	}
	defer unix.Close(fd)
	r := in6Request{length: 128, index: int32(i.Index)}
	r.addr[15] = 6
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(request), uintptr(unsafe.Pointer(&r))); errno != 0 {
		return fmt.Errorf("change address ::6 of interface %s: %w", loopback, errno)
	}
	return nil
}
