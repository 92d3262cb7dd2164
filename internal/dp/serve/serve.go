// Package serve runs the small HTTP servers of kuma-dp.
package serve

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"
)

// Limits that keep a client from holding a server of kuma-dp: who asks it are
// probes and scrapers, with a few short headers.
const (
	headerTimeout = 5 * time.Second
	idleTimeout   = 5 * time.Minute // longer than common scrape intervals
	headerBytes   = 64 << 10
)

// HTTP answers requests on a listener until ctx ends, then closes the listener
// and all connections. what names the server in errors.
func HTTP(ctx context.Context, what string, l net.Listener, h http.Handler) error {
	s := &http.Server{Handler: impatient(h), ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: headerBytes}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	select {
	case err := <-done:
		return fmt.Errorf("serve %s: %w", what, err)
	case <-ctx.Done():
		err := s.Close()
		_ = <-done
		return err
	}
}

// impatient bounds the wait for a body, which nobody needs but the server wants to
// have before the next request. A ReadTimeout would also end handlers that take
// longer.
func impatient(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 {
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(headerTimeout))
		}
		h.ServeHTTP(w, r)
	})
}
