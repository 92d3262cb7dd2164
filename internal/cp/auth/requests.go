package auth

import (
	"context"
	"slices"
	"time"

	"weft/internal/mesh/model"
	"weft/internal/mesh/token"
)

// DataplaneTokenRequest is the body of POST /tokens/dataplane.
type DataplaneTokenRequest struct {
	// Name of the proxy; empty = every proxy.
	Name string `json:"name"`
	// Mesh of the proxy.
	Mesh string `json:"mesh"`
	// Tags that the proxy may have, with the values that are allowed.
	Tags map[string][]string `json:"tags"`
	// Type of the proxy: dataplane, ingress or egress; empty = dataplane.
	Type string `json:"type"`
	// ValidFor is a duration; empty = ten years.
	ValidFor string `json:"validFor"`
}

// ZoneTokenRequest is the body of POST /tokens/zone.
type ZoneTokenRequest struct {
	// Zone that the token is for.
	Zone string `json:"zone"`
	// Scope is what the token is good for: ingress, egress.
	Scope []string `json:"scope"`
	// ValidFor is a duration; empty = ten years.
	ValidFor string `json:"validFor"`
}

// UserTokenRequest is the body of POST /tokens/user.
type UserTokenRequest struct {
	// Name of the user.
	Name string `json:"name"`
	// Groups of the user.
	Groups []string `json:"groups"`
	// ValidFor is a duration.
	ValidFor string `json:"validFor"`
}

// Issue checks the request and issues the token. What is wrong with the request
// is a *model.Invalid.
func (r *DataplaneTokenRequest) Issue(ctx context.Context, t *Tokens) (string, error) {
	var v model.Violations
	if r.Mesh == "" {
		v.At("mesh").Add("must not be empty")
	}
	if !slices.Contains([]string{"", token.TypeDataplane, token.TypeIngress, token.TypeEgress}, r.Type) {
		v.At("type").Add("%.60q is no type of proxy; use dataplane, ingress or egress", r.Type)
	}
	d := validFor(&v, r.ValidFor, token.DefaultValidity)
	if err := v.Err(); err != nil {
		return "", err
	}
	return t.IssueDataplane(ctx, &token.Dataplane{Name: r.Name, Mesh: r.Mesh, Tags: r.Tags, Type: r.Type}, d)
}

// Issue checks the request and issues the token.
func (r *ZoneTokenRequest) Issue(ctx context.Context, t *Tokens) (string, error) {
	var v model.Violations
	if r.Zone == "" {
		v.At("zone").Add("must not be empty")
	}
	if len(r.Scope) == 0 {
		v.At("scope").Add("must not be empty; use ingress, egress or both")
	}
	for i, s := range r.Scope {
		if !slices.Contains([]string{token.TypeIngress, token.TypeEgress, token.ScopeCP}, s) {
			v.At("scope", i).Add("%.60q is no scope; use ingress or egress", s)
		}
	}
	d := validFor(&v, r.ValidFor, token.DefaultValidity)
	if err := v.Err(); err != nil {
		return "", err
	}
	return t.IssueZone(ctx, &token.Zone{Zone: r.Zone, Scope: r.Scope}, d)
}

// Issue checks the request and issues the token.
func (r *UserTokenRequest) Issue(ctx context.Context, t *Tokens) (string, error) {
	var v model.Violations
	if r.Name == "" {
		v.At("name").Add("must not be empty")
	}
	d := validFor(&v, r.ValidFor, 0)
	if err := v.Err(); err != nil {
		return "", err
	}
	return t.IssueUser(ctx, &token.User{Name: r.Name, Groups: r.Groups}, d)
}

// maxValidity bounds what is asked for, so that dates stay within JSON's and JWT's reach.
const maxValidity = 100 * 365 * 24 * time.Hour

// validFor reads a duration; empty is what the kind of token has by default, 0 = it
// must be given.
func validFor(v *model.Violations, text string, byDefault time.Duration) time.Duration {
	at := v.At("validFor")
	if text == "" {
		if byDefault == 0 {
			at.Add("must not be empty; say how long the token is valid, such as 24h")
		}
		return byDefault
	}
	d, err := time.ParseDuration(text)
	switch {
	case err != nil:
		at.Add("%.60q is not a duration; write it like 24h or 90m", text)
	case d <= 0:
		at.Add("%s would make a token that has already expired; use something like 24h", d)
	case d > maxValidity:
		at.Add("%s is too long; a hundred years are the most", d)
	}
	return d
}
