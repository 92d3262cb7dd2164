package loader

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"weft/internal/mesh/model"
)

type versions struct {
	Min     string   `json:"min" env:"MIN"`
	Ciphers []string `json:"ciphers" env:"CIPHERS"`
}

type key struct {
	ID   string `json:"id"`
	Text string `json:"text,omitempty"`
}

type hidden string

func (hidden) Redacted() string { return "*****" }

type tree struct {
	Name   string `json:"name" env:"X_NAME"`
	Server struct {
		Port    int           `json:"port" env:"PORT"`
		Small   uint16        `json:"small" env:"SMALL"`
		On      bool          `json:"on" env:"ON"`
		Wait    time.Duration `json:"wait" env:"WAIT"`
		Secret  hidden        `json:"secret" env:"SECRET"`
		Ports   []uint16      `json:"ports" env:"PORTS"`
		Keys    []key         `json:"keys"`
		Special string        `json:"Special" yaml:"special" env:"X_ODD_NAME"`
		versions
	} `json:"server" env:"X_SERVER"`
	Labels map[string]string `json:"labels" env:"X_LABELS"`
	Former struct {
		Pause time.Duration `json:"pause" env:"PAUSE"`
		Names []string      `json:"names" env:"NAMES" unused:"nobody is called"`
	} `json:"former" env:"X_FORMER" unused:"nothing waits"`
	Quiet  string `json:"quiet,omitempty" env:"X_QUIET"`
	unseen int
}

var exportAll = cmp.Exporter(func(reflect.Type) bool { return true })

func defaults() *tree {
	t := &tree{Name: "n", Labels: map[string]string{"a": "1", "b": "2"}, unseen: 1}
	t.Server.Port, t.Server.Wait, t.Server.Min = 80, time.Second, "low"
	return t
}

