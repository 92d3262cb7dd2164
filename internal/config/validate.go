package config

import (
	"net/url"
	"path"
	"strings"

	"weft/internal/mesh/model"
	"weft/internal/tlsutil"
)

// validate adds everything that is wrong with the settings.
func (c *Config) validate(v *model.Violations) {
	oneOf(v.At("environment"), c.Environment, Universal, Kubernetes)
	oneOf(v.At("mode"), c.Mode, ModeZone, ModeGlobal)
	c.validateStore(v)
	c.validateAPIServer(v.At("apiServer"))
	c.validateProxyServers(v)
	c.validateMultizone(v.At("multizone"))
	c.validateGeneral(v)
	c.validateNetworks(v)
	c.validateKubernetes(v.At("runtime", "kubernetes"))
	oneOf(v.At("access", "type"), c.Access.Type, "static")
	c.validateIntervals(v)
}

func (c *Config) validateStore(v *model.Violations) {
	s, at := c.Store, v.At("store")
	oneOf(at.At("type"), s.Type, StoreSQLite, StorePostgres, StoreMemory, StoreKubernetes)
	if (s.Type == StoreKubernetes) != (c.Environment == Kubernetes) {
		at.At("type").Add("is %q, but environment is %q; kubernetes has to stand in both or in neither", s.Type, c.Environment)
	}
	switch s.Type {
	case StoreSQLite:
		required(at.At("sqlite", "path"), s.SQLite.Path)
	case StorePostgres:
		s.Postgres.validate(at.At("postgres"))
	}
	s.Encryption.validate(s.Type, at.At("encryption"))
	notNegative(at.At("upsert", "conflictRetryMaxTimes"), s.Upsert.ConflictRetryMaxTimes)
	between(at.At("upsert", "conflictRetryJitterPercent"), s.Upsert.ConflictRetryJitterPercent, 0, 100)
}

func (e StoreEncryption) validate(store string, v *model.Violations) {
	if e.KeyFile == "" && e.Keys == "" {
		return
	}
	if store != StoreSQLite && store != StorePostgres {
		v.Add("encrypts what sqlite and postgres keep, but store.type is %q; take it away", store)
	}
	if e.KeyFile != "" && e.Keys != "" {
		v.Add("keyFile and keys are both set; keep one of them")
	}
}

func (p Postgres) validate(v *model.Violations) {
	required(v.At("host"), p.Host)
	required(v.At("user"), p.User)
	required(v.At("password"), string(p.Password))
	required(v.At("dbName"), p.DBName)
	between(v.At("port"), p.Port, 1, 65535)
	oneOf(v.At("driverName"), p.DriverName, "pgx")
	notNegative(v.At("connectionTimeout"), p.ConnectionTimeout)
	notNegative(v.At("minOpenConnections"), p.MinOpenConnections)
	notNegative(v.At("maxOpenConnections"), p.MaxOpenConnections)
	notNegative(v.At("maxIdleConnections"), p.MaxIdleConnections)
	notNegative(v.At("maxListQueryElements"), p.MaxListQueryElements)
	if p.MaxOpenConnections > 0 && p.MinOpenConnections > p.MaxOpenConnections {
		v.At("minOpenConnections").Add("%d is more than maxOpenConnections, which is %d", p.MinOpenConnections, p.MaxOpenConnections)
	}
	if p.ReadReplica.Host != "" {
		between(v.At("readReplica", "port"), p.ReadReplica.Port, 1, 65535)
		between(v.At("readReplica", "ratio"), p.ReadReplica.Ratio, 0, 100)
	}
	p.TLS.validate(v.At("tls"))
}

func (t PostgresTLS) validate(v *model.Violations) {
	oneOf(v.At("mode"), t.Mode, PostgresTLSDisable, PostgresTLSVerifyNone, PostgresTLSVerifyCA, PostgresTLSVerifyFull)
	if t.CAPath == "" && (t.Mode == PostgresTLSVerifyCA || t.Mode == PostgresTLSVerifyFull) {
		v.At("caPath").Add("is needed with mode %s: name the PEM file of the authority that signed the server's certificate", t.Mode)
	}
	pair(v, "certPath", t.CertPath, "keyPath", t.KeyPath)
}

