package legacy

import "weft/internal/mesh/model"

// TrafficPermission allows clients to connect to servers.
var TrafficPermission = define(names{
	"TrafficPermission", "traffic-permissions", "traffic-permission", "traffic-permissions",
	"Traffic Permission", "Traffic Permissions",
}, func() any { return new(TrafficPermissionSpec) }, func(o *model.Object, v *model.Violations) {
	model.Spec[TrafficPermissionSpec](o).check(v, false)
})

// TrafficPermissionSpec says who may connect to whom. It matters only with mutual
// TLS: of the permissions whose destinations select an inbound, the most specific
// one alone decides.
type TrafficPermissionSpec struct {
	Connections
}
