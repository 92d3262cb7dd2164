package model

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

type flatSpec struct {
	Str      string                `json:"str,omitempty"`
	CamelNum uint32                `json:"camelNum,omitempty"`
	Big      uint64                `json:"big,omitempty,string"`
	Signed   int32                 `json:"signed,omitempty"`
	Flag     bool                  `json:"flag,omitempty"`
	Opt      *bool                 `json:"opt,omitempty"`
	Ratio    *float64              `json:"ratio,omitempty"`
	Data     []byte                `json:"data,omitempty"`
	Wait     *ProtoDuration        `json:"wait,omitempty"`
	When     *Timestamp            `json:"when,omitempty"`
	Mode     string                `json:"mode,omitempty" schema:"enum=OFF|ON|AUTO:7"`
	OptMode  *string               `json:"optMode,omitempty" schema:"enum=OFF|ON"`
	Modes    []string              `json:"modes,omitempty" schema:"enum=OFF|ON"`
	Tags     map[string]string     `json:"tags,omitempty"`
	Sub      *flatSub              `json:"sub,omitempty"`
	List     []flatSub             `json:"list,omitempty"`
	ByName   map[string]flatSub    `json:"byName,omitempty"`
	Conf     Struct                `json:"conf,omitempty"`
	Nested   map[string]*flatInner `json:"nested,omitempty"`
}

type flatSub struct {
	Port uint32 `json:"port,omitempty"`
}

type flatInner struct {
	Names []string `json:"names,omitempty"`
}

var flatKind = &Kind{Name: "Thing", Plural: "things", Scope: InMesh, Shape: Flat, Feeds: FeedsSpec, New: func() any { return new(flatSpec) }}

func decodeFlat(t *testing.T, fields string) (*flatSpec, error) {
	t.Helper()
	doc := `{"type": "Thing", "mesh": "m", "name": "n"`
	if fields != "" {
		doc += ", " + fields
	}
	o, err := flatKind.Decode([]byte(doc + "}"))
	if err != nil {
		return nil, err
	}
	return Spec[flatSpec](o), nil
}

func ptr[T any](v T) *T { return &v }

