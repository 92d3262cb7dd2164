package kinds

import (
	"strings"

	"weft/internal/mesh/model"
)

// Config is the kind of the control plane's own small facts, such as the id of
// the cluster. It has no REST collection; only the cluster's id travels to zones.
var Config = &model.Kind{
	Name: "Config", Plural: "configs",
	Display: "Config", DisplayPlural: "Configs",
	Scope: model.Global, Shape: model.Flat,
	Flow: model.GlobalToZone | model.KeepsName,
	// The virtual addresses of a mesh are kept in one of them.
	Feeds:    model.FeedsSpec,
	ReadOnly: true, Hidden: true,
	New: func() any { return new(ConfigSpec) },
	// Those that belong to a mesh go with it.
	Owner: func(o *model.Object) (model.Key, bool) {
		mesh, ok := MeshOfVIPs(o.Meta.Name)
		if !ok {
			mesh, ok = meshOfTrust(o.Meta.Name)
		}
		return Mesh.Key("", mesh), ok
	},
}

// VIPsName is the name of the Config that holds the virtual addresses of a mesh.
func VIPsName(mesh string) string { return "kuma-" + mesh + "-dns-vips" }

// MeshOfVIPs returns the mesh whose virtual addresses a Config holds.
func MeshOfVIPs(name string) (mesh string, ok bool) {
	rest, prefixed := strings.CutPrefix(name, "kuma-")
	mesh, suffixed := strings.CutSuffix(rest, "-dns-vips")
	return mesh, prefixed && suffixed && mesh != ""
}

// ConfigClusterID is the name of the Config that holds the id of the cluster.
const ConfigClusterID = "kuma-cluster-id"

// ConfigSpec is one fact, in a form that its writer knows.
type ConfigSpec struct {
	Config string `json:"config,omitempty"`
}
