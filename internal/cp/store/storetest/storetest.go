package storetest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"weft/internal/cp/store"
	"weft/internal/mesh/model"
)

// Place is where the data of one test live.
type Place struct {
	// Open returns a handle on the data. The suite closes it.
	Open func() (store.Store, error)
	// Durable means that data outlive the last handle.
	Durable bool
	// Shared means that several handles may be open at once; otherwise a
	// durable place must refuse the second one.
	Shared bool
}

// Run checks that a store keeps the promises of store.Store. place returns a new
// empty place; what it opens knows the kinds of Kinds.
func Run(t *testing.T, place func(t *testing.T) Place) {
	for _, c := range []struct {
		name string
		run  func(*suite)
	}{
		{"crud", crud},
		{"content survives", content},
		{"refusals", refusals},
		{"owner missing", ownerMissing},
		{"owner cascade", ownerCascade},
		{"owner changes", ownerChanges},
		{"list order", listOrder},
		{"hostile texts", hostileTexts},
		{"bad objects", badObjects},
		{"optimistic updates", optimisticUpdates},
		{"create race", createRace},
		{"delete and create again", recreate},
		{"context", contexts},
		{"close", closing},
		{"reopen", reopen},
		{"second handle", secondHandle},
		{"watch basics", watchBasics},
		{"watch order", watchOrder},
		{"watch cascade", watchCascade},
		{"watch under concurrent writers", watchConcurrent},
		{"watch slow consumer", watchSlow},
		{"watch many objects", watchMany},
		{"watch close", watchClose},
		{"watch through another handle", watchOther},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.run(&suite{T: t, place: place(t), ctx: t.Context()})
		})
	}
}

// suite is one test of the suite.
type suite struct {
	*testing.T
	place Place
	ctx   context.Context //nolint:containedctx // because a test has one context
}

func (s *suite) open() store.Store {
	s.Helper()
	st, err := s.place.Open()
	if err != nil {
		s.Fatalf("open: %v", err)
	}
	s.Cleanup(func() { _ = st.Close() })
	return st
}

func (s *suite) create(st store.Store, o *model.Object) *model.Object {
	s.Helper()
	out, err := st.Create(s.ctx, o)
	if err != nil {
		s.Fatal(err)
	}
	return out
}

func (s *suite) update(st store.Store, o *model.Object) *model.Object {
	s.Helper()
	out, err := st.Update(s.ctx, o)
	if err != nil {
		s.Fatal(err)
	}
	return out
}

func (s *suite) delete(st store.Store, key model.Key) {
	s.Helper()
	if err := st.Delete(s.ctx, key); err != nil {
		s.Fatal(err)
	}
}

func (s *suite) get(st store.Store, key model.Key) *model.Object {
	s.Helper()
	o, err := st.Get(s.ctx, key)
	if err != nil {
		s.Fatal(err)
	}
	return o
}

func (s *suite) absent(st store.Store, key model.Key) {
	s.Helper()
	if _, err := st.Get(s.ctx, key); !errors.Is(err, store.ErrNotFound) {
		s.Fatalf("get %s: got %v, want ErrNotFound", key, err)
	}
}

func (s *suite) list(st store.Store, kind *model.Kind, mesh string) []*model.Object {
	s.Helper()
	l, err := st.List(s.ctx, kind, mesh)
	if err != nil {
		s.Fatal(err)
	}
	return l
}

func (s *suite) wantErr(err, want error) {
	s.Helper()
	if !errors.Is(err, want) {
		s.Fatalf("got error %v, want %v", err, want)
	}
}

// equal compares objects; times are instants.
func (s *suite) equal(got, want *model.Object) {
	s.Helper()
	if got.Kind != want.Kind {
		s.Errorf("%s: kind is %p, want the kind that was given, %p", want.Key(), got.Kind, want.Kind)
	}
	if d := cmp.Diff(flat(want), flat(got)); d != "" {
		s.Errorf("%s differs (-want +got):\n%s", want.Key(), d)
	}
}

type flatObject struct {
	Meta         model.Meta
	Spec, Status any
}

func flat(o *model.Object) flatObject { return flatObject{o.Meta, o.Spec, o.Status} }

