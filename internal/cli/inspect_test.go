package cli

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fakeAPI is a control plane that gives fixed answers, in the shapes of the API
// of 2.10, and notes what it was asked.
type fakeAPI struct {
	pages map[string]string // by path and query
	asked []string
}

func (f *fakeAPI) user(t *testing.T) *kumactl {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q, _ := url.QueryUnescape(r.URL.RawQuery)
		page := strings.TrimSuffix(r.URL.Path+"?"+strings.TrimSuffix(strings.ReplaceAll("&"+q, "&size=1000", ""), "&"), "?")
		page = strings.Replace(page, "?&", "?", 1)
		if page == "/" {
			fmt.Fprint(w, `{"product":"Kuma","version":"2.10.11","hostname":"h","instanceId":"h-1","clusterId":"c"}`)
			return
		}
		f.asked = append(f.asked, page)
		answer, ok := f.pages[page]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			answer = `{"title":"Could not get it","detail":"Not found"}`
		}
		fmt.Fprint(w, answer)
	}))
	t.Cleanup(s.Close)
	k := newUser(t)
	k.configure(t, fmt.Sprintf(oneControlPlane, s.URL))
	return k
}

func list(items ...string) string {
	return fmt.Sprintf(`{"total":%d,"items":[%s],"next":null}`, len(items), strings.Join(items, ","))
}

const overviewOfWeb = `{"type":"DataplaneOverview","mesh":"default","name":"web-1","creationTime":"2026-01-01T00:00:00Z","modificationTime":"2026-01-01T00:00:00Z",
"dataplane":{"networking":{"address":"10.0.0.1","inbound":[
  {"port":80,"tags":{"kuma.io/service":"web"}},
  {"port":81,"state":"NotReady","tags":{"kuma.io/service":"admin"}}]}},
"dataplaneInsight":{"subscriptions":[
  {"id":"1","controlPlaneInstanceId":"cp","connectTime":"2026-01-01T00:00:00Z","disconnectTime":"2026-01-01T01:00:00Z","status":{"total":{"responsesSent":"4","responsesRejected":"1"},"cds":{},"eds":{},"lds":{},"rds":{}}},
  {"id":"2","controlPlaneInstanceId":"cp","connectTime":"2026-01-02T00:00:00Z","status":{"lastUpdateTime":"2026-01-02T00:00:00Z","total":{"responsesSent":"3"},"cds":{},"eds":{},"lds":{},"rds":{}},
   "version":{"kumaDp":{"version":"2.10.1","kumaCpCompatible":true},"envoy":{"version":"1.33.0","kumaDpCompatible":true},"dependencies":{"coredns":"1.11.1"}}}],
 "mTLS":{"certificateExpirationTime":"2026-02-03T04:05:06Z","lastCertificateRegeneration":"2026-01-02T00:00:00Z","certificateRegenerations":2,"issuedBackend":"ca-1","supportedBackends":["ca-1","ca-2"]}}}`

// cells returns the cells of a table's row.
func cellsOf(out string, row int) []string {
	lines := strings.Split(strings.TrimRight(out, "\n"), "\n")
	if row >= len(lines) {
		return nil
	}
	var cells []string
	for c := range strings.SplitSeq(lines[row], "   ") {
		if c = strings.TrimSpace(c); c != "" {
			cells = append(cells, c)
		}
	}
	return cells
}

