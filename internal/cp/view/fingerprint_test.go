package view

import (
	"fmt"
	"reflect"
	"testing"

	"weft/internal/mesh/ir"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
	"weft/internal/mesh/policy"
	"weft/internal/mesh/policy/legacy"
)

// eachLeaf changes every leaf of a value, one after the other, and calls f with
// the path of the changed one. Pointers and lists that are empty get an element,
// so that nothing is left out.
func eachLeaf(v reflect.Value, path string, skip map[string]bool, f func(path string)) {
	if skip[path] {
		return
	}
	old := reflect.New(v.Type()).Elem()
	old.Set(v)
	try := func(to reflect.Value) {
		v.Set(to)
		f(path)
		v.Set(old)
	}
	switch v.Kind() {
	case reflect.String:
		try(reflect.ValueOf(v.String() + "x").Convert(v.Type()))
	case reflect.Bool:
		try(reflect.ValueOf(!v.Bool()).Convert(v.Type()))
	case reflect.Uint32, reflect.Uint8:
		try(reflect.ValueOf(v.Uint() + 1).Convert(v.Type()))
	case reflect.Float64:
		try(reflect.ValueOf(v.Float() + 1).Convert(v.Type()))
	case reflect.Int, reflect.Int64:
		try(reflect.ValueOf(v.Int() + 1).Convert(v.Type()))
	case reflect.Slice:
		if v.Len() == 0 {
			v.Set(reflect.MakeSlice(v.Type(), 1, 1))
			f(path + "[]")
		} else {
			v.Set(reflect.AppendSlice(reflect.MakeSlice(v.Type(), 0, v.Len()), v))
		}
		eachLeaf(v.Index(0), path+"[0]", skip, f)
		v.Set(old)
	case reflect.Map:
		m := reflect.MakeMap(v.Type())
		m.SetMapIndex(reflect.ValueOf("k").Convert(v.Type().Key()), reflect.Zero(v.Type().Elem()))
		try(m)
	case reflect.Pointer:
		p := reflect.New(v.Type().Elem())
		if !v.IsNil() {
			p.Elem().Set(v.Elem())
		}
		v.Set(p)
		if old.IsNil() {
			f(path + "*")
		}
		eachLeaf(p.Elem(), path, skip, f)
		v.Set(old)
	case reflect.Struct:
		for i := range v.NumField() {
			if sf := v.Type().Field(i); sf.IsExported() {
				eachLeaf(v.Field(i), path+"."+sf.Name, skip, f)
			}
		}
	default:
		panic(fmt.Sprintf("%s: leaf of kind %s", path, v.Kind()))
	}
}

// allCount requires that every leaf of a value counts in the hash, and that no
// two changes look alike.
func allCount(t *testing.T, v any, skip map[string]bool, hash func() model.Hash) {
	t.Helper()
	seen := map[model.Hash]string{hash(): "nothing"}
	eachLeaf(reflect.ValueOf(v).Elem(), "", skip, func(path string) {
		h := hash()
		if other, ok := seen[h]; ok {
			t.Errorf("a change of %s has the hash of a change of %s", path, other)
		}
		seen[h] = path
	})
}

func TestMetadataCounts(t *testing.T) {
	in := &Inputs{}
	allCount(t, &in.Node, nil, in.Fingerprint)
}

func TestSettingsCount(t *testing.T) {
	s := &Settings{}
	// Policies count by what they match.
	allCount(t, s, map[string]bool{".Policies": true}, s.digest)
}

func TestMeshFactsCount(t *testing.T) {
	f := &MeshFacts{}
	allCount(t, f, nil, func() model.Hash { return model.HashJSON(f) })
}

func TestDestinationCounts(t *testing.T) {
	d := &Destination{Outside: []Outside{{TLS: &ir.ExternalTLS{}}}}
	allCount(t, d, nil, func() model.Hash { return d.seal().hash })
}

