package explain_test

import (
	"strings"
	"testing"

	"weft/internal/cp/explain"
)

// What becomes of a request to the outside is decided at the egress.
func TestThroughTheEgress(t *testing.T) {
	permit := object{"type": "MeshTrafficPermission", "mesh": "m", "name": "web", "spec": object{
		"targetRef": object{"kind": "MeshSubset", "tags": object{"kind": "public"}},
		"from":      []object{{"targetRef": object{"kind": "MeshService", "name": "web"}, "default": object{"action": "Allow"}}},
	}}
	docs := func(forbid bool, more ...object) []object {
		mesh := mtlsMesh("STRICT")
		mesh["routing"] = object{"zoneEgress": true, "defaultForbidMeshExternalServiceAccess": forbid}
		var list []object
		for _, name := range []string{"web", "cron"} {
			list = append(list, object{"type": "Dataplane", "mesh": "m", "name": name, "networking": object{
				"address": "10.0.0.1", "inbound": []object{{"port": 80, "tags": object{"kuma.io/service": name}}},
				"outbound": []object{
					{"port": 7001, "tags": object{"kuma.io/service": "site"}},
					{"port": 7002, "backendRef": object{"kind": "MeshExternalService", "name": "shop", "port": 443}},
				},
			}})
		}
		return append(append(list, more...), mesh,
			object{"type": "ZoneEgress", "name": "e", "networking": object{"address": "10.0.0.9", "port": 10002}},
			object{"type": "ExternalService", "mesh": "m", "name": "site", "tags": object{"kuma.io/service": "site", "kuma.io/protocol": "http", "kind": "public"}, "networking": object{"address": "192.0.2.1:80"}},
			object{"type": "MeshExternalService", "mesh": "m", "name": "shop", "spec": object{
				"match": object{"type": "HostnameGenerator", "port": 443, "protocol": "tcp"}, "endpoints": []object{{"address": "192.0.2.2", "port": 8443}},
			}})
	}
	for name, c := range map[string]struct {
		docs       []object
		from, to   string
		outcome    explain.Outcome
		why, leads string
	}{
		"allowed":        {docs(false, permit), "web", "site", explain.Forwarded, "allowed by MeshTrafficPermission web", "192.0.2.1"},
		"another client": {docs(false, permit), "cron", "site", explain.Refused, "MeshTrafficPermission web", "192.0.2.1"},
		"no permission":  {docs(false), "web", "site", explain.Refused, "write a MeshTrafficPermission", "192.0.2.1"},
		"resource":       {docs(false), "web", "shop", explain.Forwarded, "members of the mesh", "192.0.2.2"},
		"forbidden":      {docs(true), "web", "shop", explain.Refused, "routing.defaultForbid", "192.0.2.2"},
	} {
		a := asker(t, c.docs)(c.from, c.to)
		if a.Outcome != c.outcome || len(a.Clusters) != 1 || len(a.Clusters[0].Servers) != 1 {
			t.Errorf("%s: %s, %s, clusters %+v", name, a.Outcome, a.Why, a.Clusters)
			continue
		}
		s := a.Clusters[0].Servers[0]
		if !s.Egress || s.Proxy != "e" || !strings.Contains(s.Why, c.why) || len(s.LeadsTo) != 1 || s.LeadsTo[0].Address != c.leads {
			t.Errorf("%s: %+v", name, s)
		}
	}
}
