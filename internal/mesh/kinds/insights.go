package kinds

import (
	"weft/internal/mesh/model"
)

// ownedBy makes the owner of an insight: the object of the same mesh and name.
func ownedBy(kind *model.Kind) func(o *model.Object) (model.Key, bool) {
	return func(o *model.Object) (model.Key, bool) { return kind.Key(o.Meta.Mesh, o.Meta.Name), true }
}

// DataplaneInsight is the kind that tells what is known about a Dataplane's connection.
var DataplaneInsight = &model.Kind{
	Name: "DataplaneInsight", Plural: "dataplane-insights",
	Display: "Dataplane Insight", DisplayPlural: "Dataplane Insights",
	Scope: model.InMesh, Shape: model.Flat,
	Flow: model.ZoneToGlobal, Feeds: model.FeedsNothing, ReadOnly: true,
	New:   func() any { return new(DataplaneInsightSpec) },
	Owner: ownedBy(Dataplane),
}

// ZoneIngressInsight is the kind that tells what is known about a ZoneIngress' connection.
var ZoneIngressInsight = &model.Kind{
	Name: "ZoneIngressInsight", Plural: "zone-ingress-insights",
	Display: "Zone Ingress Insight", DisplayPlural: "Zone Ingress Insights",
	Scope: model.Global, Shape: model.Flat,
	Flow: model.ZoneToGlobal, Feeds: model.FeedsNothing, ReadOnly: true,
	New:   func() any { return new(ZoneProxyInsightSpec) },
	Owner: ownedBy(ZoneIngress),
}

// ZoneEgressInsight is the kind that tells what is known about a ZoneEgress' connection.
var ZoneEgressInsight = &model.Kind{
	Name: "ZoneEgressInsight", Plural: "zoneegressinsights",
	Display: "Zone Egress Insight", DisplayPlural: "Zone Egress Insights",
	Scope: model.Global, Shape: model.Flat,
	Flow: model.ZoneToGlobal, Feeds: model.FeedsNothing, ReadOnly: true,
	New:   func() any { return new(ZoneProxyInsightSpec) },
	Owner: ownedBy(ZoneEgress),
}

// DataplaneInsightSpec tells what is known about a Dataplane's connection.
type DataplaneInsightSpec struct {
	// The newest connections, oldest first.
	Subscriptions []DiscoverySubscription `json:"subscriptions,omitempty"`
	// Certificates of the proxy.
	MTLS *DataplaneMTLS `json:"mTLS,omitempty"`
}

// ZoneProxyInsightSpec tells what is known about a zone proxy's connection.
type ZoneProxyInsightSpec struct {
	// The newest connections, oldest first.
	Subscriptions []DiscoverySubscription `json:"subscriptions,omitempty"`
	// Certificates of an egress, by mesh.
	MTLS map[string]*DataplaneMTLS `json:"mTLS,omitempty"`
}

// DataplaneMTLS tells about the certificates of a proxy.
type DataplaneMTLS struct {
	CertificateExpirationTime   *model.Timestamp `json:"certificateExpirationTime,omitempty"`
	LastCertificateRegeneration *model.Timestamp `json:"lastCertificateRegeneration,omitempty"`
	CertificateRegenerations    uint32           `json:"certificateRegenerations,omitempty"`
	// Backend that signed the certificate which the proxy uses.
	IssuedBackend string `json:"issuedBackend,omitempty"`
	// Backends whose certificates the proxy accepts from others.
	SupportedBackends []string `json:"supportedBackends,omitempty"`
	// The same by key pair, since a backend may get another one: hashes of the
	// certificates of the authorities.
	IssuedAuthority      string   `json:"issuedAuthority,omitempty"`
	SupportedAuthorities []string `json:"supportedAuthorities,omitempty"`
	// How far the proxy is on its way to plain text; empty unless mutual TLS is
	// being turned off.
	Leaving LeavingStage `json:"leaving,omitempty"`
}

