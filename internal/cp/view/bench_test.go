package view_test

import (
	"fmt"
	"testing"
	"time"

	"weft/internal/cp/view"
	"weft/internal/mesh/catalog"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// fleet is a mesh of n proxies in n/10 services, each with ten outbounds, and
// the policies that a new mesh gets. Tables are shared between versions as
// package state does.
type fleet struct {
	tables map[string]*model.Table
	n      int
}

func (f *fleet) Table(k *model.Kind, mesh string) *model.Table {
	if t := f.tables[k.Name]; t != nil && (k.Scope == model.Global || mesh == "m") {
		return t
	}
	return model.EmptyTable
}

func newFleet(b *testing.B, n int) *fleet {
	f := &fleet{tables: map[string]*model.Table{}, n: n}
	rows := map[string][]model.Row{}
	add := func(doc string) {
		o, err := catalog.Decode([]byte(doc))
		if err != nil {
			b.Fatal(err)
		}
		o.Meta.Created = time.Unix(1e9, 0)
		rows[o.Kind.Name] = append(rows[o.Kind.Name], model.Row{Object: o, Hash: model.ContentHash(o)})
	}
	add(`{"type": "Mesh", "name": "m"}`)
	for _, p := range []string{
		`{"type": "MeshTimeout", "mesh": "m", "name": "t", "spec": {"targetRef": {"kind": "Mesh"}, "to": [{"targetRef": {"kind": "Mesh"}, "default": {"connectionTimeout": "5s", "http": {"requestTimeout": "15s"}}}]}}`,
		`{"type": "MeshCircuitBreaker", "mesh": "m", "name": "c", "spec": {"targetRef": {"kind": "Mesh"}, "to": [{"targetRef": {"kind": "Mesh"}, "default": {"connectionLimits": {"maxConnections": 1024}}}]}}`,
		`{"type": "MeshRetry", "mesh": "m", "name": "r", "spec": {"targetRef": {"kind": "Mesh"}, "to": [{"targetRef": {"kind": "Mesh"}, "default": {"http": {"numRetries": 5}}}]}}`,
	} {
		add(p)
	}
	for i := range n {
		add(f.dataplane(i, "Ready"))
	}
	for k, r := range rows {
		f.tables[k] = model.NewTable(r)
	}
	return f
}

func (f *fleet) dataplane(i int, state string) string {
	services := max(f.n/10, 1)
	out := ""
	for j := range 10 {
		if j > 0 {
			out += ","
		}
		out += fmt.Sprintf(`{"port": %d, "tags": {"kuma.io/service": "svc-%d"}}`, 10000+j, (i+j*7)%services)
	}
	return fmt.Sprintf(`{"type": "Dataplane", "mesh": "m", "name": "dp-%05d", "networking": {"address": "10.%d.%d.%d",
		"inbound": [{"port": 8080, "state": "%s", "tags": {"kuma.io/service": "svc-%d", "kuma.io/protocol": "http", "kuma.io/zone": "z"}}], "outbound": [%s]}}`,
		i, i>>16, i>>8&255, i&255, state, i%services, out)
}

// with returns the fleet with other objects in a table.
func (f *fleet) with(b *testing.B, doc string) *fleet {
	o, err := catalog.Decode([]byte(doc))
	if err != nil {
		b.Fatal(err)
	}
	o.Meta.Created = time.Unix(1e9, 0)
	n := &fleet{tables: map[string]*model.Table{}, n: f.n}
	for k, t := range f.tables {
		n.tables[k] = t
	}
	n.tables[o.Kind.Name] = f.Table(o.Kind, o.Meta.Mesh).With([]model.Row{{Object: o, Hash: model.ContentHash(o)}}, nil)
	return n
}

// BenchmarkNext derives the view after one change in a mesh of many proxies.
func BenchmarkNext(b *testing.B) {
	for _, n := range []int{1000, 10000} {
		f := newFleet(b, n)
		start := view.NewMesh("m", settings()).Next(f)
		for name, next := range map[string]*fleet{
			"endpoint": f.with(b, f.dataplane(n/2, "NotReady")),
			"policy": f.with(b, `{"type": "MeshTimeout", "mesh": "m", "name": "one", "spec": {"targetRef": {"kind": "MeshSubset", "tags": {"kuma.io/service": "svc-1"}},
				"to": [{"targetRef": {"kind": "Mesh"}, "default": {"connectionTimeout": "7s"}}]}}`),
			"nothing": f,
		} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					start.Next(next)
				}
			})
		}
		b.Run(fmt.Sprintf("cold/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				view.NewMesh("m", settings()).Next(f)
			}
		})
	}
}

// BenchmarkInputs asks one proxy whether its inputs changed.
func BenchmarkInputs(b *testing.B) {
	f := newFleet(b, 1000)
	m := view.NewMesh("m", settings()).Next(f)
	b.ReportAllocs()
	for b.Loop() {
		in, ok := m.For(kinds.Dataplane, "dp-00500", view.Metadata{AdminPort: 9901})
		if !ok {
			b.Fatal("there is no such proxy")
		}
		in.Fingerprint()
	}
}
