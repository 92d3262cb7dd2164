package inspect

import (
	"fmt"

	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
	"weft/internal/mesh/policy"
	"weft/internal/mesh/policy/legacy"
)

// ForProxy returns the policy that is in force on a Dataplane, of a kind that is
// for proxies as a whole (ProxyTemplate, TrafficTrace): the one whose selectors
// fit best; nil if there is none.
func ForProxy(t model.Tables, k *model.Kind, dp *model.Object) *model.Object {
	var (
		best  *model.Object
		score kinds.Specificity
	)
	for _, row := range t.Table(k, dp.Meta.Mesh).Rows() {
		var sel []kinds.Selector
		switch s := row.Spec.(type) {
		case *kinds.ProxyTemplateSpec:
			sel = s.Selectors
		case *legacy.TrafficTraceSpec:
			sel = s.Selectors
		}
		s, ok := kinds.BestMatch(sel, tagSets(dp)...)
		if len(sel) == 0 || !ok {
			continue
		}
		if best == nil || kinds.CompareMatched(row.Object, best, s, score) < 0 {
			best, score = row.Object, s
		}
	}
	return best
}

// LegacyRule is a rule of a targetRef policy in the form of the older inspection.
type LegacyRule struct {
	// Type is ClientSubset, DestinationSubset or SingleItem.
	Type       string            `json:"type"`
	Name       string            `json:"name,omitempty"`
	Addresses  []string          `json:"addresses,omitempty"`
	Service    string            `json:"service,omitempty"`
	Tags       map[string]string `json:"tags,omitempty"`
	PolicyType string            `json:"policyType"`
	Subset     map[string]string `json:"subset"`
	Conf       any               `json:"conf"`
	Origins    []LegacyOrigin    `json:"origins"`
}

// LegacyOrigin names a policy.
type LegacyOrigin struct {
	Mesh string `json:"mesh"`
	Name string `json:"name"`
}

// LegacyRules returns the rules of a Dataplane in the older form. Rules for
// resources have none.
func LegacyRules(r Rules, dp *kinds.DataplaneSpec) []LegacyRule {
	out := []LegacyRule{}
	for _, k := range r.Rules {
		if p := k.ProxyRule; p != nil {
			out = append(out, LegacyRule{
				Type: "SingleItem", PolicyType: k.Type, Subset: map[string]string{}, Conf: p.Conf, Origins: legacyOrigins(p.Origin),
			})
		}
		for _, to := range k.ToRules {
			rule := legacyRule("DestinationSubset", k.Type, to)
			if s := rule.Subset[model.TagService]; s != "" && s[0] != '!' {
				rule.Service = s
			}
			rule.Addresses = addressesFor(to.Matchers, dp)
			out = append(out, rule)
		}
		for _, from := range k.FromRules {
			for _, x := range from.Rules {
				rule := legacyRule("ClientSubset", k.Type, x)
				rule.Name, rule.Tags, rule.Service = inboundName(dp, from.Inbound), from.Inbound.Tags, from.Inbound.Tags[model.TagService]
				out = append(out, rule)
			}
		}
	}
	return out
}

func legacyRule(kind, policyType string, r policy.TagRule) LegacyRule {
	out := LegacyRule{Type: kind, PolicyType: policyType, Subset: map[string]string{}, Conf: r.Conf, Origins: legacyOrigins(r.Origin)}
	for _, m := range r.Matchers {
		out.Subset[m.Key] = m.Value
		if m.Not {
			out.Subset[m.Key] = "!" + m.Value
		}
	}
	return out
}

func legacyOrigins(of []policy.Meta) []LegacyOrigin {
	out := make([]LegacyOrigin, len(of))
	for i, m := range of {
		out[i] = LegacyOrigin{m.Mesh, m.Name}
	}
	return out
}

// addressesFor returns where the workload reaches destinations that a rule is for.
func addressesFor(matchers []policy.TagMatch, dp *kinds.DataplaneSpec) []string {
	var out []string
	for i := range dp.Outbounds() {
		o := &dp.Networking.Outbound[i]
		fits := len(o.Tags) > 0
		for _, m := range matchers {
			if m.Key == model.TagService && (o.Tags[m.Key] == m.Value) == m.Not {
				fits = false
			}
		}
		if fits {
			out = append(out, fmt.Sprintf("%s:%d", o.ListenAddress(), o.Port))
		}
	}
	return out
}

// inboundName is <address>:<port>:<port of the workload>.
func inboundName(dp *kinds.DataplaneSpec, m policy.InboundMeta) string {
	for i := range dp.Inbounds() {
		in := &dp.Networking.Inbound[i]
		if in.Port == m.Port && in.Name == m.Name {
			return fmt.Sprintf("%s:%d:%d", dp.ListenAddress(in), in.Port, in.WorkloadPort())
		}
	}
	return m.Name
}
