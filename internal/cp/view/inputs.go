// Package view derives, from the tables of one moment, what each proxy's
// configuration depends on: per mesh the derived tables (destinations,
// endpoints, policies, hostnames), per proxy its Inputs with a Fingerprint. It
// is pure: it reads no clock, no store, no environment. The engine calls it;
// package build receives nothing but an *Inputs.
package view

import "weft/internal/mesh/ir"

// Metadata is what a connected proxy's node tells about itself
// (data-plane.md §4). The zero value is a proxy that is not connected, as the
// API's _config shows it.
type Metadata struct {
	ProxyType     ir.ProxyType
	AdminPort     uint32
	AdminAddress  string
	DNSPort       uint32
	ReadinessPort uint32
	AppProbeProxy bool
	WorkDir       string
	MetricsCert   string
	MetricsKey    string
	SystemCAPath  string
	IPv6          bool // absent in the node = true
	Features      []string
	DPVersion     string
	EnvoyVersion  string
}

// Settings are the parts of the control plane's configuration that proxies
// depend on. They do not change while the process runs.
type Settings struct {
	Zone           string
	InternalCIDRs  []string
	DNSDomain      string
	ServiceVIPPort uint32
	ServiceVIPs    bool
}
