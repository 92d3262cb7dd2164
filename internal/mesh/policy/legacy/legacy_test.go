package legacy

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

const both = `"sources":[{"match":{"kuma.io/service":"*"}}],"destinations":[{"match":{"kuma.io/service":"*"}}]`

// refused returns the sorted fields at which a document is refused.
func refused(t *testing.T, k *model.Kind, fields string) []string {
	t.Helper()
	o, err := decode(k, fields)
	if err == nil {
		var v model.Violations
		k.Validate(o, &v)
		err = v.Err()
	}
	var invalid *model.Invalid
	if !errors.As(err, &invalid) {
		if err != nil {
			t.Fatalf("%s: %v", fields, err)
		}
		return nil
	}
	var out []string
	for _, v := range invalid.Violations {
		out = append(out, v.Field)
		if v.Message == "" || strings.Contains(v.Message, "%!") {
			t.Errorf("%s: message %q", v.Field, v.Message)
		}
	}
	slices.Sort(out)
	return out
}

func decode(k *model.Kind, fields string) (*model.Object, error) {
	return k.Decode([]byte(fmt.Sprintf(`{"type":%q,"mesh":"m","name":"n",%s}`, k.Name, fields)))
}

func TestValidation(t *testing.T) {
	fault := `"sources":[{"match":{"v":"1"}}],"destinations":[{"match":{"kuma.io/protocol":"http"}}]`
	for _, c := range []struct {
		kind *model.Kind
		conf string // added to sources and destinations; with "only " in front, used alone
		want []string
	}{
		{TrafficPermission, ``, nil},
		{TrafficPermission, `only "sources":[{"match":{"v":"1"}}],"destinations":[{"match":{"v":"*","w":"2"}}]`, nil},
		{TrafficPermission, `only "sources":[]`, []string{"destinations", "sources"}},
		{TrafficLog, `"conf":{"backend":"file"}`, nil},
		{TrafficLog, `only "sources":[{"match":{"v":"1"}}],"destinations":[{"match":{"kuma.io/service":"a","v":"1"}}]`,
			[]string{"destinations[0].match", `destinations[0].match["v"]`, "sources[0].match"}},
		{TrafficTrace, `only "selectors":[{"match":{"v":"1"}}]`, nil},
		{TrafficTrace, `only "conf":{}`, []string{"selectors"}},

		{TrafficRoute, `"conf":{"destination":{"kuma.io/service":"*"}}`, nil},
		{TrafficRoute, ``, []string{"conf"}},
		{TrafficRoute, `"conf":{"destination":{"v":"1"}}`, []string{"conf.destination"}},
		{TrafficRoute, `"conf":{"split":[{"weight":0,"destination":{"kuma.io/service":"a"}},{"destination":{}}]}`,
			[]string{"conf.split", "conf.split[1].destination", "conf.split[1].weight"}},
		{TrafficRoute, `"conf":{"destination":{"kuma.io/service":"a"},"loadBalancer":{"ringHash":{"hashFunction":"MD5"},"random":{}}}`,
			[]string{"conf.loadBalancer", "conf.loadBalancer.ringHash.hashFunction"}},
		{TrafficRoute, `"conf":{"destination":{"kuma.io/service":"a"},"http":[{"match":{"method":{"exact":""},"path":{"regex":"("},"headers":{"a":{"prefix":"x","exact":"y"}}},"destination":{"kuma.io/service":"a"}}]}`,
			[]string{`conf.http[0].match.headers["a"]`, "conf.http[0].match.method.exact", "conf.http[0].match.path.regex"}},
		{TrafficRoute, `"conf":{"destination":{"kuma.io/service":"a"},"http":[{"match":{"path":{"exact":"/a"}},"modify":{"path":{"rewritePrefix":"/b"},"host":{"value":""},"responseHeaders":{}},"destination":{"kuma.io/service":"a"}}]}`,
			[]string{"conf.http[0].modify.host.value", "conf.http[0].modify.path.rewritePrefix", "conf.http[0].modify.responseHeaders"}},
		{TrafficRoute, `"conf":{"destination":{"kuma.io/service":"a"},"http":[{"match":{"path":{"prefix":"/a"}},"modify":{"path":{"rewritePrefix":"/b","regex":{}},"host":{"fromPath":{"pattern":"a","substitution":"b"},"value":"x"}},"destination":{"kuma.io/service":"a"}}]}`,
			[]string{"conf.http[0].modify.host", "conf.http[0].modify.path", "conf.http[0].modify.path.regex.pattern", "conf.http[0].modify.path.regex.substitution"}},

		{FaultInjection, `only ` + fault + `,"conf":{"delay":{"percentage":0,"value":"1s"}}`, nil},
		{FaultInjection, `only ` + fault + `,"conf":{"delay":{"percentage":50,"value":"-1s"},"abort":{"percentage":"NaN"}}`, []string{"!"}},
		{FaultInjection, `only ` + fault + `,"conf":{"abort":{"percentage":50,"httpStatus":100},"responseBandwidth":{"percentage":1,"limit":"50 Gbps"}}`, []string{"conf.abort.httpStatus"}},
		{FaultInjection, `only "sources":[{"match":{"v":"1"}}],"destinations":[{"match":{"v":"1"}},{}],"conf":{"abort":{}}`,
			[]string{"conf.abort.httpStatus", "conf.abort.percentage", "destinations[0].match", "destinations[1].match"}},

		{HealthCheck, `"conf":{"interval":"1s","timeout":"1s","unhealthyThreshold":1,"healthyThreshold":1,"tcp":{"send":"YQ==","receive":["Yg=="]}}`, nil},
		{HealthCheck, ``, []string{"conf"}},
		{HealthCheck, `"conf":{"initialJitter":"0s","http":{"path":"/"},"tcp":{}}`,
			[]string{"conf", "conf.healthyThreshold", "conf.initialJitter", "conf.interval", "conf.timeout", "conf.unhealthyThreshold"}},

		{CircuitBreaker, `"conf":{"detectors":{"totalErrors":{}}}`, nil},
		{CircuitBreaker, `"conf":{"detectors":{},"thresholds":{},"interval":"0s","maxEjectionPercent":101}`,
			[]string{"conf.detectors", "conf.interval", "conf.maxEjectionPercent", "conf.thresholds"}},
		{CircuitBreaker, `"conf":{"detectors":{"failure":{"threshold":200},"standardDeviation":{"factor":-1}}}`,
			[]string{"conf.detectors.failure.threshold", "conf.detectors.standardDeviation.factor"}},

		{Retry, `"conf":{"http":{"retryOn":["all_5xx",1],"retriableMethods":["GET"]}}`, nil},
		{Retry, ``, []string{"conf"}},
		{Retry, `"conf":{"http":{},"grpc":{},"tcp":{}}`, []string{"conf.grpc", "conf.http", "conf.tcp.maxConnectAttempts"}},
		{Retry, `"conf":{"http":{"numRetries":0,"perTryTimeout":"0s","backOff":{"maxInterval":"0s"},"retriableStatusCodes":[500,500,501],"retryOn":["reset","reset"],"retriableMethods":["NONE"]}}`,
			[]string{"conf.http.backOff.baseInterval", "conf.http.backOff.maxInterval", "conf.http.numRetries", "conf.http.perTryTimeout", "conf.http.retriableMethods[0]", "conf.http.retriableStatusCodes", "conf.http.retryOn"}},
		{Retry, `"conf":{"http":{"retryOn":["retriable_status_codes"]}}`, []string{"conf.http.retriableStatusCodes"}},

		{Timeout, `"conf":{}`, nil},
		{Timeout, ``, []string{"conf"}},
		{Timeout, `"conf":{"connectTimeout":"-1s","http":{"idleTimeout":"-1s"},"grpc":{}}`, []string{"conf.connectTimeout", "conf.grpc", "conf.http.idleTimeout"}},

		{RateLimit, `"conf":{"http":{"requests":1,"interval":"1s"}}`, nil},
		{RateLimit, `"conf":{"http":{"onRateLimit":{"status":99,"headers":[{}]}}}`,
			[]string{"conf.http.interval", "conf.http.onRateLimit.headers[0].key", "conf.http.onRateLimit.headers[0].value", "conf.http.onRateLimit.status", "conf.http.requests"}},
	} {
		fields, only := strings.CutPrefix(c.conf, "only ")
		if !only {
			fields = strings.TrimSuffix(both+","+c.conf, ",")
		}
		if len(c.want) == 1 && c.want[0] == "!" { // not even readable
			if _, err := decode(c.kind, fields); err == nil {
				t.Errorf("%s %s: was read", c.kind.Name, c.conf)
			}
			continue
		}
		if d := cmp.Diff(c.want, refused(t, c.kind, fields)); d != "" {
			t.Errorf("%s %s (-want +got):\n%s", c.kind.Name, c.conf, d)
		}
	}
}

