// Package meshloadbalancingstrategy says how traffic is spread over the endpoints
// of a destination: by which algorithm, and which zones and places come first.
package meshloadbalancingstrategy

import (
	"strings"

	"weft/internal/mesh/ir"
	"weft/internal/mesh/model"
	"weft/internal/mesh/policy"
)

// Spec says how traffic to which destinations is spread.
type Spec struct {
	// TargetRef selects the proxies; absent means all of the mesh.
	TargetRef *policy.TargetRef `json:"targetRef,omitempty"`
	// To holds for traffic from the selected proxies to destinations.
	To []policy.Item[Conf] `json:"to,omitempty"`
}

// Conf is what may be set under default.
type Conf struct {
	// LocalityAwareness says which endpoints come first by where they are. As soon
	// as a policy applies, those of the own zone do.
	LocalityAwareness *LocalityAwareness `json:"localityAwareness,omitempty"`
	// LoadBalancer is the algorithm.
	LoadBalancer *LoadBalancer `json:"loadBalancer,omitempty"`
}

// LocalityAwareness says which endpoints come first by where they are.
type LocalityAwareness struct {
	// Disabled spreads over all zones alike.
	Disabled *bool `json:"disabled,omitempty"`
	// LocalZone says which endpoints of the own zone are preferred.
	LocalZone *LocalZone `json:"localZone,omitempty"`
	// CrossZone says which other zones help out.
	CrossZone *CrossZone `json:"crossZone,omitempty"`
}

// LocalZone says which endpoints of the own zone are preferred.
type LocalZone struct {
	// AffinityTags prefer endpoints that have the same value as the client, the
	// first tag most.
	AffinityTags []AffinityTag `json:"affinityTags,omitzero"`
}

// AffinityTag prefers endpoints with the same value of a tag.
type AffinityTag struct {
	// Key of the tag.
	Key string `json:"key" schema:"required"`
	// Weight of endpoints with the same value; all tags have one, or none has.
	Weight *uint32 `json:"weight,omitempty"`
}

// CrossZone says which other zones help out.
type CrossZone struct {
	// Failover lists which zones help out, in this order.
	Failover []Failover `json:"failover,omitzero"`
	// FailoverThreshold says when they do.
	FailoverThreshold *Threshold `json:"failoverThreshold,omitempty"`
}

// Failover says which zones help out.
type Failover struct {
	// From restricts the rule to clients in these zones; absent means all.
	From *FromZones `json:"from,omitempty"`
	// To are the zones that help out.
	To ToZones `json:"to" schema:"required"`
}

// FromZones are zones of clients.
type FromZones struct {
	// Zones by name.
	Zones []string `json:"zones" schema:"required"`
}

// ToZones are the zones that help out.
type ToZones struct {
	// Type says how zones are to be read.
	Type string `json:"type" schema:"required,enum=None|Only|Any|AnyExcept"`
	// Zones by name, with Only and AnyExcept.
	Zones []string `json:"zones,omitzero"`
}

// Types of ToZones.
const (
	zonesNone   = "None"
	zonesOnly   = "Only"
	zonesAny    = "Any"
	zonesExcept = "AnyExcept"
)

// Threshold says when other zones help out.
type Threshold struct {
	// Percentage of healthy endpoints below which they do.
	Percentage policy.Number `json:"percentage" schema:"required"`
}

// LoadBalancer is the algorithm. The field of the type's name says more.
type LoadBalancer struct {
	// Type of the algorithm.
	Type string `json:"type" schema:"required,enum=RoundRobin|LeastRequest|RingHash|Random|Maglev"`
	// RoundRobin takes one endpoint after the other.
	RoundRobin *struct{} `json:"roundRobin,omitempty"`
	// LeastRequest takes the least busy of some endpoints.
	LeastRequest *LeastRequest `json:"leastRequest,omitempty"`
	// RingHash keeps requests with the same properties at the same endpoint.
	RingHash *RingHash `json:"ringHash,omitempty"`
	// Random takes any endpoint.
	Random *struct{} `json:"random,omitempty"`
	// Maglev does what RingHash does, faster and less stable.
	Maglev *Maglev `json:"maglev,omitempty"`
}

// Types of a LoadBalancer.
const (
	leastRequest = "LeastRequest"
	ringHash     = "RingHash"
	maglev       = "Maglev"
)

// LeastRequest takes the least busy of some endpoints.
type LeastRequest struct {
	// ChoiceCount is the number of endpoints that are compared. 2 if absent.
	ChoiceCount *uint32 `json:"choiceCount,omitempty" schema:"min=2"`
	// ActiveRequestBias says how strongly busy endpoints are avoided where weights
	// differ; 0 means not at all. 1 if absent.
	ActiveRequestBias *policy.Number `json:"activeRequestBias,omitempty"`
}

