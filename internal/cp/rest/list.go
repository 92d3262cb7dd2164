package rest

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"weft/internal/cp/store"
	"weft/internal/mesh/model"
)

// Sizes of pages.
const (
	defaultPage = 100
	maxPage     = 1000
)

// page is a part of a list.
type page struct {
	Total int     `json:"total"`
	Items []any   `json:"items"`
	Next  *string `json:"next"`
}

// list answers with a page of a kind's objects.
func (s *Server) list(k *model.Kind) handler {
	return func(c *call) (*reply, error) {
		objs, err := s.matching(c, k)
		if err != nil {
			return nil, err
		}
		var hidden error
		rep, err := paged(c, len(objs), func(i int) any {
			o, err := s.visible(c.user, objs[i])
			if err != nil {
				hidden = err
			}
			return o
		})
		if hidden != nil {
			return nil, hidden
		}
		return rep, err
	}
}

// matching returns the objects of a kind that the path and the filters select.
func (s *Server) matching(c *call, k *model.Kind) ([]*model.Object, error) {
	if err := s.Access.Read(c.user, k); err != nil {
		return nil, err
	}
	if err := s.inMesh(c.Context(), k, c.params["mesh"]); err != nil {
		return nil, err
	}
	keep, err := filters(c, k)
	if err != nil {
		return nil, err
	}
	// Lists are for reading: a replica of the database may answer.
	objs, err := s.Store.List(store.AllowStale(c.Context()), k, c.params["mesh"])
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", k.Plural, err)
	}
	out := make([]*model.Object, 0, len(objs))
	for _, o := range objs {
		if keep(o) {
			out = append(out, o)
		}
	}
	return out, nil
}

// paged cuts the page that the query asks for out of n items.
func paged(c *call, n int, item func(i int) any) (*reply, error) {
	size, offset, err := window(c.URL.Query())
	if err != nil {
		return nil, err
	}
	if size == 0 {
		size = n
	}
	p := page{Total: n, Items: []any{}}
	for i := offset; i < n && i < offset+size; i++ {
		p.Items = append(p.Items, item(i))
	}
	if offset+size < n {
		next := nextURL(c.Request, offset+size)
		p.Next = &next
	}
	return ok(p), nil
}

func window(q url.Values) (size, offset int, err error) {
	size = defaultPage
	if v := q.Get("size"); v != "" {
		size, err = strconv.Atoi(v)
		if err != nil || size < 0 {
			return 0, 0, pageFailure("Invalid page size", "size", "must be a whole number from 0 to 1000")
		}
		if size > maxPage {
			return 0, 0, pageFailure("Invalid page size", "size", fmt.Sprintf("%d is more than the largest page, %d", size, maxPage))
		}
	}
	if v := q.Get("offset"); v != "" {
		offset, err = strconv.Atoi(v)
		if err != nil || offset < 0 {
			return 0, 0, pageFailure("Invalid offset", "offset", "must be the offset of a next link")
		}
	}
	return size, offset, nil
}

func pageFailure(detail, field, reason string) error {
	return &failure{status: http.StatusBadRequest, detail: detail, params: []param{{field, reason}}}
}

// nextURL repeats the request with another offset.
func nextURL(r *http.Request, offset int) string {
	u := *r.URL
	u.Scheme, u.Host = "http", r.Host
	if r.TLS != nil {
		u.Scheme = "https"
	}
	q := u.Query()
	q.Set("offset", strconv.Itoa(offset))
	u.RawQuery = q.Encode()
	return u.String()
}

// predicate decides whether an object is in the list.
type predicate func(o *model.Object) bool

// filters reads name, filter[labels.x] and what the kind has of its own.
func filters(c *call, k *model.Kind) (predicate, error) {
	q := c.URL.Query()
	var all []predicate
	if name := q.Get("name"); name != "" {
		all = append(all, func(o *model.Object) bool { return strings.Contains(o.Meta.Name, name) })
	}
	labels, err := labelFilters(c, q)
	if err != nil {
		return nil, err
	}
	if len(labels) > 0 {
		all = append(all, func(o *model.Object) bool {
			for key, want := range labels {
				if got, has := o.Meta.Labels[key]; !has || got != want {
					return false
				}
			}
			return true
		})
	}
	own, err := kindFilters(c, k, q)
	if err != nil {
		return nil, err
	}
	all = append(all, own...)
	return func(o *model.Object) bool {
		for _, p := range all {
			if !p(o) {
				return false
			}
		}
		return true
	}, nil
}

// labelFilters reads filter[labels.<key>]=<value>; the last value of a key counts.
func labelFilters(c *call, q url.Values) (map[string]string, error) {
	out := map[string]string{}
	var v model.Violations
	for _, key := range slices.Sorted(maps.Keys(q)) {
		vals := q[key]
		inner, is := strings.CutPrefix(key, "filter[")
		if !is {
			continue
		}
		at := v.At(c.pattern + "." + key)
		inner, closed := strings.CutSuffix(inner, "]")
		label, isLabel := strings.CutPrefix(inner, "labels.")
		switch {
		case !closed:
			at.Add("misses the closing bracket: filter[labels.<key>]=<value>")
		case !isLabel:
			at.Add("can only filter by label: filter[labels.<key>]=<value>")
		case strings.ContainsAny(label, "[]"):
			at.Add("has no operators: only equality, filter[labels.<key>]=<value>")
		}
		out[label] = vals[len(vals)-1]
	}
	return out, v.Err()
}

func invalid(field, reason string) error {
	return &model.Invalid{Violations: []model.Violation{{Field: field, Message: reason}}}
}
