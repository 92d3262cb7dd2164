package kinds

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

const gatewaySelector = `"selectors":[{"match":{"kuma.io/service":"edge"}}]`

func TestMeshGatewayValidation(t *testing.T) {
	listeners := func(l string) string { return gatewaySelector + `,"conf":{"listeners":[` + l + `]}` }
	checkRefusals(t, MeshGateway, []refusal{
		{listeners(`{"port":80,"protocol":"HTTP"}`), nil},
		{listeners(`{"port":80,"protocol":4},{"port":443,"protocol":"HTTPS","hostname":"*.a.test","tls":{"mode":"TERMINATE","certificates":[{"secret":"c"}]}}`), nil},
		{listeners(`{"port":80,"protocol":"TLS","tls":{"mode":2}}`), nil},
		{gatewaySelector, []string{"conf"}},
		{`"conf":{"listeners":[{"port":80,"protocol":"HTTP"}]}`, []string{"selectors"}},
		{gatewaySelector + `,"tags":{"kuma.io/zone":"a","x":"y"},"conf":{}`, []string{"conf.listeners", `tags["kuma.io/zone"]`}},
		{listeners(`{"port":80}`), []string{"conf.listeners[0].protocol"}},
		{listeners(`{"port":80,"protocol":"NONE"}`), []string{"conf.listeners[0].protocol"}},
		{listeners(`{"port":443,"protocol":"HTTPS","tls":{"mode":"PASSTHROUGH"}}`), []string{"conf.listeners[0].tls.mode"}},
		{listeners(`{"port":443,"protocol":"HTTPS","tls":{}}`), []string{"conf.listeners[0].tls.mode"}},
		{listeners(`{"port":443,"protocol":"HTTPS","tls":{"mode":"TERMINATE","certificates":[{"secret":"a"},{"secret":"b"},{"secret":""}]}}`),
			[]string{"conf.listeners[0].tls.certificates", "conf.listeners[0].tls.certificates[2].secret"}},
		{listeners(`{"port":80,"protocol":"HTTP","hostname":"A.test"},{"port":81,"protocol":"HTTP","hostname":"*a.test"},{"port":82,"protocol":"HTTP","hostname":"*.*.test"}`),
			[]string{"conf.listeners[0].hostname", "conf.listeners[1].hostname", "conf.listeners[2].hostname"}},
		{listeners(`{"port":80,"protocol":"HTTP"},{"port":80,"protocol":"HTTP","hostname":"*"}`), []string{"conf.listeners[0]", "conf.listeners[1]"}},
		{listeners(`{"port":80,"protocol":"HTTP","hostname":"a","resources":{"connectionLimit":1}},{"port":80,"protocol":"HTTP","hostname":"b","resources":{"connectionLimit":2}},{"port":80,"protocol":"HTTP","hostname":"c"}`),
			[]string{"conf.listeners[0].resources.connectionLimit", "conf.listeners[1].resources.connectionLimit"}},
		{`"selectors":[{"match":{"kuma.io/service":"a"}},{"match":{"kuma.io/service":"b"}}],"conf":{"listeners":[{"port":80,"protocol":"HTTP","crossMesh":true,"tls":{}}]}`,
			[]string{"selectors[1]"}},
	})
}

