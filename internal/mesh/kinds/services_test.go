package kinds

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"weft/internal/mesh/model"
)

// refused returns the sorted fields of the violations of a document. Decoding,
// defaults and validation are those of the gate.
func refused(t *testing.T, k *model.Kind, fields string) []string {
	t.Helper()
	o, err := k.Decode([]byte(document(k, fields)))
	if err == nil {
		if k.Default != nil {
			k.Default(o)
		}
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
	}
	slices.Sort(out)
	return out
}

func document(k *model.Kind, fields string) string {
	if k.Shape == model.SpecBlock {
		fields = `"spec":{` + fields + `}`
	}
	if fields != "" {
		fields = "," + fields
	}
	return fmt.Sprintf(`{"type":%q,"mesh":"default","name":"x"%s}`, k.Name, fields)
}

// decoded returns the spec of a document that must be fine.
func decoded[T any](t *testing.T, k *model.Kind, fields string) (*T, *model.Object) {
	t.Helper()
	if bad := refused(t, k, fields); bad != nil {
		t.Fatalf("%s: refused at %v", fields, bad)
	}
	o, err := k.Decode([]byte(document(k, fields)))
	if err != nil {
		t.Fatal(err)
	}
	if k.Default != nil {
		k.Default(o)
	}
	return model.Spec[T](o), o
}

type refusal struct {
	fields string
	want   []string
}

func checkRefusals(t *testing.T, k *model.Kind, cases []refusal) {
	t.Helper()
	for _, c := range cases {
		if d := cmp.Diff(c.want, refused(t, k, c.fields)); d != "" {
			t.Errorf("%s %s (-want +got):\n%s", k.Name, c.fields, d)
		}
	}
}

func TestMeshServiceValidation(t *testing.T) {
	checkRefusals(t, MeshService, []refusal{
		{``, nil},
		{`"selector":{},"ports":[]`, nil},
		{`"ports":[{"port":80},{"port":81,"targetPort":"web","appProtocol":"smtp"}]`, nil},
		{`"ports":[{"port":80},{"port":80,"appProtocol":"http"}]`, nil},
		{`"ports":[{"port":80},{"port":80,"appProtocol":"tcp"}]`, []string{"spec.ports[1]"}},
		{`"ports":[{"port":0},{"port":65536,"targetPort":-1}]`, []string{"spec.ports[0].port", "spec.ports[1].port", "spec.ports[1].targetPort"}},
		{`"ports":[{"port":65536}]`, []string{"spec.ports[0].port"}},
		{`"ports":[{"name":"a"}]`, []string{"spec.ports[0].port"}},
		{`"ports":[{"port":80,"targetPort":true}]`, []string{"spec.ports[0].targetPort"}},
		{`"state":"Perhaps"`, []string{"spec.state"}},
		{`"identities":[{"type":"Spiffe"}]`, []string{"spec.identities[0].type", "spec.identities[0].value"}},
	})
	o := MeshService.Make("default", "short")
	o.Meta.Labels = map[string]string{model.LabelDisplayName: strings.Repeat("a", 64)}
	var v model.Violations
	MeshService.Validate(o, &v)
	if len(v.List()) != 1 || v.List()[0].Field != "name" {
		t.Errorf("a display name of 64 characters: %v", v.List())
	}
	if w := MeshService.Warn(MeshService.Make("default", "9lives.x")); len(w) != 1 {
		t.Errorf("warnings: %v", w)
	}
	_, o = decoded[MeshServiceSpec](t, MeshService, `"ports":[{"port":80,"appProtocol":"HTTP"},{"port":81,"appProtocol":"smtp"}]`)
	if w := MeshService.Warn(o); len(w) != 1 || !strings.Contains(w[0], "spec.ports[1].appProtocol") {
		t.Errorf("warnings: %v", w)
	}
}

