package whatif

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"weft/internal/cp/admit"
	"weft/internal/cp/defaults"
	"weft/internal/cp/store"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// Problem is what the gate says of an object that it refused.
type Problem struct {
	Object *model.Object
	Err    error
}

// Base returns what a control plane has before anybody wrote something: its zone,
// the hostname generators, and the mesh "default" with its policies unless it is
// among the objects given.
func (s *Settings) Base(objects []*model.Object, now time.Time) ([]*model.Object, error) {
	zone := kinds.Zone.Make("", s.Zone)
	out := append([]*model.Object{zone}, defaults.Generators(s.Zone, false)...)
	isDefault := func(o *model.Object) bool { return o.Kind == kinds.Mesh && o.Meta.Name == model.DefaultMesh }
	if !s.Federated && !slices.ContainsFunc(objects, isDefault) {
		mesh := kinds.Mesh.Make("", model.DefaultMesh)
		initial, err := s.Initial.Policies(mesh)
		if err != nil {
			return nil, err
		}
		out = append(append(out, mesh), initial...)
	}
	for _, o := range out {
		o.Meta.Created, o.Meta.Modified = now, now
	}
	return out, nil
}

// Admit passes objects through the gate as if they were written one after the
// other to a control plane that has the objects of present, but meshes and
// secrets first. It returns all objects that there are then, in the order of
// their creation, with the policies that new meshes get. What is refused is left
// out and among the problems.
//
// Secrets and files that a Mesh names are often not where its YAML is: without
// them the gate does not look at its certificate authorities.
func (s *Settings) Admit(objects, present []*model.Object, now time.Time) (all []*model.Object, problems []Problem, err error) {
	c := &clerk{s: s, now: now, at: map[model.Key]int{}, drafts: map[model.Key]*model.Object{}}
	c.gate = &admit.Gate{Reader: c, Zone: s.Zone, Federated: s.Federated, Native: CheckPatches}
	for _, o := range present {
		c.put(o)
	}
	var meshes, secrets, rest []*model.Object
	for _, o := range objects {
		switch o.Kind {
		case kinds.Mesh:
			c.drafts[o.Key()] = o // its secrets need it, and it needs them; once refused, that is told once
			meshes = append(meshes, o)
		case kinds.Secret, kinds.GlobalSecret:
			secrets = append(secrets, o)
		default:
			rest = append(rest, o)
		}
	}
	for _, o := range slices.Concat(secrets, meshes, rest) {
		if err := c.admit(o); err != nil {
			problems = append(problems, Problem{o, err})
		}
	}
	return c.all, problems, c.err
}

// clerk holds the objects while they pass the gate. It is the gate's Reader.
type clerk struct {
	s      *Settings
	gate   *admit.Gate
	now    time.Time
	all    []*model.Object
	at     map[model.Key]int // index in all
	drafts map[model.Key]*model.Object
	err    error
}

func (c *clerk) put(o *model.Object) {
	if i, has := c.at[o.Key()]; has {
		c.all[i] = o
		return
	}
	if o.Meta.Created.IsZero() {
		// Of equal objects the older or the newer counts, so that no two have one age.
		o.Meta.Created = c.now.Add(time.Duration(len(c.all)) * time.Millisecond)
		o.Meta.Modified = o.Meta.Created
	}
	c.at[o.Key()] = len(c.all)
	c.all = append(c.all, o)
}

func (c *clerk) admit(o *model.Object) error {
	var prior *model.Object
	if i, has := c.at[o.Key()]; has {
		prior = c.all[i]
	}
	draft, authorities := o, (*kinds.MeshMTLS)(nil)
	if spec, is := o.Spec.(*kinds.MeshSpec); is && spec.MTLS != nil && c.lacks(o.Meta.Name, spec) {
		bare := *spec
		authorities, bare.MTLS = spec.MTLS, nil
		draft = o.Clone()
		draft.Spec = &bare
	}
	out, _, err := c.gate.Admit(context.Background(), draft, prior)
	if err != nil {
		return err
	}
	if authorities != nil {
		model.Spec[kinds.MeshSpec](out).MTLS = authorities
	}
	if out.Meta.Created.IsZero() {
		out.Meta.Created = o.Meta.Created
	}
	c.put(out)
	if o.Kind == kinds.Mesh && prior == nil {
		c.begin(out)
	}
	return nil
}

// lacks tells whether the certificate authorities of a mesh name secrets that are
// not there, or files.
func (c *clerk) lacks(mesh string, spec *kinds.MeshSpec) bool {
	lacks := false
	var v model.Violations
	spec.CheckCAs(mesh, func(s *kinds.DataSource) ([]byte, error) {
		if b, ok := s.Literal(); ok {
			return b, nil
		}
		_, has := c.at[kinds.Secret.Key(mesh, s.SecretName())]
		lacks = lacks || !has
		return nil, nil
	}, &v)
	return lacks
}

// begin gives a new mesh what it starts with.
func (c *clerk) begin(mesh *model.Object) {
	initial, err := c.s.Initial.Policies(mesh)
	c.err = errors.Join(c.err, err)
	for _, p := range initial {
		if _, has := c.at[p.Key()]; !has {
			c.put(p)
		}
	}
}

// Get implements admit.Reader.
func (c *clerk) Get(_ context.Context, key model.Key) (*model.Object, error) {
	if i, has := c.at[key]; has {
		return c.all[i], nil
	}
	if o := c.drafts[key]; o != nil {
		return o, nil
	}
	return nil, fmt.Errorf("%s: %w", key, store.ErrNotFound)
}

// List implements admit.Reader.
func (c *clerk) List(_ context.Context, kind *model.Kind, mesh string) ([]*model.Object, error) {
	var out []*model.Object
	for _, o := range c.all {
		if o.Kind == kind && (mesh == "" || o.Meta.Mesh == mesh) {
			out = append(out, o)
		}
	}
	return out, nil
}
