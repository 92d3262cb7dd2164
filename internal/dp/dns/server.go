package dns

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	_ "github.com/coredns/coredns/plugin/any"         // directive of Corefiles
	_ "github.com/coredns/coredns/plugin/bind"        // directive of Corefiles
	_ "github.com/coredns/coredns/plugin/bufsize"     // directive of Corefiles
	_ "github.com/coredns/coredns/plugin/cache"       // directive of Corefiles
	_ "github.com/coredns/coredns/plugin/cancel"      // directive of Corefiles
	_ "github.com/coredns/coredns/plugin/debug"       // directive of Corefiles
	_ "github.com/coredns/coredns/plugin/errors"      // directive of Corefiles
	_ "github.com/coredns/coredns/plugin/forward"     // directive of Corefiles
	_ "github.com/coredns/coredns/plugin/health"      // directive of Corefiles
	_ "github.com/coredns/coredns/plugin/hosts"       // directive of Corefiles
	_ "github.com/coredns/coredns/plugin/loadbalance" // directive of Corefiles
	_ "github.com/coredns/coredns/plugin/local"       // directive of Corefiles
	_ "github.com/coredns/coredns/plugin/log"         // directive of Corefiles
	_ "github.com/coredns/coredns/plugin/metrics"     // directive of Corefiles
	_ "github.com/coredns/coredns/plugin/minimal"     // directive of Corefiles
	_ "github.com/coredns/coredns/plugin/ready"       // directive of Corefiles
	_ "github.com/coredns/coredns/plugin/rewrite"     // directive of Corefiles
	_ "github.com/coredns/coredns/plugin/whoami"      // directive of Corefiles

	"github.com/coredns/coredns/plugin"
)

// directives lists the plugins in the order in which a query passes them.
func directives() []string {
	return []string{
		"cancel", "bufsize", "bind", "debug", "ready", "health",
		"prometheus", "errors", "log", "local", "any", "loadbalance", "rewrite",
		"cache", "minimal", "hosts", "alternate", "remember", "forward", "whoami",
	}
}

// register tells CoreDNS once for the process which plugins there are.
var register = sync.OnceValue(func() error {
	caddy.Quiet, dnsserver.Quiet = true, true
	plugin.Register("alternate", setupAlternate)
	plugin.Register("remember", setupRemember)
	return errors.Join(dnsserver.SetDirectives(directives()), dnsserver.Register())
})

// LibraryVersion is the release of the CoreDNS that is linked in.
func LibraryVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	i := slices.IndexFunc(info.Deps, func(m *debug.Module) bool { return m.Path == "github.com/coredns/coredns" })
	if i < 0 {
		return "unknown"
	}
	return info.Deps[i].Version[1:]
}

// Server is a CoreDNS inside this process.
type Server struct {
	instance *caddy.Instance
}

// Start opens the ports and serves at once.
func Start(corefile string) (*Server, error) {
	if err := register(); err != nil {
		return nil, fmt.Errorf("set up DNS plugins: %w", err)
	}
	if err := checkPorts(corefile); err != nil {
		return nil, explainStart(err)
	}
	instance, err := caddy.Start(caddy.CaddyfileInput{
		Filepath: "Corefile", Contents: []byte(corefile), ServerTypeName: "dns",
	})
	if err != nil {
		return nil, explainStart(err)
	}
	if len(instance.Servers()) == 0 {
		return nil, errors.New("start DNS server: the Corefile has no server block")
	}
	return &Server{instance: instance}, nil
}

func explainStart(err error) error {
	if errors.Is(err, syscall.EADDRINUSE) || strings.Contains(err.Error(), syscall.EADDRINUSE.Error()) {
		return fmt.Errorf("start DNS server: %w: a second kuma-dp on this host needs other ports: --dns-coredns-port and --dns-prometheus-port (KUMA_DNS_CORE_DNS_PORT, KUMA_DNS_PROMETHEUS_PORT), or --dns-enabled=false", err)
	}
	return fmt.Errorf("start DNS server: %w", err)
}

// Run serves until ctx ends; then it closes the ports and waits for the end.
func (s *Server) Run(ctx context.Context) error {
	ended := make(chan struct{})
	go func() {
		s.instance.Wait()
		close(ended)
	}()
	select {
	case <-ctx.Done():
		err := s.Stop()
		<-ended
		return err
	case <-ended:
		return errors.Join(errors.New("the DNS server ended unexpectedly"), s.Stop())
	}
}

// Stop closes the ports and frees what plugins hold.
func (s *Server) Stop() error {
	if err := errors.Join(append(s.instance.ShutdownCallbacks(), s.instance.Stop())...); err != nil {
		return fmt.Errorf("stop DNS server: %w", err)
	}
	return nil
}
