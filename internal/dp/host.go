package dp

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// systemCAFiles lists where distributions keep the CAs that the host trusts.
func systemCAFiles() []string {
	return []string{
		"/etc/ssl/certs/ca-certificates.crt",
		"/etc/pki/tls/certs/ca-bundle.crt",
		"/etc/ssl/ca-bundle.pem",
		"/etc/pki/tls/cacert.pem",
		"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
		"/etc/ssl/cert.pem",
	}
}

// firstFile returns the first path that exists, or "".
func firstFile(paths []string) string {
	for _, p := range paths {
		if info, err := os.Stat(p); err == nil && !info.IsDir() {
			return p
		}
	}
	return ""
}

// hasIPv6 reports whether the host has an IPv6 address other than loopback; a
// link-local one is enough.
func hasIPv6(addrs []net.Addr) bool {
	for _, a := range addrs {
		n, ok := a.(*net.IPNet)
		if ok && n.IP.To4() == nil && n.IP.To16() != nil && !n.IP.IsLoopback() {
			return true
		}
	}
	return false
}

// isForeign reports whether nobody can listen on an IP address because the host
// does not have it.
func isForeign(address string) bool {
	if net.ParseIP(address) == nil {
		return false
	}
	l, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	if err == nil {
		_ = l.Close()
	}
	return errors.Is(err, syscall.EADDRNOTAVAIL)
}

// memoryLimit reads the memory limit of the cgroup mounted at root; zero when
// there is none.
func memoryLimit(root string) uint64 {
	for _, file := range []string{"memory.max", "memory.limit_in_bytes", "memory/memory.limit_in_bytes"} {
		text, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			continue
		}
		limit, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
		// cgroup v1 writes a huge number for "no limit".
		if err != nil || limit >= 1<<62 {
			return 0
		}
		return limit
	}
	return 0
}

// directories are where kuma-dp puts files; remove deletes the temporary one.
type directories struct {
	config, sockets, dns string
	remove               func() error
}

// makeDirectories fills in the directories that were not given. Those that
// Envoy must find are absolute.
func makeDirectories(c *Config) (*directories, error) {
	d := &directories{config: c.Runtime.ConfigDir, sockets: c.Runtime.SocketDir, dns: c.DNS.ConfigDir, remove: func() error { return nil }}
	if d.config == "" || d.dns == "" {
		tmp, err := os.MkdirTemp("", "kuma-dp-*")
		if err != nil {
			return nil, fmt.Errorf("make temporary directory: %w", err)
		}
		d.remove = func() error { return os.RemoveAll(tmp) }
		for _, dir := range []*string{&d.config, &d.sockets, &d.dns} {
			if *dir == "" {
				*dir = tmp
			}
		}
	}
	if d.sockets == "" {
		d.sockets = d.config
	}
	for _, dir := range []*string{&d.config, &d.sockets, &d.dns} {
		abs, err := filepath.Abs(*dir)
		if err == nil {
			*dir, err = abs, os.MkdirAll(abs, 0o755)
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("make directory: %w", err), d.remove())
		}
	}
	return d, nil
}

// maxSocketBase keeps the path of a socket below what the kernel takes (108);
// control planes cut the same way, so both arrive at the same path.
const maxSocketBase = 98

// socketPath is the path of a socket or pipe shared with Envoy.
func socketPath(dir, kind, name, mesh string) string {
	base := filepath.Join(dir, kind+"-"+name+"-"+mesh)
	return base[:min(len(base), maxSocketBase)] + ".sock"
}
