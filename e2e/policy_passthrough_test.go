package e2e

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weft/internal/testkit/envoytest"
)

// redirectedGroup is the group whose connections are redirected to the proxy.
const redirectedGroup = 47110

// island is a network namespace with nothing but a loopback interface.
type island struct {
	t    testing.TB
	name string
}

// newIsland makes a namespace with these addresses, or skips the test.
func newIsland(t testing.TB, addresses ...string) *island {
	t.Helper()
	n := &island{t, fmt.Sprintf("weft-%d-%d", os.Getpid(), time.Now().UnixNano()%1e6)}
	if out, err := exec.Command("ip", "netns", "add", n.name).CombinedOutput(); err != nil {
		if strings.Contains(os.Getenv("REQUIRE"), "netns") {
			t.Fatalf("make a network namespace: %v: %s", err, out)
		}
		t.Skipf("SKIPPED: no network namespace can be made here: %v: %s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "delete", n.name).Run() })
	n.run("ip", "link", "set", "lo", "up")
	for _, a := range addresses {
		n.run("ip", "address", "add", a+"/32", "dev", "lo")
	}
	return n
}

func (n *island) run(args ...string) {
	n.t.Helper()
	if out, err := exec.Command("ip", append([]string{"netns", "exec", n.name}, args...)...).CombinedOutput(); err != nil {
		n.t.Fatalf("%v: %v: %s", args, err, out)
	}
}

// within runs f on a thread in the namespace and in a group. What f opens stays
// there; the thread comes back. (It must not end: the processes that it started
// would end with it.)
func (n *island) within(group int, f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	defer home.Close()
	away, err := os.Open(filepath.Join("/run/netns", n.name))
	if err != nil {
		return err
	}
	defer away.Close()
	if err := unix.Setns(int(away.Fd()), unix.CLONE_NEWNET); err != nil {
		return err
	}
	defer func() {
		if err := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); err != nil {
			panic(err) // all that follows on this thread would be in the wrong place
		}
	}()
	before, err := unix.SetfsgidRetGid(group)
	if err != nil {
		return err
	}
	defer func() { _, _ = unix.SetfsgidRetGid(before) }()
	return f()
}

func (n *island) listen(address string) net.Listener {
	n.t.Helper()
	var l net.Listener
	err := n.within(0, func() (err error) {
		l, err = net.Listen("tcp", address)
		return err
	})
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { _ = l.Close() })
	return l
}

func (n *island) dial(group int, address string) (c net.Conn, err error) {
	err = n.within(group, func() (err error) {
		c, err = net.DialTimeout("tcp", address, 5*time.Second)
		return err
	})
	return c, err
}

// client calls from the namespace, whatever the name in a URL, at an address.
func (n *island) client(group int, address, serverName string) *http.Client {
	return &http.Client{
		Timeout: 10 * time.Second,
		Transport: &http.Transport{
			DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true, ServerName: serverName},
			DialContext: func(context.Context, string, string) (net.Conn, error) { return n.dial(group, address) },
		},
	}
}

// call asks an address by HTTP for a host, over TLS if it names a server.
func (n *island) call(address, host, serverName string) (int, string, error) {
	scheme := "http"
	if serverName != "" {
		scheme = "https"
	}
	resp, err := n.client(redirectedGroup, address, serverName).Get(scheme + "://" + host + "/")
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}

// proxy starts a kuma-dp in the namespace, which the connections of
// redirectedGroup are redirected to.
func (n *island) proxy(m *policyMesh) {
	t := m.t
	envoy, dir := envoytest.Binary(t), t.TempDir()
	// The control plane is outside: what is for its port here goes there.
	local := n.listen(fmt.Sprintf(":%d", m.cp.xds))
	go func() {
		for {
			c, err := local.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				out, err := net.Dial("tcp", hostport(m.cp.xds))
				if err != nil {
					return
				}
				defer out.Close()
				go func() { _, _ = io.Copy(out, c); _ = out.Close() }()
				_, _ = io.Copy(c, out)
			}()
		}
	}()
	write(t, filepath.Join(dir, "dp.yaml"), fmt.Sprintf(`
type: Dataplane
mesh: %s
name: walled
networking:
  address: 10.9.9.9
  admin: {port: 9901}
  inbound: [{port: 80, tags: {kuma.io/service: walled, kuma.io/protocol: http}}]
  transparentProxying: {redirectPortInbound: 15006, redirectPortOutbound: 15001, ipFamilyMode: IPv4}
`, m.name))
	write(t, filepath.Join(dir, "token"), m.cp.must(http.MethodPost, "/tokens/dataplane", map[string]any{"mesh": m.name, "name": "walled", "validFor": "1h"}))
	p := start(t, "kuma-dp-walled", nil, "ip", "netns", "exec", n.name, binary(t, "kuma-dp"), "run",
		fmt.Sprintf("--cp-address=https://localhost:%d", m.cp.xds), "--ca-cert-file="+filepath.Join(m.cp.dir, "kuma-cp.crt"),
		"--dataplane-file="+filepath.Join(dir, "dp.yaml"), "--dataplane-token-file="+filepath.Join(dir, "token"), "--binary-path="+envoy, "--concurrency=1")
	n.run("iptables", "-t", "nat", "-A", "OUTPUT", "-p", "tcp", "-m", "owner", "--gid-owner", strconv.Itoa(redirectedGroup), "-j", "REDIRECT", "--to-ports", "15001")
	m.await("the proxy listens for redirected connections", func() error {
		select {
		case <-p.done:
			t.Fatalf("kuma-dp ended:\n%s", p.tail(20))
		default:
		}
		c, err := n.dial(0, "127.0.0.1:15001")
		if err == nil {
			_ = c.Close()
		}
		return err
	})
}

