package diagnostics

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Limits of the server. Nothing it accepts has a body.
const (
	readHeaderTimeout = time.Second
	readTimeout       = 5 * time.Second
	writeTimeout      = time.Minute
	idleTimeout       = 2 * time.Minute
	stopTimeout       = 2 * time.Second
	maxHeaderBytes    = 16 << 10
	maxScrapes        = 10 // at the same time
)

// Options are what the server needs.
type Options struct {
	// Address to listen on, ":5680".
	Address string
	// TLS is nil for plain HTTP.
	TLS *tls.Config
	// DebugEndpoints serves profiles.
	DebugEndpoints bool
	Readiness      *Readiness
	Registry       *prometheus.Registry
	// Registerer is where the server's own metrics go, see NewRegistry.
	Registerer prometheus.Registerer
	Log        *slog.Logger
}

// Server is the diagnostics server.
type Server struct {
	listener net.Listener
	http     *http.Server
	log      *slog.Logger
}

// Listen opens the port. The server answers as soon as Run is called.
func Listen(ctx context.Context, o Options) (*Server, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", o.Address)
	if err != nil {
		return nil, fmt.Errorf("diagnostics server: %w (the port is set by diagnostics.serverPort, KUMA_DIAGNOSTICS_SERVER_PORT)", err)
	}
	if o.TLS != nil {
		l = tls.NewListener(l, o.TLS)
	}
	s := &Server{listener: l, log: o.Log, http: &http.Server{
		Handler:           handler(o),
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug),
	}}
	if o.DebugEndpoints {
		s.http.WriteTimeout = 0 // profiles take as long as they are asked to
	}
	return s, nil
}

// Addr returns the address that is listened on.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Run serves until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		<-ctx.Done()
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		if err := s.http.Shutdown(grace); err != nil {
			_ = s.http.Close()
		}
	}()
	s.log.Info("serving metrics and probes", "address", s.Addr().String())
	err := s.http.Serve(s.listener)
	if errors.Is(err, http.ErrServerClosed) {
		<-stopped
		return nil
	}
	return fmt.Errorf("diagnostics server: %w", err)
}

func handler(o Options) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ready", func(w http.ResponseWriter, r *http.Request) { ready(w, r, o.Readiness) })
	mux.HandleFunc("GET /healthy", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	metrics := promhttp.HandlerFor(o.Registry, promhttp.HandlerOpts{
		Registry: o.Registerer, MaxRequestsInFlight: maxScrapes, EnableOpenMetrics: true,
		ErrorLog: slog.NewLogLogger(o.Log.Handler(), slog.LevelError), ErrorHandling: promhttp.ContinueOnError,
	})
	mux.Handle("GET /metrics", promhttp.InstrumentMetricHandler(o.Registerer, metrics))
	if o.DebugEndpoints {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	return mux
}

// ready answers 200 or 503 without a body, as in 2.10; with ?verbose it names
// what is not ready.
func ready(w http.ResponseWriter, r *http.Request, rd *Readiness) {
	status := http.StatusOK
	if !rd.Ready() {
		status = http.StatusServiceUnavailable
	}
	if !r.URL.Query().Has("verbose") {
		w.WriteHeader(status)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	text := "ready"
	if status != http.StatusOK {
		text = "not ready: " + strings.Join(rd.Pending(), ", ")
	}
	_, _ = fmt.Fprintln(w, text)
}
