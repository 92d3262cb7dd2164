package explain

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"weft/internal/mesh/ir"
)

// Skipped is a route that came before the one that matched.
type Skipped struct {
	Match string `json:"match"`
	// Because says what did not fit.
	Because string `json:"because"`
}

// matchRoute returns the index of the first route for a request, -1 if there is
// none, with those that were passed over. Envoy goes through the routes of a
// virtual host in the same way (RouteMatch of its route API).
func matchRoute(routes []*ir.Route, m *message) (int, []Skipped) {
	var skipped []Skipped
	for i, r := range routes {
		why := misfit(&r.Match, m)
		if why == "" {
			if i > 0 && twins(routes[i-1], r) {
				skipped = skipped[:len(skipped)-1]
			}
			return i, skipped
		}
		if i > 0 && twins(routes[i-1], r) {
			if m.path == routes[i-1].Match.Path {
				continue // the first half was for this path
			}
			skipped = skipped[:len(skipped)-1]
		}
		skipped = append(skipped, Skipped{matchText(r.Match), why})
	}
	return -1, skipped
}

// twins tells whether two routes are the halves of one prefix: the path itself,
// and what is below it. One is said to be skipped for both.
func twins(a, b *ir.Route) bool {
	return a.Name == b.Name && a.Match.Path != "" && b.Match.Prefix == a.Match.Path+"/"
}

// misfit says why a request is not for a route, "" if it is.
func misfit(m *ir.Match, q *message) string {
	switch {
	case m.Path != "" && q.path != m.Path:
		return fmt.Sprintf("the path is not %s", m.Path)
	case m.Regex != "" && !whole(m.Regex, q.path):
		return fmt.Sprintf("the path does not match the expression %s", m.Regex)
	case m.Prefix != "" && !strings.HasPrefix(q.path, m.Prefix):
		return fmt.Sprintf("the path does not begin with %s", m.Prefix)
	case m.Method != "" && q.method != m.Method:
		return fmt.Sprintf("the method is not %s", m.Method)
	}
	for _, h := range m.Headers {
		if why := misfitHeader(h, q.headers); why != "" {
			return why
		}
	}
	for _, p := range m.Query {
		value, has := q.parameter(p.Name)
		switch {
		case !has:
			return fmt.Sprintf("there is no query parameter %s", p.Name)
		case !fits(p, value):
			return fmt.Sprintf("the query parameter %s does not fit: %s", p.Name, valueText(p))
		}
	}
	return ""
}

func misfitHeader(h ir.ValueMatch, headers http.Header) string {
	values := headers.Values(h.Name)
	switch h.Type {
	case ir.MatchPresent:
		if len(values) == 0 {
			return fmt.Sprintf("there is no header %s", h.Name)
		}
		return ""
	case ir.MatchAbsent:
		if len(values) > 0 {
			return fmt.Sprintf("there is a header %s", h.Name)
		}
		return ""
	case ir.MatchExact, ir.MatchRegex, ir.MatchPrefix:
	}
	if len(values) == 0 {
		return fmt.Sprintf("there is no header %s", h.Name)
	}
	// Each of several headers of one name is compared by itself; Envoys before
	// that joined them with commas.
	if !slices.ContainsFunc(values, func(v string) bool { return fits(h, v) }) {
		return fmt.Sprintf("the header %s does not fit: %s", h.Name, valueText(h))
	}
	return ""
}

func fits(v ir.ValueMatch, have string) bool {
	switch v.Type {
	case ir.MatchRegex:
		return whole(v.Value, have)
	case ir.MatchPrefix:
		return strings.HasPrefix(have, v.Value)
	case ir.MatchExact, ir.MatchPresent, ir.MatchAbsent:
	}
	return v.Value == have
}

// whole tells whether an expression (RE2, as in Envoy) matches all of a text.
func whole(expr, text string) bool {
	re, err := regexp.Compile(`^(?:` + expr + `)$`)
	return err == nil && re.MatchString(text)
}

// matchText writes a match for people.
func matchText(m ir.Match) string {
	var parts []string
	if m.Method != "" {
		parts = append(parts, m.Method)
	}
	switch {
	case m.Path != "":
		parts = append(parts, "path "+m.Path)
	case m.Regex != "":
		parts = append(parts, "path like "+m.Regex)
	case m.Prefix == "/" || m.Prefix == "":
		if len(m.Headers)+len(m.Query)+len(parts) == 0 {
			return "all requests"
		}
	default:
		parts = append(parts, "path below "+m.Prefix)
	}
	for _, h := range m.Headers {
		parts = append(parts, "header "+h.Name+" "+valueText(h))
	}
	for _, q := range m.Query {
		parts = append(parts, "query "+q.Name+" "+valueText(q))
	}
	return strings.Join(parts, ", ")
}

