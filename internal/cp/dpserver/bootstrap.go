package dpserver

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"weft/internal/cp/envoy"
	"weft/internal/cp/store"
	"weft/internal/mesh/ir"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/manifest"
	"weft/internal/mesh/model"
)

// maxBootstrapBody bounds the body of a bootstrap request; it holds at most one
// object and a certificate.
const maxBootstrapBody = 1 << 20

// bootRequest is the body of POST /bootstrap (data-plane.md §3.1).
type bootRequest struct {
	Mesh            string            `json:"mesh"`
	Name            string            `json:"name"`
	ProxyType       string            `json:"proxyType"`
	Token           string            `json:"dataplaneToken"`
	TokenPath       string            `json:"dataplaneTokenPath"`
	Resource        string            `json:"dataplaneResource"`
	Version         bootVersion       `json:"version"`
	CACert          string            `json:"caCert"`
	DynamicMetadata map[string]string `json:"dynamicMetadata"`
	DNSPort         uint32            `json:"dnsPort"`
	ReadinessPort   uint32            `json:"readinessPort"`
	// AppProbeProxy is on if true; the name on the wire says the opposite.
	AppProbeProxy   bool     `json:"appProbeProxyDisabled"`
	OperatingSystem string   `json:"operatingSystem"`
	Features        []string `json:"features"`
	Resources       struct {
		MaxHeapSizeBytes uint64 `json:"maxHeapSizeBytes"`
	} `json:"resources"`
	WorkDir string `json:"workdir"`
	Metrics struct {
		CertPath string `json:"certPath"`
		KeyPath  string `json:"keyPath"`
	} `json:"metricsResources"`
	SystemCAPath string `json:"systemCaPath"`
	IPv6Enabled  bool   `json:"ipv6Enabled"`
}

type bootVersion struct {
	KumaDP envoy.DPVersion    `json:"kumaDp"`
	Envoy  envoy.ProxyVersion `json:"envoy"`
}

// bootResponse is the JSON answer (data-plane.md §3.2).
type bootResponse struct {
	Bootstrap []byte      `json:"bootstrap"`
	Sidecar   bootSidecar `json:"kumaSidecarConfiguration"`
}

type bootSidecar struct {
	Networking bootNetworking `json:"networking"`
	Metrics    bootMetrics    `json:"metrics"`
}

type bootNetworking struct {
	TransparentProxy bool   `json:"isUsingTransparentProxy"`
	CorefileTemplate []byte `json:"corefileTemplate"`
	Address          string `json:"address"`
}

type bootMetrics struct {
	Aggregate []bootAggregate `json:"aggregate"`
}

type bootAggregate struct {
	Name    string `json:"name"`
	Address string `json:"address"`
	Port    uint32 `json:"port"`
	Path    string `json:"path"`
}

// problem is an answer that says what is wrong with a request.
type problem struct {
	status int
	text   string
	log    string // what the log says if there is no text
}

func (p *problem) Error() string { return p.text }

func wrong(status int, format string, args ...any) error {
	return &problem{status: status, text: fmt.Sprintf(format, args...)}
}

// serveBootstrap answers POST /bootstrap.
func (s *Server) serveBootstrap(w http.ResponseWriter, r *http.Request) {
	doc, sidecar, err := s.bootstrap(w, r)
	if err != nil {
		s.failBootstrap(w, r, err)
		return
	}
	if r.Header.Get("Accept") != "application/json" {
		w.Header().Set("Content-Type", "text/x-yaml")
		_, _ = w.Write(doc)
		return
	}
	body, err := json.Marshal(bootResponse{Bootstrap: doc, Sidecar: *sidecar})
	if err != nil {
		s.failBootstrap(w, r, fmt.Errorf("encode answer: %w", err))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body)
}

// failBootstrap answers with what kuma-dp makes of it: it gives up at a 4xx with
// a text, and tries again at an empty 404 and at anything else.
func (s *Server) failBootstrap(w http.ResponseWriter, r *http.Request, err error) {
	var p *problem
	if errors.As(err, &p) {
		s.log.Info("bootstrap request is refused", "client", r.RemoteAddr, "status", p.status, "error", cmp.Or(p.text, p.log))
		if p.text != "" {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		}
		w.WriteHeader(p.status)
		_, _ = io.WriteString(w, p.text)
		return
	}
	s.log.Error("bootstrap request failed", "client", r.RemoteAddr, "error", err)
	w.WriteHeader(http.StatusInternalServerError)
}