func crud(s *suite) {
	st := s.open()
	before := time.Now().Add(-time.Minute)
	s.create(st, NewMesh("m"))
	in := NewThing("m", "a", 1)
	in.Meta.Labels = map[string]string{"k": "v"}
	in.Status = &ThingStatus{Seen: 7}
	made := s.create(st, in)
	if made == in || in.Meta.Version != 0 {
		s.Fatal("create must return a copy and leave the given object alone")
	}
	if made.Meta.Version == 0 || made.Meta.Created.Before(before) || !made.Meta.Created.Equal(made.Meta.Modified) {
		s.Fatalf("create set version %d, created %v, modified %v", made.Meta.Version, made.Meta.Created, made.Meta.Modified)
	}
	if made.Meta.Created.Location() != time.UTC || made.Meta.Modified.Location() != time.UTC {
		s.Fatalf("times are not in UTC: %v", made.Meta)
	}
	s.equal(s.get(st, in.Key()), made)

	changed := s.update(st, counted(made, 2))
	if changed.Meta.Version == made.Meta.Version || !changed.Meta.Created.Equal(made.Meta.Created) {
		s.Fatalf("update: version %d → %d, created %v → %v", made.Meta.Version, changed.Meta.Version, made.Meta.Created, changed.Meta.Created)
	}
	if changed.Meta.Modified.Before(made.Meta.Modified) {
		s.Fatalf("update: modified went back from %v to %v", made.Meta.Modified, changed.Meta.Modified)
	}
	s.equal(s.get(st, in.Key()), changed)
	if count(changed) != 2 || count(made) != 1 {
		s.Fatal("update changed the wrong object")
	}
	if err := st.Ping(s.ctx); err != nil {
		s.Fatal(err)
	}
	s.delete(st, in.Key())
	s.absent(st, in.Key())
	if l := s.list(st, Thing, ""); len(l) != 0 {
		s.Fatalf("list after delete: %v", l)
	}
}

func content(s *suite) {
	st := s.open()
	s.create(st, NewMesh("m"))
	full := NewThing("m", "full", 42)
	full.Spec = &ThingSpec{Count: 42, Text: "<a href=\"x\">&\u2028é\n</a>", List: []string{"", "b"}, Map: map[string]string{"": "", "a.b/c": "\"'\\"}}
	full.Meta.Labels = map[string]string{"kuma.io/display-name": "full", "empty": ""}
	full.Status = &ThingStatus{Seen: -1}
	big := NewLoose("big", 1)
	big.Spec = &LooseSpec{Count: 1, Big: 1<<62 + 1}
	for _, o := range []*model.Object{full, NewThing("m", "bare", 0), big, NewLoose("zero", 0)} {
		made := s.create(st, o)
		s.equal(s.get(st, o.Key()), made)
		if d := cmp.Diff(o.Spec, made.Spec); d != "" {
			s.Errorf("%s: spec differs (-want +got):\n%s", o.Key(), d)
		}
	}
	// An update replaces everything, labels and status too.
	bare := s.get(st, full.Key()).Clone()
	bare.Meta.Labels, bare.Spec, bare.Status = nil, &ThingSpec{}, &ThingStatus{}
	bare = s.update(st, bare)
	s.equal(s.get(st, full.Key()), bare)
	if bare.Meta.Labels != nil {
		s.Errorf("labels are %v, want none", bare.Meta.Labels)
	}
}

func refusals(s *suite) {
	st := s.open()
	s.create(st, NewMesh("m"))
	a := s.create(st, NewThing("m", "a", 1))
	_, err := st.Create(s.ctx, NewThing("m", "a", 2))
	s.wantErr(err, store.ErrExists)
	_, err = st.Update(s.ctx, NewThing("m", "none", 2))
	s.wantErr(err, store.ErrNotFound)
	s.wantErr(st.Delete(s.ctx, Thing.Key("m", "none")), store.ErrNotFound)
	s.absent(st, Thing.Key("m", "none"))
	s.absent(st, Thing.Key("other", "a"))
	s.absent(st, Part.Key("m", "a"))

	b := s.update(st, counted(a, 2))
	_, err = st.Update(s.ctx, counted(a, 3))
	s.wantErr(err, store.ErrConflict)
	zero := b.Clone()
	zero.Meta.Version = 0
	_, err = st.Update(s.ctx, zero)
	s.wantErr(err, store.ErrConflict)
	future := b.Clone()
	future.Meta.Version += 1 << 40
	_, err = st.Update(s.ctx, future)
	s.wantErr(err, store.ErrConflict)
	s.equal(s.get(st, a.Key()), b)
}

