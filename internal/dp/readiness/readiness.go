// Package readiness tells those who ask whether this proxy may be sent
// traffic. The state is set by kuma-dp from any goroutine; requests only read
// it.
package readiness

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"syscall"

	"weft/internal/dp/serve"
)

// State of the proxy.
type State int32

const (
	// Starting until Envoy has its first configuration.
	Starting State = iota
	// Ready to serve.
	Ready
	// Terminating since the first signal to stop.
	Terminating
)

// answer is what is said in each state.
func (s State) answer() (code int, body string) {
	switch s {
	case Ready:
		return http.StatusOK, "READY"
	case Terminating:
		return http.StatusServiceUnavailable, "TERMINATING"
	default:
		return http.StatusServiceUnavailable, "STARTING"
	}
}

// Reporter serves the state.
type Reporter struct {
	listener net.Listener
	state    atomic.Int32
}

// Listen opens the port on an address, which is loopback as a rule.
func Listen(address string, port uint16) (*Reporter, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(address, strconv.Itoa(int(port))))
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("open readiness port: %w: a second kuma-dp on this host needs another KUMA_READINESS_PORT, or 0 to turn it off", err)
	}
	if err != nil {
		return nil, fmt.Errorf("open readiness port: %w", err)
	}
	return &Reporter{listener: l}, nil
}

// Addr is where the reporter listens.
func (r *Reporter) Addr() net.Addr { return r.listener.Addr() }

// Close gives the port back when Run was never called.
func (r *Reporter) Close() error { return r.listener.Close() }

// Advance moves to a later state; there is no way back.
func (r *Reporter) Advance(s State) {
	for {
		old := r.state.Load()
		if old >= int32(s) || r.state.CompareAndSwap(old, int32(s)) {
			return
		}
	}
}

// Run serves until ctx ends.
func (r *Reporter) Run(ctx context.Context) error {
	mux := http.NewServeMux()
	mux.HandleFunc("/ready", r.serve)
	return serve.HTTP(ctx, "readiness", r.listener, mux)
}

func (r *Reporter) serve(w http.ResponseWriter, _ *http.Request) {
	code, body := State(r.state.Load()).answer()
	h := w.Header()
	h.Set("Content-Type", "text/plain")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "no-cache, max-age=0")
	h.Set("X-Powered-By", "kuma-dp")
	w.WriteHeader(code)
	_, _ = io.WriteString(w, body) // a client that left is not our concern
}