// bootstrap returns the document for the proxy that asks, and what kuma-dp itself
// has to know.
func (s *Server) bootstrap(w http.ResponseWriter, r *http.Request) ([]byte, *bootSidecar, error) {
	req, kind, err := readBootRequest(w, r)
	if err != nil {
		return nil, nil, err
	}
	host, err := s.checkHost(r.Host)
	if err != nil {
		return nil, nil, err
	}
	if s.d.Verifier.Needs(orDefault(req.ProxyType, typeDataplane)) && req.Token == "" && req.TokenPath == "" {
		return nil, nil, wrong(http.StatusUnprocessableEntity, "a token is needed to connect this proxy: issue one with 'kumactl generate dataplane-token > /path/token' (a zone token for an ingress or egress) and give it to kuma-dp with --dataplane-token-file=/path/token")
	}
	ca, err := s.checkCA(req.CACert)
	if err != nil {
		return nil, nil, err
	}
	o, err := s.bootObject(r.Context(), req, kind)
	if err != nil {
		return nil, nil, err
	}
	doc, err := envoy.Bootstrap(s.bootParams(r.Context(), req, o, host, ca))
	if err != nil {
		return nil, nil, err
	}
	sidecar, err := s.sidecar(r.Context(), o)
	return doc, sidecar, err
}

func readBootRequest(w http.ResponseWriter, r *http.Request) (*bootRequest, *model.Kind, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBootstrapBody))
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return nil, nil, wrong(http.StatusRequestEntityTooLarge, "the request is larger than %d bytes", maxBootstrapBody)
	}
	if err != nil {
		return nil, nil, wrong(http.StatusBadRequest, "")
	}
	req := new(bootRequest)
	if err := json.Unmarshal(body, req); err != nil {
		return nil, nil, wrong(http.StatusBadRequest, "")
	}
	kind, ok := kindOf(req.ProxyType)
	if !ok {
		return nil, nil, wrong(http.StatusBadRequest, "proxyType is %q; it must be %s, %s or %s", req.ProxyType, typeDataplane, typeIngress, typeEgress)
	}
	for port, name := range map[uint32]string{req.DNSPort: "dnsPort", req.ReadinessPort: "readinessPort"} {
		if port > 65535 {
			return nil, nil, wrong(http.StatusBadRequest, "%s is %d; a port is at most 65535", name, port)
		}
	}
	return req, kind, nil
}

// bootObject returns the proxy's object: the one in the request, else the stored one.
func (s *Server) bootObject(ctx context.Context, req *bootRequest, kind *model.Kind) (*model.Object, error) {
	key := kind.Key(req.Mesh, req.Name)
	if req.Resource == "" {
		o, err := s.d.Store.Get(ctx, key)
		if errors.Is(err, store.ErrNotFound) {
			// An empty text lets kuma-dp wait for it.
			return nil, &problem{status: http.StatusNotFound, log: fmt.Sprintf("there is no %s", key)}
		}
		if err != nil {
			return nil, fmt.Errorf("look up %s: %w", key, err)
		}
		return o, nil
	}
	o, err := parseObject(kind, []byte(req.Resource))
	if err != nil {
		return nil, wrong(http.StatusUnprocessableEntity, "dataplaneResource: %v", err)
	}
	if o.Key() != key {
		return nil, wrong(http.StatusUnprocessableEntity, "the request is for %s, but the object in dataplaneResource is %s", key, o.Key())
	}
	admitted, _, err := s.d.Gate.Admit(ctx, o, nil)
	var invalid *model.Invalid
	if errors.As(err, &invalid) {
		return nil, wrong(http.StatusUnprocessableEntity, "%s", invalid.Error())
	}
	if err != nil {
		return nil, fmt.Errorf("check %s: %w", key, err)
	}
	if d, ok := admitted.Spec.(*kinds.DataplaneSpec); ok && d.IsTransparent() && len(d.Outbounds()) > 0 {
		return nil, wrong(http.StatusUnprocessableEntity, "outbound: must be empty, because transparent proxying redirects all traffic anyway")
	}
	return admitted, nil
}

// parseObject reads the one object of a kind that a text in YAML or JSON holds.
func parseObject(kind *model.Kind, text []byte) (*model.Object, error) {
	docs, err := manifest.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("parse: %w", err)
	}
	if len(docs) != 1 {
		return nil, fmt.Errorf("holds %d objects; it must hold one", len(docs))
	}
	o, err := docs[0].Object(func(name string) (*model.Kind, error) {
		if name != kind.Name {
			return nil, fmt.Errorf("is a %s; a proxy of this type has a %s", name, kind.Name)
		}
		return kind, nil
	})
	if err != nil {
		return nil, fmt.Errorf("parse: %w", err)
	}
	return o, nil
}

