package meshpassthrough

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

func apply(t *testing.T, doc string) (*ir.Transparent, []ir.Warning) {
	t.Helper()
	p := &ir.Proxy{Type: ir.Sidecar, Transparent: &ir.Transparent{Passthrough: true}}
	proxy(conf(t, doc), &policy.Context{Proxy: p})
	return p.Transparent, p.Warnings
}

func TestModes(t *testing.T) {
	match := `"appendMatch":[{"type":"IP","value":"10.0.0.1"}]`
	for doc, want := range map[string]ir.Transparent{
		`{"passthroughMode":"All",` + match + `}`:     {Passthrough: true},
		`{"passthroughMode":"None",` + match + `}`:    {},
		`{"passthroughMode":"Matched",` + match + `}`: {Matches: []ir.PassthroughMatch{{Type: "IP", Value: "10.0.0.1", Protocol: "tcp"}}},
		`{` + match + `}`: {Matches: []ir.PassthroughMatch{{Type: "IP", Value: "10.0.0.1", Protocol: "tcp"}}},
		`{}`:              {},
	} {
		got, _ := apply(t, doc)
		if d := cmp.Diff(&want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", doc, d)
		}
	}
}

// TestConflict: policies may disagree about the protocol of a port; the stronger
// one, whose matches come last, is right, and the other is told.
func TestConflict(t *testing.T) {
	got, ws := apply(t, `{"appendMatch":[
		{"type":"Domain","value":"a.b","port":80,"protocol":"http2"},
		{"type":"Domain","value":"c.d","port":80,"protocol":"http"},
		{"type":"Domain","value":"c.d","port":80,"protocol":"http"}]}`)
	if len(got.Matches) != 1 || got.Matches[0].Value != "c.d" {
		t.Errorf("matches: %+v", got.Matches)
	}
	if len(ws) != 1 || !strings.Contains(ws[0].Message, "a.b") {
		t.Errorf("warnings: %+v", ws)
	}
}

func TestWithoutRedirection(t *testing.T) {
	p := &ir.Proxy{Type: ir.Sidecar}
	proxy(&Conf{}, &policy.Context{Proxy: p})
	if p.Transparent != nil {
		t.Error("passthrough was made for a proxy without redirection")
	}
}

func TestValidate(t *testing.T) {
	for doc, want := range map[string]string{
		`{"type":"Domain","value":"*.a.b","port":443,"protocol":"tls"}`:  "",
		`{"type":"Domain","value":"*a.b","port":443,"protocol":"tls"}`:   "value",
		`{"type":"Domain","value":".a.b","port":443,"protocol":"tls"}`:   "value",
		`{"type":"Domain","value":"","port":443,"protocol":"tls"}`:       "value",
		`{"type":"Domain","value":"*.a.b","protocol":"http"}`:            "port",
		`{"type":"Domain","value":"a.b","protocol":"http"}`:              "",
		`{"type":"IP","value":"fe80::1%eth0","protocol":"tcp"}`:          "value",
		`{"type":"IP","value":"::1","protocol":"tcp"}`:                   "",
		`{"type":"CIDR","value":"10.0.0.0/33","protocol":"tcp"}`:         "value",
		`{"type":"CIDR","value":"fd00::/8","protocol":"tcp"}`:            "",
		`{"type":"IP","value":"10.0.0.1","port":70000,"protocol":"tcp"}`: "port",
	} {
		var v model.Violations
		validate(conf(t, `{"appendMatch":[`+doc+`]}`), &v, policy.Where{})
		got := ""
		for _, x := range v.List() {
			got += strings.TrimPrefix(x.Field, "appendMatch[0].")
		}
		if got != want {
			t.Errorf("%s: violations at %q, want %q", doc, got, want)
		}
	}
}
