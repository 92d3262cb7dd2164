package cp

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strconv"
	"time"

	"weft/internal/config"
	"weft/internal/cp/auth"
	"weft/internal/cp/diagnostics"
	"weft/internal/logging"
	"weft/internal/tlsutil"
)

// server is something that serves a port until ctx ends.
type server struct {
	name string
	run  func(ctx context.Context) error
}

// servers opens all ports, so that a port in use is known before anything runs.
func (p *parts) servers(ctx context.Context) ([]server, error) {
	var out []server
	for _, make := range []func(context.Context) ([]server, error){p.diagnosticsServer, p.apiServers, p.dataPlaneServer} {
		s, err := make(ctx)
		if err != nil {
			return nil, err
		}
		out = append(out, s...)
	}
	out = append(out, server{"secrets", (&auth.Follower{
		Store: p.store, Log: logging.Named(p.log, "auth"), AdminTokenFile: config.AdminTokenFile(p.General.WorkDir), Pause: time.Second,
	}).Run})
	return out, nil
}

func (p *parts) diagnosticsServer(ctx context.Context) ([]server, error) {
	var conf *tls.Config
	if p.Diagnostics.TLSEnabled {
		var err error
		if conf, err = p.tls(p.Diagnostics.ServerTLS); err != nil {
			return nil, fmt.Errorf("diagnostics server: %w", err)
		}
	}
	s, err := diagnostics.Listen(ctx, diagnostics.Options{
		Address: net.JoinHostPort("", strconv.Itoa(p.Diagnostics.ServerPort)), TLS: conf, DebugEndpoints: p.Diagnostics.DebugEndpoints,
		Readiness: p.readiness, Registry: p.registry, Registerer: p.metrics, Log: logging.Named(p.log, "diagnostics"),
	})
	if err != nil {
		return nil, err
	}
	return []server{{"diagnostics server", s.Run}}, nil
}

// tls returns the TLS configuration of a server.
func (p *parts) tls(s config.ServerTLS) (*tls.Config, error) {
	c, err := tlsutil.Open(s.TLSCertFile, s.TLSKeyFile, logging.Named(p.log, "tls"), p.host.Now)
	if err != nil {
		return nil, err
	}
	return tlsutil.ServerConfig(tlsutil.Settings{MinVersion: s.TLSMinVersion, MaxVersion: s.TLSMaxVersion, CipherSuites: s.TLSCipherSuites}, c)
}
