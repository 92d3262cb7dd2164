package meshhttproute

import (
	"net/netip"
	"regexp"
	"strings"

	"weft/internal/mesh/model"
	"weft/internal/mesh/policy"
)

const (
	backends = policy.MeshService | policy.MeshServiceSubset | policy.MeshExternalService | policy.MeshMultiZoneService
	mirrors  = policy.MeshService | policy.MeshServiceSubset
)

// validate checks an element of spec.to.
func validate(c *Conf, v *model.Violations, w policy.Where) {
	gateway := w.Top.Kind == policy.RefMeshGateway
	if len(c.Hostnames) > 0 && !gateway {
		v.At("hostnames").Add("only gateways tell requests apart by host: leave it out, or select a MeshGateway")
	}
	for i, h := range c.Hostnames {
		if h != "*" {
			checkHost(strings.TrimPrefix(h, "*."), v.At("hostnames", i))
		}
	}
	for i := range c.Rules {
		c.Rules[i].validate(v.At("rules", i), gateway)
	}
}

func (r *Rule) validate(v *model.Violations, gateway bool) {
	prefixes := true
	for i := range r.Matches {
		m := &r.Matches[i]
		m.validate(v.At("matches", i))
		prefixes = prefixes && m.Path != nil && m.Path.Type == pathPrefix
	}
	at := v.At("default")
	for i := range r.Default.Filters {
		r.Default.Filters[i].validate(at.At("filters", i), gateway, prefixes)
	}
	for i, b := range r.Default.BackendRefs {
		policy.CheckBackendRef(b, at.At("backendRefs", i), backends)
	}
	if gateway && len(r.Default.BackendRefs) == 0 && r.redirect() == nil {
		at.At("backendRefs").Add("are missing: say where a gateway sends requests, or redirect them")
	}
}

func (m *Match) validate(v *model.Violations) {
	if p := m.Path; p != nil {
		at := v.At("path", "value")
		switch {
		case p.Type == pathRegex:
			policy.CheckRegex(p.Value, at)
		case !strings.HasPrefix(p.Value, "/"):
			at.Add("must start with a slash, which %q does not", p.Value)
		case p.Type == pathPrefix && p.Value != "/" && strings.HasSuffix(p.Value, "/"):
			at.Add("leave out the last slash: a prefix matches whole path elements only")
		}
	}
	policy.CheckMatches(m.Headers, v.At("headers"))
	for i, h := range m.Headers {
		if h.Value != "" && (h.Type == "Present" || h.Type == "Absent") {
			v.At("headers", i, "value").Add("has no meaning with the type %s; leave it out", h.Type)
		}
	}
	seen := map[string]bool{}
	for i, q := range m.QueryParams {
		if seen[q.Name] {
			v.At("queryParams", i, "name").Add("%s is given twice; one condition for a parameter is possible", q.Name)
		}
		seen[q.Name] = true
		if q.Type == "RegularExpression" {
			policy.CheckRegex(q.Value, v.At("queryParams", i, "value"))
		}
	}
}

func (f *Filter) validate(v *model.Violations, gateway, prefixes bool) {
	const missing = "is missing: the filter's type says that it is there"
	switch f.Type {
	case filterRequestHeaders:
		if f.RequestHeaderModifier == nil {
			v.At("requestHeaderModifier").Add(missing)
			return
		}
		f.RequestHeaderModifier.validate(v.At("requestHeaderModifier"))
	case filterResponseHeaders:
		if f.ResponseHeaderModifier == nil {
			v.At("responseHeaderModifier").Add(missing)
			return
		}
		f.ResponseHeaderModifier.validate(v.At("responseHeaderModifier"))
	case filterRedirect:
		r, at := f.RequestRedirect, v.At("requestRedirect")
		if r == nil {
			at.Add(missing)
			return
		}
		checkHost(r.Hostname, at.At("hostname"))
		r.Path.validate(at.At("path"), prefixes)
	case filterRewrite:
		w, at := f.URLRewrite, v.At("urlRewrite")
		if w == nil {
			at.Add(missing)
			return
		}
		checkHost(w.Hostname, at.At("hostname"))
		w.Path.validate(at.At("path"), prefixes)
		if w.HostToBackendHostname && !gateway {
			at.At("hostToBackendHostname").Add("only gateways can do this: leave it out, or select a MeshGateway")
		}
		if w.HostToBackendHostname && w.Hostname != "" {
			at.At("hostToBackendHostname").Add("hostname says another host: give one of both")
		}
	case filterMirror:
		m, at := f.RequestMirror, v.At("requestMirror")
		if m == nil {
			at.Add(missing)
			return
		}
		policy.CheckPercent(m.Percentage, at.At("percentage"))
		policy.CheckBackendRef(m.BackendRef, at.At("backendRef"), mirrors)
	}
}

func (h *HeaderModifier) validate(v *model.Violations) {
	if len(h.Set)+len(h.Add)+len(h.Remove) == 0 {
		v.Add("says nothing: give at least one of set, add and remove")
	}
	seen := map[string]bool{}
	check := func(name string, at *model.Violations) {
		if seen[strings.ToLower(name)] {
			at.Add("the header %s is changed twice; once is possible", name)
		}
		seen[strings.ToLower(name)] = true
	}
	for i, e := range h.Set {
		check(e.Name, v.At("set", i, "name"))
	}
	for i, e := range h.Add {
		check(e.Name, v.At("add", i, "name"))
	}
	for i, e := range h.Remove {
		check(e, v.At("remove", i))
	}
	policy.CheckHeaders(h.Set, v.At("set"))
	policy.CheckHeaders(h.Add, v.At("add"))
}

func (p *PathRewrite) validate(v *model.Violations, prefixes bool) {
	if p == nil {
		return
	}
	switch p.Type {
	case replaceFull:
		if p.ReplaceFullPath == nil {
			v.At("replaceFullPath").Add("is missing: give the new path")
		}
	case replacePrefix:
		if !prefixes {
			v.At("replacePrefixMatch").Add("is possible only if all matches of the rule are on a path prefix")
		}
		if p.ReplacePrefixMatch == nil {
			v.At("replacePrefixMatch").Add("is missing: give the new prefix")
		}
	}
}

// hostForm is what a host name looks like.
var hostForm = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)

func checkHost(h string, v *model.Violations) {
	if h == "" {
		return
	}
	if _, err := netip.ParseAddr(h); err == nil {
		v.Add("%s is an IP address, a host name is wanted", h)
		return
	}
	if len(h) > 253 || !hostForm.MatchString(h) {
		v.Add("%q is no host name: lower case letters, digits, '-' and '.' are possible", h)
	}
}
