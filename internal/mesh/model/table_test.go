package model_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"weft/internal/mesh/model"
)

// TestDiff compares random tables with a plain comparison by name.
func TestDiff(t *testing.T) {
	kind := &model.Kind{Name: "Thing", New: func() any { return new(struct{}) }}
	rnd := rand.New(rand.NewPCG(1, 1))
	objects := map[string]*model.Object{}
	table := func() *model.Table {
		var rows []model.Row
		for _, o := range objects {
			rows = append(rows, model.Row{Object: o})
		}
		return model.NewTable(rows)
	}
	before := table()
	for range 200 {
		old := map[string]*model.Object{}
		for k, v := range objects {
			old[k] = v
		}
		for range rnd.IntN(4) {
			name := fmt.Sprint("t", rnd.IntN(8))
			if rnd.IntN(2) == 0 {
				delete(objects, name)
			} else {
				objects[name] = kind.Make("m", name)
			}
		}
		want := map[string]string{}
		for k, v := range objects {
			if old[k] == nil {
				want[k] = "new"
			} else if old[k] != v {
				want[k] = "changed"
			}
		}
		for k := range old {
			if objects[k] == nil {
				want[k] = "gone"
			}
		}
		now, got := table(), map[string]string{}
		now.Diff(before, func(a, b model.Row) {
			switch {
			case a.Object == nil:
				got[b.Meta.Name] = "new"
			case b.Object == nil:
				got[a.Meta.Name] = "gone"
			default:
				got[a.Meta.Name] = "changed"
			}
		})
		if d := cmp.Diff(want, got); d != "" {
			t.Fatal(d)
		}
		before = now
	}
}
