package kinds

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"weft/internal/mesh/model"
)

func TestHostnameGeneratorValidation(t *testing.T) {
	const sel = `"selector":{"meshService":{}}`
	checkRefusals(t, HostnameGenerator, []refusal{
		{sel + `,"template":"{{ .DisplayName }}.mesh"`, nil},
		{sel + `,"template":"{{ if eq .Zone \"east\" }}{{ .Name }}.east{{ end }}"`, nil},
		{`"template":"a.b"`, []string{"spec.selector"}},
		{`"selector":{"meshService":{},"meshMultiZoneService":{}},"template":"a.b"`, []string{"spec.selector"}},
		{sel, []string{"spec.template"}},
		{sel + `,"template":"{{ .Name"`, []string{"spec.template"}},
		{sel + `,"template":"{{ unknown .Name }}"`, []string{"spec.template"}},
		{sel + `,"template":"{{ range 1000000000 }}{{ end }}"`, []string{"spec.template"}},
		{sel + `,"template":"{{ if true }}{{ range 9 }}{{ end }}{{ end }}"`, []string{"spec.template"}},
		{sel + `,"template":"{{ define \"x\" }}{{ template \"x\" }}{{ end }}{{ template \"x\" }}"`, []string{"spec.template"}},
		{sel + `,"template":"` + strings.Repeat("a", 5000) + `"`, []string{"spec.template"}},
	})
}

func TestHostname(t *testing.T) {
	svc := func(name string, labels map[string]string) *model.Object {
		o := MeshService.Make("shop", name)
		o.Meta.Labels = labels
		return o
	}
	kube := map[string]string{
		model.LabelK8sNamespace: "demo", model.LabelZone: "east", model.LabelDisplayName: "web", "kind": "blue",
	}
	for _, c := range []struct {
		template string
		o        *model.Object
		want     string // "!" = error
	}{
		{"{{ .DisplayName }}.svc.mesh.local", svc("web", nil), "web.svc.mesh.local"},
		{"{{ .Name }}.{{ .Mesh }}.{{ .Zone }}", svc("web", nil), "web.shop.local"},
		{"{{ .Name }}.{{ .Namespace }}.{{ .Zone }}", svc("web.demo", kube), "web.demo.east"},
		{"{{ .DisplayName }}.{{ label \"kind\" }}", svc("web-x7.kuma-system", kube), "web.blue"},
		{"{{ .DisplayName }}.x", svc("web.demo", map[string]string{model.LabelK8sNamespace: "demo"}), "web.x"},
		{"{{ label \"kuma.io/display-name\" }}.x", svc("web", nil), "web.x"},
		{"{{ label \"absent\" }}.x", svc("web", nil), "!"},
		{"{{ .Absent }}.x", svc("web", nil), "!"},
		{"{{ .Namespace }}.x", svc("web", nil), "!"},
		{"not a host", svc("web", nil), "!"},
		{"{{ if .Namespace }}{{ .Name }}.x{{ end }}", svc("web", nil), ""},
		{"{{/* nothing */}}", svc("web", nil), ""},
		{`{{ printf "%s-%03d" .Name 7 }}.x`, svc("web", nil), "web-007.x"},
		{`{{ printf "%9999d" 7 }}.x`, svc("web", nil), "!"},
		{`{{ printf "%*d" 99999999 7 }}.x`, svc("web", nil), "!"},
		{`{{ printf "%.999999999f" 1.5 }}.x`, svc("web", nil), "!"},
		{doubling(40), svc("web", nil), "!"},
	} {
		s := HostnameGeneratorSpec{Template: c.template}
		start := time.Now()
		got, err := s.Hostname(c.o, "local")
		if c.want == "!" {
			if err == nil {
				t.Errorf("%s: no error, %q", c.template, got)
			}
		} else if err != nil || got != c.want {
			t.Errorf("%s: %q %v", c.template, got, err)
		}
		if d := time.Since(start); d > 5*time.Second {
			t.Errorf("%.40s took %v", c.template, d)
		}
	}
}

// doubling makes a template whose text would have 2^n bytes.
func doubling(n int) string {
	return `{{ $a := "aaaa" }}` + strings.Repeat(`{{ $a = print $a $a }}`, n) + `{{ $a }}`
}

func TestHostnameGeneratorSelects(t *testing.T) {
	svc, ext, multi := MeshService.Make("m", "s"), MeshExternalService.Make("m", "e"), MeshMultiZoneService.Make("m", "z")
	svc.Meta.Labels = map[string]string{"a": "1"}
	for _, c := range []struct {
		selector string
		want     []bool // svc, ext, multi
	}{
		{`{"meshService":{}}`, []bool{true, false, false}},
		{`{"meshService":{"matchLabels":{"a":"1","kuma.io/display-name":"s"}}}`, []bool{true, false, false}},
		{`{"meshService":{"matchLabels":{"a":"2"}}}`, []bool{false, false, false}},
		{`{"meshExternalService":{}}`, []bool{false, true, false}},
		{`{"meshMultiZoneService":{}}`, []bool{false, false, true}},
	} {
		s, _ := decoded[HostnameGeneratorSpec](t, HostnameGenerator, `"template":"a.b","selector":`+c.selector)
		got := []bool{s.Selects(svc), s.Selects(ext), s.Selects(multi)}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s:\n%s", c.selector, d)
		}
	}
	if (&HostnameGeneratorSpec{}).Selects(Mesh.Make("", "m")) {
		t.Error("a mesh is selected")
	}
}

