package rest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"weft/internal/tlsutil"
)

// Limits of a connection. A request that takes longer than readTimeout to come
// in, or an answer that nobody takes for writeTimeout, is given up.
const (
	readHeaderTimeout = time.Second
	readTimeout       = 30 * time.Second
	writeTimeout      = time.Minute
	idleTimeout       = 2 * time.Minute
	stopTimeout       = 5 * time.Second
	maxHeaderBytes    = 64 << 10
)

// port is one of the two ports of the API.
type port struct {
	name     string // of its settings
	listener net.Listener
	http     *http.Server
}

// Listen opens the ports of the settings, so that a port in use is known before
// anything runs. Requests are answered once Run is called.
func (s *Server) Listen(ctx context.Context) error {
	a := s.Config.APIServer
	if a.HTTP.Enabled {
		if err := s.open(ctx, "http", net.JoinHostPort(a.HTTP.Interface, strconv.Itoa(a.HTTP.Port)), nil); err != nil {
			return err
		}
	}
	if !a.HTTPS.Enabled {
		return nil
	}
	conf, err := s.tls()
	if err == nil {
		err = s.open(ctx, "https", net.JoinHostPort(a.HTTPS.Interface, strconv.Itoa(a.HTTPS.Port)), conf)
	}
	if err != nil {
		s.Close()
	}
	return err
}

// tls returns the TLS configuration of the settings. Client certificates are
// verified when they are given, whatever callers prove themselves by.
func (s *Server) tls() (*tls.Config, error) {
	a := s.Config.APIServer
	cert, err := tlsutil.Open(a.HTTPS.TLSCertFile, a.HTTPS.TLSKeyFile, s.Log, s.Now)
	if err != nil {
		return nil, fmt.Errorf("API server: %w", err)
	}
	conf, err := tlsutil.ServerConfig(tlsutil.Settings{
		MinVersion: a.HTTPS.TLSMinVersion, MaxVersion: a.HTTPS.TLSMaxVersion, CipherSuites: a.HTTPS.TLSCipherSuites,
	}, cert)
	if err != nil {
		return nil, fmt.Errorf("API server: %w", err)
	}
	if a.HTTPS.TLSCAFile != "" || a.Auth.ClientCertsDir != "" {
		trusted, err := tlsutil.OpenAuthorities(a.HTTPS.TLSCAFile, a.Auth.ClientCertsDir, s.Log, s.Now)
		if err != nil {
			return nil, fmt.Errorf("API server: %w", err)
		}
		tlsutil.VerifyClients(conf, trusted, a.HTTPS.RequireClientCert)
	}
	return conf, nil
}

func (s *Server) open(ctx context.Context, name, address string, conf *tls.Config) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("API server: %w (the port is set by apiServer.%s.port, KUMA_API_SERVER_%s_PORT)", err, name, strings.ToUpper(name))
	}
	if conf != nil {
		l = tls.NewListener(l, conf)
	}
	s.ports = append(s.ports, &port{name: name, listener: l, http: &http.Server{
		Handler:           s.Handler(),
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug),
	}})
	return nil
}

// Addr returns the address of the port "http" or "https"; nil if it is not open.
func (s *Server) Addr(name string) net.Addr {
	for _, p := range s.ports {
		if p.name == name {
			return p.listener.Addr()
		}
	}
	return nil
}

// Close closes the ports of a server that is not running.
func (s *Server) Close() {
	for _, p := range s.ports {
		_ = p.listener.Close()
	}
}

// Run answers requests on the ports that Listen opened until ctx ends; those
// that are being answered then get a moment to finish.
func (s *Server) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, p := range s.ports {
		s.Log.Info("serving the API", "scheme", p.name, "address", p.listener.Addr().String())
		g.Go(func() error {
			if err := p.http.Serve(p.listener); !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("API server: %w", err)
			}
			return nil
		})
		g.Go(func() error {
			<-ctx.Done()
			grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
			defer cancel()
			if err := p.http.Shutdown(grace); err != nil {
				_ = p.http.Close()
			}
			return nil
		})
	}
	return g.Wait()
}
