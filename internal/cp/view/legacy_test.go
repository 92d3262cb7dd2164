package view_test

import (
	"testing"
	"time"

	"weft/internal/cp/view"
	"weft/internal/mesh/catalog"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
	"weft/internal/testkit/corpus"
)

// TestOlderPoliciesCount changes older policies and wants other fingerprints of
// the proxies that they concern, and equal ones of the others.
func TestOlderPoliciesCount(t *testing.T) {
	decode := func(doc string) *model.Object {
		o, err := catalog.Decode([]byte(doc))
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	base := []*model.Object{decode(`{"type": "Mesh", "name": "m"}`)}
	for _, s := range []string{"web", "api"} {
		base = append(base, decode(`{"type": "Dataplane", "mesh": "m", "name": "`+s+`", "networking": {"address": "10.0.0.1",
			"inbound": [{"port": 80, "tags": {"kuma.io/service": "`+s+`", "kuma.io/protocol": "http"}}],
			"outbound": [{"port": 81, "tags": {"kuma.io/service": "db"}}]}}`))
	}
	prints := func(v *view.Mesh) map[string]model.Hash {
		out := map[string]model.Hash{}
		for _, p := range []string{"web", "api"} {
			in, ok := v.For(kinds.Dataplane, p, view.Metadata{})
			if !ok {
				t.Fatalf("there is no proxy %s", p)
			}
			out[p] = in.Fingerprint()
		}
		return out
	}
	retry := func(n, created string) *model.Object {
		o := decode(`{"type": "Retry", "mesh": "m", "name": "r", "sources": [{"match": {"kuma.io/service": "web"}}],
			"destinations": [{"match": {"kuma.io/service": "*"}}], "conf": {"http": {"numRetries": ` + n + `}}}`)
		at, err := time.Parse(time.RFC3339, created)
		if err != nil {
			t.Fatal(err)
		}
		o.Meta.Created = at
		return o
	}
	const early, late = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"
	v := view.NewMesh("m", settings()).Next(corpus.NewTables(base...))
	before := prints(v)
	for _, step := range []struct {
		name   string
		policy *model.Object
	}{
		{"is made", retry("1", early)},
		{"is changed", retry("2", early)},
		{"is made anew", retry("2", late)},
	} {
		v = v.Next(corpus.NewTables(append([]*model.Object{step.policy}, base...)...))
		after := prints(v)
		if after["web"] == before["web"] {
			t.Errorf("a policy %s, and the proxy that it selects does not change", step.name)
		}
		if after["api"] != before["api"] {
			t.Errorf("a policy %s, and a proxy that it does not select changes", step.name)
		}
		before = after
	}
}
