// Package probes lets a kubelet probe an application whose ports are redirected
// into the proxy: it answers GET /8080/healthy by asking the application on
// port 8080 for /healthy, past the redirection. Handlers may run in parallel.
package probes

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"weft/internal/dp/serve"
)

const (
	// headerPrefix marks headers that steer the probe itself.
	headerPrefix = "X-Kuma-Probes-"
	// maxBody bounds what is read of an answer; only its status counts.
	maxBody = 10 << 10
	// maxTimeout bounds a probe, whatever its header says.
	maxTimeout = 10 * time.Minute
)

var (
	tcpOrGRPC = regexp.MustCompile(`^/(tcp|grpc)/([0-9]+)(/.*)?$`)
	plainHTTP = regexp.MustCompile(`^/([0-9]+)(/.*)?$`)
)

// Proxy answers probes.
type Proxy struct {
	address  string
	version  string
	dialer   *net.Dialer
	listener net.Listener
}

// Listen opens the port on all addresses. Probes go to the given address of
// the proxy; with bypass they come from an address that redirection ignores.
func Listen(port uint16, address string, bypass bool, version string) (*Proxy, error) {
	l, err := net.Listen("tcp", ":"+strconv.Itoa(int(port)))
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("open the port of the application probe proxy: %w: choose another KUMA_APPLICATION_PROBE_PROXY_PORT, or 0 to turn it off", err)
	}
	if err != nil {
		return nil, fmt.Errorf("open the port of the application probe proxy: %w", err)
	}
	return &Proxy{address: address, version: version, dialer: newDialer(address, bypass), listener: l}, nil
}

// newDialer resets connections instead of leaving them in TIME_WAIT, as there
// is a probe every few seconds.
func newDialer(address string, bypass bool) *net.Dialer {
	d := &net.Dialer{}
	if bypass {
		d.LocalAddr = BypassSource(address)
	}
	return d
}

// BypassSource is the source address that the redirection of a transparent
// proxy leaves alone, of the family of the given address.
func BypassSource(address string) net.Addr {
	if ip := net.ParseIP(address); ip != nil && ip.To4() == nil {
		return &net.TCPAddr{IP: net.ParseIP("::6")}
	}
	return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 6)}
}

// Addr is where the proxy listens.
func (p *Proxy) Addr() net.Addr { return p.listener.Addr() }

// Close gives the port back when Run was never called.
func (p *Proxy) Close() error { return p.listener.Close() }

// Run serves until ctx ends.
func (p *Proxy) Run(ctx context.Context) error {
	return serve.HTTP(ctx, "application probes", p.listener, p)
}

// result of a probe.
type result struct {
	code int
	text string
}

var (
	healthy   = result{http.StatusOK, "HEALTHY"}
	unhealthy = result{http.StatusServiceUnavailable, "UNHEALTHY"}
	unknown   = result{http.StatusServiceUnavailable, "UNKNOWN"}
)

// ServeHTTP implements http.Handler.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		w.Header().Set("Allow", http.MethodGet)
		http.Error(w, "only GET", http.StatusMethodNotAllowed)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), timeout(r.Header))
	defer cancel()
	res := p.probe(ctx, r)
	http.Error(w, res.text, res.code)
}

func (p *Proxy) probe(ctx context.Context, r *http.Request) result {
	if m := tcpOrGRPC.FindStringSubmatch(r.URL.Path); m != nil {
		target, ok := p.target(m[2])
		switch {
		case !ok:
			return unknown
		case m[1] == "tcp":
			return p.probeTCP(ctx, target)
		default:
			return p.probeGRPC(ctx, target, r.Header.Get(headerPrefix+"GRPC-Service"))
		}
	}
	m := plainHTTP.FindStringSubmatch(r.URL.Path)
	if m == nil {
		return unknown
	}
	target, ok := p.target(m[1])
	if !ok {
		return unknown
	}
	return p.probeHTTP(ctx, target, r)
}

func (p *Proxy) target(port string) (string, bool) {
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return "", false
	}
	return net.JoinHostPort(p.address, port), true
}

// timeout is in whole seconds; one second if absent or unreadable.
func timeout(h http.Header) time.Duration {
	n, err := strconv.ParseUint(h.Get(headerPrefix+"Timeout"), 10, 31)
	if err != nil || n == 0 {
		return time.Second
	}
	return min(time.Duration(n)*time.Second, maxTimeout)
}

func (p *Proxy) probeTCP(ctx context.Context, target string) result {
	conn, err := p.dial(ctx, "tcp", target)
	if err != nil {
		return unhealthy
	}
	_ = conn.Close()
	return healthy
}

// dial connects with a short linger, so that thousands of probes leave no
// sockets behind.
func (p *Proxy) dial(ctx context.Context, network, target string) (net.Conn, error) {
	conn, err := p.dialer.DialContext(ctx, network, target)
	if tcp, ok := conn.(*net.TCPConn); ok && err == nil {
		_ = tcp.SetLinger(1)
	}
	return conn, err
}

func (p *Proxy) probeGRPC(ctx context.Context, target, service string) result {
	conn, err := grpc.NewClient("passthrough:///"+target,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithUserAgent("kube-probe/"+p.version),
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) { return p.dial(ctx, "tcp", addr) }))
	if err != nil {
		return unknown
	}
	defer conn.Close()
	answer, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{Service: service})
	if err != nil || answer.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		return unhealthy
	}
	return healthy
}

func (p *Proxy) probeHTTP(ctx context.Context, target string, r *http.Request) result {
	req, err := p.request(ctx, target, r)
	if err != nil {
		return unknown
	}
	client := &http.Client{
		Transport: &http.Transport{
			DialContext:       p.dial,
			DisableKeepAlives: true,
			// As for a kubelet: a probe knows no name to verify.
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // because of the above.
		},
		// As a kubelet does: a redirect within the application is followed,
		// one to elsewhere shows that the application lives.
		CheckRedirect: func(next *http.Request, via []*http.Request) error {
			if next.URL.Host != via[0].URL.Host || len(via) >= 10 {
				return http.ErrUseLastResponse
			}
			return nil
		},
	}
	resp, err := client.Do(req)
	if err != nil {
		return unhealthy
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxBody))
	if resp.StatusCode >= 200 && resp.StatusCode < 400 {
		return healthy
	}
	return result{resp.StatusCode, unhealthy.text}
}

// request copies what the kubelet sent, except what was meant for us.
func (p *Proxy) request(ctx context.Context, target string, r *http.Request) (*http.Request, error) {
	scheme := "http"
	if strings.EqualFold(r.Header.Get(headerPrefix+"Scheme"), "https") {
		scheme = "https"
	}
	url := *r.URL
	url.Scheme, url.Host = scheme, target
	port := plainHTTP.FindStringSubmatch(r.URL.Path)[1]
	url.Path = strings.TrimPrefix(r.URL.Path, "/"+port)
	url.RawPath = strings.TrimPrefix(r.URL.RawPath, "/"+port)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url.String(), nil)
	if err != nil {
		return nil, err
	}
	for name, values := range r.Header {
		if !strings.HasPrefix(name, headerPrefix) && name != "Connection" {
			req.Header[name] = values
		}
	}
	if req.Header.Get("User-Agent") == "" {
		req.Header.Set("User-Agent", "kuma-probe/"+p.version)
	}
	if host := r.Header.Get(headerPrefix + "Host"); host != "" {
		req.Host = host
	}
	return req, nil
}