func TestDecodeFlat(t *testing.T) {
	for _, c := range []struct {
		name, in string
		want     flatSpec
	}{
		{"nothing", "", flatSpec{}},
		{"snake case", `"camel_num": 3`, flatSpec{CamelNum: 3}},
		{"JSON name wins over snake case", `"camel_num": 3, "camelNum": 4`, flatSpec{CamelNum: 4}},
		{"snake case beside null", `"camel_num": 3, "camelNum": null`, flatSpec{CamelNum: 3}},
		{"numbers in strings", `"camelNum": "80", "big": "18446744073709551615", "ratio": "0.5"`, flatSpec{CamelNum: 80, Big: 18446744073709551615, Ratio: ptr(0.5)}},
		{"64 bits as number", `"big": 18446744073709551615, "signed": -7`, flatSpec{Big: 18446744073709551615, Signed: -7}},
		{"whole numbers in other notations", `"camelNum": 8e1, "signed": 80.0`, flatSpec{CamelNum: 80, Signed: 80}},
		{"enum by name, number and default", `"mode": "AUTO", "optMode": "OFF", "modes": ["ON", 0]`, flatSpec{Mode: "AUTO", OptMode: ptr("OFF"), Modes: []string{"ON", "OFF"}}},
		{"enum by number", `"mode": 7, "optMode": 1`, flatSpec{Mode: "AUTO", OptMode: ptr("ON")}},
		{"enum number 0 is left out", `"mode": "OFF"`, flatSpec{}},
		{"bytes in both alphabets", `"data": "-_8"`, flatSpec{Data: []byte{0xfb, 0xff}}},
		{"duration", `"wait": "1.5s"`, flatSpec{Wait: ptr(ProtoDuration(1500 * time.Millisecond))}},
		{"time", `"when": "2024-01-02T03:04:05.5+01:00"`, flatSpec{When: At(time.Date(2024, 1, 2, 2, 4, 5, 5e8, time.UTC))}},
		{"wrappers and null", `"opt": false, "ratio": null`, flatSpec{Opt: ptr(false)}},
		{"empty message is there", `"sub": {}`, flatSpec{Sub: &flatSub{}}},
		{"empty list and map are not", `"list": [], "tags": {}`, flatSpec{}},
		{"maps", `"tags": {"a/b": "c"}, "byName": {"x": {"port": 1}}, "nested": {"y": {"names": ["z"]}}`,
			flatSpec{Tags: map[string]string{"a/b": "c"}, ByName: map[string]flatSub{"x": {1}}, Nested: map[string]*flatInner{"y": {[]string{"z"}}}}},
		{"free-form", `"conf": {"a_b": [1, "x", null, {"c": true}]}`, flatSpec{Conf: Struct{"a_b": []any{1.0, "x", nil, map[string]any{"c": true}}}}},
		{"unknown fields are ignored", `"unheard": 1, "sub": {"unheard": {}, "port": 2}`, flatSpec{Sub: &flatSub{2}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := decodeFlat(t, c.in)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(&c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestDecodeFlatRefuses(t *testing.T) {
	for _, c := range []struct{ in, field, message string }{
		{`"str": 1`, "str", "must be a string, not a number"},
		{`"camelNum": -1`, "camelNum", "out of range"},
		{`"camelNum": 4294967296`, "camelNum", "out of range"},
		{`"camelNum": 1.5`, "camelNum", "not a whole number"},
		{`"camelNum": "1/2"`, "camelNum", "not a whole number"},
		{`"camelNum": "0x50"`, "camelNum", "not a whole number"},
		{`"camelNum": "017"`, "camelNum", "not a whole number"},
		{`"camelNum": "1_000"`, "camelNum", "not a whole number"},
		{`"ratio": "1_0"`, "ratio", "not a finite number"},
		{`"ratio": "+1"`, "ratio", "not a finite number"},
		{`"camelNum": 1e999999999`, "camelNum", "out of range"},
		{`"camelNum": "` + strings.Repeat("9", 50) + `"`, "camelNum", "out of range"},
		{`"camelNum": true`, "camelNum", "must be a number, not a boolean"},
		{`"ratio": "NaN"`, "ratio", "not a finite number"},
		{`"ratio": 1e999`, "ratio", "not a finite number"},
		{`"flag": "true"`, "flag", "must be true or false, not a string"},
		{`"mode": "Sometimes"`, "mode", `"Sometimes" is not possible here; use one of OFF, ON, AUTO`},
		{`"mode": 3`, "mode", "3 is not possible here"},
		{`"modes": ["ON", "NO"]`, "modes[1]", `"NO" is not possible here`},
		{`"data": "***"`, "data", "is not base64"},
		{`"wait": 5`, "wait", "must be a duration"},
		{`"wait": "soon"`, "wait", `"soon" is not a duration`},
		{`"when": "now"`, "when", `"now" is not a time`},
		{`"tags": {"a/b": 1}`, `tags["a/b"]`, "must be a string, not a number"},
		{`"tags": {"a": null}`, `tags["a"]`, "must not be null"},
		{`"tags": []`, "tags", "must be an object, not a list"},
		{`"list": {}`, "list", "must be a list, not an object"},
		{`"list": [{"port": 1}, null]`, "list[1]", "must not be null"},
		{`"list": [{"port": "x"}]`, "list[0].port", "not a whole number"},
		{`"sub": []`, "sub", "must be an object, not a list"},
		{`"conf": "x"`, "conf", "must be an object, not a string"},
		{`"labels": []`, "labels", "must be an object of strings, not a list"},
		{`"labels": {"a": 1}`, `labels["a"]`, "must be a string, not a number"},
	} {
		_, err := decodeFlat(t, c.in)
		var m *Malformed
		if !errors.As(err, &m) {
			t.Errorf("%s: got %v, want *Malformed", c.in, err)
			continue
		}
		if m.Field != c.field || !strings.Contains(m.Message, c.message) || m.Kind != "Thing" {
			t.Errorf("%s: got kind %q, field %q, message %q; want field %q and %q in the message", c.in, m.Kind, m.Field, m.Message, c.field, c.message)
		}
	}
}

// TestDecodeEmptyLabel: "team:" in YAML is null, and means an empty label.
func TestDecodeEmptyLabel(t *testing.T) {
	o, err := flatKind.Decode([]byte(`{"type": "Thing", "mesh": "default", "name": "a", "labels": {"team": null}}`))
	if err != nil {
		t.Fatal(err)
	}
	if v, has := o.Meta.Labels["team"]; !has || v != "" {
		t.Errorf("labels %v", o.Meta.Labels)
	}
}

func TestDecodeRefusesDocuments(t *testing.T) {
	for _, c := range []struct{ in, message string }{
		{"", "the document is empty"},
		{"  ", "the document is empty"},
		{`{"type": `, "not complete JSON"},
		{"[]", "must be a JSON object, not a list"},
		{`"x"`, "must be a JSON object, not a string"},
		{"null", "must be a JSON object, not null"},
		{"tyype: x", "not JSON"},
		{`{"type": "Thing"} trailing`, "more text after"},
		{`{"type": "Thing"}{}`, "more text after"},
		{`{"type": 1}`, "must be a string, not a number"},
		{strings.Repeat(`{"sub":`, 20000), "not JSON"},
	} {
		_, err := flatKind.Decode([]byte(c.in))
		var m *Malformed
		if !errors.As(err, &m) || !strings.Contains(m.Message, c.message) {
			t.Errorf("%.40q: got %v, want *Malformed with %q", c.in, err, c.message)
		}
	}
}

func TestEncode(t *testing.T) {
	o := flatKind.Make("m", "n")
	want := `{"type":"Thing","mesh":"m","name":"n","creationTime":"0001-01-01T00:00:00Z","modificationTime":"0001-01-01T00:00:00Z"}`
	checkEncoded(t, o, want)

	o.Meta.Labels = map[string]string{"b": "2", "a": "1"}
	o.Meta.Created = time.Date(2024, 1, 2, 3, 4, 5, 0, time.FixedZone("", 3600))
	o.Spec = &flatSpec{Str: "<a&b>", Big: 7, Wait: ptr(ProtoDuration(1500 * time.Millisecond)), Sub: &flatSub{}, Opt: ptr(false), Data: []byte("x")}
	want = `{"type":"Thing","mesh":"m","name":"n","creationTime":"2024-01-02T02:04:05Z","modificationTime":"0001-01-01T00:00:00Z",` +
		`"labels":{"a":"1","b":"2"},"str":"<a&b>","big":"7","opt":false,"data":"eA==","wait":"1.500s","sub":{}}`
	checkEncoded(t, o, want)

	back, err := flatKind.Decode([]byte(want))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(o.Spec, back.Spec); diff != "" {
		t.Errorf("the round trip changed the spec (-want +got):\n%s", diff)
	}
	if !back.Meta.Created.IsZero() {
		t.Error("the time of a document was taken over; it is the store's")
	}
}

func TestEncodeGlobal(t *testing.T) {
	kind := &Kind{Name: "G", Scope: Global, Shape: SpecBlock, New: func() any { return new(blockSpec) }, NewStatus: func() any { return new(blockStatus) }}
	o := kind.Make("m", "n")
	o.Meta.Mesh = "m" // must not be printed even if it got there
	o.Status.(*blockStatus).State = "x"
	checkEncoded(t, o, `{"type":"G","name":"n","creationTime":"0001-01-01T00:00:00Z","modificationTime":"0001-01-01T00:00:00Z","spec":{},"status":{"state":"x"}}`)
}

func checkEncoded(t *testing.T, o *Object, want string) {
	t.Helper()
	b, err := Encode(o)
	if err != nil {
		t.Fatal(err)
	}
	if string(b) != want {
		t.Errorf("got  %s\nwant %s", b, want)
	}
	if !json.Valid(b) {
		t.Error("not JSON")
	}
}

func TestProtoDurations(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", time.Second: "1s", 1500 * time.Millisecond: "1.500s", time.Microsecond: "0.000001s",
		time.Nanosecond: "0.000000001s", -1500 * time.Millisecond: "-1.500s", time.Hour: "3600s",
		1<<63 - 1: "9223372036.854775807s", -1 << 63: "-9223372036.854775808s",
	} {
		if got := ProtoDuration(d).String(); got != want {
			t.Errorf("%d: got %s, want %s", d, got, want)
		}
	}
}

func TestCopyValue(t *testing.T) {
	src := &flatSpec{Opt: ptr(true), Tags: map[string]string{"a": "b"}, List: []flatSub{{1}}, Conf: Struct{"x": []any{map[string]any{"y": 1.0}}}, Nested: map[string]*flatInner{"z": {[]string{"q"}}}}
	want := HashJSON(src)
	c := CopyValue(src).(*flatSpec)
	if diff := cmp.Diff(src, c); diff != "" {
		t.Fatalf("the copy differs:\n%s", diff)
	}
	*c.Opt = false
	c.Tags["a"] = "c"
	c.List[0].Port = 2
	c.Conf["x"].([]any)[0].(map[string]any)["y"] = 2.0
	c.Nested["z"].Names[0] = "r"
	if HashJSON(src) != want {
		t.Error("a change of the copy changed the original")
	}
	if CopyValue(nil) != nil {
		t.Error("the copy of nothing is something")
	}
}

func FuzzDecodeFlat(f *testing.F) {
	f.Add(`"camel_num": "8e1", "mode": 7, "tags": {"a": "b"}, "conf": {"x": [1e400]}`)
	f.Add(`"list": [{"port": 1}], "when": "2024-01-02T03:04:05Z", "data": "eA=="`)
	f.Fuzz(func(t *testing.T, fields string) {
		o, err := flatKind.Decode([]byte(`{"type": "Thing", "mesh": "m", "name": "n", ` + fields + `}`))
		if err != nil {
			return
		}
		b, err := Encode(o)
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		back, err := flatKind.Decode(b)
		if err != nil {
			t.Fatalf("what was written cannot be read: %v\n%s", err, b)
		}
		if ContentHash(o) != ContentHash(back) {
			t.Fatalf("the round trip changed the object:\n%s", b)
		}
	})
}

func TestStructIsNotShown(t *testing.T) {
	spec := flatSpec{Conf: Struct{"key": "hush"}}
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		if got := fmt.Sprintf(format, spec); strings.Contains(got, "hush") {
			t.Errorf("%s shows %s", format, got)
		}
	}
	var b strings.Builder
	slog.New(slog.NewTextHandler(&b, nil)).Info("x", "conf", spec.Conf)
	if strings.Contains(b.String(), "hush") {
		t.Errorf("the log shows %s", b.String())
	}
}