func (c *Config) validateAPIServer(v *model.Violations) {
	a := c.APIServer
	if !a.HTTP.Enabled && !a.HTTPS.Enabled {
		v.At("http", "enabled").Add("is false, and so is apiServer.https.enabled; without the API nothing can be configured")
	}
	port(v.At("http", "port"), a.HTTP.Port)
	port(v.At("https", "port"), a.HTTPS.Port)
	listenHost(v.At("http", "interface"), a.HTTP.Interface)
	listenHost(v.At("https", "interface"), a.HTTPS.Interface)
	oneOf(v.At("authn", "type"), a.Authn.Type, AuthnTokens, AuthnAdminClientCerts)
	publicKeys(v.At("authn", "tokens", "validator", "publicKeys"), a.Authn.Tokens.Validator.PublicKeys)
	if a.HTTPS.RequireClientCert && a.HTTPS.TLSCAFile == "" && a.Auth.ClientCertsDir == "" {
		v.At("https", "requireClientCert").Add("is true, but no certificate is trusted; set apiServer.https.tlsCaFile or apiServer.auth.clientCertsDir")
	}
	absolutePath(v.At("basePath"), a.BasePath)
	absolutePath(v.At("gui", "basePath"), a.GUI.BasePath)
	if a.GUI.Enabled && path.Clean(a.GUI.BasePath) == path.Clean(a.BasePath) {
		v.At("gui", "basePath").Add("must differ from apiServer.basePath, which is %q", a.BasePath)
	}
	webURL(v.At("rootUrl"), a.RootURL)
	webURL(v.At("gui", "rootUrl"), a.GUI.RootURL)
	for i, d := range a.CORSAllowedDomains {
		if d == "" {
			v.At("corsAllowedDomains", i).Add("must not be empty; write origins like https://dash.example.com")
		}
	}
}

func (c *Config) validateProxyServers(v *model.Violations) {
	port(v.At("dpServer", "port"), c.DPServer.Port)
	port(v.At("diagnostics", "serverPort"), c.Diagnostics.ServerPort)
	port(v.At("monitoringAssignmentServer", "port"), c.MADS.Port)
	port(v.At("interCp", "server", "port"), c.InterCP.Server.Port)
	for i, a := range c.MADS.APIVersions {
		oneOf(v.At("monitoringAssignmentServer", "apiVersions", i), a, "v1")
	}

	authn := v.At("dpServer", "authn")
	dp, zone := c.DPServer.Authn.DPProxy, c.DPServer.Authn.ZoneProxy
	oneOf(authn.At("dpProxy", "type"), dp.Type, "", ProxyAuthnDPToken, ProxyAuthnServiceAccountToken, ProxyAuthnNone)
	oneOf(authn.At("zoneProxy", "type"), zone.Type, "", ProxyAuthnZoneToken, ProxyAuthnServiceAccountToken, ProxyAuthnNone)
	if c.Environment == Universal {
		const why = "needs environment kubernetes, because Kubernetes verifies such tokens"
		if dp.Type == ProxyAuthnServiceAccountToken {
			authn.At("dpProxy", "type").Add("serviceAccountToken %s", why)
		}
		if zone.Type == ProxyAuthnServiceAccountToken {
			authn.At("zoneProxy", "type").Add("serviceAccountToken %s", why)
		}
	}
	keys := make([]PublicKey, len(dp.DPToken.Validator.PublicKeys))
	for i, k := range dp.DPToken.Validator.PublicKeys {
		keys[i] = k.PublicKey
	}
	publicKeys(authn.At("dpProxy", "dpToken", "validator", "publicKeys"), keys)
	publicKeys(authn.At("zoneProxy", "zoneToken", "validator", "publicKeys"), zone.ZoneToken.Validator.PublicKeys)

	params := v.At("bootstrapServer", "params")
	required(params.At("adminAddress"), c.BootstrapServer.Params.AdminAddress)
	port(params.At("adminPort"), c.BootstrapServer.Params.AdminPort)
	port(params.At("xdsPort"), c.BootstrapServer.Params.XDSPort)

	check, at := c.DPServer.HDS.CheckDefaults, v.At("dpServer", "hds", "checkDefaults")
	atLeast(at.At("healthyThreshold"), check.HealthyThreshold, 1)
	atLeast(at.At("unhealthyThreshold"), check.UnhealthyThreshold, 1)
}