// newOutside makes an island with servers that are no part of the mesh: on each
// address HTTP on two ports and HTTPS on one.
func newOutside(t *testing.T) *island {
	t.Helper()
	pair, err := tls.X509KeyPair(newAuthority(t))
	if err != nil {
		t.Fatal(err)
	}
	n := newIsland(t, "10.9.9.9", "10.9.0.1", "10.9.0.2", "10.9.1.1", "10.9.1.2")
	for _, address := range []string{"10.9.0.1", "10.9.0.2", "10.9.1.1", "10.9.1.2"} {
		answer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "%s at %s", r.Host, address) })
		for _, port := range []string{"8080", "9000"} {
			srv := &http.Server{Handler: answer}
			go func() { _ = srv.Serve(n.listen(net.JoinHostPort(address, port))) }()
			t.Cleanup(func() { _ = srv.Close() })
		}
		secured := &http.Server{Handler: answer, TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}}}
		go func() { _ = secured.ServeTLS(n.listen(net.JoinHostPort(address, "8443")), "", "") }()
		t.Cleanup(func() { _ = secured.Close() })
	}
	return n
}

// MeshPassthrough decides what outside of the mesh an application reaches that
// is redirected: nothing, everything, or what it lists by address, range, name
// of an HTTP host, and name in TLS.
func testPassthrough(t *testing.T, m *policyMesh) {
	n := newOutside(t)
	n.proxy(m)
	reaches := func(address, host, serverName, want string) error {
		status, body, err := n.call(address, host, serverName)
		got := fmt.Sprintf("%d %s", status, body)
		if err != nil {
			got = "refused"
		}
		if !strings.HasPrefix(got, want) {
			return fmt.Errorf("%s at %s (TLS name %q): %.100q, %w; want %q", host, address, serverName, got, err, want)
		}
		return nil
	}
	policy := func(conf string) {
		t.Helper()
		m.apply("{type: MeshPassthrough, name: walls, spec: {targetRef: {kind: Mesh}, default: " + conf + "}}")
	}
	all := func(want string) func() error {
		return func() error { return reaches("10.9.0.1:8080", "a.example", "", want) }
	}
	m.await("without a policy everything is reached", all("200 a.example at 10.9.0.1"))
	policy("{passthroughMode: None}")
	m.await("nothing is reached", all("refused"))
	m.apply("{type: Mesh, name: " + m.name + ", skipCreatingInitialPolicies: ['*'], networking: {outbound: {passthrough: false}}}")
	policy("{passthroughMode: All}")
	m.await("everything is reached, whatever the Mesh says", all("200 a.example at 10.9.0.1"))
	m.remove("MeshPassthrough", "walls")
	m.await("the Mesh says no", all("refused"))
	policy(`{passthroughMode: Matched, appendMatch: [
		{type: Domain, value: books.example, port: 8080, protocol: http},
		{type: Domain, value: '*.wild.example', port: 8080, protocol: http},
		{type: Domain, value: shop.example, port: 8443, protocol: tls},
		{type: IP, value: 10.9.0.2, port: 9000, protocol: tcp},
		{type: CIDR, value: 10.9.1.0/31, protocol: tcp}]}`)
	m.await("a host that is listed is reached", func() error {
		return reaches("10.9.0.1:8080", "books.example", "", "200 books.example at 10.9.0.1")
	})
	for _, x := range []struct{ address, host, serverName, want string }{
		{"10.9.0.2:8080", "a.wild.example", "", "200 a.wild.example at 10.9.0.2"},
		{"10.9.0.1:8080", "other.example", "", "503 This response comes from Kuma Sidecar."},
		{"10.9.0.1:8443", "x", "shop.example", "200 x at 10.9.0.1"},
		{"10.9.0.1:8443", "x", "other.example", "refused"},
		{"10.9.0.2:9000", "x", "", "200 x at 10.9.0.2"},
		{"10.9.0.1:9000", "x", "", "refused"},
		{"10.9.1.1:9000", "x", "", "200 x at 10.9.1.1"},
		{"10.9.1.2:9000", "x", "", "refused"},
	} {
		if err := reaches(x.address, x.host, x.serverName, x.want); err != nil {
			t.Error(err)
		}
	}
}
