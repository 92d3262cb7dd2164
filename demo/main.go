// Command demo brings up a whole small mesh on this host: a control plane with
// its embedded store, three services behind real sidecars, and a client that
// calls them. It prints who talks to whom with live counts until Ctrl-C.
//
//	go run ./demo            # until Ctrl-C
//	go run ./demo --once     # check that traffic flows as it should, then end
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

func main() {
	once := flag.Bool("once", false, "check that traffic flows, print the result and end; the exit code is 0 only if all is as it should be")
	bin := flag.String("bin", "bin", "folder with kuma-cp, kuma-dp and envoy")
	role := flag.String("role", "", "run one of the demo's services instead: counter or web (used by the demo itself)")
	listen := flag.String("listen", "", "address of the service")
	instance := flag.String("instance", "", "name of the service's instance")
	upstream := flag.String("upstream", "", "base URL of what the service calls")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if *role != "" {
		err = serve(ctx, *role, *listen, *instance, *upstream)
	} else {
		err = demo(ctx, *bin, *once)
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// serve runs one service until ctx ends.
func serve(ctx context.Context, role, listen, instance, upstream string) error {
	var h http.Handler
	switch role {
	case "counter":
		h = counter(instance)
	case "web":
		h = web(upstream)
	default:
		return fmt.Errorf("unknown role %q", role)
	}
	srv := &http.Server{Addr: listen, Handler: h, ReadHeaderTimeout: 5 * time.Second}
	go func() {
		<-ctx.Done()
		_ = srv.Shutdown(context.Background()) //nolint:contextcheck // because ctx has ended
	}()
	if err := srv.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve %s: %w", role, err)
	}
	return nil
}

// demo brings everything up and watches it.
func demo(ctx context.Context, bin string, once bool) error {
	dir, err := os.MkdirTemp("", "weft-demo-")
	if err != nil {
		return fmt.Errorf("make a working folder: %w", err)
	}
	keep := false
	defer func() {
		if !keep {
			_ = os.RemoveAll(dir)
		}
	}()
	bin, err = filepath.Abs(bin)
	if err != nil {
		return fmt.Errorf("find %s: %w", bin, err)
	}
	m := newMesh(dir, bin)
	defer m.stop()
	if err := m.start(ctx); err != nil {
		keep = true
		return fmt.Errorf("%w\nthe logs are in %s", err, dir)
	}
	m.introduce()
	if once {
		if err := m.check(ctx); err != nil {
			keep = true
			return fmt.Errorf("%w\nthe logs are in %s", err, dir)
		}
		return nil
	}
	return m.watch(ctx)
}
