package explain_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"weft/internal/cp/build"
	"weft/internal/cp/explain"
	"weft/internal/cp/view"
	"weft/internal/mesh/ir"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/policy"
)

// parted are confs of the kinds whose values are for some protocols only. All
// values differ from the defaults.
var parted = map[string]string{
	"MeshTimeout": `{"connectionTimeout":"7s","idleTimeout":"8s","http":{"requestTimeout":"9s","streamIdleTimeout":"10s",
		"maxStreamDuration":"11s","maxConnectionDuration":"12s","requestHeadersTimeout":"13s"}}`,
	"MeshRetry": `{"tcp":{"maxConnectAttempt":7},"http":{"numRetries":7,"perTryTimeout":"8s","retryOn":["5xx"]},
		"grpc":{"numRetries":8,"perTryTimeout":"9s","retryOn":["Internal"]}}`,
	"MeshHealthCheck": `{"interval":"7s","timeout":"3s","healthyThreshold":7,"unhealthyThreshold":9,"healthyPanicThreshold":13,
		"failTrafficOnPanic":true,"initialJitter":"3s","http":{"path":"/x","expectedStatuses":[201]},"grpc":{"serviceName":"x","authority":"y"},
		"tcp":{"send":"eA==","receive":["eQ=="]}}`,
	"MeshRateLimit": `{"local":{"http":{"requestRate":{"num":7,"interval":"9s"},"onRateLimit":{"status":423}},
		"tcp":{"connectionRate":{"num":8,"interval":"3s"}}}}`,
	"MeshLoadBalancingStrategy": `{"loadBalancer":{"type":"RingHash","ringHash":{"minRingSize":7,"hashPolicies":[{"type":"Header","header":{"name":"x"}}]}}}`,
	"MeshCircuitBreaker":        `{"connectionLimits":{"maxConnections":7,"maxRequests":8}}`,
}

// sometimes are values that count where another is switched off.
func sometimes(kind, path string) bool {
	return kind == "MeshHealthCheck" && strings.HasPrefix(path, "tcp.")
}

// TestUnusedMakesNoDifference changes values: those that are said to be without
// effect make no difference to the proxy, all others do.
func TestUnusedMakesNoDifference(t *testing.T) {
	used, unused := 0, 0
	for kind, text := range parted {
		for _, protocol := range []string{"tcp", "http", "http2", "grpc", "kafka", "http as connections"} {
			var conf object
			if err := json.Unmarshal([]byte(text), &conf); err != nil {
				t.Fatal(err)
			}
			with := dressed(t, kind, protocol, conf)
			verdict := verdictOf(t, explain.Of(with), kind)
			for _, v := range verdict.Values {
				var changed object
				if err := json.Unmarshal([]byte(text), &changed); err != nil {
					t.Fatal(err)
				}
				change(changed, strings.Split(v.Path, "."))
				same := plain(t, with.Proxy) == plain(t, dressed(t, kind, protocol, changed).Proxy)
				isUnused := verdict.Unused || v.Unused
				if isUnused {
					unused++
				} else {
					used++
				}
				if same != isUnused && !sometimes(kind, v.Path) {
					t.Errorf("%s %s with %s: said to be unused: %v, but with another the same is built: %v", kind, v.Path, protocol, isUnused, same)
				}
			}
		}
	}
	if used < 40 || unused < 40 {
		t.Errorf("only %d used and %d unused values were looked at", used, unused)
	}
}

// dressed returns a proxy with an inbound and an outbound of a protocol, and a
// policy for them.
func dressed(t *testing.T, kind, protocol string, conf object) explain.Subject {
	t.Helper()
	spec := object{"targetRef": object{"kind": "Mesh"}}
	list := "to"
	if kind == "MeshRateLimit" {
		list = "from"
	}
	spec[list] = []object{{"targetRef": object{"kind": "Mesh"}, "default": conf}}
	protocol, connections := strings.CutSuffix(protocol, " as connections")
	inbound := []object{{"port": 80, "tags": object{"kuma.io/service": "a", "kuma.io/protocol": protocol}}}
	objects := []object{
		{"type": "Mesh", "name": "m"},
		{"type": "Dataplane", "mesh": "m", "name": "a-1", "networking": object{"address": "10.0.0.1", "inbound": inbound,
			"outbound": []object{{"port": 10001, "tags": object{"kuma.io/service": "a"}}}}},
		{"type": kind, "mesh": "m", "name": "p", "spec": spec},
	}
	if connections {
		objects = append(objects, object{"type": "MeshTCPRoute", "mesh": "m", "name": "r", "spec": object{
			"to": []object{{"targetRef": object{"kind": "MeshService", "name": "a"}, "rules": []object{}}},
		}})
	}
	v := view.NewMesh("m", settings()).Next(tablesOf(t, objects))
	in, _ := v.For(kinds.Dataplane, "a-1", view.Metadata{})
	return explain.Subject{Inputs: in, Proxy: build.Proxy(in), Endpoints: v.Endpoints}
}

func verdictOf(t *testing.T, p *explain.Proxy, kind string) policy.Verdict {
	t.Helper()
	for _, list := range [][]policy.Verdict{p.Outbounds[0].Policies, p.Inbounds[0].Policies} {
		if i := slices.IndexFunc(list, func(v policy.Verdict) bool { return v.Kind == kind }); i >= 0 {
			return list[i]
		}
	}
	t.Fatalf("nothing is said about %s", kind)
	return policy.Verdict{}
}

func plain(t *testing.T, p *ir.Proxy) string {
	t.Helper()
	b, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// change puts another value at a path of a tree.
func change(tree object, path []string) {
	for _, step := range path[:len(path)-1] {
		tree, _ = tree[step].(map[string]any)
	}
	last := path[len(path)-1]
	tree[last] = other(tree[last])
}

// other returns another value of the same form.
func other(v any) any {
	switch v := v.(type) {
	case bool:
		return !v
	case float64:
		return v + 1
	case []any:
		return []any{other(v[0])}
	case map[string]any: // a hash policy
		v["terminal"] = true
		return v
	case string:
		for _, pair := range [][2]string{{"5xx", "GatewayError"}, {"Internal", "Canceled"}, {"RingHash", "Maglev"}, {"eQ==", "eA=="}, {"eA==", "eQ=="}} {
			if v == pair[0] {
				return pair[1]
			}
		}
		if strings.HasSuffix(v, "s") {
			return "1" + v
		}
		return v + "z"
	}
	return v
}
