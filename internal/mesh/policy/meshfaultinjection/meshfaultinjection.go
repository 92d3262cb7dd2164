// Package meshfaultinjection disturbs requests on purpose, to see how clients
// cope: it aborts them, delays them and slows responses down.
package meshfaultinjection

import (
	"fmt"
	"math"
	"regexp"
	"strconv"

	"weft/internal/mesh/ir"
	"weft/internal/mesh/model"
	"weft/internal/mesh/policy"
)

// Spec says which requests are disturbed.
type Spec struct {
	// TargetRef selects the proxies; absent means all of the mesh.
	TargetRef *policy.TargetRef `json:"targetRef,omitempty"`
	// To holds for requests through gateways.
	To []policy.Item[Conf] `json:"to,omitempty"`
	// From holds for requests that enter the selected sidecars, by client; later
	// items are stronger.
	From []policy.Item[Conf] `json:"from,omitempty"`
}

// Conf is what may be set under default.
type Conf struct {
	// HTTP lists the faults; each happens by itself. An empty list means none.
	HTTP []Fault `json:"http,omitzero"`
}

// Fault is what happens to a share of the requests.
type Fault struct {
	// Abort answers with a status code instead of the service.
	Abort *Abort `json:"abort,omitempty"`
	// Delay waits before the request goes on.
	Delay *Delay `json:"delay,omitempty"`
	// ResponseBandwidth slows the response down.
	ResponseBandwidth *Bandwidth `json:"responseBandwidth,omitempty"`
}

// Abort answers with a status code instead of the service.
type Abort struct {
	// HTTPStatus of the answer.
	HTTPStatus int32 `json:"httpStatus" schema:"required"`
	// Percentage of the requests.
	Percentage policy.Number `json:"percentage" schema:"required"`
}

// Delay waits before the request goes on.
type Delay struct {
	// Value is how long to wait.
	Value model.Duration `json:"value" schema:"required"`
	// Percentage of the requests.
	Percentage policy.Number `json:"percentage" schema:"required"`
}

// Bandwidth slows the response down.
type Bandwidth struct {
	// Limit in kbps, Mbps or Gbps: "100kbps".
	Limit string `json:"limit" schema:"required"`
	// Percentage of the requests.
	Percentage policy.Number `json:"percentage" schema:"required"`
}

// Policy is the kind MeshFaultInjection.
var Policy = policy.Define(policy.Def[Conf]{
	Kind: model.Kind{
		Name: "MeshFaultInjection", Plural: "meshfaultinjections", Short: "mfi",
		One: "meshfaultinjection", Many: "meshfaultinjections",
		Display: "Mesh Fault Injection", DisplayPlural: "Mesh Fault Injections",
		New: func() any { return new(Spec) },
	},
	Targets: policy.Targets{
		Top: policy.Sidecars, TopSystem: policy.MeshGateway, GatewayTags: true,
		To: policy.Mesh, ToGateway: policy.Mesh,
		From:    policy.Mesh | policy.MeshSubset | policy.MeshService | policy.MeshServiceSubset,
		ByScope: true,
	},
	Parts: func(spec any) policy.Parts[Conf] {
		s := spec.(*Spec)
		return policy.Parts[Conf]{Target: s.TargetRef, To: s.To, From: s.From}
	},
	Lists:    []policy.List{policy.ListTo, policy.ListFrom},
	Validate: validate,
	AtEgress: policy.EgressServices,
	Clients:  clients,
	Fits:     func(_ string, p ir.Protocol) bool { return p.HTTPLike() },
})

// validate reports under the names that clients of the API know, which put the
// kind of fault before the index.
func validate(c *Conf, v *model.Violations, _ policy.Where) {
	for i, f := range c.HTTP {
		if a := f.Abort; a != nil {
			at := v.At("http", "abort", i)
			if a.HTTPStatus < 200 || a.HTTPStatus > 599 {
				at.At("httpStatus").Add("%d is no status code that a proxy can answer with: they are from 200 to 599", a.HTTPStatus)
			}
			policy.CheckPercent(&a.Percentage, at.At("percentage"))
		}
		if d := f.Delay; d != nil {
			at := v.At("http", "delay", i)
			policy.CheckNotNegative(&d.Value, at.At("value"))
			policy.CheckPercent(&d.Percentage, at.At("percentage"))
		}
		if b := f.ResponseBandwidth; b != nil {
			at := v.At("http", "responseBandwidth", i)
			if _, err := kbps(b.Limit); err != nil {
				at.At("responseBandwidth").Add("%v", err)
			}
			policy.CheckPercent(&b.Percentage, at.At("percentage"))
		}
	}
}

var bandwidthForm = regexp.MustCompile(`^(\d+)\s?([kMG]bps)$`)

// kbps reads a bandwidth.
func kbps(s string) (uint64, error) {
	m := bandwidthForm.FindStringSubmatch(s)
	if m == nil {
		return 0, fmt.Errorf("%q is no bandwidth: write it like 100kbps, 5Mbps or 1Gbps", s)
	}
	n, err := strconv.ParseUint(m[1], 10, 64)
	factor := map[string]uint64{"kbps": 1, "Mbps": 1000, "Gbps": 1_000_000}[m[2]]
	if err != nil || n == 0 || n > math.MaxInt64/factor {
		return 0, fmt.Errorf("%q is out of range", s)
	}
	return n * factor, nil
}

// clients adds the faults for each client: those of the strongest item that
// speaks about it. Where an older policy injects faults already, that one stays.
func clients(items []policy.ClientItem[Conf], in *ir.Inbound, x *policy.Context) {
	if in.HTTP == nil || len(in.HTTP.Faults) > 0 {
		x.Ignore()
		return
	}
	speaks := func(c *Conf) bool { return c.HTTP != nil }
	for _, i := range policy.BySpecificity(items) {
		except, covered := policy.Exclude(items, i, speaks)
		if covered {
			continue
		}
		for _, f := range items[i].Conf.HTTP {
			fault := f.fault()
			if len(items[i].Tags) > 0 {
				fault.Clients = []ir.ValueMatch{policy.TagsRegex(items[i].Tags)}
			}
			for _, tags := range except {
				fault.NotClients = append(fault.NotClients, policy.TagsRegex(tags))
			}
			in.HTTP.Faults = append(in.HTTP.Faults, fault)
		}
	}
}

func (f *Fault) fault() ir.Fault {
	var out ir.Fault
	if f.Abort != nil {
		out.AbortStatus = uint32(f.Abort.HTTPStatus)
		out.AbortPercent = *policy.Percent(&f.Abort.Percentage)
	}
	if f.Delay != nil {
		out.Delay = policy.Std(&f.Delay.Value)
		out.DelayPercent = *policy.Percent(&f.Delay.Percentage)
	}
	if b := f.ResponseBandwidth; b != nil {
		out.LimitKbps, _ = kbps(b.Limit) // was checked at the gate
		out.LimitPercent = *policy.Percent(&b.Percentage)
	}
	return out
}
