package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"weft/internal/testkit/envoytest"
	"weft/internal/testkit/netns"
)

// Users on the hosts of a network.
const (
	appUser   = 1000
	proxyUser = 5678 // is not redirected
)

// network is a switch with hosts on it, as network namespaces with cables (veth)
// between them. The host that the test runs on is on it, too, as their gateway,
// name server and host of the control plane.
type network struct {
	t                  testing.TB
	id, hub            string
	prefix4, prefix6   string
	gateway4, gateway6 string
	hosts              int
}

var networks atomic.Int64

func newNetwork(t testing.TB) *network {
	t.Helper()
	netns.Require(t, "nft", "iptables-nft", "iptables-legacy", "setpriv", "curl")
	n := networks.Add(1)
	octet := (int64(os.Getpid()) + n) % 250
	w := &network{
		t: t, id: fmt.Sprintf("weft%d-%d", os.Getpid(), n),
		prefix4: fmt.Sprintf("198.18.%d.", octet), prefix6: fmt.Sprintf("fdb7:%x::", octet),
	}
	w.hub, w.gateway4, w.gateway6 = w.id+"-hub", w.prefix4+"1", w.prefix6+"1"
	netns.Add(t, w.hub)
	netns.IP(t, "-n %s link add br0 type bridge", w.hub)
	netns.IP(t, "-n %s link set br0 up", w.hub)
	own := fmt.Sprintf("wh%d-%d", os.Getpid()%100000, n)
	netns.IP(t, "link add %s type veth peer name root netns %s", own, w.hub)
	t.Cleanup(func() { netns.IP(t, "link del %s", own) })
	netns.IP(t, "addr add %s/24 dev %s", w.gateway4, own)
	netns.IP(t, "addr add %s/64 dev %s nodad", w.gateway6, own)
	netns.IP(t, "link set %s up", own)
	w.plug("root")
	return w
}

// plug connects the end of a cable in the hub to the switch.
func (w *network) plug(device string) {
	w.t.Helper()
	netns.IP(w.t, "-n %s link set %s master br0", w.hub, device)
	netns.IP(w.t, "-n %s link set %s up", w.hub, device)
}

// host is a machine with its own addresses, rules and resolv.conf.
type host struct {
	net      *network
	name, ns string
	ip4, ip6 string
	dir      string // a folder that everybody can read and the proxy's user can write
}

func (w *network) host(name string) *host {
	w.t.Helper()
	w.hosts++
	h := &host{
		net: w, name: name, ns: w.id + "-" + name,
		ip4: fmt.Sprint(w.prefix4, 10+w.hosts), ip6: fmt.Sprintf("%s%x", w.prefix6, 16+w.hosts),
	}
	netns.Add(w.t, h.ns)
	netns.IP(w.t, "-n %s link add eth0 type veth peer name %s netns %s", h.ns, name, w.hub)
	w.plug(name)
	netns.IP(w.t, "-n %s addr add %s/24 dev eth0", h.ns, h.ip4)
	netns.IP(w.t, "-n %s addr add %s/64 dev eth0 nodad", h.ns, h.ip6)
	netns.IP(w.t, "-n %s link set eth0 up", h.ns)
	netns.IP(w.t, "-n %s route add default via %s", h.ns, w.gateway4)
	netns.IP(w.t, "-n %s -6 route add default via %s", h.ns, w.gateway6)
	h.dir = sharedDir(w.t)
	// `ip netns exec` puts what is in this folder into /etc of the commands it runs.
	etc := filepath.Join("/etc/netns", h.ns)
	if err := os.MkdirAll(etc, 0o755); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = os.RemoveAll(etc); _ = os.Remove(filepath.Dir(etc)) })
	users, err := os.ReadFile("/etc/passwd")
	if err != nil {
		w.t.Fatal(err)
	}
	for file, text := range map[string]string{
		"resolv.conf": fmt.Sprintf("nameserver %s\nnameserver %s\n", w.gateway4, w.gateway6),
		"passwd":      fmt.Sprintf("%s\nkuma-dp:x:%d:%d::/nonexistent:/usr/sbin/nologin\n", users, proxyUser, proxyUser),
	} {
		if err := os.WriteFile(filepath.Join(etc, file), []byte(text), 0o644); err != nil {
			w.t.Fatal(err)
		}
	}
	for _, gateway := range []string{w.gateway4, w.gateway6} {
		eventually(w.t, 20*time.Second, name+" reaches "+gateway, func() error {
			c, err := netns.Dial(w.t.Context(), h.ns, 0, &net.Dialer{Timeout: time.Second}, "tcp", net.JoinHostPort(gateway, "1"))
			if err == nil {
				_ = c.Close()
			}
			if errors.Is(err, syscall.ECONNREFUSED) {
				err = nil
			}
			return err
		})
	}
	return h
}