// sidecar returns what kuma-dp itself has to know.
func (s *Server) sidecar(ctx context.Context, o *model.Object) (*bootSidecar, error) {
	out := &bootSidecar{Metrics: bootMetrics{Aggregate: []bootAggregate{}}}
	d, ok := o.Spec.(*kinds.DataplaneSpec)
	if !ok {
		return out, nil
	}
	template, err := s.corefile()
	if err != nil {
		return nil, err
	}
	out.Networking = bootNetworking{TransparentProxy: d.IsTransparent(), CorefileTemplate: template, Address: d.Address()}
	mesh, err := s.d.Store.Get(ctx, kinds.Mesh.Key("", o.Meta.Mesh))
	if errors.Is(err, store.ErrNotFound) {
		return out, nil // the mesh is being deleted
	}
	if err != nil {
		return nil, fmt.Errorf("look up mesh %q: %w", o.Meta.Mesh, err)
	}
	out.Metrics.Aggregate = append(out.Metrics.Aggregate, aggregates(model.Spec[kinds.MeshSpec](mesh), d)...)
	return out, nil
}

// aggregates returns the applications whose metrics kuma-dp adds to its own.
func aggregates(mesh *kinds.MeshSpec, d *kinds.DataplaneSpec) []bootAggregate {
	if mesh.Metrics == nil || mesh.Metrics.EnabledBackend == "" {
		return nil
	}
	var conf kinds.PrometheusConf
	found := false
	for _, b := range mesh.Metrics.Backends {
		if b.Name == mesh.Metrics.EnabledBackend && model.DecodeProto(b.Conf, &conf) == nil {
			found = true
		}
	}
	if !found {
		return nil
	}
	if d.Metrics != nil {
		var own kinds.PrometheusConf
		if model.DecodeProto(d.Metrics.Conf, &own) == nil { // else it was refused at the gate
			conf = conf.Over(own)
		}
	}
	var out []bootAggregate
	for _, a := range conf.Aggregate {
		if a.Enabled != nil && !*a.Enabled {
			continue
		}
		out = append(out, bootAggregate{Name: a.Name, Address: orDefault(a.Address, d.Address()), Port: a.Port, Path: orDefault(a.Path, kinds.DefaultPrometheusPath)})
	}
	return out
}

// nullDevices are the files that swallow what is written to them.
const (
	nullDevice        = "/dev/null"
	nullDeviceWindows = "NUL"
)

// bootParams collects what the document depends on.
func (s *Server) bootParams(ctx context.Context, req *bootRequest, o *model.Object, host string, ca []byte) envoy.BootstrapParams {
	b := s.d.Bootstrap
	proxyType := orDefault(req.ProxyType, typeDataplane)
	p := envoy.BootstrapParams{
		Mesh: o.Meta.Mesh, Name: o.Meta.Name, ProxyType: ir.ProxyType(proxyType), Service: proxyType,
		AdminAddress: b.AdminAddress, AdminPort: uint32(b.AdminPort), AdminAccessLog: b.AdminAccessLogPath,
		DNSPort: req.DNSPort, ReadinessPort: req.ReadinessPort, AppProbeProxy: req.AppProbeProxy,
		Resource: req.Resource, DynamicMetadata: req.DynamicMetadata, KumaDP: req.Version.KumaDP, Envoy: req.Version.Envoy,
		Features: req.Features, WorkDir: req.WorkDir, MetricsCert: req.Metrics.CertPath, MetricsKey: req.Metrics.KeyPath,
		SystemCAPath: req.SystemCAPath, IPv6: req.IPv6Enabled,
		HDS: b.HDS, MaxHeapBytes: req.Resources.MaxHeapSizeBytes, MaxConnections: b.MaxConnections,
		Control: envoy.ControlPlane{
			Host: host, Port: uint32(b.XDSPort), IPv4Only: s.onlyIPv4(ctx, host), ConnectTimeout: b.XDSConnectTimeout,
			CA: ca, Token: strings.TrimSpace(req.Token),
		},
	}
	p.Control.ReconnectSoon = slices.Contains(req.Features, envoy.FeatureReconnectBackoff)
	switch {
	case b.ReloadableTokens:
		p.Control.TokenFile = req.TokenPath
	case slices.Contains(req.Features, envoy.FeatureTokenSecret):
		p.Control.TokenSecret = req.TokenPath
	}
	if req.OperatingSystem == "windows" && p.AdminAccessLog == nullDevice {
		p.AdminAccessLog = nullDeviceWindows
	}
	switch spec := o.Spec.(type) {
	case *kinds.DataplaneSpec:
		p.Service, p.BuiltinGateway = spec.IdentifyingService(), spec.IsBuiltinGateway()
		p.AdminPort = spec.AdminPort(p.AdminPort)
	case *kinds.ZoneIngressSpec:
		p.AdminPort = spec.AdminPort(p.AdminPort)
	case *kinds.ZoneEgressSpec:
		p.AdminPort = spec.AdminPort(p.AdminPort)
	}
	return p
}
