package kinds

import (
	"weft/internal/mesh/model"
)

// Zone is the kind that stands for one zone, known by its control plane.
var Zone = &model.Kind{
	Name: "Zone", Plural: "zones", One: "zone", Many: "zones",
	Display: "Zone", DisplayPlural: "Zones",
	Scope: model.Global, Shape: model.Flat,
	Flow:  model.GlobalWrites | model.ZoneWrites,
	Feeds: model.FeedsSpec,
	New:   func() any { return new(ZoneSpec) },
	Warn:  warnDNSName,
}

// ZoneSpec says whether a zone takes part.
type ZoneSpec struct {
	// A zone that is not enabled gets nothing from global, and other zones do not
	// use its ingress. Absent = true.
	Enabled *bool `json:"enabled,omitempty"`
}

// IsEnabled tells whether the zone takes part.
func (z *ZoneSpec) IsEnabled() bool { return z.Enabled == nil || *z.Enabled }
