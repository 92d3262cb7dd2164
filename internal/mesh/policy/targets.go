package policy

import (
	"maps"
	"regexp"
	"slices"

	"weft/internal/mesh/model"
)

// Set is a set of target kinds.
type Set uint16

// The target kinds, to be combined.
const (
	Mesh Set = 1 << iota
	MeshSubset
	MeshGateway
	MeshService
	MeshExternalService
	MeshMultiZoneService
	MeshServiceSubset
	MeshHTTPRoute
	Dataplane
	None Set = 0
)

// Sidecars are the kinds that select proxies beside gateways and routes.
const Sidecars = Mesh | MeshSubset | MeshService | MeshServiceSubset | Dataplane

func setOf(kind string) Set {
	switch kind {
	case RefMesh:
		return Mesh
	case RefMeshSubset:
		return MeshSubset
	case RefMeshGateway:
		return MeshGateway
	case RefMeshService:
		return MeshService
	case RefMeshExternalService:
		return MeshExternalService
	case RefMeshMultiZoneService:
		return MeshMultiZoneService
	case RefMeshServiceSubset:
		return MeshServiceSubset
	case RefMeshHTTPRoute:
		return MeshHTTPRoute
	case RefDataplane:
		return Dataplane
	}
	return None
}

// Targets says which kinds a policy's references may have.
type Targets struct {
	// Top are the kinds of spec.targetRef; TopSystem those which only policies
	// with the role system may have in addition.
	Top, TopSystem Set
	// GatewayTags allows to select listeners of a MeshGateway by tags.
	GatewayTags bool
	// To are the kinds of spec.to[].targetRef, ToGateway and ToRoute those if the
	// top level selects a MeshGateway or a MeshHTTPRoute.
	To, ToGateway, ToRoute Set
	// From are the kinds of spec.from[].targetRef.
	From Set
	// ByScope: from and rules only where no gateway can be selected, to only
	// where one can.
	ByScope bool
	// FromSidecar: no from with a MeshGateway or MeshHTTPRoute at the top.
	FromSidecar bool
}

// allowed returns what the top level may be for a policy of that role.
func (t Targets) top(role string) Set {
	if role == RoleSystem {
		return t.Top | t.TopSystem
	}
	return t.Top
}

func (t Targets) to(top TargetRef) Set {
	switch top.Kind {
	case RefMeshGateway:
		return t.ToGateway
	case RefMeshHTTPRoute:
		if (t.Top|t.TopSystem)&MeshHTTPRoute != 0 {
			return t.ToRoute
		}
	}
	return t.To
}

// refRules are the circumstances under which a reference is checked.
type refRules struct {
	allowed     Set
	gatewayTags bool
	// section forbids a Dataplane's sectionName.
	noSection bool
}

var (
	nameForm     = regexp.MustCompile(`^[0-9a-z.\-_]*$`)
	tagKeyForm   = regexp.MustCompile(`^[a-zA-Z0-9.\-_:/]*$`)
	tagValueForm = regexp.MustCompile(`^[a-zA-Z0-9.\-_:]*$`)
	wideTagForm  = regexp.MustCompile(`^([a-zA-Z0-9.\-_:/]*|\*)$`)
)

// CheckBackendRef adds what is wrong with a reference to a backend.
func CheckBackendRef(ref BackendRef, v *model.Violations, allowed Set) {
	checkRef(ref.TargetRef, v, refRules{allowed: allowed})
	if ref.Port == nil {
		if ref.Kind == RefMeshMultiZoneService {
			v.At("port").Add("is missing: a MeshMultiZoneService is called on one of its ports")
		}
		return
	}
	CheckPort(int64(*ref.Port), v.At("port"))
}