func (c *Config) validateMultizone(v *model.Violations) {
	g, z := c.Multizone.Global.KDS, c.Multizone.Zone
	port(v.At("global", "kds", "grpcPort"), g.GRPCPort)
	atLeast(v.At("global", "kds", "maxMsgSize"), g.MaxMsgSize, 1)
	atLeast(v.At("zone", "kds", "maxMsgSize"), z.KDS.MaxMsgSize, 1)
	if (g.ZoneHealthCheck.PollInterval == 0) != (g.ZoneHealthCheck.Timeout == 0) {
		v.At("global", "kds", "zoneHealthCheck").Add("pollInterval and timeout must be set both or not at all")
	}
	if c.Mode != ModeZone {
		return
	}
	name := v.At("zone", "name")
	switch {
	case z.Name == "":
		name.Add("must not be empty")
	case len(z.Name) > 63:
		name.Add("has %d characters, 63 is the most", len(z.Name))
	case strings.ContainsAny(z.Name, " \t\r\n/"):
		name.Add("%q must not contain spaces or slashes", z.Name)
	}
	if z.GlobalAddress == "" {
		return
	}
	u, err := url.Parse(z.GlobalAddress)
	if err != nil || u.Hostname() == "" || u.Port() == "" || u.Scheme != "grpcs" && u.Scheme != "grpc" {
		v.At("zone", "globalAddress").Add("%q must have the form grpcs://host:port (or grpc://host:port without encryption)", z.GlobalAddress)
	}
}

func (c *Config) validateGeneral(v *model.Violations) {
	pair(v.At("general"), "tlsCertFile", c.General.TLSCertFile, "tlsKeyFile", c.General.TLSKeyFile)
	tlsVersions(v.At("general"), c.General.TLSVersions)
	tlsVersions(v.At("interCp", "server"), c.InterCP.Server.TLSVersions)
	for _, s := range c.servers() {
		pair(v.At(s.path), "tlsCertFile", s.tls.TLSCertFile, "tlsKeyFile", s.tls.TLSKeyFile)
		tlsVersions(v.At(s.path), s.tls.TLSVersions)
	}
	base, most := c.General.ResilientComponentBaseBackoff, c.General.ResilientComponentMaxBackoff
	if most < base {
		v.At("general", "resilientComponentMaxBackoff").Add("%s is less than resilientComponentBaseBackoff, which is %s", most, base)
	}
}

func (c *Config) validateNetworks(v *model.Violations) {
	cidr(v.At("dnsServer", "CIDR"), c.DNSServer.CIDR)
	required(v.At("dnsServer", "domain"), c.DNSServer.Domain)
	between(v.At("dnsServer", "serviceVipPort"), c.DNSServer.ServiceVIPPort, 1, 65535)
	cidr(v.At("ipam", "meshService", "cidr"), c.IPAM.MeshService.CIDR)
	cidr(v.At("ipam", "meshExternalService", "cidr"), c.IPAM.MeshExternalService.CIDR)
	cidr(v.At("ipam", "meshMultiZoneService", "cidr"), c.IPAM.MeshMultiZoneService.CIDR)
	for i, s := range c.IPAM.KnownInternalCIDRs {
		cidr(v.At("ipam", "knownInternalCIDRs", i), s)
	}
}

