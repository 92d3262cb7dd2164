package cli

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"

	"weft/internal/cp/explain"
	"weft/internal/mesh/policy"
)

// story is a text with indented lines.
type story struct{ strings.Builder }

func (s *story) line(depth int, format string, args ...any) {
	s.WriteString(strings.Repeat("  ", depth) + clean(fmt.Sprintf(format, args...)) + "\n")
}

// proxyStory tells what is in force on a proxy.
func proxyStory(p *explain.Proxy) *story {
	s := new(story)
	s.line(0, "Dataplane %s in mesh %s", p.Name, p.Mesh)
	for _, w := range p.Warnings {
		s.line(0, "Warning: %s", w)
	}
	if len(p.Policies) > 0 || len(p.Older) > 0 {
		s.line(0, "")
		s.line(0, "The proxy as a whole")
		s.policies(1, p.Policies, p.Older)
	}
	for i := range p.Inbounds {
		s.inbound(&p.Inbounds[i])
	}
	for i := range p.Outbounds {
		s.outbound(&p.Outbounds[i])
	}
	if len(p.Passthrough) > 0 {
		s.line(0, "")
		s.line(0, "Traffic that leaves the mesh")
		s.policies(1, p.Passthrough, nil)
	}
	return s
}

func (s *story) inbound(in *explain.Inbound) {
	s.line(0, "")
	s.line(0, "Inbound %s, service %s, %s, mutual TLS %s", hostPort(in.Address, in.Port), in.Service, in.Protocol, in.TLS)
	if in.Access == "nobody" {
		s.line(1, "nobody may connect: no permission allows anybody")
	}
	s.policies(1, in.Policies, in.Older)
	for _, c := range in.Clients {
		s.line(1, "%s, by client, the strongest first%s", c.Kind, unused(c.Unused))
		for _, g := range c.Groups {
			s.line(2, "%s", clientsText(g.Tags))
			s.values(3, g.Values)
		}
	}
}

func clientsText(tags map[string]string) string {
	if len(tags) == 0 {
		return "all clients"
	}
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		parts = append(parts, k+"="+tags[k])
	}
	return "clients with " + strings.Join(parts, ", ")
}

func (s *story) outbound(o *explain.Outbound) {
	s.line(0, "")
	where := hostPort(o.Address, o.Port)
	if len(o.Names) > 0 {
		where += " (" + strings.Join(o.Names, ", ") + ")"
	}
	s.line(0, "Outbound %s to %s, %s", where, destinationText(o.Destination), o.Protocol)
	for _, r := range o.Routes {
		s.line(1, "route: %s → %s", r.Match, r.Action)
		s.policies(2, r.Policies, nil)
	}
	for _, sp := range o.Splits {
		s.line(1, "%.4g %% to %s", sp.Percent, sp.Cluster)
	}
	s.policies(1, o.Policies, o.Older)
	for _, e := range o.Elsewhere {
		if len(e.Policies) > 0 {
			s.line(1, "policies for cluster %s", e.Cluster)
			s.policies(2, e.Policies, nil)
		}
	}
}

func unused(is bool) string {
	if is {
		return " (without effect here)"
	}
	return ""
}

func destinationText(d explain.Destination) string {
	kind := d.Kind
	if kind == "" {
		kind = "service"
	}
	if d.Section != "" {
		return fmt.Sprintf("%s %s, port %s", kind, d.Name, d.Section)
	}
	return kind + " " + d.Name
}

func (s *story) policies(depth int, vs []policy.Verdict, older []explain.Named) {
	for _, v := range vs {
		s.line(depth, "%s%s", v.Kind, unused(v.Unused))
		s.values(depth+1, v.Values)
	}
	for _, n := range older {
		s.line(depth, "%s %s (an older policy)", n.Kind, n.Name)
	}
}