// TestStored checks what is kept of values that mean something although they
// are defaults in protobuf.
func TestStored(t *testing.T) {
	for _, c := range []struct {
		kind     *model.Kind
		in, want string
	}{
		{Retry, `"conf":{"http":{"retry_on":[0,"reset"],"numRetries":"2"}}`, `{"http":{"numRetries":2,"retryOn":["all_5xx","reset"]}}`},
		{CircuitBreaker, `"conf":{"detectors":{"total_errors":{},"failure":{"threshold":0}},"splitExternalAndLocalErrors":false}`, `{"detectors":{"totalErrors":{},"failure":{"threshold":0}}}`},
		{HealthCheck, `"conf":{"interval":"1500ms","reuseConnection":false,"tcp":{"send":"","receive":[]},"healthyPanicThreshold":60.5}`,
			`{"interval":"1.500s","tcp":{"send":""},"healthyPanicThreshold":60.5,"reuseConnection":false}`},
		{TrafficRoute, `"conf":{"loadBalancer":{"ringHash":{"minRingSize":64,"maxRingSize":"256"}},"split":[{"weight":0,"destination":{}}]}`,
			`{"split":[{"weight":0}],"loadBalancer":{"ringHash":{"minRingSize":"64","maxRingSize":"256"}}}`},
		{Timeout, `"conf":{"connect_timeout":"0s","tcp":{}}`, `{"connectTimeout":"0s","tcp":{}}`},
	} {
		o, err := decode(c.kind, c.in)
		if err != nil {
			t.Errorf("%s: %v", c.in, err)
			continue
		}
		b, err := json.Marshal(o.Spec)
		if err != nil {
			t.Fatal(err)
		}
		if want := `{"conf":` + c.want + `}`; string(b) != want {
			t.Errorf("%s %s:\n got %s\nwant %s", c.kind.Name, c.in, b, want)
		}
	}
}

