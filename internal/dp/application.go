package dp

import (
	"context"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"weft/internal/dp/process"
	"weft/internal/logging"
)

// application is the program that kuma-dp runs beside the proxy: from the
// moment when the proxy is ready until clients have left. All methods may be
// called on nil, which stands for no application.
type application struct {
	program *process.Application
	// start is closed when it may start.
	start <-chan struct{}
	// gone is closed when it has ended by itself.
	gone chan struct{}
	// announce tells everybody when the program serves; it ends with ctx.
	announce func(ctx context.Context)
	// exit says how it ended; nil if it never started. Read it after run.
	exit *process.Exit
}

// ForwardedSignals are passed on to the application. SIGINT and SIGTERM are
// not among them: they stop the proxy, which then stops the application.
// Neither is SIGUSR2, which drains.
func ForwardedSignals() []os.Signal {
	return []os.Signal{syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGWINCH}
}

// ownVariables are for kuma-dp alone: its token, and the line to its service
// manager.
func ownVariables() []string {
	return []string{"KUMA_DATAPLANE_RUNTIME_TOKEN", notifyVariable}
}

// findApplication looks for the program and its user before anything starts.
func (p *proxy) findApplication() error {
	c := &p.config.Application
	if len(c.Command) == 0 {
		return nil
	}
	path, err := process.FindApplication(c.Command[0])
	if err != nil {
		return err
	}
	p.application = &process.Application{
		Path: path, Args: c.Command[1:], Env: withoutOwn(p.deps.Env), Grace: c.StopTime.Duration,
		Stdin: p.applicationInput(), Stdout: p.deps.Stdout, Stderr: p.deps.Stderr,
		Log: logging.Named(p.deps.Log, "application"),
	}
	if c.User != "" {
		if p.application.User, err = process.FindUser(c.User); err != nil {
			return err
		}
	}
	return nil
}

// applicationInput is standard input unless it was the definition, or is a
// terminal: a program in its own process group must not read from that.
func (p *proxy) applicationInput() io.Reader {
	if p.config.Runtime.ResourcePath == "-" {
		return nil
	}
	if f, ok := p.deps.Stdin.(*os.File); ok {
		if info, err := f.Stat(); err != nil || info.Mode()&os.ModeCharDevice != 0 {
			return nil
		}
	}
	return p.deps.Stdin
}

func withoutOwn(env []string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(pair string) bool {
		name, _, _ := strings.Cut(pair, "=")
		return slices.Contains(ownVariables(), name)
	})
}

// openApplication comes after Envoy, so that it ends before Envoy does: its
// last calls still go through it.
func (p *proxy) openApplication(_ context.Context, s *service) error {
	if p.application == nil {
		return nil
	}
	if p.response.Sidecar.Networking.TransparentProxy && (p.application.User == nil || int(p.application.User.Uid) == os.Getuid()) {
		p.application.Log.Warn("the application runs as the user of the proxy, whose traffic is not redirected: calls by name go past the proxy; set --application-user", "uid", os.Getuid())
	}
	s.app = &application{program: p.application, start: s.ready, gone: make(chan struct{}), announce: p.announce}
	s.components = append(s.components, component{
		name: "application", vital: true, run: s.app.run, stopWithin: p.application.Grace + 5*time.Second,
	})
	return nil
}

// run is a component: it lives on after the end of the program, as the proxy
// then drains.
func (a *application) run(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-a.start:
	}
	running, ended := context.WithCancel(ctx)
	var announcing sync.WaitGroup
	announcing.Go(func() { a.announce(running) })
	exit, err := a.program.Run(ctx)
	ended()
	announcing.Wait()
	if err != nil {
		return err
	}
	a.exit = exit
	if ctx.Err() == nil {
		close(a.gone)
		<-ctx.Done()
	}
	return nil
}

const (
	listenInterval = 20 * time.Millisecond
	// slowListen is when a person should look why the application does not
	// listen.
	slowListen = 30 * time.Second
)

// announce waits until the application listens on all its ports, tells the
// control plane, which then sends clients, and the service manager.
func (p *proxy) announce(ctx context.Context) {
	p.systemd.status("waiting until the application listens")
	log := p.application.Log
	slow := time.Now().Add(slowListen)
	for _, address := range p.workloads {
		for !listens(ctx, address) {
			if ctx.Err() != nil {
				return
			}
			if !slow.IsZero() && time.Now().After(slow) {
				slow = time.Time{}
				log.Warn("the application does not listen where the definition says that it does; clients are not sent to it", "address", address)
				p.systemd.ready()
			}
		}
	}
	if len(p.workloads) > 0 {
		if err := p.client().Serving(ctx, p.speaker()); err != nil && ctx.Err() == nil {
			log.Warn("could not tell the control plane that the application listens; it will hear of it by health discovery", "error", err)
		}
		log.Info("application listens", "after", time.Since(p.began).Round(time.Millisecond).String())
	}
	p.systemd.ready()
}

// listens tries once to connect, and waits a moment if that fails.
func listens(ctx context.Context, address string) bool {
	bound, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(bound, "tcp", address)
	if err == nil {
		_ = conn.Close()
		return true
	}
	t := time.NewTimer(listenInterval)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
	return false
}

// ended is closed when the program has ended by itself.
func (a *application) ended() <-chan struct{} {
	if a == nil {
		return nil
	}
	return a.gone
}

// forward passes a signal on and reports whether it is one for the program.
func (a *application) forward(sig os.Signal) bool {
	if a == nil || !slices.Contains(ForwardedSignals(), sig) {
		return false
	}
	a.program.Signal(sig)
	return true
}

func (a *application) stopWith(sig os.Signal) {
	if a != nil {
		a.program.StopWith(sig)
	}
}

func (a *application) kill() {
	if a != nil {
		a.program.Kill()
	}
}

// result is the error for the end of kuma-dp; call it after run has returned.
func (a *application) result() error {
	if a == nil || a.exit == nil || a.exit.Code == 0 {
		return nil
	}
	return a.exit
}