// sharedDir is a temporary folder that other users can use, too.
func sharedDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "weft-host-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := errors.Join(os.Chmod(dir, 0o755), os.Chown(dir, proxyUser, proxyUser)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// command is how a user runs a program on the host.
func (h *host) command(user int, program string, args ...string) []string {
	words := []string{
		"ip", "netns", "exec", h.ns, "env", "-C", h.dir, "TMPDIR=" + h.dir,
		"setpriv", fmt.Sprintf("--reuid=%d", user), fmt.Sprintf("--regid=%d", user), "--clear-groups", "--pdeathsig=KILL", "--", program,
	}
	return append(words, args...)
}

// run lets a user run a program on the host and returns what it prints.
func (h *host) run(user int, program string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	words := h.command(user, program, args...)
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	cmd.Env = withoutKuma(os.Environ())
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s on %s: %w: %s", program, h.name, err, out)
	}
	return string(out), err
}

// must is run for what has to succeed.
func (h *host) must(t testing.TB, user int, program string, args ...string) string {
	t.Helper()
	out, err := h.run(user, program, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// curl calls a URL as an application does that knows nothing of a mesh.
func (h *host) curl(args ...string) (string, error) {
	return h.run(appUser, "curl", append([]string{"-sS", "--fail-with-body", "--max-time", "10"}, args...)...)
}

// install installs the transparent proxy.
func (h *host) install(t testing.TB, args ...string) string {
	t.Helper()
	args = append([]string{"install", "transparent-proxy", "--redirect-dns"}, args...)
	out, err := exec.Command("ip", append([]string{"netns", "exec", h.ns, binary(t, "kumactl")}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("install the transparent proxy on %s: %v\n%s", h.name, err, out)
	}
	return string(out)
}

func (h *host) uninstall(t testing.TB) {
	t.Helper()
	if out, err := exec.Command("ip", "netns", "exec", h.ns, binary(t, "kumactl"), "uninstall", "transparent-proxy").CombinedOutput(); err != nil {
		t.Fatalf("uninstall the transparent proxy on %s: %v\n%s", h.name, err, out)
	}
}

// ruleset lists the rules of the host and the addresses of its loopback interface.
func (h *host) ruleset(t testing.TB) string {
	t.Helper()
	return h.must(t, 0, "nft", "list", "ruleset") + h.must(t, 0, "ip", "-o", "addr", "show", "dev", "lo")
}

// serve starts a web server on the host.
func (h *host) serve(t testing.TB, port int, handler http.Handler) {
	t.Helper()
	srv := &http.Server{Handler: handler}
	l := netns.Listen(t, h.ns, "tcp", fmt.Sprintf(":%d", port))
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close() })
}

// client calls from the host, as a user. URLs must have addresses in place of names.
func (h *host) client(user int) *http.Client {
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DialContext: func(ctx context.Context, proto, address string) (net.Conn, error) {
			return netns.Dial(ctx, h.ns, user, &net.Dialer{Timeout: 5 * time.Second}, proto, address)
		},
	}}
}

// fetch calls a URL from the host.
func (h *host) fetch(user int, url string) (string, error) {
	client := h.client(user)
	defer client.CloseIdleConnections()
	return fetchBy(client, url)
}

// hostProxy is the kuma-dp of a host.
type hostProxy struct {
	*process
	host *host
}

// join starts the host's kuma-dp, as the user that is not redirected, and waits
// until it is ready. networking is YAML: what a Dataplane has beside address and
// transparentProxying.
func (h *host) join(t testing.TB, cp *controlPlane, networking string, args ...string) *hostProxy {
	t.Helper()
	return h.joinAt(t, cp, h.ip4, "", networking, args...)
}