func valueText(v ir.ValueMatch) string {
	switch v.Type {
	case ir.MatchPresent:
		return "present"
	case ir.MatchAbsent:
		return "absent"
	case ir.MatchRegex:
		return "like " + v.Value
	case ir.MatchPrefix:
		return "begins with " + v.Value
	case ir.MatchExact:
	}
	return "is " + v.Value
}

// action tells in words what a route does.
func action(r *ir.Route) string {
	var steps []string
	for _, c := range []struct {
		what string
		h    ir.HeaderChange
	}{{"request", r.RequestHeaders}, {"response", r.ResponseHeaders}} {
		steps = append(steps, headerSteps(c.what, c.h)...)
	}
	for _, m := range r.Mirrors {
		share := "all requests"
		if m.Percent != nil {
			share = fmt.Sprintf("%g %% of the requests", float64(*m.Percent))
		}
		steps = append(steps, "copy "+share+" to "+m.Cluster)
	}
	if w := r.Rewrite; w != nil {
		steps = append(steps, rewriteSteps(w)...)
	}
	switch {
	case r.Redirect != nil:
		steps = append(steps, redirectText(r.Redirect))
	case r.Respond != nil:
		steps = append(steps, fmt.Sprintf("answer with %d", r.Respond.StatusCode))
	default:
		for _, s := range shares(r.Splits) {
			if len(r.Splits) == 1 {
				steps = append(steps, "send to "+s.Cluster)
				continue
			}
			steps = append(steps, fmt.Sprintf("send %.4g %% to %s", s.Percent, s.Cluster))
		}
	}
	return strings.Join(steps, "; ")
}

func headerSteps(what string, h ir.HeaderChange) []string {
	var out []string
	for _, x := range h.Set {
		out = append(out, fmt.Sprintf("set the %s header %s to %q", what, x.Name, x.Value))
	}
	for _, x := range h.Add {
		out = append(out, fmt.Sprintf("add the %s header %s: %q", what, x.Name, x.Value))
	}
	for _, x := range h.Remove {
		out = append(out, fmt.Sprintf("remove the %s header %s", what, x))
	}
	return out
}

func rewriteSteps(w *ir.Rewrite) []string {
	var out []string
	if w.Host != "" {
		out = append(out, "change the host to "+w.Host)
	}
	if w.HostToBackend {
		out = append(out, "change the host to the endpoint's")
	}
	if w.Path != nil {
		out = append(out, "change the path to "+*w.Path)
	}
	if w.Prefix != nil {
		out = append(out, "change the matched prefix to "+*w.Prefix)
	}
	if r := w.PathRegex; r != nil {
		out = append(out, fmt.Sprintf("replace %s in the path by %s", r.Pattern, r.Substitution))
	}
	if r := w.HostFromPath; r != nil {
		out = append(out, fmt.Sprintf("take the host from the path, by %s and %s", r.Pattern, r.Substitution))
	}
	return out
}

func redirectText(r *ir.Redirect) string {
	parts := []string{fmt.Sprintf("redirect with %d", r.StatusCode)}
	for _, p := range []struct{ what, value string }{{"scheme", r.Scheme}, {"host", r.Host}} {
		if p.value != "" {
			parts = append(parts, p.what+" "+p.value)
		}
	}
	if r.Port != 0 {
		parts = append(parts, fmt.Sprintf("port %d", r.Port))
	}
	if r.Path != nil {
		parts = append(parts, "path "+*r.Path)
	}
	if r.Prefix != nil {
		parts = append(parts, "prefix "+*r.Prefix)
	}
	return strings.Join(parts, ", ")
}

// holds tells whether a client with these names in its certificate meets a
// principal's conditions.
func holds(p ir.Principal, names []string) bool {
	all := func(ms []ir.IdentityMatch) bool {
		for _, m := range ms {
			if m.Among(names) == m.Not {
				return false
			}
		}
		return true
	}
	if !all(p.All) {
		return false
	}
	for _, e := range p.Except {
		if all(e) {
			return false
		}
	}
	return true
}