func listOrder(s *suite) {
	st := s.open()
	meshes := []string{"b", "a", "a-", "a.b", "B"}
	for _, m := range meshes {
		s.create(st, NewMesh(m))
	}
	for _, n := range []string{"z", "a", "_", "a-b", "a.b", "Z", "10", "9"} {
		for _, m := range meshes {
			s.create(st, NewThing(m, n, 0))
		}
	}
	all := s.list(st, Thing, "")
	if len(all) != 40 {
		s.Fatalf("got %d things, want 40", len(all))
	}
	for i := 1; i < len(all); i++ {
		if all[i-1].Key().Compare(all[i].Key()) >= 0 {
			s.Errorf("%s comes before %s", all[i-1].Key(), all[i].Key())
		}
	}
	some := s.list(st, Thing, "a")
	if len(some) != 8 {
		s.Fatalf("got %d things of mesh a, want 8", len(some))
	}
	for i, o := range some {
		if o.Meta.Mesh != "a" || i > 0 && some[i-1].Meta.Name >= o.Meta.Name {
			s.Errorf("list of mesh a: %s at %d", o.Key(), i)
		}
	}
	if l := s.list(st, Mesh, ""); len(l) != 5 || l[0].Meta.Name != "B" {
		s.Errorf("list of meshes: %v", l)
	}
	if l := s.list(st, Thing, "none"); len(l) != 0 {
		s.Errorf("list of an absent mesh: %v", l)
	}
	all[0] = nil // the slice is the caller's
	if l := s.list(st, Thing, ""); l[0] == nil {
		s.Error("the store shares its list with callers")
	}
}

func hostileTexts(s *suite) {
	st := s.open()
	s.create(st, NewMesh("m"))
	texts := []string{
		"'; DROP TABLE resources; --", `"`, `\`, `\\'`, "%", "_", "a/b", "a\nb", "a\tb\r", "ü", "日本語", "🙂", "$1", "?1", ":a",
		"a b", " ", "\x01\x1f\x7f", "\u2028", "{\"a\":1}", "null", "'quoted'", "..", "a,b", "\ufffd", fmt.Sprintf("%0253d", 7),
	}
	for i, text := range texts {
		o := NewThing("m", text, i)
		o.Meta.Labels = map[string]string{text: text}
		o.Spec = &ThingSpec{Count: i, Text: text + "\x00", Map: map[string]string{text: text}}
		s.create(st, o)
	}
	for i, text := range texts {
		o := s.get(st, Thing.Key("m", text))
		if count(o) != i || o.Meta.Labels[text] != text || model.Spec[ThingSpec](o).Map[text] != text || model.Spec[ThingSpec](o).Text != text+"\x00" {
			s.Errorf("%q came back as %+v %+v", text, o.Meta, o.Spec)
		}
	}
	if l := s.list(st, Thing, "m"); len(l) != len(texts) {
		s.Errorf("list: got %d, want %d", len(l), len(texts))
	}
	for _, text := range texts {
		s.update(st, counted(s.get(st, Thing.Key("m", text)), -1))
		s.delete(st, Thing.Key("m", text))
	}
	s.absent(st, Thing.Key("m\x00", "a\xff")) // not storable, so absent; must not break anything
	s.wantErr(st.Delete(s.ctx, Thing.Key("m\x00", "a\xff")), store.ErrNotFound)
	if l := s.list(st, Thing, "m\x00"); len(l) != 0 {
		s.Errorf("list of a mesh with NUL: %v", l)
	}
}

func badObjects(s *suite) {
	st := s.open()
	s.create(st, NewMesh("m"))
	ok := s.create(st, NewThing("m", "ok", 1))
	globalInMesh := NewLoose("a", 1)
	globalInMesh.Meta.Mesh = "m"
	labelled := NewThing("m", "l", 1)
	labelled.Meta.Labels = map[string]string{"a": "\x00"}
	noSpec := NewThing("m", "a", 1)
	noSpec.Spec = nil
	for what, o := range map[string]*model.Object{
		"nil": nil, "without kind": {Spec: 1}, "without spec": noSpec, "without name": NewThing("m", "", 1),
		"without mesh": NewThing("", "a", 1), "global in a mesh": globalInMesh, "name with NUL": NewThing("m", "a\x00b", 1),
		"name that is not UTF-8": NewThing("m", "a\xff", 1), "label with NUL": labelled,
		"long name": NewThing("m", fmt.Sprintf("%0254d", 7), 1), "long mesh": NewThing(fmt.Sprintf("%0101d", 7), "a", 1),
	} {
		for verb, f := range map[string]func(context.Context, *model.Object) (*model.Object, error){"create": st.Create, "update": st.Update} {
			if _, err := f(s.ctx, o); err == nil || errors.Is(err, store.ErrUnavailable) {
				s.Errorf("%s of an object %s: got %v, want a refusal", verb, what, err)
			}
		}
	}
	s.equal(s.get(st, ok.Key()), ok) // the store goes on
	s.update(st, counted(ok, 2))
}
