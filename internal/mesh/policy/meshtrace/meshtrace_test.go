package meshtrace

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"weft/internal/mesh/ir"
	"weft/internal/mesh/model"
	"weft/internal/mesh/policy"
)

func conf(t *testing.T, doc string) *Conf {
	t.Helper()
	c := &Conf{}
	if err := json.Unmarshal([]byte(doc), c); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCollectors(t *testing.T) {
	for doc, want := range map[string]ir.Backend{
		`{"type":"Zipkin","zipkin":{"url":"http://z/api"}}`:                      {Name: "meshtrace:zipkin", Host: "z", Port: 80},
		`{"type":"Zipkin","zipkin":{"url":"https://z:9443/api"}}`:                {Name: "meshtrace:zipkin", Host: "z", Port: 9443, TLS: true},
		`{"type":"Datadog","datadog":{"url":"http://[::1]:8126"}}`:               {Name: "meshtrace:datadog", Host: "::1", Port: 8126},
		`{"type":"OpenTelemetry","openTelemetry":{"endpoint":"otel"}}`:           {Name: "meshtrace:opentelemetry", Host: "otel", Port: 4317, HTTP2: true},
		`{"type":"OpenTelemetry","openTelemetry":{"endpoint":"10.0.0.1:14317"}}`: {Name: "meshtrace:opentelemetry", Host: "10.0.0.1", Port: 14317, HTTP2: true},
	} {
		want.Origin = origin
		p := &ir.Proxy{Service: "web"}
		for range 2 { // two listeners share a collector
			if tr := conf(t, `{"backends":[`+doc+`]}`).tracing(p, "_X"); tr == nil || tr.Backend != want.Name {
				t.Errorf("%s: tracing %+v", doc, tr)
			}
		}
		if d := cmp.Diff([]ir.Backend{want}, p.Backends); d != "" {
			t.Errorf("%s (-want +got):\n%s", doc, d)
		}
	}
}

func TestSwitchedOff(t *testing.T) {
	l := &ir.Listener{HTTP: &ir.HTTP{}}
	x := &policy.Context{Proxy: &ir.Proxy{}}
	if apply(conf(t, `{"backends":[]}`), l, "", x); l.Tracing != nil || len(x.Proxy.Backends) > 0 {
		t.Errorf("tracing %+v", l.Tracing)
	}
}

func TestURLs(t *testing.T) {
	for doc, want := range map[string]int{
		`{"type":"Datadog","datadog":{"url":"http://a:1"}}`:           0,
		`{"type":"Datadog","datadog":{"url":"https://a:1"}}`:          1,
		`{"type":"Datadog","datadog":{"url":"http://a"}}`:             1,
		`{"type":"Datadog","datadog":{"url":"http://u@a:1/p?q=1#f"}}`: 3,
		`{"type":"Datadog","datadog":{"url":"http://a:1#f"}}`:         0, // as ever
		`{"type":"Datadog","datadog":{"url":"http://a:70000"}}`:       1,
		`{"type":"Datadog","datadog":{"url":"a:1"}}`:                  1,
		`{"type":"Zipkin","zipkin":{"url":""}}`:                       1,
		`{"type":"Zipkin","zipkin":{"url":"ftp://a/b"}}`:              1,
		`{"type":"OpenTelemetry","openTelemetry":{"endpoint":"a b"}}`: 1,
	} {
		var v model.Violations
		validate(conf(t, `{"backends":[`+doc+`]}`), &v, policy.Where{})
		if len(v.List()) != want {
			t.Errorf("%s: %d violations, want %d: %v", doc, len(v.List()), want, v.List())
		}
	}
}

func TestTags(t *testing.T) {
	var v model.Violations
	validate(conf(t, `{"backends":[],"tags":[{"name":"a"},{"name":"","literal":"x"},{"name":"b","literal":"x","header":{"name":""}}]}`), &v, policy.Where{})
	var got []string
	for _, x := range v.List() {
		got = append(got, x.Field)
	}
	if want := "tags[0] tags[1].name tags[2] tags[2].header.name"; strings.Join(got, " ") != want {
		t.Errorf("violations at %v, want %s", got, want)
	}
}
