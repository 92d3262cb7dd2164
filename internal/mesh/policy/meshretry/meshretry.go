// Package meshretry lets proxies try again what failed.
package meshretry

import (
	"strings"

	"weft/internal/mesh/ir"
	"weft/internal/mesh/model"
	"weft/internal/mesh/policy"
)

// Spec says what is tried again on the way to which destinations.
type Spec struct {
	// TargetRef selects the proxies; absent means all of the mesh.
	TargetRef *policy.TargetRef `json:"targetRef,omitempty"`
	// To holds for traffic from the selected proxies to destinations.
	To []policy.Item[Conf] `json:"to,omitempty"`
}

// Conf is what may be set under default.
type Conf struct {
	// TCP holds for connections to destinations of the protocol tcp.
	TCP *TCP `json:"tcp,omitempty"`
	// HTTP holds for requests to destinations of the protocol http.
	HTTP *HTTP `json:"http,omitempty"`
	// GRPC holds for calls of destinations of the protocol grpc.
	GRPC *GRPC `json:"grpc,omitempty"`
}

// TCP says how often connecting is tried.
type TCP struct {
	// MaxConnectAttempt is the number of attempts to connect, the first included.
	MaxConnectAttempt *uint32 `json:"maxConnectAttempt,omitempty"`
}

// HTTP says when and how requests are tried again.
type HTTP struct {
	// NumRetries is the number of tries after the first; 0 switches retries off.
	NumRetries *uint32 `json:"numRetries,omitempty"`
	// PerTryTimeout of each try; absent means the request's timeout, 0 none.
	PerTryTimeout *model.Duration `json:"perTryTimeout,omitempty"`
	// BackOff is how long to wait between tries.
	BackOff *BackOff `json:"backOff,omitempty"`
	// RateLimitedBackOff waits as long as the answer says.
	RateLimitedBackOff *RateLimitedBackOff `json:"rateLimitedBackOff,omitempty"`
	// RetryOn lists what is tried again: conditions, methods and status codes.
	RetryOn []string `json:"retryOn,omitzero"`
	// RetriableResponseHeaders: an answer with one of these is tried again.
	RetriableResponseHeaders []policy.HeaderMatch `json:"retriableResponseHeaders,omitzero"`
	// RetriableRequestHeaders: only requests with one of these are tried again.
	RetriableRequestHeaders []policy.HeaderMatch `json:"retriableRequestHeaders,omitzero"`
	// HostSelection says which endpoints further tries avoid.
	HostSelection []Predicate `json:"hostSelection,omitzero"`
	// HostSelectionMaxAttempts is how often an endpoint is chosen anew.
	HostSelectionMaxAttempts *int64 `json:"hostSelectionMaxAttempts,omitempty"`
}

// GRPC says when and how calls are tried again.
type GRPC struct {
	// NumRetries is the number of tries after the first; 0 switches retries off.
	NumRetries *uint32 `json:"numRetries,omitempty"`
	// PerTryTimeout of each try; absent means the request's timeout, 0 none.
	PerTryTimeout *model.Duration `json:"perTryTimeout,omitempty"`
	// BackOff is how long to wait between tries.
	BackOff *BackOff `json:"backOff,omitempty"`
	// RateLimitedBackOff waits as long as the answer says.
	RateLimitedBackOff *RateLimitedBackOff `json:"rateLimitedBackOff,omitempty"`
	// RetryOn lists the gRPC status codes that are tried again.
	RetryOn []string `json:"retryOn,omitzero" schema:"enum=Canceled|DeadlineExceeded|Internal|ResourceExhausted|Unavailable"`
}

// BackOff grows exponentially from a base to a maximum.
type BackOff struct {
	// BaseInterval of the first wait. 25ms if absent.
	BaseInterval *model.Duration `json:"baseInterval,omitempty"`
	// MaxInterval of later waits. Ten times the base if absent.
	MaxInterval *model.Duration `json:"maxInterval,omitempty"`
}

// RateLimitedBackOff waits as long as the answer says.
type RateLimitedBackOff struct {
	// ResetHeaders are looked for in this order.
	ResetHeaders []ResetHeader `json:"resetHeaders,omitempty"`
	// MaxInterval is the longest wait; an answer that asks for more is not
	// tried again this way. 300s if absent.
	MaxInterval *model.Duration `json:"maxInterval,omitempty"`
}

// ResetHeader is a response header that says when to try again.
type ResetHeader struct {
	// Name of the header, in lower case.
	Name string `json:"name" schema:"required,minLength=1,maxLength=256,pattern=^[a-z0-9!#$%&'*+\\-.^_\\x60|~]+$"`
	// Format of its value: seconds to wait, or the time to wait for.
	Format string `json:"format" schema:"required,enum=Seconds|UnixTimestamp"`
}

// Predicate avoids some endpoints.
type Predicate struct {
	// Predicate is the rule.
	Predicate string `json:"predicate" schema:"required,enum=OmitPreviousHosts|OmitHostsWithTags|OmitPreviousPriorities"`
	// Tags of endpoints to avoid, with OmitHostsWithTags.
	Tags map[string]string `json:"tags,omitempty"`
	// UpdateFrequency is after how many tries the priorities are reconsidered,
	// with OmitPreviousPriorities.
	UpdateFrequency int32 `json:"updateFrequency,omitempty" schema:"default=2"`
}

// Policy is the kind MeshRetry.
var Policy = policy.Define(policy.Def[Conf]{
	Kind: model.Kind{
		Name: "MeshRetry", Plural: "meshretries", Short: "mr", One: "meshretry", Many: "meshretries",
		Display: "Mesh Retry", DisplayPlural: "Mesh Retries",
		New: func() any { return new(Spec) },
	},
	Targets: policy.Targets{
		Top: policy.Sidecars, TopSystem: policy.MeshGateway | policy.MeshHTTPRoute, GatewayTags: true,
		To:        policy.Mesh | policy.MeshService | policy.MeshExternalService | policy.MeshMultiZoneService,
		ToGateway: policy.Mesh | policy.MeshExternalService,
		ToRoute:   policy.Mesh | policy.MeshExternalService,
	},
	Parts: func(spec any) policy.Parts[Conf] {
		s := spec.(*Spec)
		return policy.Parts[Conf]{Target: s.TargetRef, To: s.To}
	},
	Lists:        []policy.List{policy.ListTo},
	ValidateSpec: validateSpec,
	Validate:     validate,
	Outbound: func(c *Conf, o *ir.Outbound, _ *policy.Context) {
		if o.TCP != nil && o.Protocol == ir.ProtocolTCP && c.TCP != nil && c.TCP.MaxConnectAttempt != nil {
			o.TCP.MaxConnectAttempts = *c.TCP.MaxConnectAttempt
		}
	},
	Requests: requests,
	Fits: func(path string, p ir.Protocol) bool {
		of, _, _ := strings.Cut(path, ".") // each protocol has its own part
		return of == string(p)
	},
})

func requests(c *Conf, r *ir.Route, o *ir.Outbound, _ *policy.Context) {
	if r.Redirect != nil || r.Respond != nil {
		return
	}
	switch {
	case o.Protocol == ir.ProtocolHTTP && c.HTTP != nil:
		r.Retry = c.HTTP.retry()
	case o.Protocol == ir.ProtocolGRPC && c.GRPC != nil:
		r.Retry = c.GRPC.retry()
	}
}