// RingHash keeps requests with the same properties at the same endpoint.
type RingHash struct {
	// HashFunction is the function. XXHash if absent.
	HashFunction string `json:"hashFunction,omitempty" schema:"enum=XXHash|MurmurHash2"`
	// MinRingSize is the least size of the ring. 1024 if absent.
	MinRingSize *uint32 `json:"minRingSize,omitempty" schema:"min=1,max=8000000"`
	// MaxRingSize is the greatest size of the ring. 8M if absent.
	MaxRingSize *uint32 `json:"maxRingSize,omitempty" schema:"min=1,max=8000000"`
	// HashPolicies are the properties. Absent means any endpoint.
	HashPolicies []HashPolicy `json:"hashPolicies,omitzero"`
}

// Maglev keeps requests with the same properties at the same endpoint.
type Maglev struct {
	// TableSize is the size of the table, a prime number. 65537 if absent.
	TableSize *uint32 `json:"tableSize,omitempty" schema:"min=1,max=5000011"`
	// HashPolicies are the properties. Absent means any endpoint.
	HashPolicies []HashPolicy `json:"hashPolicies,omitzero"`
}

// HashPolicy is a property of requests. The field of the type's name says which.
type HashPolicy struct {
	// Type of the property.
	Type string `json:"type" schema:"required,enum=Header|Cookie|Connection|SourceIP|QueryParameter|FilterState"`
	// Terminal ends the list if the request has the property.
	Terminal *bool `json:"terminal,omitempty"`
	// Header is a header's value.
	Header *Named `json:"header,omitempty"`
	// Cookie is a cookie's value.
	Cookie *Cookie `json:"cookie,omitempty"`
	// Connection is what the connection tells.
	Connection *Connection `json:"connection,omitempty"`
	// QueryParameter is a query parameter's value.
	QueryParameter *Named `json:"queryParameter,omitempty"`
	// FilterState is what a filter of the proxy found out.
	FilterState *FilterState `json:"filterState,omitempty"`
}

// Types of a HashPolicy.
const (
	hashHeader     = "Header"
	hashCookie     = "Cookie"
	hashConnection = "Connection"
	hashSourceIP   = "SourceIP"
	hashQuery      = "QueryParameter"
	hashState      = "FilterState"
)

// Named is a header or a query parameter.
type Named struct {
	// Name of it.
	Name string `json:"name" schema:"required,minLength=1"`
}

// Cookie is a cookie, which is made for clients without one if it has a ttl.
type Cookie struct {
	// Name of the cookie.
	Name string `json:"name" schema:"required,minLength=1"`
	// TTL of a cookie that is made; 0 means until the browser is closed.
	TTL *model.Duration `json:"ttl,omitempty"`
	// Path of a cookie that is made.
	Path *string `json:"path,omitempty"`
}

// Connection is what the connection tells.
type Connection struct {
	// SourceIP is the client's address.
	SourceIP *bool `json:"sourceIP,omitempty"`
}

// FilterState is what a filter of the proxy found out.
type FilterState struct {
	// Key of it.
	Key string `json:"key" schema:"required,minLength=1"`
}

// Policy is the kind MeshLoadBalancingStrategy.
var Policy = policy.Define(policy.Def[Conf]{
	Kind: model.Kind{
		Name: "MeshLoadBalancingStrategy", Plural: "meshloadbalancingstrategies", Short: "mlbs",
		One: "meshloadbalancingstrategy", Many: "meshloadbalancingstrategies",
		Display: "Mesh Load Balancing Strategy", DisplayPlural: "Mesh Load Balancing Strategies",
		New: func() any { return new(Spec) },
	},
	Targets: policy.Targets{
		Top: policy.Sidecars | policy.MeshGateway, GatewayTags: true,
		To:        policy.Mesh | policy.MeshService | policy.MeshMultiZoneService,
		ToGateway: policy.Mesh | policy.MeshService | policy.MeshMultiZoneService,
	},
	Parts: func(spec any) policy.Parts[Conf] {
		s := spec.(*Spec)
		return policy.Parts[Conf]{Target: s.TargetRef, To: s.To}
	},
	Lists:        []policy.List{policy.ListTo},
	ValidateSpec: validateSpec,
	Validate:     validate,
	Warn:         warn,
	AtEgress:     policy.EgressServices | policy.EgressResources,
	Cluster:      cluster,
	Requests:     requests,
	OfCluster:    func(path string) bool { return !strings.HasSuffix(path, ".hashPolicies") },
	Fits: func(path string, p ir.Protocol) bool {
		return p.HTTPLike() || !strings.HasSuffix(path, ".hashPolicies") // connections are not hashed
	},
})
