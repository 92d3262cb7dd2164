package envoy_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"weft/internal/cp/view"
	"weft/internal/cp/vip"
	"weft/internal/mesh/catalog"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
	"weft/internal/testkit/corpus"
)

// leading are the objects of a case after the leader did its part.
type leading struct {
	corpus.Tables
	// hide: the addresses of generated services were given out in random order
	// and are replaced by the names of their services.
	hide bool
	vips map[string]string // address → service
}

// led returns the objects with the services and virtual addresses that the leader
// makes and gives out.
func led(t *testing.T, mesh string, objects []*model.Object) *leading {
	t.Helper()
	objects = corpus.Led(t, objects)
	w := &leading{vips: map[string]string{}}
	for _, o := range objects {
		if s := model.Status[kinds.MeshServiceStatus](o); s != nil {
			for _, v := range s.VIPs {
				w.vips[v.IP] = o.Meta.Name
			}
		}
	}
	entries, warnings := vip.Entries(corpus.NewTables(objects...), mesh, settings().Zone)
	for _, w := range warnings {
		t.Log(w)
	}
	vips, err := vip.Allocate(nil, entries, netip.MustParsePrefix("240.0.0.0/4"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	text, err := vips.Encode()
	if err != nil {
		t.Fatal(err)
	}
	config := kinds.Config.Make("", view.VIPConfigName(mesh))
	config.Spec = &kinds.ConfigSpec{Config: text}
	w.Tables = corpus.NewTables(append(objects, config)...)
	return w
}

var (
	address = regexp.MustCompile(`\b241\.0\.0\.(\d+)\b`)
	mapped  = regexp.MustCompile(`::ffff:f100:([0-9a-f]+)\b`)
)

// normalise does what the recording did.
func (w *leading) normalise(tree any) any {
	if !w.hide {
		return tree
	}
	switch v := tree.(type) {
	case string:
		v = address.ReplaceAllStringFunc(v, func(a string) string { return w.hidden(a, a) })
		return mapped.ReplaceAllStringFunc(v, func(a string) string {
			var n int
			if _, err := fmt.Sscanf(strings.TrimPrefix(a, "::ffff:f100:"), "%x", &n); err != nil {
				return a
			}
			if h := w.hidden(fmt.Sprintf("241.0.%d.%d", n>>8, n&255), ""); h != "" {
				return "::ffff:" + h
			}
			return a
		})
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			out[w.normalise(k).(string)] = w.normalise(e)
		}
		return out
	case []any:
		for i := range v {
			v[i] = w.normalise(v[i])
		}
	}
	return tree
}

func (w *leading) hidden(address, or string) string {
	if s, ok := w.vips[address]; ok {
		return "<vip:" + s + ">"
	}
	return or
}

// compareServices compares the recorded answers about services that are objects.
func compareServices(t *testing.T, rec *corpus.Case, paths []string, w *leading) {
	t.Helper()
	for _, p := range paths {
		parts := strings.Split(strings.TrimPrefix(p, "/"), "/")
		if len(parts) < 3 || len(parts) > 4 || parts[0] != "meshes" || !strings.HasSuffix(parts[2], "services") || parts[2] == "external-services" {
			continue
		}
		kind := catalog.ByPlural(parts[2])
		if kind == nil {
			t.Fatalf("%s: no such collection", p)
		}
		file := filepath.Join("get", strings.Join(parts, "_")+".json")
		want := corpus.ReadJSON(t, rec.File(file))
		var got any
		if len(parts) == 4 {
			row, ok := w.Table(kind, parts[1]).Get(parts[3])
			if !ok {
				t.Errorf("%s: there is no such service", p)
				continue
			}
			got = w.answer(t, row.Object)
		} else {
			items := []any{}
			for _, row := range w.Table(kind, parts[1]).Rows() {
				items = append(items, w.answer(t, row.Object))
			}
			want, got = want.(map[string]any)["items"], items
		}
		rec.Check(t, file, want, got)
	}
}

// answer is what the API answers about an object, with times hidden.
func (w *leading) answer(t *testing.T, o *model.Object) any {
	t.Helper()
	b, err := model.Encode(o)
	if err != nil {
		t.Fatal(err)
	}
	var tree map[string]any
	if err := json.Unmarshal(b, &tree); err != nil {
		t.Fatal(err)
	}
	tree["creationTime"], tree["modificationTime"] = "<time>", "<time>"
	return w.normalise(tree)
}