func TestMeshServicePorts(t *testing.T) {
	s, o := decoded[MeshServiceSpec](t, MeshService, `"ports":[
		{"port":80,"targetPort":8080,"name":"web","appProtocol":"http"},
		{"port":81,"targetPort":"admin"},
		{"port":82,"name":"80"}]`)
	if s.State != ServiceUnavailable {
		t.Errorf("default state: %q", s.State)
	}
	for section, want := range map[string]int32{"web": 80, "81": 81, "80": 82, "82": 82, "080": 0, "admin": 0, "": 0, "+81": 0} {
		p, ok := s.PortBySection(section)
		if ok != (want != 0) || (ok && p.Port != want) {
			t.Errorf("section %q: %v %v", section, p, ok)
		}
	}
	matches := []struct {
		port   int
		number uint32
		name   string
		want   bool
	}{{0, 8080, "other", true}, {0, 80, "web", false}, {1, 81, "admin", true}, {1, 81, "", false}, {2, 82, "", true}}
	for _, m := range matches {
		if got := s.Ports[m.port].Target().Matches(m.number, m.name); got != m.want {
			t.Errorf("port %d, inbound %d %q: %v", m.port, m.number, m.name, got)
		}
	}
	b, err := model.Encode(o)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"targetPort":"admin"`, `"targetPort":82`, `"appProtocol":"tcp"`, `"status":{"tls":{},"dataplaneProxies":{}}`, `"selector":{}`} {
		if !strings.Contains(string(b), want) {
			t.Errorf("no %s in %s", want, b)
		}
	}
}

func TestMeshServiceSelects(t *testing.T) {
	dp := &DataplaneSpec{Networking: &DataplaneNetworking{Inbound: []Inbound{
		{Port: 1, Tags: map[string]string{"a": "1"}}, {Port: 2, Tags: map[string]string{"b": "2", "c": "*"}},
	}}}
	gateway := &DataplaneSpec{Networking: &DataplaneNetworking{Gateway: &DataplaneGateway{Tags: map[string]string{"a": "1"}}}}
	for _, c := range []struct {
		selector string
		dp       *DataplaneSpec
		want     bool
	}{
		{`{"dataplaneTags":{"a":"1"}}`, dp, true},
		{`{"dataplaneTags":{"a":"*"}}`, dp, false},
		{`{"dataplaneTags":{"a":"1","b":"2"}}`, dp, false},
		{`{"dataplaneTags":{"b":"2","c":"*"}}`, dp, true},
		{`{}`, dp, false},
		{`{"dataplaneRef":{"name":"web-1"}}`, dp, true},
		{`{"dataplaneRef":{"name":"web-2"},"dataplaneTags":{"a":"1"}}`, dp, false},
		{`{"dataplaneRef":{},"dataplaneTags":{"a":"1"}}`, dp, true},
		{`{"dataplaneTags":{"a":"1"}}`, gateway, false},
		{`{"dataplaneTags":{"a":"1"}}`, &DataplaneSpec{}, false},
	} {
		s, _ := decoded[MeshServiceSpec](t, MeshService, `"selector":`+c.selector)
		if got := s.Selects("web-1", c.dp); got != c.want {
			t.Errorf("%s: %v", c.selector, got)
		}
	}
}

func TestMeshMultiZoneServiceValidation(t *testing.T) {
	const sel = `"selector":{"meshService":{"matchLabels":{"a":"1"}}}`
	checkRefusals(t, MeshMultiZoneService, []refusal{
		{sel + `,"ports":[{"port":80}]`, nil},
		{sel + `,"ports":[]`, []string{"spec.ports"}},
		{sel, []string{"spec.ports"}},
		{`"ports":[{"port":80}]`, []string{"spec.selector"}},
		{`"selector":{"meshService":{"matchLabels":{}}},"ports":[{"port":80}]`, []string{"spec.selector.meshService.matchLabels"}},
		{sel + `,"ports":[{"port":80,"name":""},{"port":81,"appProtocol":"smtp"},{"port":80}]`, []string{"spec.ports[0].name", "spec.ports[1].appProtocol", "spec.ports[2].port"}},
	})
	s, o := decoded[MeshMultiZoneServiceSpec](t, MeshMultiZoneService, sel+`,"ports":[{"port":80,"name":"web"},{"port":81}]`)
	if p, ok := s.PortBySection("web"); !ok || p.SectionName() != "web" || p.Protocol() != "tcp" {
		t.Errorf("section web: %v %v", p, ok)
	}
	if p, ok := s.PortBySection("81"); !ok || p.SectionName() != "81" {
		t.Errorf("section 81: %v %v", p, ok)
	}
	in := func(mesh string, labels map[string]string) *model.Object {
		svc := MeshService.Make(mesh, "svc")
		svc.Meta.Labels = labels
		return svc
	}
	if !s.Selects(o, in("default", map[string]string{"a": "1", "b": "2"})) {
		t.Error("a service with the label is not selected")
	}
	if s.Selects(o, in("other", map[string]string{"a": "1"})) {
		t.Error("a service of another mesh is selected")
	}
	named, no := decoded[MeshMultiZoneServiceSpec](t, MeshMultiZoneService, `"selector":{"meshService":{"matchLabels":{"kuma.io/display-name":"svc"}}},"ports":[{"port":80}]`)
	if !named.Selects(no, in("default", nil)) {
		t.Error("a service without display name is not selected by its name")
	}
}

func TestMeshExternalServiceValidation(t *testing.T) {
	const match = `"match":{"port":443}`
	checkRefusals(t, MeshExternalService, []refusal{
		{match, nil},
		{``, []string{"spec.match"}},
		{`"match":{"port":0,"type":"Other","protocol":"udp"}`, []string{"spec.match.port", "spec.match.protocol", "spec.match.type"}},
		{match + `,"endpoints":[{"address":"10.0.0.1","port":1},{"address":"a.b_c.de","port":2},{"address":"::1","port":3}]`, nil},
		{match + `,"endpoints":[{"address":"a b","port":1},{"address":"unix:///x","port":70000}]`, []string{"spec.endpoints[1].port"}},
		{match + `,"endpoints":[{"address":"a b","port":1},{"address":"unix:///x","port":7}]`, []string{"spec.endpoints[0].address", "spec.endpoints[1].address"}},
		{match + `,"extension":{"type":""}`, []string{"spec.extension.type"}},
		{match + `,"extension":{"type":"x","config":{"a":[1]}},"endpoints":[{"address":"a b","port":1}]`, nil},
		{match + `,"tls":{"enabled":true,"version":{"min":"TLS13","max":"TLS12"}}`, []string{"spec.tls.version.min"}},
		{match + `,"tls":{"version":{"min":"TLS13"}}`, nil},
		{match + `,"tls":{"version":{"min":"TLS14"}}`, []string{"spec.tls.version.min"}},
		{match + `,"tls":{"verification":{"serverName":"","clientCert":{"secret":"a"}}}`, []string{"spec.tls.verification.clientKey", "spec.tls.verification.serverName"}},
		{match + `,"tls":{"verification":{"serverName":"10.0.0.1","caCert":{"inline":""}}}`, []string{"spec.tls.verification.caCert", "spec.tls.verification.serverName"}},
		{match + `,"tls":{"verification":{"clientKey":{"inline":"YQ=="},"caCert":{}}}`, []string{"spec.tls.verification.caCert", "spec.tls.verification.clientCert"}},
		{match + `,"tls":{"verification":{"caCert":{"secret":"a","inlineString":"b"}}}`, []string{"spec.tls.verification.caCert"}},
	})
}

func TestMeshExternalServiceServerName(t *testing.T) {
	for _, c := range []struct{ fields, want string }{
		{`"endpoints":[{"address":"api.example.test","port":1}]`, "api.example.test"},
		{`"endpoints":[{"address":"10.0.0.1","port":1}]`, ""},
		{`"endpoints":[{"address":"10.0.0.1","port":1}],"tls":{"verification":{"serverName":"x.test"}}`, "x.test"},
		{`"endpoints":[{"address":"a.test","port":1}],"tls":{"verification":{"mode":"SkipSAN","serverName":"x.test"}}`, "a.test"},
		{`"tls":{"verification":{"mode":"SkipCA","serverName":"x.test"}}`, "x.test"},
		{`"extension":{"type":"x"}`, ""},
	} {
		s, _ := decoded[MeshExternalServiceSpec](t, MeshExternalService, `"match":{"port":443},`+c.fields)
		if got := s.ServerName(); got != c.want {
			t.Errorf("%s: %q", c.fields, got)
		}
	}
}

func TestExternalServiceWarnsOfFiles(t *testing.T) {
	for fields, want := range map[string]string{
		`"tls":{"enabled":true,"caCert":{"secret":"s"}}`: "",
		`"tls":{"enabled":true,"caCert":{"file":"/f"}}`:  "networking.tls.caCert.file",
		`"disableHostDNSEntry":true`:                     "",
	} {
		_, o := decoded[ExternalServiceSpec](t, ExternalService, `"tags":{"kuma.io/service":"s"},"networking":{"address":"a.b:1",`+fields+`}`)
		if w := strings.Join(ExternalService.Warn(o), ""); !strings.HasPrefix(w, want) || (w == "") != (want == "") {
			t.Errorf("%s: %q", fields, w)
		}
	}
}

func TestExternalServiceAddress(t *testing.T) {
	const tags = `"tags":{"kuma.io/service":"bank"}`
	checkRefusals(t, ExternalService, []refusal{
		{tags + `,"networking":{"address":"bank.test:443"}`, nil},
		{tags + `,"networking":{"address":"[::1]:443"}`, nil},
		{tags, []string{"networking"}},
		{tags + `,"networking":{}`, []string{"networking.address"}},
		{tags + `,"networking":{"address":"bank:443"}`, []string{`tags["kuma.io/service"]`}},
		{tags + `,"networking":{"address":"b.test:http"}`, []string{"networking.address", "networking.address"}},
		{tags + `,"networking":{"address":"b.test:443","tls":{"serverName":"","caCert":{}}}`, []string{"networking.tls.caCert", "networking.tls.serverName"}},
		{tags + `,"networking":{"address":"b.test:443","tls":{"serverName":"` + strings.Repeat("s", 255) + `"}}`, nil},
		{tags + `,"networking":{"address":"b.test:443","tls":{"serverName":"` + strings.Repeat("s", 256) + `"}}`, []string{"networking.tls.serverName"}},
		{`"networking":{"address":"b.test:443"}`, []string{"tags"}},
	})
	for _, c := range []struct {
		address, host string
		port          uint32
		ip            bool
	}{{"bank.test:443", "bank.test", 443, false}, {"[::1]:80", "::1", 80, true}, {"10.0.0.1:1", "10.0.0.1", 1, true}} {
		s, _ := decoded[ExternalServiceSpec](t, ExternalService, tags+`,"networking":{"address":"`+c.address+`"}`)
		host, port, ok := s.HostPort()
		if !ok || host != c.host || port != c.port || s.HostIsIP() != c.ip {
			t.Errorf("%s: %q %d %v ip %v", c.address, host, port, ok, s.HostIsIP())
		}
	}
	broken := &ExternalServiceSpec{Networking: &ExternalServiceNetworking{Address: "x"}}
	if _, _, ok := broken.HostPort(); ok || broken.HostIsIP() {
		t.Error("an address without port was split")
	}
}

func TestExternalServiceRateLimit(t *testing.T) {
	s := &ExternalServiceSpec{Tags: map[string]string{"kuma.io/service": "bank", "v": "1"}}
	sel := func(match map[string]string) []Selector { return []Selector{{Match: match}} }
	for _, c := range []struct {
		match map[string]string
		want  bool
	}{
		{map[string]string{"kuma.io/service": "bank"}, true},
		{map[string]string{"kuma.io/service": "*"}, true},
		{map[string]string{"kuma.io/service": "bank", "v": "1"}, false},
		{map[string]string{"kuma.io/service": "bank", "v": "2"}, true},
	} {
		if got := s.CompatibleWithRateLimit(sel(c.match)); got != c.want {
			t.Errorf("%v: %v", c.match, got)
		}
	}
}

func TestSelectorRanking(t *testing.T) {
	tags := map[string]string{"a": "1", "b": "2"}
	sel := func(ms ...map[string]string) []Selector {
		var out []Selector
		for _, m := range ms {
			out = append(out, Selector{Match: m})
		}
		return out
	}
	for _, c := range []struct {
		selectors []Selector
		want      Specificity
		ok        bool
	}{
		{nil, Specificity{}, true},
		{sel(map[string]string{"a": "2"}), Specificity{}, false},
		{sel(map[string]string{"a": "*", "b": "*"}, map[string]string{"a": "1"}), Specificity{2, 0}, true},
		{sel(map[string]string{"a": "*"}, map[string]string{"a": "1"}), Specificity{1, 1}, true},
		{sel(map[string]string{"c": "*"}, map[string]string{}), Specificity{}, true},
	} {
		got, ok := BestMatch(c.selectors, tags)
		if got != c.want || ok != c.ok {
			t.Errorf("%v: %v %v", c.selectors, got, ok)
		}
	}
	old, young := MeshGateway.Make("m", "b"), MeshGateway.Make("m", "c")
	young.Meta.Created = old.Meta.Created.Add(time.Second)
	first := MeshGateway.Make("m", "a")
	for _, c := range []struct {
		a, b   *model.Object
		sa, sb Specificity
		want   int
	}{
		{old, young, Specificity{2, 1}, Specificity{1, 1}, -1},
		{old, young, Specificity{1, 0}, Specificity{1, 1}, 1},
		{old, young, Specificity{}, Specificity{}, 1},
		{first, old, Specificity{}, Specificity{}, -1},
	} {
		if got := CompareMatched(c.a, c.b, c.sa, c.sb); (got < 0) != (c.want < 0) || got == 0 {
			t.Errorf("%s %v against %s %v: %d", c.a.Meta.Name, c.sa, c.b.Meta.Name, c.sb, got)
		}
	}
}

func TestCheckServiceSelectors(t *testing.T) {
	var v model.Violations
	CheckServiceSelectors([]Selector{
		{Match: map[string]string{"kuma.io/service": "*"}},
		{Match: map[string]string{"kuma.io/service": "a", "x": "y"}},
		{Match: map[string]string{"x": ""}},
		{},
	}, v.At("destinations"))
	var got []string
	for _, x := range v.List() {
		got = append(got, x.Field)
	}
	want := []string{
		"destinations[1].match", `destinations[1].match["x"]`,
		"destinations[2].match", `destinations[2].match["x"]`, `destinations[2].match["x"]`,
		"destinations[3].match",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// A status that was read must print as it was.
func TestStatusRoundTrip(t *testing.T) {
	const status = `{"addresses":[{"hostname":"a.b","origin":"HostnameGenerator","hostnameGeneratorRef":{"coreName":"g"}}],` +
		`"vips":[{"ip":"241.0.0.0"}],"tls":{"status":"NotReady"},` +
		`"hostnameGenerators":[{"hostnameGeneratorRef":{"coreName":"g"},"conditions":[{"type":"Generated","status":"True","reason":"Generated","message":""}]}],` +
		`"dataplaneProxies":{"healthy":1,"total":2}}`
	o, err := MeshService.Decode([]byte(`{"type":"MeshService","mesh":"m","name":"n","spec":{},"status":` + status + `}`))
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(o.Status)
	if err != nil || string(b) != status {
		t.Errorf("%v\n%s", err, b)
	}
}

// TestEssence: what a status counts wakes nobody, addresses do.
func TestEssence(t *testing.T) {
	make := func(s MeshServiceStatus) model.Hash {
		o := MeshService.Make("m", "a")
		o.Status = &s
		return model.ContentHash(o)
	}
	zero := make(MeshServiceStatus{})
	for what, s := range map[string]MeshServiceStatus{
		"counts":     {DataplaneProxies: DataplaneProxies{Connected: 1, Healthy: 1, Total: 1}},
		"generators": {HostnameGenerators: []HostnameGeneratorStatus{{HostnameGeneratorRef: GeneratorRef{CoreName: "g"}}}},
	} {
		if make(s) != zero {
			t.Errorf("%s of the status count as a change", what)
		}
	}
	for what, s := range map[string]MeshServiceStatus{
		"addresses": {Addresses: []Address{{Hostname: "a"}}},
		"vips":      {VIPs: []VIP{{IP: "241.0.0.0"}}},
		"tls":       {TLS: MeshServiceTLS{Status: TLSReady}},
	} {
		if make(s) == zero {
			t.Errorf("%s of the status do not count as a change", what)
		}
	}
	o := MeshService.Make("m", "a")
	o.Meta.Labels = map[string]string{"l": "x"}
	if model.ContentHash(o) == zero {
		t.Error("labels do not count")
	}
	o = MeshService.Make("m", "a")
	o.Spec = &MeshServiceSpec{State: ServiceAvailable}
	if model.ContentHash(o) == zero {
		t.Error("the spec does not count")
	}
}
