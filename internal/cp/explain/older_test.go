package explain_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"weft/internal/cp/explain"
	"weft/internal/cp/view"
	"weft/internal/testkit/corpus"
)

const meeting = `
type: Mesh
name: default
mtls: {enabledBackend: ca, backends: [{name: ca, type: builtin}]}
---
type: Dataplane
mesh: default
name: api-1
networking:
  address: 10.0.0.1
  inbound:
    - {port: 80, name: api, tags: {kuma.io/service: api, kuma.io/protocol: http}}
    - {port: 81, name: admin, tags: {kuma.io/service: admin, kuma.io/protocol: http}}
---
type: TrafficPermission
mesh: default
name: older
sources: [{match: {kuma.io/service: "*"}}]
destinations: [{match: {kuma.io/service: "*"}}]
---
type: RateLimit
mesh: default
name: older
sources: [{match: {kuma.io/service: "*"}}]
destinations: [{match: {kuma.io/service: api}}]
conf: {http: {requests: 5, interval: 1s}}
---
type: FaultInjection
mesh: default
name: older
sources: [{match: {kuma.io/service: "*"}}]
destinations: [{match: {kuma.io/service: api, kuma.io/protocol: http}}]
conf: {abort: {percentage: 1, httpStatus: 500}}
---
type: MeshRateLimit
mesh: default
name: newer
spec:
  targetRef: {kind: Mesh, proxyTypes: [Sidecar]}
  rules: [{default: {local: {http: {requestRate: {num: 9, interval: 1s}}}}}]
---
type: MeshFaultInjection
mesh: default
name: newer
spec:
  targetRef: {kind: Mesh, proxyTypes: [Sidecar]}
  from: [{targetRef: {kind: Mesh}, default: {http: [{abort: {httpStatus: 500, percentage: 1}}]}}]
---
type: MeshTrafficPermission
mesh: default
name: newer
spec:
  targetRef: {kind: Dataplane, sectionName: api}
  from: [{targetRef: {kind: Mesh}, default: {action: Allow}}]
`

// TestOlderMeetsNewer: of an older and a newer policy on an inbound only the one
// that is in force is told.
func TestOlderMeetsNewer(t *testing.T) {
	input := filepath.Join(t.TempDir(), "input.yaml")
	if err := os.WriteFile(input, []byte(meeting), 0o600); err != nil {
		t.Fatal(err)
	}
	tables := corpus.NewTables(corpus.Led(t, corpus.Inputs(t, input))...)
	s, ok := subject(t, view.NewMesh("default", settings()).Next(tables), "api-1")
	if !ok {
		t.Fatal("there is no api-1")
	}
	got := map[string][]string{}
	for _, in := range explain.Of(s).Inbounds {
		for _, v := range in.Policies {
			if !v.Unused && v.Kind != "MeshTimeout" { // a new mesh has MeshTimeouts
				got[in.Service] = append(got[in.Service], v.Kind)
			}
		}
		for _, c := range in.Clients {
			if !c.Unused {
				got[in.Service] = append(got[in.Service], c.Kind)
			}
		}
		for _, o := range in.Older {
			got[in.Service] = append(got[in.Service], o.Kind)
		}
	}
	want := map[string][]string{
		"api":   {"MeshTrafficPermission", "FaultInjection", "RateLimit"},
		"admin": {"MeshRateLimit", "MeshFaultInjection", "TrafficPermission"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}
