package model

// Scope says whether an object belongs to a mesh.
type Scope uint8

// The scopes.
const (
	InMesh Scope = iota
	Global
)

// Shape says how an object is written in JSON and YAML.
type Shape uint8

// The shapes: older kinds have metadata and spec fields on one level and follow
// the protobuf JSON mapping; newer ones have "spec" and "status" blocks.
const (
	SpecBlock Shape = iota
	Flat
)

// Flow is a set of the ways an object of a kind takes between control planes.
type Flow uint8

// The ways, to be combined.
const (
	GlobalToZone Flow = 1 << iota // written at global, mirrored to zones
	ZoneToGlobal                  // written in a zone, mirrored to global
	ZoneToZones                   // additionally relayed by global to other zones
	GlobalWrites                  // may be written at global
	ZoneWrites                    // may be written at a federated zone
	KeepsName                     // its name gets no hash suffix on the way
)

// BothWays is the flow of targetRef policies.
const BothWays = GlobalToZone | ZoneToGlobal | ZoneToZones | GlobalWrites | ZoneWrites

// Feed is a set of the parts of an object that can influence a proxy's
// configuration. A write that changes only other parts wakes nobody.
type Feed uint8

// The parts.
const (
	FeedsLabels Feed = 1 << iota
	FeedsSpec
	FeedsStatus
	FeedsNothing Feed = 0
)

// Kind describes a kind of object once for everybody: the REST routes, JSON
// codec, OpenAPI, CRDs, kumactl commands, sync and reference docs are derived
// from it. Kinds are package-level literals, listed in package catalog.
type Kind struct {
	// Name is the type as written in objects: "MeshTimeout".
	Name string
	// Plural is the REST collection: "meshtimeouts".
	Plural string
	// Short is the short name: "mt". May be empty.
	Short string
	// One and Many are kumactl's arguments for one object and for the list;
	// empty = no kumactl access.
	One, Many string
	// Display and DisplayPlural are shown to people: "Mesh Timeout", "Mesh Timeouts".
	Display, DisplayPlural string
	Scope                  Scope
	Shape                  Shape
	Flow                   Flow
	Feeds                  Feed
	// Essence returns the part of an object that others depend on, where Feeds is
	// too coarse: it takes the place of spec and status in ContentHash. A write
	// that leaves it equal wakes nobody. nil = Feeds decides.
	Essence func(o *Object) any
	// ReadOnly kinds are written by the control plane only.
	ReadOnly bool
	// AdminOnly kinds need the admin resource permission for every method.
	AdminOnly bool
	// Hidden kinds have no REST collection (Config).
	Hidden bool
	// Policy is set for policies.
	Policy *PolicyInfo

	// New returns a pointer to an empty spec struct, NewStatus one to an empty
	// status struct (nil function = no status).
	New       func() any
	NewStatus func() any
	// Default fills in what a user may leave out; it may change the object's
	// spec, which is not shared yet. nil = nothing to do.
	Default func(o *Object)
	// Validate adds what is wrong with the object. nil = nothing can be.
	Validate func(o *Object, v *Violations)
	// Warn returns sentences about what is accepted but likely not meant.
	Warn func(o *Object) []string
	// Owner returns the object whose deletion deletes this one.
	// nil = mesh-scoped objects belong to their Mesh, global ones to nobody.
	Owner func(o *Object) (Key, bool)
	// Columns are the kind's own columns in tables (kumactl, GUI), between NAME and AGE.
	Columns []Column
}

// Column is one column of a table of objects.
type Column struct {
	Title string
	Value func(o *Object) string
}

// PolicyInfo is what the API tells about a policy kind.
type PolicyInfo struct {
	TargetRef   bool // targetRef policy (false: selects by source and destination tags)
	To, From    bool // has spec.to, spec.from
	Rules       bool // has spec.rules
	FromAsRules bool // spec.from may only name Mesh and is treated as rules
	Inspectable bool // older policies: has the legacy /dataplanes inspection
}

// Key returns the key of an object of this kind.
func (k *Kind) Key(mesh, name string) Key {
	if k.Scope == Global {
		mesh = ""
	}
	return Key{Kind: k.Name, Mesh: mesh, Name: name}
}

// Ownership returns the object whose deletion deletes o.
func (k *Kind) Ownership(o *Object) (Key, bool) {
	if k.Owner != nil {
		return k.Owner(o)
	}
	if k.Scope == InMesh {
		return Key{Kind: "Mesh", Name: o.Meta.Mesh}, true
	}
	return Key{}, false
}

// Make returns a new object of this kind with an empty spec.
func (k *Kind) Make(mesh, name string) *Object {
	o := &Object{Kind: k, Meta: Meta{Mesh: k.Key(mesh, name).Mesh, Name: name}, Spec: k.New()}
	if k.NewStatus != nil {
		o.Status = k.NewStatus()
	}
	return o
}
