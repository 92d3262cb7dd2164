// Package meshtrafficpermission says who may connect to whom. In a mesh with
// mutual TLS nobody may unless a policy allows it.
package meshtrafficpermission

import (
	"maps"
	"slices"

	"weft/internal/mesh/ir"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
	"weft/internal/mesh/policy"
)

// Spec says which clients may connect to the selected proxies.
type Spec struct {
	// TargetRef selects the proxies; absent means all of the mesh.
	TargetRef *policy.TargetRef `json:"targetRef,omitempty"`
	// From says what holds for which clients; later items are stronger.
	From []policy.Item[Conf] `json:"from,omitempty"`
}

// Conf is what may be set under default.
type Conf struct {
	// Action for the clients. AllowWithShadowDeny allows, and counts and logs as
	// if it denied.
	Action Action `json:"action,omitempty" schema:"enum=Allow|Deny|AllowWithShadowDeny"`
}

// Action says what happens to a client.
type Action string

// The actions.
const (
	Allow               Action = "Allow"
	Deny                Action = "Deny"
	AllowWithShadowDeny Action = "AllowWithShadowDeny"
)

// Policy is the kind MeshTrafficPermission.
var Policy = policy.Define(policy.Def[Conf]{
	Kind: model.Kind{
		Name: "MeshTrafficPermission", Plural: "meshtrafficpermissions", Short: "mtp",
		One: "meshtrafficpermission", Many: "meshtrafficpermissions",
		Display: "Mesh Traffic Permission", DisplayPlural: "Mesh Traffic Permissions",
		New: func() any { return new(Spec) },
	},
	Targets: policy.Targets{
		Top:  policy.Sidecars,
		From: policy.Mesh | policy.MeshSubset | policy.MeshService | policy.MeshServiceSubset,
	},
	Parts: func(spec any) policy.Parts[Conf] {
		s := spec.(*Spec)
		return policy.Parts[Conf]{Target: s.TargetRef, From: s.From}
	},
	Lists: []policy.List{policy.ListFrom},
	ValidateSpec: func(_ *model.Object, p policy.Parts[Conf], v *model.Violations) {
		if len(p.From) == 0 {
			v.At("from").Add("give at least one item: it says which clients may connect")
		}
	},
	Validate: func(c *Conf, v *model.Violations, _ policy.Where) {
		if c.Action == "" {
			v.At("action").Add("is missing: use %s, %s or %s", Allow, Deny, AllowWithShadowDeny)
		}
	},
	Permits:  func(c *Conf) bool { return c.Action == Allow || c.Action == AllowWithShadowDeny },
	Absent:   true,
	AtEgress: policy.EgressServices,
	Clients:  clients,
	OnlyMTLS: true,
})

// clients decides who may connect to an inbound. Where no policy of this kind
// speaks about the inbound, what an older policy decided stays, and without one
// nobody may connect.
func clients(items []policy.ClientItem[Conf], in *ir.Inbound, x *policy.Context) {
	if in.TLS == nil {
		x.Ignore()
		return
	}
	if len(items) == 0 && in.Access != nil {
		return
	}
	access := &ir.Access{PolicyName: "MeshTrafficPermission", Origins: x.Origins}
	order := policy.BySpecificity(items)
	for _, action := range []Action{Allow, AllowWithShadowDeny} {
		for _, i := range order {
			if items[i].Conf.Action != action {
				continue
			}
			add(&access.Allow, items, i, in.TLS.Mesh, func(c *Conf) bool { return c.Action == Deny })
			if action == AllowWithShadowDeny {
				add(&access.ShadowDeny, items, i, in.TLS.Mesh, func(c *Conf) bool { return c.Action != action })
			}
		}
	}
	in.Access = access
}

// add adds the clients of item i, apart from those of stronger items for which
// beats holds.
func add(to *[]ir.Principal, items []policy.ClientItem[Conf], i int, mesh string, beats func(*Conf) bool) {
	except, covered := policy.Exclude(items, i, beats)
	if covered {
		return
	}
	p := ir.Principal{All: identities(mesh, items[i].Tags)}
	for _, tags := range except {
		ids := identities(mesh, tags)
		if len(ids) == 1 {
			ids[0].Not = true
			p.All = append(p.All, ids[0])
			continue
		}
		p.Except = append(p.Except, ids)
	}
	same := func(o ir.Principal) bool {
		return slices.Equal(o.All, p.All) && slices.EqualFunc(o.Except, p.Except, slices.Equal)
	}
	if !slices.ContainsFunc(*to, same) {
		*to = append(*to, p)
	}
}

// identities returns what the certificates of clients with these tags say. The
// value "*" stands for any.
func identities(mesh string, tags map[string]string) []ir.IdentityMatch {
	var out []ir.IdentityMatch
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		uri := "kuma://" + k + "/"
		if k == model.TagService {
			uri = "spiffe://" + mesh + "/"
		}
		if v := tags[k]; v == kinds.MatchAll {
			out = append(out, ir.IdentityMatch{URI: uri, Prefix: true})
		} else {
			out = append(out, ir.IdentityMatch{URI: uri + v})
		}
	}
	return out
}
