package rest_test

import (
	"fmt"
	"testing"
)

// orchard has two proxies and older policies between them.
const orchard = `
{type: Mesh, name: m, skipCreatingInitialPolicies: ["*"]}
---
{type: Dataplane, mesh: m, name: fig-1, networking: {address: 10.0.0.1,
  inbound: [{port: 80, servicePort: 8080, tags: {kuma.io/service: fig, kuma.io/protocol: http}}],
  outbound: [{port: 1000, tags: {kuma.io/service: pear}}, {port: 1001, address: 127.0.0.2, tags: {kuma.io/service: pear}}, {port: 1002, tags: {kuma.io/service: plum}}]}}
---
{type: Dataplane, mesh: m, name: pear-1, networking: {address: 10.0.0.2, inbound: [{port: 80, tags: {kuma.io/service: pear, kuma.io/protocol: http}}]}}
---
{type: Timeout, mesh: m, name: wide, sources: [{match: {kuma.io/service: '*'}}], destinations: [{match: {kuma.io/service: '*'}}], conf: {connectTimeout: 1s}}
---
{type: Timeout, mesh: m, name: narrow, sources: [{match: {kuma.io/service: fig}}], destinations: [{match: {kuma.io/service: pear}}], conf: {connectTimeout: 2s}}
---
{type: HealthCheck, mesh: m, name: ping, sources: [{match: {kuma.io/service: fig}}], destinations: [{match: {kuma.io/service: pear}}],
  conf: {interval: 1s, timeout: 1s, unhealthyThreshold: 1, healthyThreshold: 1}}
---
{type: TrafficPermission, mesh: m, name: allow, sources: [{match: {kuma.io/service: fig}}], destinations: [{match: {kuma.io/service: pear}}]}
---
{type: TrafficTrace, mesh: m, name: trace, selectors: [{match: {kuma.io/service: fig}}]}
`

func TestLegacyInspectionOfParts(t *testing.T) {
	w := newInspected(t, nil)
	w.put(orchard)
	item := func(dp, attachments string) string {
		return fmt.Sprintf(`{"kind": "SidecarDataplane", "dataplane": {"mesh": "m", "name": %q}, "attachments": [%s]}`, dp, attachments)
	}
	list := func(n int, items string) string { return fmt.Sprintf(`{"total": %d, "items": [%s]}`, n, items) }
	w.expect("/meshes/m/timeouts/narrow/dataplanes", 200, list(1, item("fig-1",
		`{"type": "outbound", "name": "127.0.0.1:1000", "service": "pear"}, {"type": "outbound", "name": "127.0.0.2:1001", "service": "pear"}`)))
	w.expect("/meshes/m/timeouts/wide/dataplanes", 200, list(1, item("fig-1", `{"type": "outbound", "name": "127.0.0.1:1002", "service": "plum"}`)))
	w.expect("/meshes/m/health-checks/ping/dataplanes", 200, list(1, item("fig-1", `{"type": "service", "name": "pear", "service": "pear"}`)))
	w.expect("/meshes/m/traffic-permissions/allow/dataplanes", 200, list(1, item("pear-1", `{"type": "inbound", "name": "10.0.0.2:80:80", "service": "pear"}`)))
	w.expect("/meshes/m/traffic-traces/trace/dataplanes", 200, list(1, item("fig-1", `{"type": "dataplane"}`)))
	w.expect("/meshes/m/timeouts/none/dataplanes", 200, list(0, ""))

	_, body := w.get("/meshes/m/dataplanes/fig-1/policies")
	var got []string
	for _, x := range body.(map[string]any)["items"].([]any) {
		part := x.(map[string]any)
		for kind, metas := range part["matchedPolicies"].(map[string]any) {
			for _, m := range metas.([]any) {
				got = append(got, fmt.Sprintf("%v %v %v %s %v", part["type"], part["name"], part["service"], kind, m.(map[string]any)["name"]))
			}
		}
	}
	want := []string{
		"dataplane <nil> <nil> TrafficTrace trace",
		"outbound 127.0.0.1:1000 pear Timeout narrow", "outbound 127.0.0.2:1001 pear Timeout narrow", "outbound 127.0.0.1:1002 plum Timeout wide",
		"service pear pear HealthCheck ping",
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("policies of fig-1:\n%v\nwant\n%v", got, want)
	}
}
