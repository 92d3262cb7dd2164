package rest

import (
	"net/url"
	"strings"

	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// kindFilters reads the query parameters that only some kinds have.
func kindFilters(c *call, k *model.Kind, q url.Values) ([]predicate, error) {
	switch k {
	case kinds.Dataplane:
		gateway, err := gatewayFilter(c, q.Get("gateway"))
		if err != nil {
			return nil, err
		}
		tags := tagFilters(q)
		return []predicate{gateway, func(o *model.Object) bool {
			return tags.match(model.Spec[kinds.DataplaneSpec](o).Tags())
		}}, nil
	case kinds.ExternalService:
		tags := tagFilters(q)
		return []predicate{func(o *model.Object) bool {
			return tags.match(multi(model.Spec[kinds.ExternalServiceSpec](o).Tags))
		}}, nil
	}
	return nil, nil
}

// gatewayFilter reads gateway=true|false|builtin|delegated.
func gatewayFilter(c *call, v string) (predicate, error) {
	spec := func(o *model.Object) *kinds.DataplaneSpec { return model.Spec[kinds.DataplaneSpec](o) }
	switch strings.ToLower(v) {
	case "":
		return func(*model.Object) bool { return true }, nil
	case "true":
		return func(o *model.Object) bool { return spec(o).Gateway() != nil }, nil
	case "false":
		return func(o *model.Object) bool { return spec(o).Gateway() == nil }, nil
	case "builtin":
		return func(o *model.Object) bool { return spec(o).IsBuiltinGateway() }, nil
	case "delegated":
		return func(o *model.Object) bool { return spec(o).IsDelegatedGateway() }, nil
	}
	return nil, invalid(c.pattern+".gateway", "must be true, false, builtin or delegated, not "+v)
}

// tagQuery is tag=<key>:<part of a value>, repeated.
type tagQuery []struct{ key, part string }

func tagFilters(q url.Values) tagQuery {
	var out tagQuery
	for _, t := range q["tag"] {
		if key, part, ok := strings.Cut(t, ":"); ok {
			out = append(out, struct{ key, part string }{key, part})
		}
	}
	return out
}

func (t tagQuery) match(tags kinds.MultiTags) bool {
	for _, want := range t {
		hit := false
		for _, v := range tags[want.key] {
			hit = hit || strings.Contains(v, want.part)
		}
		if !hit {
			return false
		}
	}
	return true
}

func multi(tags map[string]string) kinds.MultiTags {
	out := make(kinds.MultiTags, len(tags))
	for k, v := range tags {
		out[k] = []string{v}
	}
	return out
}
