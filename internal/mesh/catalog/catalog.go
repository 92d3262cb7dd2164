// Package catalog is the one list of what exists: every kind of object. REST
// routes, kumactl commands, sync and reference docs are derived from it. To add
// a kind, describe it in package kinds (or, for a policy, in a folder below
// policy) and add its line here.
package catalog

import (
	"strings"

	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
	"weft/internal/mesh/policy"
	"weft/internal/mesh/policy/legacy"
	"weft/internal/mesh/policy/meshaccesslog"
	"weft/internal/mesh/policy/meshcircuitbreaker"
	"weft/internal/mesh/policy/meshfaultinjection"
	"weft/internal/mesh/policy/meshhealthcheck"
	"weft/internal/mesh/policy/meshhttproute"
	"weft/internal/mesh/policy/meshloadbalancingstrategy"
	"weft/internal/mesh/policy/meshmetric"
	"weft/internal/mesh/policy/meshpassthrough"
	"weft/internal/mesh/policy/meshproxypatch"
	"weft/internal/mesh/policy/meshratelimit"
	"weft/internal/mesh/policy/meshretry"
	"weft/internal/mesh/policy/meshtcproute"
	"weft/internal/mesh/policy/meshtimeout"
	"weft/internal/mesh/policy/meshtls"
	"weft/internal/mesh/policy/meshtrace"
	"weft/internal/mesh/policy/meshtrafficpermission"
)

// Kinds lists all kinds: first what is no policy, then the policies.
var Kinds = []*model.Kind{
	kinds.Mesh,
	kinds.Dataplane,
	kinds.DataplaneInsight,
	kinds.ZoneIngress,
	kinds.ZoneIngressInsight,
	kinds.ZoneEgress,
	kinds.ZoneEgressInsight,
	kinds.Zone,
	kinds.ZoneInsight,
	kinds.MeshInsight,
	kinds.ServiceInsight,
	kinds.Config,
	kinds.Secret,
	kinds.GlobalSecret,
	kinds.MeshGateway,
	kinds.MeshService,
	kinds.MeshMultiZoneService,
	kinds.MeshExternalService,
	kinds.HostnameGenerator,
	kinds.ExternalService,

	kinds.MeshGatewayRoute,
	kinds.VirtualOutbound,
	kinds.ProxyTemplate,

	legacy.TrafficPermission,
	legacy.TrafficRoute,
	legacy.TrafficLog,
	legacy.TrafficTrace,
	legacy.FaultInjection,
	legacy.HealthCheck,
	legacy.CircuitBreaker,
	legacy.Retry,
	legacy.Timeout,
	legacy.RateLimit,

	meshhttproute.Policy.Kind,
	meshtcproute.Policy.Kind,
	meshtls.Policy.Kind,
	meshloadbalancingstrategy.Policy.Kind,
	meshpassthrough.Policy.Kind,
	meshaccesslog.Policy.Kind,
	meshtrace.Policy.Kind,
	meshfaultinjection.Policy.Kind,
	meshratelimit.Policy.Kind,
	meshtimeout.Policy.Kind,
	meshtrafficpermission.Policy.Kind,
	meshhealthcheck.Policy.Kind,
	meshcircuitbreaker.Policy.Kind,
	meshretry.Policy.Kind,
	meshmetric.Policy.Kind,
	meshproxypatch.Policy.Kind,
}

// Policies lists the targetRef policies in the order in which they are applied
// to a proxy and shown by inspection.
var Policies = []*policy.Policy{
	meshhttproute.Policy,
	meshtcproute.Policy,
	meshtls.Policy,
	meshloadbalancingstrategy.Policy,
	meshpassthrough.Policy,
	meshaccesslog.Policy,
	meshtrace.Policy,
	meshfaultinjection.Policy,
	meshratelimit.Policy,
	meshtimeout.Policy,
	meshtrafficpermission.Policy,
	meshhealthcheck.Policy,
	meshcircuitbreaker.Policy,
	meshretry.Policy,
	meshmetric.Policy,
	meshproxypatch.Policy,
}

// ByName returns the kind whose objects say that type, or nil.
func ByName(name string) *model.Kind {
	return find(func(k *model.Kind) bool { return k.Name == name })
}

// ByPlural returns the kind with that REST collection, or nil.
func ByPlural(plural string) *model.Kind {
	return find(func(k *model.Kind) bool { return k.Plural == plural && !k.Hidden })
}

// ByArgument returns the kind that kumactl calls so, for one object or for the
// list, or nil.
func ByArgument(arg string) *model.Kind {
	arg = strings.ToLower(arg)
	return find(func(k *model.Kind) bool { return arg != "" && (k.One == arg || k.Many == arg) })
}

// Decode reads a document of the REST form, whatever its kind is. The error for
// a type that does not exist is *model.Malformed.
func Decode(data []byte) (*model.Object, error) {
	head, err := model.PeekHead(data)
	if err != nil {
		return nil, err
	}
	k, err := Find(head.Type)
	if err != nil {
		return nil, err
	}
	return k.Decode(data)
}

// Find is ByName with an error that says what to do.
func Find(name string) (*model.Kind, error) {
	if name == "" {
		return nil, &model.Malformed{Field: "type", Message: "is missing: every object says its type, such as \"type: Mesh\""}
	}
	k := ByName(name)
	if k == nil {
		msg := "there is no type \"" + name + "\""
		if s := similar(name); s != "" {
			msg += "; did you mean \"" + s + "\"?"
		}
		return nil, &model.Malformed{Field: "type", Message: msg}
	}
	return k, nil
}

// similar returns the name of a kind that was likely meant: same letters in
// another case, or a collection or argument instead of the type.
func similar(name string) string {
	k := find(func(k *model.Kind) bool {
		return strings.EqualFold(k.Name, name) || (k.Plural == strings.ToLower(name) && !k.Hidden)
	})
	if k == nil {
		k = ByArgument(name)
	}
	if k == nil {
		return ""
	}
	return k.Name
}

func find(match func(k *model.Kind) bool) *model.Kind {
	for _, k := range Kinds {
		if match(k) {
			return k
		}
	}
	return nil
}
