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
	pattern string
}

// node is one path segment; params are segments like {name}.
type node struct {
	literal map[string]*node
	param   *node
	name    string // of the parameter that leads here
	rest    bool   // matches everything below
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
			name := strings.Trim(seg, "{}")
			if n.param == nil {
				n.param = &node{name: strings.TrimSuffix(name, "..."), rest: strings.HasSuffix(name, "...")}
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
	params := map[string]string{}
	if n := walk(&t.root, segments(p), params); n != nil {
		return n.routes, params
	}
	return nil, nil
}

func walk(n *node, segs []string, params map[string]string) *node {
	if len(segs) == 0 {
		if len(n.routes) == 0 {
			return nil
		}
		return n
	}
	if next := n.literal[segs[0]]; next != nil {
		if hit := walk(next, segs[1:], params); hit != nil {
			return hit
		}
	}
	if n.param == nil {
		return nil
	}
	if n.param.rest {
		params[n.param.name] = strings.Join(segs, "/")
		return n.param
	}
	if hit := walk(n.param, segs[1:], params); hit != nil {
		params[n.param.name] = segs[0]
		return hit
	}
	return nil
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