func TestVirtualOutboundValidation(t *testing.T) {
	const sel = `"selectors":[{"match":{"kuma.io/service":"*"}}]`
	const params = `"parameters":[{"name":"svc","tagKey":"kuma.io/service"},{"name":"port"}]`
	checkRefusals(t, VirtualOutbound, []refusal{
		{sel + `,"conf":{"host":"{{.svc}}.mesh","port":"{{.port}}",` + params + `}`, nil},
		{sel, []string{"conf"}},
		{`"conf":{"host":"{{.svc}}.mesh","port":"80",` + params + `}`, []string{"selectors"}},
		{`"selectors":[{}],"conf":{"host":"{{.svc}}.mesh","port":"80",` + params + `}`, []string{"selectors[0].match"}},
		{sel + `,"conf":{` + params + `}`, []string{"conf.host", "conf.port"}},
		{sel + `,"conf":{"host":"{{.svc}}.mesh","port":"80"}`, []string{"conf.host", "conf.parameters"}},
		{sel + `,"conf":{"host":"{{.svc}} mesh","port":"x{{.port}}",` + params + `}`, []string{"conf.host", "conf.port"}},
		{sel + `,"conf":{"host":"{{.svc","port":"70000",` + params + `}`, []string{"conf.host", "conf.port"}},
		{sel + `,"conf":{"host":"{{.other}}.mesh","port":"80",` + params + `}`, []string{"conf.host"}},
		{sel + `,"conf":{"host":"a.mesh","port":"80","parameters":[{"name":"s","tagKey":"kuma.io/service"},{"name":"s","tagKey":"b"},{"name":"a.b","tagKey":"x y"}]}`,
			[]string{"conf.parameters[1].name", "conf.parameters[2].name", "conf.parameters[2].tagKey"}},
		{sel + `,"conf":{"host":"a.mesh","port":"80","parameters":[{"name":"s"}]}`, []string{"conf.parameters"}},
		{sel + `,"conf":{"host":"{{.svc}}.mesh","port":"80","parameters":[{"name":"svc","tagKey":"kuma.io/service"},{"name":"a b"},{"name":"a-b"}]}`,
			[]string{"conf.parameters[1].name", "conf.parameters[1].name", "conf.parameters[2].name"}},
	})
}

func TestVirtualOutboundEvaluate(t *testing.T) {
	s, _ := decoded[VirtualOutboundSpec](t, VirtualOutbound, `"selectors":[{"match":{"kuma.io/service":"*"}}],
		"conf":{"host":"{{.svc}}.{{.version}}.mesh","port":"80{{.n}}","parameters":[
			{"name":"svc","tagKey":"kuma.io/service"},{"name":"version"},{"name":"n"}]}`)
	tags := map[string]string{"kuma.io/service": "web", "version": "v1", "n": "8", "other": "x"}
	host, port, err := s.Evaluate(tags)
	if err != nil || host != "web.v1.mesh" || port != 808 {
		t.Errorf("%q %d %v", host, port, err)
	}
	got, ok := s.ParameterTags(tags)
	if d := cmp.Diff(map[string]string{"kuma.io/service": "web", "version": "v1", "n": "8"}, got); d != "" || !ok {
		t.Errorf("%v %s", ok, d)
	}
	for _, bad := range []map[string]string{
		{"kuma.io/service": "web", "version": "v1"},
		{"kuma.io/service": "web", "version": "v1", "n": "x"},
		{"kuma.io/service": "web", "version": "v1", "n": "999"},
		{"kuma.io/service": "web!", "version": "v1", "n": "1"},
	} {
		if host, port, err := s.Evaluate(bad); err == nil {
			t.Errorf("%v: %q %d", bad, host, port)
		}
	}
	if _, ok := s.ParameterTags(map[string]string{"version": "v1"}); ok {
		t.Error("tags without a parameter's tag are enough")
	}
}

func FuzzTemplate(f *testing.F) {
	for _, s := range []string{"{{ .Name }}", "{{ label \"a\" }}", "{{ with $x := .Name }}{{ $x | print | html }}{{ else }}b{{ end }}", doubling(3), "{{ slice .Name 1 }}", "{{ index .Name 99 }}", "{{ call .Name }}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s := HostnameGeneratorSpec{Template: text}
		host, err := s.Hostname(MeshService.Make("m", "n"), "z")
		if err == nil && host != "" && !isHost(host) {
			t.Errorf("%q gave %q", text, host)
		}
	})
}