// joinAt is join with the address of the Dataplane and settings of its
// transparentProxying.
func (h *host) joinAt(t testing.TB, cp *controlPlane, address, transparent, networking string, args ...string) *hostProxy {
	t.Helper()
	doc := fmt.Sprintf("type: Dataplane\nmesh: default\nname: %s\nnetworking:\n  address: %q\n  transparentProxying: {redirectPortInbound: 15006, redirectPortOutbound: 15001%s}\n%s",
		h.name, address, transparent, networking)
	token := cp.must(http.MethodPost, "/tokens/dataplane", map[string]any{"mesh": "default", "name": h.name, "validFor": "1h"})
	return h.proxy(t, cp, doc, token, args...)
}

// egress starts a kuma-dp on the host that is the egress of the zone.
func (h *host) egress(t testing.TB, cp *controlPlane) *hostProxy {
	t.Helper()
	doc := fmt.Sprintf("{type: ZoneEgress, name: %s, networking: {address: %q, port: 10002}}", h.name, h.ip4)
	token := cp.must(http.MethodPost, "/tokens/zone", map[string]any{"zone": "default", "scope": []string{"egress"}, "validFor": "1h"})
	return h.proxy(t, cp, doc, token, "--proxy-type=egress")
}

// proxy starts the host's kuma-dp with a definition and waits until it is ready.
func (h *host) proxy(t testing.TB, cp *controlPlane, doc, token string, args ...string) *hostProxy {
	t.Helper()
	ca, err := os.ReadFile(filepath.Join(cp.dir, "kuma-cp.crt"))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"dp.yaml": doc, "token": token, "ca.crt": string(ca)} {
		file := filepath.Join(h.dir, name)
		write(t, file, text)
		if err := os.Chown(file, proxyUser, proxyUser); err != nil {
			t.Fatal(err)
		}
	}
	p := &hostProxy{host: h}
	p.start(t, cp, args...)
	p.awaitReady(t)
	return p
}

// start starts the process (again).
func (p *hostProxy) start(t testing.TB, cp *controlPlane, args ...string) {
	t.Helper()
	dir := p.host.dir
	words := p.host.command(proxyUser, binary(t, "kuma-dp"), append([]string{
		"run", fmt.Sprintf("--cp-address=https://%s:%d", p.host.net.gateway4, cp.xds), "--ca-cert-file=" + filepath.Join(dir, "ca.crt"),
		"--dataplane-file=" + filepath.Join(dir, "dp.yaml"), "--dataplane-token-file=" + filepath.Join(dir, "token"),
		"--binary-path=" + envoytest.Binary(t), "--concurrency=1", "--drain-time=3s",
	}, args...)...)
	p.process = start(t, "kuma-dp-"+p.host.name, nil, words[0], words[1:]...)
}

// awaitReady waits until kuma-dp says that the proxy serves.
func (p *hostProxy) awaitReady(t testing.TB) {
	t.Helper()
	eventually(t, 30*time.Second, p.host.name+" is ready", func() error {
		select {
		case <-p.done:
			t.Fatalf("kuma-dp of %s ended:\n%s", p.host.name, p.tail(20))
		default:
		}
		_, err := p.host.fetch(proxyUser, "http://127.0.0.1:9902/ready")
		return err
	})
}

// stat returns the value of one of Envoy's statistics.
func (p *hostProxy) stat(t testing.TB, name string) int {
	t.Helper()
	n, err := p.tryStat(name)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// tryStat is stat of a proxy that may not be up.
func (p *hostProxy) tryStat(name string) (int, error) {
	text, err := p.host.fetch(proxyUser, "http://127.0.0.1:9901/stats?usedonly&filter=^"+strings.NewReplacer(".", "%5C.", ":", "%3A").Replace(name)+"$")
	_, v, _ := strings.Cut(strings.TrimSpace(text), ": ")
	n, _ := strconv.Atoi(v)
	return n, err
}

// endpoints returns how many hosts a cluster of Envoy has. (The gauge of it keeps
// its value when a cluster is replaced by one without hosts.)
func (p *hostProxy) endpoints(t testing.TB, cluster string) int {
	t.Helper()
	text, err := p.host.fetch(proxyUser, "http://127.0.0.1:9901/clusters")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, cluster+"::") && strings.Contains(line, "::cx_active::") {
			n++
		}
	}
	return n
}