func TestOutboundCounts(t *testing.T) {
	dest := (&Destination{}).seal()
	o := Outbound{Dest: dest}
	hash := func() model.Hash { return newOutbounds([]Outbound{o}).hash }
	allCount(t, &o, map[string]bool{".Dest": true}, hash)
	zero := hash()
	o.Dest = (&Destination{Protocol: ir.ProtocolHTTP}).seal()
	if hash() == zero {
		t.Error("the destination does not count")
	}
}

// TestInputsCount changes each field of Inputs and wants another fingerprint. A
// new field fails the test until it is listed here.
func TestInputsCount(t *testing.T) {
	change := map[string]func(in *Inputs){
		"ID":        func(in *Inputs) { in.ID.Name = "x" },
		"Own":       func(in *Inputs) { in.Own.Hash = model.Hash{1} },
		"Node":      func(in *Inputs) { in.Node.WorkDir = "x" },
		"CP":        func(in *Inputs) { s := Settings{Zone: "x"}; in.CP, in.cpHash = &s, s.digest() },
		"Mesh":      func(in *Inputs) { f := MeshFacts{MTLS: true}; in.Mesh, in.meshHash = &f, model.HashJSON(f) },
		"Policies":  func(in *Inputs) { in.Policies = matchedOne() },
		"Legacy":    func(in *Inputs) { in.Legacy = matchedOlder() },
		"Outbounds": func(in *Inputs) { in.Outbounds = newOutbounds([]Outbound{{Dest: (&Destination{}).seal()}}) },
		"Direct":    func(in *Inputs) { in.Direct = []ir.DirectAccess{{Address: "10.0.0.1", Port: 1}} },
		"Table":     func(in *Inputs) { in.Table = newDestinations(nil, nil, nil) },
		"meshHash":  func(in *Inputs) { in.meshHash = model.Hash{1} },
		"cpHash":    func(in *Inputs) { in.cpHash = model.Hash{1} },
	}
	no := map[string]bool{"Memo": true} // it only saves time
	zero := (&Inputs{}).Fingerprint()
	typ := reflect.TypeFor[Inputs]()
	for i := range typ.NumField() {
		name := typ.Field(i).Name
		f := change[name]
		if f == nil {
			if !no[name] {
				t.Errorf("field %s of Inputs: say here how it changes, and let Fingerprint count it", name)
			}
			continue
		}
		in := &Inputs{}
		f(in)
		if in.Fingerprint() == zero {
			t.Errorf("field %s does not count in the fingerprint", name)
		}
	}
}

// matchedOne returns policies that select a proxy.
func matchedOne() *policy.Matched {
	type conf struct{}
	p := policy.Define(policy.Def[conf]{
		Kind:  model.Kind{Name: "MeshTest", Plural: "meshtests", New: func() any { return new(conf) }},
		Parts: func(any) policy.Parts[conf] { return policy.Parts[conf]{Default: &conf{}} },
		Lists: []policy.List{policy.ListDefault},
	})
	o := p.Kind.Make("m", "x")
	dp := kinds.Dataplane.Make("m", "dp")
	dp.Spec = &kinds.DataplaneSpec{Networking: &kinds.DataplaneNetworking{Inbound: []kinds.Inbound{{Port: 80}}}}
	x := policy.NewIndexes([]*policy.Policy{p}, "m", oneTable{model.NewTable([]model.Row{{Object: o, Hash: model.ContentHash(o)}})}, nil)
	return x.Match(policy.FactsOf(dp, nil))
}

// matchedOlder returns older policies that matter to a proxy.
func matchedOlder() *legacy.Matched {
	o := legacy.TrafficRoute.Make("m", "x")
	x := legacy.NewSet(onlyRoutes{model.NewTable([]model.Row{{Object: o, Hash: model.ContentHash(o)}})}, "m", nil)
	return x.Match(&kinds.DataplaneSpec{Networking: &kinds.DataplaneNetworking{Inbound: []kinds.Inbound{{Port: 80}}}})
}

type onlyRoutes struct{ t *model.Table }

func (r onlyRoutes) Table(k *model.Kind, _ string) *model.Table {
	if k == legacy.TrafficRoute {
		return r.t
	}
	return model.EmptyTable
}

type oneTable struct{ t *model.Table }

func (o oneTable) Table(*model.Kind, string) *model.Table { return o.t }
