package tproxy

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"weft/internal/tproxy/backend"
	"weft/internal/tproxy/rules"
)

// Host is what is asked of and done to the machine, apart from rules. Tests have
// others.
type Host struct {
	// Linux and Root tell what is possible at all.
	Linux, Root bool
	ReadFile    func(name string) ([]byte, error)
	WriteFile   func(name string, text []byte, mode fs.FileMode) error
	RemoveFile  func(name string) error
	Glob        func(pattern string) ([]string, error)
	Interfaces  func() ([]Interface, error)
	// LookupUser returns the id of a user by number or name.
	LookupUser func(ctx context.Context, who string) (uid uint32, ok bool)
	// Run runs commands.
	Run backend.Runner
	// AddSource gives the loopback interface the address ::6, and reports whether
	// it lacked it. RemoveSource takes it away.
	AddSource    func(loopback string) (added bool, err error)
	RemoveSource func(loopback string) error
}

// Interface is a network interface.
type Interface struct {
	Name     string
	Loopback bool
	Addrs    []netip.Addr
}

// ThisHost returns the machine that we run on.
func ThisHost() *Host {
	return &Host{
		Linux: runtime.GOOS == "linux", Root: os.Geteuid() == 0,
		ReadFile: os.ReadFile, WriteFile: os.WriteFile, RemoveFile: os.Remove, Glob: filepath.Glob,
		Interfaces: interfaces, LookupUser: lookupUser, Run: backend.Exec,
		AddSource: addSource, RemoveSource: removeSource,
	}
}

func interfaces() ([]Interface, error) {
	list, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list the network interfaces: %w", err)
	}
	var out []Interface
	for _, i := range list {
		x := Interface{Name: i.Name, Loopback: i.Flags&net.FlagLoopback != 0}
		addrs, err := i.Addrs()
		if err != nil {
			return nil, fmt.Errorf("list the addresses of %s: %w", i.Name, err)
		}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil {
				x.Addrs = append(x.Addrs, p.Addr())
			}
		}
		out = append(out, x)
	}
	return out, nil
}

// lookupUser asks the files of this host, then (for directories of users, which
// the library cannot ask) the program getent.
func lookupUser(ctx context.Context, who string) (uint32, bool) {
	u, err := user.LookupId(who)
	if err != nil {
		u, err = user.Lookup(who)
	}
	if err == nil {
		return parseUID(u.Uid)
	}
	if strings.HasPrefix(who, "-") {
		return 0, false
	}
	out, err := exec.CommandContext(ctx, "getent", "passwd", who).Output()
	if f := strings.Split(string(out), ":"); err == nil && len(f) > 2 {
		return parseUID(f[2])
	}
	return 0, false
}

func parseUID(text string) (uint32, bool) {
	n, err := strconv.ParseUint(text, 10, 32)
	return uint32(n), err == nil
}

// Users that run the proxy where none is named.
const (
	defaultUID  = "5678"
	defaultUser = "kuma-dp"
)

// proxyUID returns the user that runs the proxy.
func (c *Config) proxyUID(ctx context.Context, h *Host) (uint32, error) {
	who := strings.TrimSpace(c.KumaDPUser)
	if c.CNIMode {
		if who == "" {
			who = defaultUID
		}
		if uid, ok := parseUID(who); ok {
			return uid, nil
		}
		return 0, fmt.Errorf("kumaDPUser: %q must be a number in CNI mode, because users of the host are not those of the pod", who)
	}
	if who != "" {
		if uid, ok := h.LookupUser(ctx, who); ok {
			return uid, nil
		}
		return 0, fmt.Errorf("there is no user %q on this host: name the user that runs kuma-dp in --kuma-dp-user, by name or number (to make one: useradd --system --no-create-home %s)", who, defaultUser)
	}
	for _, d := range []string{defaultUID, defaultUser} {
		if uid, ok := h.LookupUser(ctx, d); ok {
			return uid, nil
		}
	}
	return 0, fmt.Errorf("no user was named that runs kuma-dp, and there is neither one with number %s nor one with name %s: name one with --kuma-dp-user (to make one: useradd --system --no-create-home %[2]s)", defaultUID, defaultUser)
}

// facts asks the host for what the rules depend on, apart from the limits of the
// backend. Warnings tell why a family is left out.
func (c *Config) facts(ctx context.Context, h *Host) (f *Facts, warnings []string, err error) {
	f = &Facts{Families: []rules.Family{rules.IPv4}, Limits: map[rules.Family]Limits{}}
	if f.UID, err = c.proxyUID(ctx, h); err != nil {
		return nil, nil, err
	}
	list, err := h.Interfaces()
	if err != nil {
		return nil, nil, err
	}
	for _, i := range list {
		if i.Loopback && f.Loopback == "" {
			f.Loopback = i.Name
		}
	}
	if f.Loopback == "" {
		return nil, nil, fmt.Errorf("this host has no loopback interface; make it available first (ip link set lo up)")
	}
	switch {
	case c.IPFamilyMode == IPv4Only:
	case !hasIPv6(list):
		if c.Verbose { // most hosts without IPv6 want none
			warnings = append(warnings, "IPv6 is left out: no interface has an IPv6 address")
		}
	default:
		f.Families = append(f.Families, rules.IPv6)
	}
	if c.KeepReachable.Enabled {
		f.SSHPorts = h.sshPorts()
	}
	if c.Redirect.DNS.Enabled || c.Redirect.DNS.CaptureAll {
		text, err := h.ReadFile(c.Redirect.DNS.ResolvConfigPath)
		if err != nil {
			return nil, nil, fmt.Errorf("find out which name servers this host asks: %w", err)
		}
		f.Resolvers = nameServers(text)
	}
	return f, warnings, nil
}

// HasIPv6 tells whether an interface other than loopback has an IPv6 address.
func (h *Host) HasIPv6() bool {
	list, err := h.Interfaces()
	return err == nil && hasIPv6(list)
}

func hasIPv6(list []Interface) bool {
	for _, i := range list {
		for _, a := range i.Addrs {
			if !i.Loopback && a.Is6() && !a.Is4In6() {
				return true
			}
		}
	}
	return false
}

// nameServers reads the servers of a resolv.conf.
func nameServers(text []byte) []netip.Addr {
	var out []netip.Addr
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) < 2 || f[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(f[1]); err == nil {
			out = append(out, a.WithZone("").Unmap())
		}
	}
	return out
}

// sshPorts returns the ports that the SSH server of this host is told to listen
// on. The file is read, not the environment, so that the rules are the same when
// they are applied again at boot.
func (h *Host) sshPorts() []uint16 {
	more, _ := h.Glob("/etc/ssh/sshd_config.d/*.conf")
	var out []uint16
	for _, name := range append([]string{"/etc/ssh/sshd_config"}, more...) {
		text, err := h.ReadFile(name)
		if err != nil {
			continue // no server, or not ours to know
		}
		for line := range strings.Lines(string(text)) {
			f := strings.Fields(line)
			if len(f) < 2 {
				continue
			}
			port := ""
			switch strings.ToLower(f[0]) {
			case "port":
				port = f[1]
			case "listenaddress":
				_, port, _ = net.SplitHostPort(f[1])
			}
			if n, err := strconv.ParseUint(port, 10, 16); err == nil && n > 0 && !slices.Contains(out, uint16(n)) {
				out = append(out, uint16(n))
			}
		}
	}
	return out
}
