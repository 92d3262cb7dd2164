package explain_test

import (
	"encoding/json"
	"strings"
	"testing"

	"weft/internal/cp/explain"
)

// transparent returns a Dataplane whose traffic is redirected.
func transparent(name, service string) object {
	d := dataplane(name, service, nil)
	d["networking"].(object)["transparentProxying"] = object{"redirectPortInbound": 15006, "redirectPortOutbound": 15001}
	delete(d["networking"].(object), "outbound")
	return d
}

func policyOf(kind string, spec object) object {
	return object{"type": kind, "mesh": "m", "name": strings.ToLower(kind), "spec": spec}
}

var wholeMesh = object{"kind": "Mesh"}

// TestSituations asks about requests whose fate is decided by something else
// than a route. parts are texts of the answer.
func TestSituations(t *testing.T) {
	exits := policyOf("MeshPassthrough", object{"targetRef": wholeMesh, "default": object{"passthroughMode": "Matched", "appendMatch": []object{
		{"type": "Domain", "value": "*.example.org", "protocol": "tls", "port": 443},
		{"type": "Domain", "value": "plain.example.org", "protocol": "http", "port": 80},
		{"type": "CIDR", "value": "192.0.2.0/24", "protocol": "tcp"},
		{"type": "IP", "value": "2001:db8::1", "protocol": "tcp", "port": 5432},
	}}})
	none := policyOf("MeshPassthrough", object{"targetRef": wholeMesh, "default": object{"passthroughMode": "None"}})
	open := []object{{"type": "Mesh", "name": "m"}, dataplane("web-1", "web", nil), dataplane("api-1", "api", nil), transparent("job-1", "job")}
	with := func(base []object, more ...object) []object { return append(append([]object{}, base...), more...) }
	secured := func(mode string, more ...object) []object { return with(open[1:], append(more, mtlsMesh(mode))...) }
	local := policyOf("MeshLoadBalancingStrategy", object{"targetRef": wholeMesh, "to": []object{{
		"targetRef": object{"kind": "MeshService", "name": "api"},
		"default":   object{"localityAwareness": object{"localZone": object{"affinityTags": []object{{"key": "k"}}}}},
	}}})
	away := dataplane("api-2", "api", object{"kuma.io/zone": "moon"})
	near := dataplane("api-3", "api", object{"kuma.io/zone": "default"})
	other := policyOf("MeshHTTPRoute", object{"targetRef": wholeMesh, "to": []object{{"targetRef": object{"kind": "MeshService", "name": "api"}, "rules": []object{{
		"matches": []object{{"path": object{"type": "PathPrefix", "value": "/"}}},
		"default": object{"backendRefs": []object{{"kind": "MeshService", "name": "web"}}},
	}}}}})
	breaker := policyOf("MeshCircuitBreaker", object{"targetRef": wholeMesh, "to": []object{{
		"targetRef": object{"kind": "MeshService", "name": "web"}, "default": object{"connectionLimits": object{"maxConnections": 7}},
	}}})
	named := object{"type": "MeshService", "mesh": "m", "name": "api", "spec": object{
		"selector": object{"dataplaneTags": object{"kuma.io/service": "api"}}, "ports": []object{{"port": 8080, "targetPort": 80, "appProtocol": "http"}},
	}, "status": object{"vips": []object{{"ip": "241.0.0.9"}}, "addresses": []object{{"hostname": "api.svc.mesh.local", "status": "Available"}}}}
	sick := dataplane("api-4", "api", nil)
	sick["networking"].(object)["inbound"].([]object)[0]["state"] = "NotReady"
	for name, c := range map[string]struct {
		docs    []object
		from    string
		to      string
		outcome explain.Outcome
		parts   []string
		no      string
	}{
		"TLS of the client":       {open, "web-1", "https://127.0.0.1:10001/", explain.Refused, []string{"plain http"}, `"clusters"`},
		"no mutual TLS":           {open, "web-1", "api", explain.Forwarded, []string{"plain text", "everybody may connect"}, ""},
		"no permission":           {secured("STRICT"), "web-1", "api", explain.Refused, []string{"no permission is about this inbound"}, ""},
		"permissive":              {secured("PERMISSIVE"), "web-1", "api", explain.Forwarded, []string{"plain text is let in"}, ""},
		"another service":         {with(open, other, breaker), "web-1", "api", explain.Forwarded, []string{"connectionLimits.maxConnections", `"proxy":"web-1"`}, ""},
		"locality":                {with(open, local, away, near), "web-1", "api", explain.Forwarded, []string{"zone moon, which no rule", `"zone":"default"`}, ""},
		"redirected, free":        {open, "job-1", "http://plain.example.org", explain.PassedOn, []string{"may leave"}, ""},
		"redirected, none":        {with(open, none), "job-1", "http://plain.example.org", explain.Refused, []string{"forbids", `"name":"meshpassthrough"`}, ""},
		"a domain":                {with(open, exits), "job-1", "http://plain.example.org", explain.PassedOn, []string{"allows"}, ""},
		"a domain in capitals":    {with(open, exits), "job-1", "https://API.Example.org", explain.PassedOn, []string{"allows"}, ""},
		"a domain, not TLS":       {with(open, exits), "job-1", "http://api.example.org:443", explain.Refused, []string{"no match", "unless by an address"}, ""},
		"a domain, but TLS":       {with(open, exits), "job-1", "https://plain.example.org:80", explain.Refused, []string{"no match"}, ""},
		"an address in a range":   {with(open, exits), "job-1", "192.0.2.7:22", explain.PassedOn, []string{"allows"}, ""},
		"an address, another":     {with(open, exits), "job-1", "192.0.3.7:22", explain.Refused, []string{"no match"}, "unless"},
		"IPv6, written at length": {with(open, exits), "job-1", "[2001:db8:0::1]:5432", explain.PassedOn, []string{"allows"}, ""},
		"around the mesh":         {open, "job-1", "10.0.97.2:80", explain.PassedOn, []string{"port 80 of the proxy api-1, but not through the mesh"}, ""},
		"around, with TLS":        {secured("STRICT"), "job-1", "http://10.0.97.2", explain.Refused, []string{"takes mutual TLS only", "by its name"}, ""},
		"a host name":             {with(open, named), "job-1", "http://api.svc.mesh.local:8080/x", explain.Forwarded, []string{`"name":"api.svc.mesh.local"`, `"kind":"MeshService"`, `"proxy":"api-1"`}, ""},
		"a host name, wrong port": {with(open, named), "job-1", "http://api.svc.mesh.local/x", explain.Refused, []string{"known on port 8080 only"}, ""},
		"a virtual address":       {with(open, named), "job-1", "241.0.0.9:8080", explain.Forwarded, []string{`"kind":"MeshService"`}, ""},
		"resource, not ready":     {with(open, named, sick), "job-1", "241.0.0.9:8080", explain.Forwarded, []string{`"leftOut":[{"proxy":"api-4"`, "not ready"}, ""},
	} {
		b, err := json.Marshal(asker(t, c.docs)(c.from, c.to))
		if err != nil {
			t.Fatal(err)
		}
		text := string(b)
		for _, p := range append(c.parts, `"outcome":"`+string(c.outcome)+`"`) {
			if !strings.Contains(text, p) {
				t.Errorf("%s: no %q in %s", name, p, text)
			}
		}
		if c.no != "" && strings.Contains(text, c.no) {
			t.Errorf("%s: %q in %s", name, c.no, text)
		}
	}
}