func TestBetween(t *testing.T) {
	c := Connections{
		Sources:      []kinds.Selector{{Match: map[string]string{"kuma.io/service": "*"}}, {Match: map[string]string{"kuma.io/service": "web", "v": "1"}}},
		Destinations: []kinds.Selector{{Match: map[string]string{"kuma.io/service": "api"}}},
	}
	server := map[string]string{"kuma.io/service": "api"}
	web := []map[string]string{{"kuma.io/service": "other"}, {"kuma.io/service": "web", "v": "1"}}
	if s, ok := c.Between(web, server); !ok || s != (kinds.Specificity{Tags: 3, Exact: 3}) {
		t.Errorf("web: %v %v", s, ok)
	}
	if s, ok := c.Between(web[:1], server); !ok || s != (kinds.Specificity{Tags: 2, Exact: 1}) {
		t.Errorf("other: %v %v", s, ok)
	}
	if _, ok := c.Between(web, map[string]string{"kuma.io/service": "db"}); ok {
		t.Error("db is selected")
	}
	if _, ok := c.Between(nil, server); ok {
		t.Error("a client without tags is selected")
	}
}

func TestTargets(t *testing.T) {
	o, err := decode(TrafficRoute, `"conf":{"split":[{"weight":0,"destination":{"a":"1"}},{"weight":3,"destination":{"a":"2"}}],"http":[{"destination":{"a":"3"}}]}`)
	if err != nil {
		t.Fatal(err)
	}
	c := model.Spec[TrafficRouteSpec](o).Conf
	if d := cmp.Diff([]Target{{3, map[string]string{"a": "2"}}}, c.Targets()); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]Target{{1, map[string]string{"a": "3"}}}, c.HTTP[0].Targets()); d != "" {
		t.Error(d)
	}
}

func TestResolve(t *testing.T) {
	outbound := map[string]string{"kuma.io/service": "api", "v": "1"}
	before := maps.Clone(outbound)
	for _, c := range []struct{ destination, want map[string]string }{
		{map[string]string{"kuma.io/service": "*"}, map[string]string{"kuma.io/service": "api", "v": "1"}},
		{map[string]string{"kuma.io/service": "b", "x": "*"}, map[string]string{"kuma.io/service": "b", "v": "1"}},
		{map[string]string{"kuma.io/service": "*", "v": "2", "w": "3"}, map[string]string{"kuma.io/service": "api", "v": "2", "w": "3"}},
	} {
		if d := cmp.Diff(c.want, Resolve(c.destination, outbound)); d != "" {
			t.Errorf("%v:\n%s", c.destination, d)
		}
	}
	if d := cmp.Diff(before, outbound); d != "" {
		t.Errorf("the outbound was changed:\n%s", d)
	}
	if got := Resolve(map[string]string{"a": "*"}, nil); len(got) != 0 {
		t.Errorf("without outbound: %v", got)
	}
}

func TestKinds(t *testing.T) {
	for _, k := range []*model.Kind{TrafficPermission, TrafficRoute, TrafficLog, TrafficTrace, FaultInjection, HealthCheck, CircuitBreaker, Retry, Timeout, RateLimit} {
		if k.Policy == nil || k.Policy.TargetRef || !k.Policy.Inspectable || k.Shape != model.Flat || k.Flow != model.GlobalToZone|model.GlobalWrites {
			t.Errorf("%s: %+v", k.Name, k)
		}
		if k.SpecSchema().Type != "object" {
			t.Errorf("%s has no schema", k.Name)
		}
	}
}