func TestMeshGatewayListenerTags(t *testing.T) {
	g, _ := decoded[MeshGatewaySpec](t, MeshGateway, gatewaySelector+`,"tags":{"a":"mg","b":"mg"},
		"conf":{"listeners":[{"port":80,"protocol":"HTTP","tags":{"b":"l","c":"l"}}]}`)
	gateway := map[string]string{"kuma.io/service": "edge", "a": "dp"}
	got := g.ListenerTags(&g.Conf.Listeners[0], gateway)
	want := map[string]string{"kuma.io/service": "edge", "a": "mg", "b": "l", "c": "l"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if gateway["a"] != "dp" || g.Listeners()[0].Host() != AnyHost || g.IsCrossMesh() {
		t.Error("the gateway's tags were changed, or the listener is not as written")
	}
}

func TestMeshGatewayRouteValidation(t *testing.T) {
	rule := func(r string) string { return gatewaySelector + `,"conf":{"http":{"rules":[` + r + `]}}` }
	const match = `"matches":[{"path":{"match":"PREFIX","value":"/"}}]`
	const backends = `"backends":[{"weight":1,"destination":{"kuma.io/service":"a"}}]`
	const at = "conf.http.rules[0]."
	checkRefusals(t, MeshGatewayRoute, []refusal{
		{rule(`{` + match + `,` + backends + `}`), nil},
		{gatewaySelector + `,"conf":{"tcp":{"rules":[{` + backends + `}]}}`, nil},
		{gatewaySelector + `,"conf":{}`, []string{"conf"}},
		{gatewaySelector + `,"conf":{"tcp":{},"http":{}}`, []string{"conf"}},
		{gatewaySelector + `,"conf":{"http":{"hostnames":["","a b"]}}`, []string{"conf.http.hostnames[0]", "conf.http.hostnames[1]", "conf.http.rules"}},
		{gatewaySelector + `,"conf":{"tcp":{"rules":[{"backends":[{"destination":{"v":"1"}}]}]}}`, []string{"conf.tcp.rules[0].backends[0].destination"}},
		{rule(`{}`), []string{at + "backends", at + "matches"}},
		{rule(`{"matches":[{}],` + backends + `}`), []string{at + "matches[0]"}},
		{rule(`{"matches":[{"path":{"value":"x"}},{"path":{"match":"REGEX"}},{"path":{"match":2,"value":"("}}],` + backends + `}`),
			[]string{at + "matches[0].value", at + "matches[1].value", at + "matches[2].value"}},
		{rule(`{"matches":[{"headers":[{},{"match":"ABSENT","name":"a","value":"b"},{"match":"PRESENT","name":"a"}],"query_parameters":[{}]}],` + backends + `}`),
			[]string{at + "matches[0].headers[0].name", at + "matches[0].headers[0].value", at + "matches[0].headers[1].value", at + "matches[0].query_parameters[0].name", at + "matches[0].query_parameters[0].value"}},
		{rule(`{` + match + `,"filters":[{"redirect":{"status_code":301,"port":443}}]}`), nil},
		{rule(`{` + match + `,` + backends + `,"filters":[{"redirect":{"status_code":299,"port":70000}},{"request_header":{"remove":["a"]}}]}`),
			[]string{at + "backends", at + "filters", at + "filters[0].redirect.port", at + "filters[0].redirect.status_code"}},
		{rule(`{` + match + `,` + backends + `,"filters":[{"request_header":{}},{"rewrite":{"host_to_backend_hostname":true}},{"request_header":{"set":[{"name":"Host","value":"x"},{}]}}]}`),
			[]string{at + "filters[0].request_header", at + "filters[2].request_header.set[0].name", at + "filters[2].request_header.set[1].name", at + "filters[2].request_header.set[1].value"}},
		{rule(`{"matches":[{"path":{"value":"/a"}}],` + backends + `,"filters":[{"rewrite":{"replace_prefix_match":"/b"}},{"mirror":{"percentage":101}},{}]}`),
			[]string{at + "filters[0].rewrite.replacePrefixMatch", at + "filters[1].mirror.backend", at + "filters[1].mirror.percentage", at + "filters[2]"}},
	})
}

func TestMeshGatewayRouteWarnings(t *testing.T) {
	for conf, want := range map[string]int{
		`{"tcp":{"rules":[{"backends":[{"destination":{"kuma.io/service":"a"}}]}]}}`:                               1,
		`{"tcp":{"rules":[{"backends":[{"weight":1,"destination":{"kuma.io/service":"a"}}]}]}}`:                    0,
		`{"http":{"rules":[{"matches":[{"method":"GET"}],"backends":[{"destination":{"kuma.io/service":"a"}}]}]}}`: 1,
	} {
		_, o := decoded[MeshGatewayRouteSpec](t, MeshGatewayRoute, gatewaySelector+`,"conf":`+conf)
		if w := MeshGatewayRoute.Warn(o); len(w) != want {
			t.Errorf("%s: %v", conf, w)
		}
	}
}

func TestProxyTemplateValidation(t *testing.T) {
	mods := func(m string) string { return gatewaySelector + `,"conf":{"modifications":[` + m + `]}` }
	const at = "conf.modifications[0]."
	checkRefusals(t, ProxyTemplate, []refusal{
		{gatewaySelector, nil},
		{`"selectors":[{"match":{"a":"b"}}]`, []string{"selectors[0].match"}},
		{gatewaySelector + `,"conf":{"imports":["","default-proxy","other"]}`, []string{"conf.imports[0]", "conf.imports[2]"}},
		{gatewaySelector + `,"conf":{"resources":[{},{"name":"a","version":"1","resource":"name: x"},{"name":"a","version":"1","resource":"- x"},{"name":"a","version":"1","resource":"'@type': t"}]}`,
			[]string{"conf.resources[0].name", "conf.resources[0].resource", "conf.resources[0].version", "conf.resources[1].resource", "conf.resources[2].resource"}},
		{mods(`{}`), []string{"conf.modifications[0]"}},
		{mods(`{"cluster":{"operation":"add","value":"name: x"}}`), nil},
		{mods(`{"cluster":{"operation":"add","match":{},"value":"x"}}`), []string{at + "cluster.match", at + "cluster.value"}},
		{mods(`{"listener":{"operation":"addFirst"}}`), []string{at + "listener.operation"}},
		{mods(`{"listener":{"operation":"remove","match":{"tags":{"a":"b"}}}}`), nil},
		{mods(`{"networkFilter":{"operation":"addBefore","value":"name: x"}}`), []string{at + "networkFilter.match.name"}},
		{mods(`{"httpFilter":{"operation":"patch","match":{"name":"f"},"value":"a: [b"}}`), []string{at + "httpFilter.value"}},
		{mods(`{"httpFilter":{"operation":"addLast","value":"name: x"}}`), nil},
		{mods(`{"virtualHost":{"operation":"add","match":{"name":"v","routeConfigurationName":"r"},"value":"name: x"}}`), []string{at + "virtualHost.match.name"}},
	})
	if got := (&ProxyTemplateConf{}).ImportedProfiles(); len(got) != 1 || got[0] != ProfileDefault {
		t.Errorf("profiles without imports: %v", got)
	}
}
