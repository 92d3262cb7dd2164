package kinds

import (
	"weft/internal/mesh/model"
)

// ZoneInsight is the kind that tells what is known about a zone's connection.
var ZoneInsight = &model.Kind{
	Name: "ZoneInsight", Plural: "zone-insights",
	Display: "Zone Insight", DisplayPlural: "Zone Insights",
	Scope: model.Global, Shape: model.Flat,
	Flow: model.GlobalWrites | model.ZoneWrites, Feeds: model.FeedsNothing, ReadOnly: true,
	New:   func() any { return new(ZoneInsightSpec) },
	Owner: ownedBy(Zone),
}

// ZoneInsightSpec tells what is known about a zone's connection.
type ZoneInsightSpec struct {
	// The newest connections, oldest first.
	Subscriptions []KDSSubscription `json:"subscriptions,omitempty"`
	// Which instances of global can ask the zone's proxies.
	EnvoyAdminStreams *EnvoyAdminStreams `json:"envoyAdminStreams,omitempty"`
	HealthCheck       *ZoneHealthCheck   `json:"healthCheck,omitempty"`
}

// KDSSubscription is one connection of a zone to global.
type KDSSubscription struct {
	ID               string           `json:"id,omitempty"`
	GlobalInstanceID string           `json:"globalInstanceId,omitempty"`
	ConnectTime      *model.Timestamp `json:"connectTime,omitempty"`
	// Absent while connected.
	DisconnectTime *model.Timestamp      `json:"disconnectTime,omitempty"`
	Status         KDSSubscriptionStatus `json:"status"`
	Version        *ZoneVersion          `json:"version,omitempty"`
	// Configuration of the zone's control plane as JSON text.
	Config            string `json:"config,omitempty"`
	Generation        uint32 `json:"generation,omitempty"`
	AuthTokenProvided bool   `json:"authTokenProvided,omitempty"`
	ZoneInstanceID    string `json:"zoneInstanceId,omitempty"`
}

// KDSSubscriptionStatus counts answers, as a whole and by kind.
type KDSSubscriptionStatus struct {
	LastUpdateTime *model.Timestamp          `json:"lastUpdateTime,omitempty"`
	Total          ResponseCounts            `json:"total"`
	Stat           map[string]ResponseCounts `json:"stat,omitempty"`
}

// ZoneVersion is the version of a zone's control plane.
type ZoneVersion struct {
	KumaCP *KumaCPVersion `json:"kumaCp,omitempty"`
}

// KumaCPVersion is the version of kuma-cp.
type KumaCPVersion struct {
	Version                string `json:"version,omitempty"`
	GitTag                 string `json:"gitTag,omitempty"`
	GitCommit              string `json:"gitCommit,omitempty"`
	BuildDate              string `json:"buildDate,omitempty"`
	KumaCPGlobalCompatible bool   `json:"kumaCpGlobalCompatible,omitempty"`
}

// EnvoyAdminStreams are the instances of global that can ask a zone's proxies.
type EnvoyAdminStreams struct {
	ConfigDumpGlobalInstanceID string `json:"configDumpGlobalInstanceId,omitempty"`
	StatsGlobalInstanceID      string `json:"statsGlobalInstanceId,omitempty"`
	ClustersGlobalInstanceID   string `json:"clustersGlobalInstanceId,omitempty"`
}

// ZoneHealthCheck tells when the zone was last heard of.
type ZoneHealthCheck struct {
	Time *model.Timestamp `json:"time,omitempty"`
}

// Online tells whether the connection is open.
func (s *KDSSubscription) Online() bool { return s.ConnectTime != nil && s.DisconnectTime == nil }

// Online tells whether any connection of the zone is open.
func (z *ZoneInsightSpec) Online() bool {
	for i := range z.Subscriptions {
		if z.Subscriptions[i].Online() {
			return true
		}
	}
	return false
}