// DiscoverySubscription is one connection of a proxy to a control plane.
type DiscoverySubscription struct {
	// UUID of the connection.
	ID string `json:"id,omitempty"`
	// Instance of the control plane.
	ControlPlaneInstanceID string           `json:"controlPlaneInstanceId,omitempty"`
	ConnectTime            *model.Timestamp `json:"connectTime,omitempty"`
	// Absent while connected.
	DisconnectTime *model.Timestamp            `json:"disconnectTime,omitempty"`
	Status         DiscoverySubscriptionStatus `json:"status"`
	Version        *ProxyVersions              `json:"version,omitempty"`
	// Grows while connected, so that a crashed control plane can be noticed.
	Generation uint32 `json:"generation,omitempty"`
}

// DiscoverySubscriptionStatus counts answers, as a whole and by type of resource.
type DiscoverySubscriptionStatus struct {
	LastUpdateTime *model.Timestamp `json:"lastUpdateTime,omitempty"`
	Total          ResponseCounts   `json:"total"`
	CDS            ResponseCounts   `json:"cds"`
	EDS            ResponseCounts   `json:"eds"`
	LDS            ResponseCounts   `json:"lds"`
	RDS            ResponseCounts   `json:"rds"`
}

// ResponseCounts counts answers that were sent, accepted and refused.
type ResponseCounts struct {
	ResponsesSent         uint64 `json:"responsesSent,omitempty,string"`
	ResponsesAcknowledged uint64 `json:"responsesAcknowledged,omitempty,string"`
	ResponsesRejected     uint64 `json:"responsesRejected,omitempty,string"`
}

// ProxyVersions are the versions of what runs in a proxy.
type ProxyVersions struct {
	KumaDP *KumaDPVersion `json:"kumaDp,omitempty"`
	Envoy  *EnvoyVersion  `json:"envoy,omitempty"`
	// Versions of helpers by name, such as coredns.
	Dependencies map[string]string `json:"dependencies,omitempty"`
}

// KumaDPVersion is the version of kuma-dp.
type KumaDPVersion struct {
	Version          string `json:"version,omitempty"`
	GitTag           string `json:"gitTag,omitempty"`
	GitCommit        string `json:"gitCommit,omitempty"`
	BuildDate        string `json:"buildDate,omitempty"`
	KumaCPCompatible bool   `json:"kumaCpCompatible,omitempty"`
}

// EnvoyVersion is the version of Envoy.
type EnvoyVersion struct {
	Version          string `json:"version,omitempty"`
	Build            string `json:"build,omitempty"`
	KumaDPCompatible bool   `json:"kumaDpCompatible,omitempty"`
}

// Online tells whether the connection is open.
func (s *DiscoverySubscription) Online() bool {
	return s.ConnectTime != nil && s.DisconnectTime == nil
}

// Online tells whether any connection of the proxy is open.
func (d *DataplaneInsightSpec) Online() bool { return anyOnline(d.Subscriptions) }

// Online tells whether any connection of the proxy is open.
func (z *ZoneProxyInsightSpec) Online() bool { return anyOnline(z.Subscriptions) }

func anyOnline(subs []DiscoverySubscription) bool {
	for i := range subs {
		if subs[i].Online() {
			return true
		}
	}
	return false
}

// Latest returns the newest connection, or nil.
func (d *DataplaneInsightSpec) Latest() *DiscoverySubscription { return latest(d.Subscriptions) }

// Latest returns the newest connection, or nil.
func (z *ZoneProxyInsightSpec) Latest() *DiscoverySubscription { return latest(z.Subscriptions) }

func latest(subs []DiscoverySubscription) *DiscoverySubscription {
	if len(subs) == 0 {
		return nil
	}
	return &subs[len(subs)-1]
}

// Status is how well a proxy is, as shown to people.
type Status string

// The statuses.
const (
	StatusOnline            Status = "Online"
	StatusOffline           Status = "Offline"
	StatusPartiallyDegraded Status = "Partially degraded"
)

// DataplaneStatus returns how well a proxy is. insight may be nil. Gateways have
// no inbounds whose state could count.
func DataplaneStatus(d *DataplaneSpec, insight *DataplaneInsightSpec) Status {
	if insight == nil || !insight.Online() {
		return StatusOffline
	}
	if d.Gateway() != nil {
		return StatusOnline
	}
	inbounds, bad := d.Inbounds(), 0
	for i := range inbounds {
		if inbounds[i].NotReady() {
			bad++
		}
	}
	switch {
	case bad == 0:
		return StatusOnline
	case bad == len(inbounds):
		return StatusOffline
	}
	return StatusPartiallyDegraded
}
