package rest

import (
	"net/http"
	"path"
	"slices"
	"strings"
)

// handler answers one request; what it returns is written by the server.
type handler func(c *call) (*reply, error)

// route is a method and a path pattern with its handler. title heads the error
// body when the handler fails.
type route struct {
	method  string
	handle  handler
	title   string
	open    bool // answered without looking at credentials
	page    bool // a web page, which is no JSON
	pattern string
}

// node is one path segment; params are segments like {name}.
type node struct {
	literal map[string]*node
	param   *node
	rest    bool // matches everything below
	routes  []*route
}

// router finds routes by path. It is filled once and then only read.
type router struct{ root node }

// add registers a route. Patterns are /-separated; {x} matches one segment,
// {x...} everything that follows.
func (t *router) add(r route) {
	n := &t.root
	for _, seg := range segments(r.pattern) {
		switch {
		case strings.HasPrefix(seg, "{"):
			if n.param == nil {
				n.param = &node{rest: strings.HasSuffix(seg, "...}")}
			}
			n = n.param
		default:
			if n.literal == nil {
				n.literal = map[string]*node{}
			}
			if n.literal[seg] == nil {
				n.literal[seg] = &node{}
			}
			n = n.literal[seg]
		}
	}
	n.routes = append(n.routes, &r)
}

// find returns the routes of a path with the values of its parameters; none =
// no such page. A literal segment wins over a parameter.
func (t *router) find(p string) ([]*route, map[string]string) {
	n, values := walk(&t.root, segments(p), nil)
	if n == nil {
		return nil, nil
	}
	// Patterns that share a node may call their parameters differently, but the
	// routes of one node never do.
	params := make(map[string]string, len(values))
	for _, seg := range segments(n.routes[0].pattern) {
		if name, is := strings.CutPrefix(seg, "{"); is {
			params[strings.TrimRight(name, ".}")] = values[0]
			values = values[1:]
		}
	}
	return n.routes, params
}

// walk returns the node of a path with the values of the parameters on the way.
func walk(n *node, segs, values []string) (*node, []string) {
	if len(segs) == 0 {
		if len(n.routes) == 0 {
			return nil, nil
		}
		return n, values
	}
	if next := n.literal[segs[0]]; next != nil {
		if hit, vs := walk(next, segs[1:], values); hit != nil {
			return hit, vs
		}
	}
	if n.param == nil {
		return nil, nil
	}
	if n.param.rest {
		return n.param, append(values, strings.Join(segs, "/"))
	}
	return walk(n.param, segs[1:], append(values, segs[0]))
}

func segments(p string) []string {
	p = strings.Trim(p, "/")
	if p == "" {
		return nil
	}
	return strings.Split(p, "/")
}

// methods lists the methods of routes in the order of registration.
func methods(rs []*route) []string {
	var out []string
	for _, r := range rs {
		if !slices.Contains(out, r.method) {
			out = append(out, r.method)
		}
	}
	return out
}

// cleaned returns the path that a request should have used where it has empty
// or dot segments.
func cleaned(p string) (string, bool) {
	if p == "" {
		return "/", true
	}
	c := path.Clean(p)
	if len(c) > 1 && strings.HasSuffix(p, "/") {
		c += "/"
	}
	return c, c != p
}

// plain answers with a line of text, as for pages that do not exist.
func plain(w http.ResponseWriter, r *http.Request, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write([]byte(text))
	}
}