func checkRef(ref TargetRef, v *model.Violations, r refRules) {
	if ref.Kind == "" {
		v.At("kind").Add("is missing: say what is selected, for example Mesh")
		return
	}
	if setOf(ref.Kind)&r.allowed == 0 {
		v.At("kind").Add("%s cannot be selected here; use one of %s", ref.Kind, r.allowed)
		return
	}
	switch ref.Kind {
	case RefMesh:
		if ref.Name != "" {
			v.At("name").Add("a policy belongs to one mesh already; leave the name out")
		}
		forbid(ref, v, "mesh", "tags", "labels", "namespace", "sectionName")
		checkProxyTypes(ref, v)
	case RefMeshSubset:
		forbid(ref, v, "name", "mesh", "labels", "namespace", "sectionName")
		checkProxyTypes(ref, v)
		checkTags(ref.Tags, v, tagValueForm)
	case RefDataplane:
		forbid(ref, v, "tags", "mesh", "proxyTypes")
		checkName(ref, v)
		checkLabels(ref, v)
		if r.noSection && ref.SectionName != "" {
			v.At("sectionName").Add("this policy has no from or rules, so an inbound cannot be selected; leave it out")
		}
	case RefMeshService, RefMeshHTTPRoute:
		forbid(ref, v, "mesh", "tags", "proxyTypes")
		requireName(ref, v)
		checkLabels(ref, v)
	case RefMeshExternalService:
		forbid(ref, v, "mesh", "tags", "proxyTypes", "sectionName")
		requireName(ref, v)
		checkLabels(ref, v)
	case RefMeshServiceSubset:
		forbid(ref, v, "mesh", "proxyTypes", "labels", "namespace", "sectionName")
		requireName(ref, v)
		checkTags(ref.Tags, v, wideTagForm)
	case RefMeshGateway:
		forbid(ref, v, "mesh", "proxyTypes", "labels", "namespace", "sectionName")
		requireName(ref, v)
		if !r.gatewayTags && len(ref.Tags) > 0 {
			v.At("tags").Add("this policy applies to whole gateways; leave the tags out")
		}
		if r.gatewayTags {
			checkTags(ref.Tags, v, wideTagForm)
		}
	case RefMeshMultiZoneService: // every field is possible
	}
}

// forbid adds a violation for each of the fields that is set.
func forbid(ref TargetRef, v *model.Violations, fields ...string) {
	set := map[string]bool{
		"name": ref.Name != "", "mesh": ref.Mesh != "", "tags": len(ref.Tags) > 0,
		"proxyTypes": len(ref.ProxyTypes) > 0, "namespace": ref.Namespace != "",
		"labels": len(ref.Labels) > 0, "sectionName": ref.SectionName != "",
	}
	for _, f := range fields {
		if set[f] {
			v.At(f).Add("has no meaning with the kind %s; leave it out", ref.Kind)
		}
	}
}

func requireName(ref TargetRef, v *model.Violations) {
	if ref.Name == "" && (len(ref.Labels) == 0 || ref.Kind == RefMeshServiceSubset || ref.Kind == RefMeshGateway) {
		v.At("name").Add("is missing: the kind %s is selected by name%s", ref.Kind, orLabels(ref.Kind))
		return
	}
	checkName(ref, v)
}

func orLabels(kind string) string {
	if kind == RefMeshServiceSubset || kind == RefMeshGateway {
		return ""
	}
	return " or by labels"
}

func checkName(ref TargetRef, v *model.Violations) {
	if !nameForm.MatchString(ref.Name) {
		v.At("name").Add("may only have lower case letters, digits, '-', '.' and '_'")
	}
}

func checkLabels(ref TargetRef, v *model.Violations) {
	if len(ref.Labels) > 0 && (ref.Name != "" || ref.Namespace != "") {
		v.At("labels").Add("select by labels or by name and namespace, not by both")
	}
}

func checkProxyTypes(ref TargetRef, v *model.Violations) {
	if ref.ProxyTypes != nil && len(ref.ProxyTypes) == 0 {
		v.At("proxyTypes").Add("an empty list would select nothing; leave it out for all types")
	}
}

func checkTags(tags map[string]string, v *model.Violations, value *regexp.Regexp) {
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		at := v.At("tags", model.Q(k))
		if k == "" {
			at.Add("a tag needs a name")
		}
		if !tagKeyForm.MatchString(k) {
			at.Add("a tag's name may only have letters, digits, '.', '-', '_', ':' and '/'")
		}
		if tags[k] == "" {
			at.Add("a tag needs a value")
		}
		if !value.MatchString(tags[k]) {
			more := ""
			if value == wideTagForm {
				more = " and '/', or be \"*\""
			}
			at.Add("a tag's value may only have letters, digits, '.', '-', '_' and ':'%s", more)
		}
	}
}

// String lists the kinds, for messages.
func (s Set) String() string {
	out := ""
	for _, k := range []string{
		RefMesh, RefMeshSubset, RefDataplane, RefMeshService, RefMeshServiceSubset, RefMeshExternalService,
		RefMeshMultiZoneService, RefMeshGateway, RefMeshHTTPRoute,
	} {
		if s&setOf(k) == 0 {
			continue
		}
		if out != "" {
			out += ", "
		}
		out += k
	}
	return out
}