func (s *story) values(depth int, vs []policy.Value) {
	for _, v := range vs {
		var from []string
		for _, r := range v.From {
			from = append(from, citation(r))
		}
		what := valueText(v.Value)
		if v.Path != "" {
			what = v.Path + ": " + what
		}
		s.line(depth, "%s  ← %s%s", what, strings.Join(from, " and "), unused(v.Unused))
		for _, l := range v.Over {
			s.line(depth+1, "over %s of %s: %s", valueText(l.Value), citation(l.Cited), l.Because)
		}
	}
}

func citation(r policy.Cited) string {
	return fmt.Sprintf("%s %s", r.Name, strings.TrimSuffix(strings.TrimPrefix(r.Path, "spec."), ".default"))
}

func hostPort(host string, port uint32) string { return net.JoinHostPort(host, fmt.Sprint(port)) }

// valueText writes a value on one line.
func valueText(v any) string {
	if text, ok := v.(string); ok {
		return text
	}
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// requestStory tells what becomes of a request.
func requestStory(a *explain.Answer) *story {
	s := new(story)
	s.line(0, "From %s to %s: %s", a.From, a.To, a.Outcome)
	s.line(1, "%s", a.Why)
	if o := a.Outbound; o != nil {
		s.line(0, "")
		name := ""
		if o.Name != "" {
			name = o.Name + " is "
		}
		s.line(0, "%s%s, the outbound to %s, %s", name, hostPort(o.Address, o.Port), destinationText(o.Destination), o.Protocol)
	}
	if a.Path != "" && !strings.Contains(a.To, a.Path) {
		s.line(1, "routes see the path %s", a.Path)
	}
	for _, k := range a.Skipped {
		s.line(1, "not the route for %s: %s", k.Match, k.Because)
	}
	if r := a.Route; r != nil {
		s.line(1, "the route for %s → %s", r.Match, r.Action)
		s.policies(2, r.Policies, nil)
	}
	if len(a.Policies)+len(a.Older) > 0 {
		s.line(1, "policies of the client's proxy")
		s.policies(2, a.Policies, a.Older)
	}
	for i := range a.Clusters {
		s.cluster(&a.Clusters[i])
	}
	return s
}

func (s *story) cluster(c *explain.Cluster) {
	s.line(0, "")
	of := destinationText(c.Destination)
	if c.Tags != "" {
		of += " with " + strings.ReplaceAll(c.Tags, ",", ", ")
	}
	s.line(0, "Cluster %s of %s, %.4g %% of the requests, %s", c.Name, of, c.Percent, c.TLS)
	for _, e := range c.Endpoints {
		zone := ""
		if e.Zone != "" {
			zone = ", zone " + e.Zone
		}
		if e.SubZone != "" {
			zone += " (" + e.SubZone + ")"
		}
		weight := ""
		if e.Weight > 0 {
			weight = fmt.Sprintf(", weight %d", e.Weight)
		}
		s.line(1, "endpoint %s, priority %d%s%s", hostPort(e.Address, e.Port), e.Priority, weight, zone)
	}
	if len(c.Endpoints) == 0 {
		s.line(1, "no endpoint")
	}
	for _, l := range c.LeftOut {
		who := hostPort(l.Address, l.Port)
		if l.Proxy != "" {
			who += " of " + l.Proxy
		}
		s.line(1, "left out: %s: %s", who, l.Because)
	}
	if len(c.Policies) > 0 {
		s.line(1, "policies for this cluster")
		s.policies(2, c.Policies, nil)
	}
	for _, v := range c.Servers {
		verb := "refuses"
		if v.Allowed {
			verb = "accepts"
		}
		who := "proxy"
		if v.Egress {
			who = "zone egress"
		}
		s.line(1, "%s %s, port %d, mutual TLS %s, %s it: %s", who, v.Proxy, v.Port, v.TLS, verb, v.Why)
		for _, e := range v.LeadsTo {
			s.line(2, "sends it on to %s", hostPort(e.Address, e.Port))
		}
		s.policies(2, v.Policies, v.Older)
	}
}