func (c *Config) validateKubernetes(v *model.Violations) {
	k := c.Runtime.Kubernetes
	port(v.At("admissionServer", "port"), k.AdmissionServer.Port)
	if c.Environment == Kubernetes {
		required(v.At("admissionServer", "certDir"), k.AdmissionServer.CertDir)
		required(v.At("controlPlaneServiceName"), k.ControlPlaneServiceName)
	}
	if k.NodeTaintController.Enabled {
		required(v.At("nodeTaintController", "cniApp"), k.NodeTaintController.CNIApp)
	}
	in, sc := v.At("injector"), v.At("injector", "sidecarContainer")
	i := k.Injector
	port(in.At("virtualProbesPort"), i.VirtualProbesPort)
	port(in.At("applicationProbeProxyPort"), i.ApplicationProbeProxyPort)
	port(in.At("builtinDNS", "port"), i.BuiltinDNS.Port)
	required(in.At("initContainer", "image"), i.InitContainer.Image)
	s := i.SidecarContainer
	required(sc.At("image"), s.Image)
	oneOf(sc.At("ipFamilyMode"), s.IPFamilyMode, "dualstack", "ipv4")
	between(sc.At("redirectPortInbound"), s.RedirectPortInbound, 1, 65535)
	between(sc.At("redirectPortOutbound"), s.RedirectPortOutbound, 1, 65535)
	port(sc.At("adminPort"), s.AdminPort)
	probe(sc.At("readinessProbe"), s.ReadinessProbe.Probe)
	atLeast(sc.At("readinessProbe", "successThreshold"), int(s.ReadinessProbe.SuccessThreshold), 1)
	probe(sc.At("livenessProbe"), s.LivenessProbe)
	probe(sc.At("startupProbe"), s.StartupProbe)
	atLeast(v.At("controllersConcurrency", "podController"), k.ControllersConcurrency.PodController, 1)
	if k.LeaderElection.RenewDeadline >= k.LeaderElection.LeaseDuration {
		v.At("leaderElection", "renewDeadline").Add("%s must be less than leaseDuration, which is %s", k.LeaderElection.RenewDeadline, k.LeaderElection.LeaseDuration)
	}
}

func probe(v *model.Violations, p Probe) {
	atLeast(v.At("initialDelaySeconds"), int(p.InitialDelaySeconds), 1)
	atLeast(v.At("timeoutSeconds"), int(p.TimeoutSeconds), 1)
	atLeast(v.At("periodSeconds"), int(p.PeriodSeconds), 1)
	atLeast(v.At("failureThreshold"), int(p.FailureThreshold), 1)
}

func tlsVersions(v *model.Violations, t TLSVersions) {
	lo, errLo := tlsutil.ParseVersion(t.TLSMinVersion)
	if errLo != nil {
		v.At("tlsMinVersion").Add("%s", errLo)
	}
	hi, errHi := tlsutil.ParseVersion(t.TLSMaxVersion)
	if errHi != nil {
		v.At("tlsMaxVersion").Add("%s", errHi)
	}
	if errLo == nil && errHi == nil && hi != 0 && hi < lo {
		v.At("tlsMaxVersion").Add("%s is lower than tlsMinVersion, which is %s", t.TLSMaxVersion, t.TLSMinVersion)
	}
	for i, name := range t.TLSCipherSuites {
		if _, err := tlsutil.ParseCiphers([]string{name}); err != nil {
			v.At("tlsCipherSuites", i).Add("%s", err)
		}
	}
}

// publicKeys checks the form only; the keys themselves are read when they are used.
func publicKeys(v *model.Violations, keys []PublicKey) {
	for i, k := range keys {
		if k.KID == "" {
			v.At(i, "kid").Add("must not be empty; it is what tokens name in their header")
		}
		if (k.Key == "") == (k.KeyFile == "") {
			v.At(i).Add("needs either key (PEM text) or keyFile (PEM file)")
		}
	}
}
