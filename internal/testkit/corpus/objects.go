package corpus

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"slices"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"weft/internal/cp/admit"
	"weft/internal/cp/store"
	"weft/internal/cp/store/memory"
	"weft/internal/mesh/catalog"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// Tables are objects as the view sees them.
type Tables = model.ObjectTables

// NewTables returns tables of objects.
func NewTables(objects ...*model.Object) Tables { return model.NewTables(objects...) }

// Inputs plays the documents of a file through the gate of a zone called
// "default", one after the other, with the policies that a new mesh gets. What
// is refused is left out.
func Inputs(t *testing.T, file string) []*model.Object {
	t.Helper()
	return InputsWith(t, file, admit.Initial{})
}

// InputsWith is Inputs with settings for the policies that a new mesh gets.
func InputsWith(t *testing.T, file string, initial admit.Initial) []*model.Object {
	t.Helper()
	initial.Kind = catalog.ByName
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	p := &player{initial: initial, store: memory.New(), now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	p.gate = &admit.Gate{Reader: p.store, Zone: "default"}
	d := yaml.NewDecoder(bytes.NewReader(b))
	for {
		var doc any
		err := d.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return p.objects
		}
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		body, err := json.Marshal(doc)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		p.put(t, body)
	}
}

type player struct {
	initial admit.Initial
	store   *memory.Store
	gate    *admit.Gate
	now     time.Time
	objects []*model.Object
}

func (p *player) put(t *testing.T, body []byte) {
	t.Helper()
	o, err := catalog.Decode(body)
	if err != nil {
		t.Logf("not accepted: %v", err)
		return
	}
	o = p.admit(t, o)
	if o == nil || o.Kind != kinds.Mesh {
		return
	}
	initial, err := p.initial.Policies(o)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range initial { // they do not pass the gate and get no labels, as in the control plane
		p.now = p.now.Add(time.Second)
		i.Meta.Created, i.Meta.Modified = p.now, p.now
		if prior, err := p.store.Get(context.Background(), i.Key()); err == nil && prior != nil {
			continue
		}
		if _, err := p.store.Create(context.Background(), i); err != nil {
			t.Fatalf("store %s: %v", i.Key(), err)
		}
		p.objects = append(p.objects, i)
	}
}

func (p *player) admit(t *testing.T, o *model.Object) *model.Object {
	t.Helper()
	ctx := context.Background()
	prior, err := p.store.Get(ctx, o.Key())
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		t.Fatal(err)
	}
	out, _, err := p.gate.Admit(ctx, o, prior)
	if err != nil {
		t.Logf("%s is refused: %v", o.Key(), err)
		return nil
	}
	p.now = p.now.Add(time.Second)
	if prior != nil {
		if _, err = p.store.Update(ctx, out); err == nil {
			i := slices.IndexFunc(p.objects, func(x *model.Object) bool { return x.Key() == out.Key() })
			p.objects[i] = out
		}
	} else {
		out.Meta.Created, out.Meta.Modified = p.now, p.now
		if _, err = p.store.Create(ctx, out); err == nil {
			p.objects = append(p.objects, out)
		}
	}
	if err != nil {
		t.Fatalf("store %s: %v", out.Key(), err)
	}
	return out
}