func TestLaterSourcesWin(t *testing.T) {
	got := defaults()
	res, err := Load(got, Options{
		Prefix: "X_",
		File:   []byte("name: from-file\nserver: {port: 81, on: true, wait: 1m30s, min: file}\n"),
		Environ: []string{
			"X_SERVER_PORT=82", "X_SERVER_CIPHERS=a, b,c", "X_SERVER_PORTS=1,65535", "X_LABELS=k:v:w, z:y",
			"OTHER=1", "X_ODD_NAME=odd", "X_SERVER_SECRET=s",
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := defaults()
	want.Name, want.Labels = "from-file", map[string]string{"k": "v:w", "z": "y"}
	s := &want.Server
	s.Port, s.On, s.Wait, s.Min = 82, true, 90*time.Second, "file"
	s.Ciphers, s.Ports, s.Special, s.Secret = []string{"a", "b", "c"}, []uint16{1, 65535}, "odd", "s"
	if d := cmp.Diff(want, got, exportAll); d != "" {
		t.Error(d)
	}
	wantSet := map[string]bool{}
	for _, p := range strings.Fields("name labels server.port server.on server.wait server.min server.ciphers server.ports server.special server.secret") {
		wantSet[p] = true
	}
	if d := cmp.Diff(wantSet, res.Set); d != "" {
		t.Error(d)
	}
	if len(res.Warnings) > 0 {
		t.Errorf("unexpected warnings: %q", res.Warnings)
	}
}

func TestFiles(t *testing.T) {
	for name, c := range map[string]struct {
		file string
		want func(*tree)
	}{
		"empty":                   {"", func(*tree) {}},
		"comments only":           {"# nothing\n", func(*tree) {}},
		"null keeps the default":  {"name:\nserver: null\n", func(*tree) {}},
		"number as text":          {"name: 017\n", func(x *tree) { x.Name = "017" }},
		"JSON with tabs":          {"{\n\t\"name\": \"j\",\n\t\"server\": {\"port\": 5}\n}", func(x *tree) { x.Name, x.Server.Port = "j", 5 }},
		"other case":              {"NAME: x\nServer: {PORT: 3}\n", func(x *tree) { x.Name, x.Server.Port = "x", 3 }},
		"maps are added to":       {"labels: {b: null, c: 3}\n", func(x *tree) { x.Labels = map[string]string{"a": "1", "c": "3"} }},
		"lists are replaced":      {"server: {ciphers: [x], ports: [7]}\n", func(x *tree) { x.Server.Ciphers, x.Server.Ports = []string{"x"}, []uint16{7} }},
		"list of groups":          {"server: {keys: [{id: a}, {id: b, text: t}]}\n", func(x *tree) { x.Server.Keys = []key{{ID: "a"}, {ID: "b", Text: "t"}} }},
		"both spellings":          {"server: {Special: x}\n", func(x *tree) { x.Server.Special = "x" }},
		"anchors and merge":       {"server: &s\n  port: 9\nlabels: {a: &v 5, c: *v}\n", func(x *tree) { x.Server.Port = 9; x.Labels = map[string]string{"a": "5", "b": "2", "c": "5"} }},
		"merged mapping":          {"name: &n q\nserver:\n  <<: {port: 4}\n  min: *n\n", func(x *tree) { x.Name, x.Server.Port, x.Server.Min = "q", 4, "q" }},
		"byte order and document": {"---\nname: d\n", func(x *tree) { x.Name = "d" }},
	} {
		t.Run(name, func(t *testing.T) {
			got, want := defaults(), defaults()
			c.want(want)
			res, err := Load(got, Options{Prefix: "X_", File: []byte(c.file)})
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want, got, exportAll); d != "" {
				t.Error(d)
			}
			if len(res.Warnings) > 0 {
				t.Errorf("unexpected warnings: %q", res.Warnings)
			}
		})
	}
}

func TestBadValuesAreReportedTogether(t *testing.T) {
	got := defaults()
	_, err := Load(got, Options{
		Prefix: "X_",
		File:   []byte("name: [a]\nserver:\n  port: many\n  on: perhaps\n  wait: 5\n  keys: {id: a}\n  ports: [70000]\nlabels: {a: [1]}\n"),
		Environ: []string{
			"X_SERVER_SMALL=-1", "X_LABELS=novalue",
		},
	})
	var bad *model.Invalid
	if !errors.As(err, &bad) {
		t.Fatalf("got %v, want a *model.Invalid", err)
	}
	fields := map[string]bool{}
	for _, v := range bad.Violations {
		fields[v.Field] = true
	}
	for _, f := range []string{"name", "server.port", "server.on", "server.wait", "server.keys", "server.ports[0]", "labels", "server.small"} {
		if !fields[f] {
			t.Errorf("%s is not reported in %v", f, err)
		}
	}
	for _, part := range []string{`"many" is not a whole number`, "line 3", "X_SERVER_SMALL", "from 0 to 65535"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q is missing in %v", part, err)
		}
	}
}

func TestRefusedFiles(t *testing.T) {
	for name, c := range map[string]struct{ file, want string }{
		"no YAML":           {"name: a\nserver: b: c\n", "line 2"},
		"list at the top":   {"- a\n", "must be a mapping"},
		"text at the top":   {"hello\n", "must be a mapping"},
		"two documents":     {"name: a\n---\nname: b\n", "more than one"},
		"key given twice":   {"name: a\nNAME: b\n", "twice"},
		"too large":         {"name: " + strings.Repeat("x", maxFile), "bytes"},
		"contains itself":   {"server: &a\n  <<: *a\n", "contain itself"},
		"list for a group":  {"server: []\n", "server must be a mapping"},
		"group for a list":  {"server: {ciphers: {a: b}}\n", "must be a list"},
		"nothing but an !!": {"name: !!binary x\nserver: !!int {}\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Load(defaults(), Options{Prefix: "X_", File: []byte(c.file)})
			if c.want == "" {
				return // must only not panic
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}

func TestWarnings(t *testing.T) {
	for name, c := range map[string]struct {
		file string
		env  []string
		want string
	}{
		"misspelt key":            {"server: {prot: 1}\n", nil, `key "server.prot" in line 1 is not known and has no effect; did you mean server.port?`},
		"misplaced key":           {"wait: 1s\n", nil, `did you mean server.wait?`},
		"strange key":             {"completelyDifferent: {a: b}\n", nil, `key "completelyDifferent" in line 1 is not known and has no effect`},
		"misspelt variable":       {"", []string{"X_SERVR_PORT=1"}, "variable X_SERVR_PORT is not known and has no effect; did you mean X_SERVER_PORT?"},
		"swapped letters":         {"", []string{"X_SERVER_PROT=1"}, "did you mean X_SERVER_PORT?"},
		"words left out":          {"", []string{"X_PORT=1"}, "did you mean X_SERVER_PORT?"},
		"strange variable":        {"", []string{"X_COMPLETELY_DIFFERENT=1"}, "variable X_COMPLETELY_DIFFERENT is not known and has no effect"},
		"alias":                   {"", []string{"X_OLD=a"}, "variable X_OLD is accepted, but its right name is X_NAME"},
		"unused group":            {"former: {pause: 3s}\n", nil, "setting former.pause has no effect: nothing waits"},
		"unused setting":          {"former: {pause: 0s}\n", []string{"X_FORMER_NAMES=a"}, "setting former.names has no effect: nobody is called"},
		"alias beside right name": {"", []string{"X_OLD=a", "X_NAME=b"}, "variable X_OLD has no effect because X_NAME is set too"},
	} {
		t.Run(name, func(t *testing.T) {
			res, err := Load(defaults(), Options{
				Prefix: "X_", File: []byte(c.file), Environ: c.env, EnvAliases: map[string]string{"X_OLD": "X_NAME"},
				Foreign: func(n string) bool { return n == "X_FOREIGN" },
			})
			if err != nil {
				t.Fatal(err)
			}
			if len(res.Warnings) != 1 || !strings.Contains(res.Warnings[0], c.want) {
				t.Errorf("got %q, want one warning with %q", res.Warnings, c.want)
			}
		})
	}
}

func TestForeignVariablesAreNotReported(t *testing.T) {
	res, err := Load(defaults(), Options{Prefix: "X_", Environ: []string{"X_FOREIGN=1", "noequals"}, Foreign: func(n string) bool { return n == "X_FOREIGN" }})
	if err != nil || len(res.Warnings) > 0 {
		t.Errorf("got %q, %v", res.Warnings, err)
	}
}

func TestEmptyVariables(t *testing.T) {
	got := defaults()
	if _, err := Load(got, Options{Prefix: "X_", Environ: []string{"X_NAME=", "X_SERVER_PORT=", "X_SERVER_WAIT=", "X_LABELS="}}); err != nil {
		t.Fatal(err)
	}
	if got.Name != "" || len(got.Labels) != 0 {
		t.Errorf("text, lists and maps can be emptied: got %q, %v", got.Name, got.Labels)
	}
	if got.Server.Port != 80 || got.Server.Wait != time.Second {
		t.Errorf("an empty number or duration is none: got %d, %s", got.Server.Port, got.Server.Wait)
	}
}

func TestDump(t *testing.T) {
	x := defaults()
	x.Server.Secret = "canary"
	x.Server.Keys = []key{{ID: "a"}}
	got := Dump(x)
	want := map[string]any{
		"name": "n", "labels": map[string]any{"a": "1", "b": "2"},
		"former": map[string]any{"pause": "0s", "names": []any{}},
		"server": map[string]any{
			"port": 80, "small": uint16(0), "on": false, "wait": "1s", "secret": "*****", "ports": []any{},
			"keys": []any{map[string]any{"id": "a"}}, "Special": "", "min": "low", "ciphers": []any{},
		},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func FuzzLoad(f *testing.F) {
	f.Add("name: a\nserver: &s {port: 1, <<: *s}\n", "X_LABELS=a:b,c")
	f.Add("{\"server\": {\"keys\": [{\"id\": 1}]}}", "X_SERVER_PORTS=1,2")
	f.Fuzz(func(_ *testing.T, file, env string) {
		_, _ = Load(defaults(), Options{Prefix: "X_", File: []byte(file), Environ: []string{env}})
	})
}

// slashed is a list that reads texts by itself.
type slashed []string

func (w *slashed) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		return errors.New("needs words")
	}
	*w = strings.Split(string(text), "/")
	return nil
}

func TestTypesThatReadTexts(t *testing.T) {
	type texts struct {
		A slashed `json:"a" env:"X_A"`
		B slashed `json:"b" env:"X_B"`
		C slashed `json:"c" env:"X_C"`
	}
	var got texts
	if _, err := Load(&got, Options{Prefix: "X_", File: []byte("a: p/q\nb: [r, s/t]\n"), Environ: []string{"X_C=u/v"}}); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(texts{slashed{"p", "q"}, slashed{"r", "s/t"}, slashed{"u", "v"}}, got); d != "" {
		t.Error(d)
	}
	_, err := Load(&got, Options{Prefix: "X_", File: []byte("a: \"\"\n")})
	if err == nil || !strings.Contains(err.Error(), "needs words") {
		t.Errorf("got %v", err)
	}
}
