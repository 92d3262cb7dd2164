package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"weft/internal/config/loader"
	"weft/internal/tlsutil"
)

// adopt turns older spellings into present ones and returns a warning for each.
func (c *Config) adopt() []string {
	var warnings []string
	if c.Mode == modeStandalone {
		c.Mode = ModeZone
		warnings = append(warnings, "mode standalone is the older name of mode zone; use mode: zone")
	}
	m := &c.Metrics.Mesh
	for _, d := range []struct {
		old  time.Duration
		new  *time.Duration
		path string
	}{
		{m.MinResyncTimeout, &m.MinResyncInterval, "metrics.mesh.minResyncInterval"},
		{m.MaxResyncTimeout, &m.FullResyncInterval, "metrics.mesh.fullResyncInterval"},
	} {
		if d.old != 0 && !c.set[d.path] {
			*d.new = d.old
		}
	}
	if c.APIServer.Authn.Type == AuthnAdminClientCerts {
		warnings = append(warnings, "apiServer.authn.type adminClientCerts is deprecated; use tokens")
	}
	if c.Tracing.OpenTelemetry.Endpoint != "" {
		warnings = append(warnings, "tracing.openTelemetry.endpoint is deprecated; set tracing.openTelemetry.enabled and the variable OTEL_EXPORTER_OTLP_ENDPOINT")
	}
	return warnings
}

// DefaultWorkDir returns the folder for kuma-cp's files where none is set:
// .kuma below the home folder of the user. kumactl looks there for the token of
// the administrator, too.
func DefaultWorkDir(home string) string { return filepath.Join(home, ".kuma") }

// AdminTokenFile returns the file in the work folder into which kuma-cp writes
// the token of the administrator, readable by its owner only.
func AdminTokenFile(workDir string) string { return filepath.Join(workDir, "admin-token") }

// ResolveWorkDir makes General.WorkDir absolute; empty becomes DefaultWorkDir.
// It must be called before Complete.
func (c *Config) ResolveWorkDir(home string) error {
	dir := c.General.WorkDir
	if dir == "" {
		if home == "" {
			return errors.New("the user has no home folder in which kuma-cp could keep its files; set general.workDir (KUMA_GENERAL_WORK_DIR)")
		}
		dir = DefaultWorkDir(home)
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	c.General.WorkDir = abs
	return nil
}

// Machine is what Complete has to know about the machine.
type Machine struct {
	// CertFile and KeyFile are the certificate that kuma-cp keeps for itself;
	// used where general.tlsCertFile is empty.
	CertFile, KeyFile string
	// Address is the first IP address that is not loopback.
	Address string
}

// Complete fills in what follows from other settings and from the machine. After
// it the Config is what GET /config shows and must not be changed.
func (c *Config) Complete(m Machine) {
	if c.General.TLSCertFile == "" {
		c.General.TLSCertFile, c.General.TLSKeyFile = m.CertFile, m.KeyFile
	}
	for _, s := range c.servers() {
		if s.tls.TLSCertFile == "" {
			s.tls.TLSCertFile, s.tls.TLSKeyFile = c.General.TLSCertFile, c.General.TLSKeyFile
		}
		c.inheritVersions(s.path, &s.tls.TLSVersions)
	}
	c.inheritVersions("interCp.server", &c.InterCP.Server.TLSVersions)

	dpType, zoneType := ProxyAuthnDPToken, ProxyAuthnZoneToken
	if c.Environment == Kubernetes {
		dpType, zoneType = ProxyAuthnServiceAccountToken, ProxyAuthnServiceAccountToken
	}
	setIfEmpty(&c.DPServer.Authn.DPProxy.Type, dpType)
	setIfEmpty(&c.DPServer.Authn.ZoneProxy.Type, zoneType)
	setIfEmpty(&c.InterCP.Catalog.InstanceAddress, m.Address)
	if c.BootstrapServer.Params.XDSPort == 0 {
		c.BootstrapServer.Params.XDSPort = c.DPServer.Port
	}
	if c.Proxy.Gateway.GlobalDownstreamMaxConnections == 0 {
		c.Proxy.Gateway.GlobalDownstreamMaxConnections = 50000
	}
}

// server is a server with a certificate.
type server struct {
	path string // of its settings
	tls  *ServerTLS
}

func (c *Config) servers() []server {
	return []server{
		{"apiServer.https", &c.APIServer.HTTPS.ServerTLS},
		{"diagnostics", &c.Diagnostics.ServerTLS},
		{"dpServer", &c.DPServer.ServerTLS},
		{"monitoringAssignmentServer", &c.MADS.ServerTLS},
		{"multizone.global.kds", &c.Multizone.Global.KDS.ServerTLS},
	}
}

// OwnCertificateNeedsRSA tells whether a server that will use the certificate that
// kuma-cp keeps for itself offers cipher suites for RSA keys only. It is to be
// asked before that certificate is made, which is before Complete.
func (c *Config) OwnCertificateNeedsRSA() bool {
	if c.General.TLSCertFile != "" {
		return false
	}
	return slices.ContainsFunc(c.servers(), func(s server) bool {
		v := s.tls.TLSVersions
		c.inheritVersions(s.path, &v)
		suites, err := tlsutil.ParseCiphers(v.TLSCipherSuites)
		return err == nil && s.tls.TLSCertFile == "" && tlsutil.NeedsRSA(suites)
	})
}

// inheritVersions applies the general TLS versions and ciphers to a server. What
// was set for the server itself stays; 2.10 overwrites it as soon as the general
// setting is not empty, which its default never is.
func (c *Config) inheritVersions(path string, v *TLSVersions) {
	g := c.General.TLSVersions
	if !c.set[path+".tlsMinVersion"] && g.TLSMinVersion != "" {
		v.TLSMinVersion = g.TLSMinVersion
	}
	if !c.set[path+".tlsMaxVersion"] && g.TLSMaxVersion != "" {
		v.TLSMaxVersion = g.TLSMaxVersion
	}
	if !c.set[path+".tlsCipherSuites"] && len(g.TLSCipherSuites) > 0 {
		v.TLSCipherSuites = g.TLSCipherSuites
	}
}

func setIfEmpty(s *string, value string) {
	if *s == "" {
		*s = value
	}
}

// Shown returns the settings in the shape of GET /config: maps, lists and plain
// values, with secrets as asterisks.
func (c *Config) Shown() map[string]any { return loader.Dump(c) }

// ReadShown returns the settings of a control plane that answered GET /config with
// doc. Secrets among them are asterisks, and what this release does not know is
// left out.
func ReadShown(doc []byte) (*Config, error) {
	c := Default()
	if _, err := loader.Load(c, loader.Options{File: doc}); err != nil {
		return nil, fmt.Errorf("read the settings of a control plane: %w", err)
	}
	return c, nil
}