func TestInspectDataplanes(t *testing.T) {
	f := &fakeAPI{pages: map[string]string{
		"/meshes/default/dataplanes/_overview":                        list(overviewOfWeb),
		"/meshes/m/dataplanes/_overview?gateway=true&tag=a:b&tag=c:d": list(),
	}}
	k := f.user(t)
	r := k.run(t, "inspect", "dataplanes")
	r.want(t, 0, "DEPENDENCIES VERSIONS", "")
	got := cellsOf(looseTable(r.out), 1)
	want := []string{
		"default", "web-1", "kuma.io/service=admin,web", "Partially degraded", "<age>", "<age>", "7", "1",
		"<age>", "2026-02-03 04:05:06", "2", "ca-1", "ca-1,ca-2", "2.10.1", "1.33.0", "coredns:1.11.1", "inbound[port=81,svc=admin] is not ready",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	k.run(t, "inspect", "dataplanes", "-m", "m", "--gateway", "--tag", "c=d", "--tag", "a=b").want(t, 0, "MESH   NAME", "")
	k.run(t, "inspect", "dataplanes", "-o", "json").want(t, 0, "{\n  \"total\": 1,\n  \"items\": [\n    {\n      \"type\": \"DataplaneOverview\"", "")
	k.run(t, "inspect", "dataplanes", "-o", "yaml").want(t, 0, "items:\n- creationTime:", "")
	k.run(t, "inspect", "dataplanes", "-o", "xml").want(t, 1, "", "xml")
}

func TestInspectZonesAndTheirProxies(t *testing.T) {
	connected := `"subscriptions":[{"id":"1","connectTime":"2026-01-01T00:00:00Z","status":{"total":{"responsesSent":"9","responsesRejected":"2"},"cds":{},"eds":{},"lds":{},"rds":{}},"version":{"kumaDp":{"version":"2.10.1"},"envoy":{"version":"1.33.0"}}}]`
	zone := `"zoneInsight":{"subscriptions":[{"id":"1","connectTime":"2026-01-01T00:00:00Z","config":"{\"store\":{\"type\":\"postgres\"}}","status":{"total":{"responsesSent":"5"}},"version":{"kumaCp":{"version":"2.10.2"}}}]}`
	f := &fakeAPI{pages: map[string]string{
		"/zones/_overview": list(
			`{"type":"ZoneOverview","name":"east","zone":{"enabled":true},`+zone+`}`,
			`{"type":"ZoneOverview","name":"off","zone":{"enabled":false},`+zone+`}`,
			`{"type":"ZoneOverview","name":"new","zone":{}}`),
		"/zone-ingresses/_overview":              list(`{"type":"ZoneIngressOverview","name":"in","zoneIngress":{},"zoneIngressInsight":{` + connected + `}}`),
		"/zoneegresses/_overview":                list(`{"type":"ZoneEgressOverview","name":"out","zoneEgress":{}}`),
		"/zoneingresses/in/xds":                  "{}",
		"/zoneingresses/in/xds?include_eds=true": "{}\n",
		"/zoneegresses/out/stats":                "a: 1\n",
	}}
	k := f.user(t)
	r := k.run(t, "inspect", "zones")
	r.want(t, 0, "ZONE-CP VERSION", "")
	for i, want := range [][]string{
		{"east", "Online", "<age>", "never", "5", "0", "2.10.2", "postgres"},
		{"off", "Offline", "<age>", "never", "5", "0", "2.10.2", "postgres"},
		{"new", "Offline", "never", "never", "0", "0"},
	} {
		if diff := cmp.Diff(want, cellsOf(looseTable(r.out), i+1)); diff != "" {
			t.Error(diff)
		}
	}
	if diff := cmp.Diff([]string{"in", "Online", "<age>", "never", "9", "2", "2.10.1", "1.33.0"}, cellsOf(looseTable(k.run(t, "inspect", "zone-ingresses").out), 1)); diff != "" {
		t.Error(diff)
	}
	k.run(t, "inspect", "zoneegresses").want(t, 0, "out    Offline   never", "")
	k.run(t, "inspect", "zoneingress", "in").want(t, 0, "{}", "")
	k.run(t, "inspect", "zoneingress", "in", "--include-eds").want(t, 0, "{}\n", "")
	k.run(t, "inspect", "zoneegress", "out", "--type=stats").want(t, 0, "a: 1\n", "")
	k.run(t, "inspect", "zoneegress", "out", "--type=policies").want(t, 1, "", "policies")
	k.run(t, "inspect", "zoneingress", "in", "--config-dump").want(t, 0, "{}", "deprecated")
	k.run(t, "inspect", "zoneingress", "none").want(t, 1, "", "Not found")
}

func TestInspectMeshesAndServices(t *testing.T) {
	f := &fakeAPI{pages: map[string]string{
		"/mesh-insights": list(`{"type":"MeshInsight","name":"default","dataplanes":{"total":3,"online":2},"policies":{"TrafficRoute":{"total":4}},"resources":{"ExternalService":{"total":5}}}`),
		"/meshes/default/service-insights": list(
			`{"type":"ServiceInsight","mesh":"default","name":"a","status":"partially_degraded","dataplanes":{"total":2,"online":1,"offline":1}}`,
			`{"type":"ServiceInsight","mesh":"default","name":"b","status":"not_available","serviceType":"external","dataplanes":{}}`,
			`{"type":"ServiceInsight","mesh":"default","name":"c","status":"online","dataplanes":{"total":1,"online":1}}`),
	}}
	k := f.user(t)
	r := k.run(t, "inspect", "meshes")
	if diff := cmp.Diff([]string{"default", "2/3", "0", "4", "0", "0", "0", "5", "0", "0", "0", "0"}, cellsOf(r.out, 1)); diff != "" {
		t.Error(diff)
	}
	k.run(t, "inspect", "services").want(t, 0, "SERVICE   STATUS               DATAPLANES\na         Partially degraded   1/2\nb         Offline              0/0\nc         Online               1/1\n", "")
	k.run(t, "inspect", "services", "-o", "json").want(t, 0, `"type": "ServiceOverview"`, "")
}

func TestInspectDataplane(t *testing.T) {
	f := &fakeAPI{pages: map[string]string{
		"/meshes/default/dataplanes/web-1/policies": `{"kind":"SidecarDataplane","total":4,"items":[
			{"type":"dataplane","matchedPolicies":{"MeshTrace":[{"mesh":"default","name":"t"}]}},
			{"type":"inbound","name":"10.0.0.1:80:8080","service":"web","matchedPolicies":{"TrafficPermission":[{"name":"p"}],"FaultInjection":[{"name":"f1"},{"name":"f2"}]}},
			{"type":"outbound","name":"127.0.0.1:5000","service":"db","matchedPolicies":{"Timeout":[{"name":"x"}]}},
			{"type":"service","name":"db","service":"db","matchedPolicies":{"HealthCheck":[{"name":"h"}]}}]}`,
		"/meshes/default/dataplanes/web-1/xds":                              "dump",
		"/meshes/default/dataplanes/web-1/xds?include_eds=true":             "dump with endpoints",
		"/meshes/default/dataplanes/web-1/clusters":                         "clusters",
		"/meshes/default/dataplanes/web-1/_config?include=diff&shadow=true": "config",
	}}
	k := f.user(t)
	k.run(t, "inspect", "dataplane", "web-1").want(t, 0, `DATAPLANE:
  MeshTrace
    t

INBOUND 10.0.0.1:80:8080(web):
  FaultInjection
    f1
    f2
  TrafficPermission
    p

OUTBOUND 127.0.0.1:5000(db):
  Timeout
    x

SERVICE db:
  HealthCheck
    h

`, "")
	k.run(t, "inspect", "dataplane", "web-1", "-o", "json").want(t, 0, `"kind": "SidecarDataplane"`, "")
	for args, want := range map[string]string{
		"--type=config-dump":                    "dump",
		"--type=config-dump --include-eds":      "dump with endpoints",
		"--type=clusters":                       "clusters",
		"--type=config --shadow --include=diff": "config",
	} {
		if r := k.run(t, append([]string{"inspect", "dataplane", "web-1"}, strings.Fields(args)...)...); r.code != 0 || r.out != want {
			t.Errorf("%s: %+v", args, r)
		}
	}
	for _, args := range []string{"--type=moon", "--include-eds", "--shadow", "--include=diff", "--type=stats --shadow"} {
		before := len(f.asked)
		k.run(t, append([]string{"inspect", "dataplane", "web-1"}, strings.Fields(args)...)...).want(t, 1, "", "Error: ")
		if len(f.asked) > before {
			t.Errorf("%s: the control plane was asked", args)
		}
	}
}

func TestInspectPolicy(t *testing.T) {
	f := &fakeAPI{pages: map[string]string{
		"/meshes/default/timeouts/slow/dataplanes": `{"total":3,"items":[
			{"kind":"SidecarDataplane","dataplane":{"mesh":"default","name":"a"},"attachments":[{"type":"dataplane"}]},
			{"kind":"SidecarDataplane","dataplane":{"mesh":"default","name":"b"},"attachments":[{"type":"outbound","name":"127.0.0.1:1","service":"db"},{"type":"service","name":"db","service":"db"}]},
			{"kind":"MeshGatewayDataplane","dataplane":{"name":"g"},"listeners":[{"port":80,"protocol":"HTTP","hosts":[{"hostName":"*","routes":[{"route":"r","destinations":[{"kuma.io/service":"db"}]}]}]}]}]}`,
		"/meshes/m/meshtimeouts/slow/_resources/dataplanes?offset=1": `{"total":3,"items":[{"type":"Dataplane","mesh":"m","name":"b","labels":{}}],"next":"http://x/?offset=2"}`,
		"/meshes/m/meshgateways/edge/dataplanes":                     `{"total":1,"items":[{"dataplane":{"mesh":"m","name":"edge-1"}}]}`,
	}}
	k := f.user(t)
	k.run(t, "inspect", "timeout", "slow").want(t, 0, `Affected data plane proxies:

  a
  b:
    outbound 127.0.0.1:1(db)
    service db

  g:
    listener (HTTP:80):
      *:
        r:
          service db

`, "")
	k.run(t, "inspect", "meshtimeout", "slow", "-m", "m", "--new-api", "--offset=1").want(t, 0,
		"TYPE        MESH   NAME\nDataplane   m      b\n\nTotal: 3\n\nRerun command with --offset=2", "")
	k.run(t, "inspect", "meshgateway", "edge", "-m", "m").want(t, 0, "edge-1\n", "")
	k.run(t, "inspect", "virtual-outbound", "x").want(t, 1, "", "unknown command")
}

func TestAnswersThatMakeNoSense(t *testing.T) {
	f := &fakeAPI{pages: map[string]string{
		"/meshes/default/dataplanes/_overview":      list(`{"dataplane":7}`),
		"/zones/_overview":                          list(`7`),
		"/meshes/default/dataplanes/web-1/policies": `[]`,
		"/mesh-insights":                            `{"items":{}}`,
		"/meshes":                                   list(`{"type":"Mesh"`),
		"/meshes/a":                                 `{"type":"Mesh","name":"\u001b]0;x"}`,
	}}
	k := f.user(t)
	for _, args := range []string{"inspect dataplanes", "inspect zones", "inspect dataplane web-1", "inspect meshes", "get meshes"} {
		k.run(t, strings.Fields(args)...).want(t, 1, "", "Error: ")
	}
	if r := k.run(t, "get", "mesh", "a"); strings.Contains(r.out, "\x1b") {
		t.Errorf("escape sequences reach the terminal: %q", r.out)
	}
}

func TestExport(t *testing.T) {
	secret := func(name string) string {
		return `{"type":"GlobalSecret","name":"` + name + `","creationTime":"2026-01-01T00:00:00Z","modificationTime":"2026-01-01T00:00:00Z","data":"eA=="}`
	}
	f := &fakeAPI{pages: map[string]string{
		"/_resources": `{"resources":[
			{"name":"Mesh","scope":"Global","path":"meshes","includeInFederation":true},
			{"name":"GlobalSecret","scope":"Global","path":"global-secrets","includeInFederation":true},
			{"name":"Secret","scope":"Mesh","path":"secrets","includeInFederation":true},
			{"name":"OPAPolicy","scope":"Mesh","path":"opas","includeInFederation":true},
			{"name":"MeshTimeout","scope":"Mesh","path":"meshtimeouts","includeInFederation":true,"policy":{"isTargetRef":true}},
			{"name":"Timeout","scope":"Mesh","path":"timeouts","includeInFederation":true,"policy":{"isTargetRef":false}},
			{"name":"MeshGateway","scope":"Mesh","path":"meshgateways","includeInFederation":true},
			{"name":"Dataplane","scope":"Mesh","path":"dataplanes","includeInFederation":false}]}`,
		"/meshes":                              list(`{"type":"Mesh","name":"m","creationTime":"2026-01-01T00:00:00Z","modificationTime":"2026-01-01T00:00:00Z","mtls":{"enabledBackend":"x"}}`),
		"/global-secrets":                      list(secret("envoy-admin-ca"), secret("user-token-signing-key-1"), secret("zone-token-signing-key-1")),
		"/secrets":                             list(`{"type":"Secret","mesh":"m","name":"s","data":"eA=="}`),
		"/meshtimeouts":                        list(`{"type":"MeshTimeout","mesh":"m","name":"mt","spec":{}}`),
		"/timeouts":                            list(`{"type":"Timeout","mesh":"m","name":"t"}`),
		"/meshgateways":                        list(),
		"/dataplanes":                          list(`{"type":"Dataplane","mesh":"m","name":"d"}`),
		"/meshes/m?format=k8s":                 `{"apiVersion":"kuma.io/v1alpha1","kind":"Mesh","metadata":{"name":"m","uid":"1","resourceVersion":"2","generation":3,"ownerReferences":[],"managedFields":[],"labels":{"a":"b"}},"spec":{}}`,
		"/meshes/m/timeouts/t?format=k8s":      `{"kind":"Timeout","metadata":{"name":"t"}}`,
		"/meshes/m/dataplanes/d?format=k8s":    `{"kind":"Dataplane","metadata":{"name":"d"}}`,
		"/meshes/m/meshtimeouts/mt?format=k8s": `{"kind":"MeshTimeout","metadata":{"name":"mt"}}`,
	}}
	k := f.user(t)
	names := func(out string) string {
		var got []string
		for line := range strings.SplitSeq(out, "\n") {
			if s, ok := strings.CutPrefix(line, "name: "); ok {
				got = append(got, s)
			}
		}
		return strings.Join(got, " ")
	}
	for _, c := range []struct{ args, want string }{
		{"export", "m s zone-token-signing-key-1 m t user-token-signing-key-1"},
		{"export -p federation-with-policies", "m s zone-token-signing-key-1 m mt t user-token-signing-key-1"},
		{"export -p all", "m d m mt t"},
		{"export -p all -a", "m s d zone-token-signing-key-1 m mt t user-token-signing-key-1"},
		{"export -p no-dataplanes", "m m mt t"},
	} {
		r := k.run(t, strings.Fields(c.args)...)
		r.want(t, 0, "# Product: Kuma, Version: 2.10.11, Hostname: h, ClusterId: c, InstanceId: h-1\n", "OPAPolicy")
		r.want(t, 0, "unknown to kumactl: OPAPolicy\n---\n", "OPAPolicy")
		if got := names(r.out); got != c.want {
			t.Errorf("%s: %s, want %s", c.args, got, c.want)
		}
	}
	r := k.run(t, "export")
	r.want(t, 0, "mtls:\n  enabledBackend: x\nskipCreatingInitialPolicies:\n- '*'\n", "OPAPolicy")
	r = k.run(t, "export", "-f", "kubernetes", "-p", "all")
	r.want(t, 0, "kind: Mesh\nmetadata:\n  labels:\n    a: b\n  name: m\nspec: {}\n---\n", "OPAPolicy")
	k.run(t, "export", "-f", "moon").want(t, 1, "", "moon")
	k.run(t, "export", "-p", "moon").want(t, 1, "", "moon")
	delete(f.pages, "/timeouts")
	k.run(t, "export").want(t, 1, "", "list Timeouts") // and nothing is printed
}
