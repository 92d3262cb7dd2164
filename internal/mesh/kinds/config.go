package kinds

import (
	"weft/internal/mesh/model"
)

// Config is the kind of the control plane's own small facts, such as the id of
// the cluster. It has no REST collection; only the cluster's id travels to zones.
var Config = &model.Kind{
	Name: "Config", Plural: "configs",
	Display: "Config", DisplayPlural: "Configs",
	Scope: model.Global, Shape: model.Flat,
	Flow:     model.GlobalToZone | model.KeepsName,
	// The virtual addresses of a mesh are kept in one of them.
	Feeds:    model.FeedsSpec,
	ReadOnly: true, Hidden: true,
	New: func() any { return new(ConfigSpec) },
}

// ConfigClusterID is the name of the Config that holds the id of the cluster.
const ConfigClusterID = "kuma-cluster-id"

// ConfigSpec is one fact, in a form that its writer knows.
type ConfigSpec struct {
	Config string `json:"config,omitempty"`
}
