// Package metrics answers a scrape of one proxy with the metrics of Envoy and
// of the applications beside it. Envoy forwards scrapes over a unix socket.
// What a Mesh or Dataplane asked for is answered here; scrapes that a MeshMetric
// policy asked for are passed on.
// Requests may run in parallel; targets of one request are asked in parallel.
package metrics

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/common/expfmt"

	"weft/internal/dp/serve"
)

const (
	// maxBody bounds the answer of one target.
	maxBody = 128 << 20
	// defaultTimeout holds when the scraper does not say its own.
	defaultTimeout = 10 * time.Second
)

// Target is one source of metrics.
type Target struct {
	// Name for messages.
	Name string
	// URL to ask.
	URL string
	// Envoy marks the proxy itself, whose metrics are merged.
	Envoy bool
}

// EnvoyTarget is the admin interface of Envoy.
func EnvoyTarget(address string, port uint16) Target {
	return Target{Name: "envoy", Envoy: true, URL: "http://" + net.JoinHostPort(address, strconv.Itoa(int(port))) + "/stats"}
}

// ApplicationTarget is an endpoint of an application; a query in its path is
// left out.
func ApplicationTarget(name, address string, port uint32, path string) Target {
	u := url.URL{Scheme: "http", Host: net.JoinHostPort(address, strconv.FormatUint(uint64(port), 10))}
	if ref, err := url.Parse(path); err == nil {
		u.Path = ref.Path
	}
	return Target{Name: name, URL: u.String()}
}

// Dial connects to a target.
type Dial func(ctx context.Context, network, address string) (net.Conn, error)

// Server answers scrapes.
type Server struct {
	listener net.Listener
	targets  []Target
	observed http.Handler
	client   *http.Client
	log      *slog.Logger
}

// Listen opens the socket; one that is left over from an earlier run is
// replaced.
func Listen(path string, targets []Target, dial Dial, log *slog.Logger) (*Server, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("replace metrics socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("open metrics socket: %w", err)
	}
	return &Server{
		listener: l, targets: targets, log: log,
		client: &http.Client{Transport: &http.Transport{DialContext: dial, MaxIdleConnsPerHost: 1, IdleConnTimeout: 2 * time.Minute}},
	}, nil
}

// observedPath begins the paths that belong to a MeshMetric policy.
const observedPath = "/meshmetric"

// Observe leaves scrapes that a MeshMetric policy asked for to h. It is called
// before Run.
func (s *Server) Observe(h http.Handler) { s.observed = h }

// Close gives the socket back when Run was never called.
func (s *Server) Close() error { return s.listener.Close() }

// Run serves until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	defer s.client.CloseIdleConnections()
	return serve.HTTP(ctx, "metrics", s.listener, s)
}

// part is the answer of one target.
type part struct {
	body   []byte
	format expfmt.Format
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.observed != nil && strings.HasPrefix(r.URL.Path, observedPath) {
		s.observed.ServeHTTP(w, r)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), Timeout(r.Header))
	defer cancel()
	parts := make([]*part, len(s.targets))
	var wait sync.WaitGroup
	for i, t := range s.targets {
		wait.Go(func() {
			p, err := s.scrape(ctx, t, r)
			if err != nil {
				s.log.Warn("metrics of a target are left out", "target", t.Name, "error", err)
				return
			}
			parts[i] = p
		})
	}
	wait.Wait()
	body, format, ok := join(parts, expfmt.Negotiate(r.Header)) //nolint:staticcheck // because 2.10 offers these formats and no UTF-8 names
	if !ok {
		http.Error(w, "no target gave metrics; the log of kuma-dp says why", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", string(format))
	_, _ = w.Write(body) // a scraper that left is not our concern
}

// Timeout is a little less than what the scraper grants.
func Timeout(h http.Header) time.Duration {
	seconds, err := strconv.ParseFloat(h.Get("X-Prometheus-Scrape-Timeout-Seconds"), 64)
	if err != nil || seconds <= 0 || seconds > 3600 {
		return defaultTimeout
	}
	return time.Duration(seconds * 0.95 * float64(time.Second))
}

func (s *Server) scrape(ctx context.Context, t Target, r *http.Request) (*part, error) {
	u := t.URL
	if t.Envoy {
		query := r.URL.Query()
		query.Set("format", "prometheus")
		query.Set("text_readouts", "")
		u += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"Accept", "User-Agent", "X-Prometheus-Scrape-Timeout-Seconds"} {
		if v := r.Header.Get(name); v != "" {
			req.Header.Set(name, v)
		}
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("it answers with status %d", resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err != nil {
		return nil, err
	}
	if len(body) > maxBody {
		return nil, fmt.Errorf("its answer is longer than %d bytes", maxBody)
	}
	if t.Envoy {
		if body, err = MergeEnvoy(bytes.NewReader(body)); err != nil {
			return nil, err
		}
	}
	return &part{body: body, format: formatOf(resp.Header)}, nil
}
