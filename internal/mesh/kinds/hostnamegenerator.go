package kinds

import (
	"fmt"
	"strings"
	"text/template"

	"weft/internal/mesh/model"
)

// HostnameGenerator gives services hostnames that are made from a template.
var HostnameGenerator = &model.Kind{
	Name: "HostnameGenerator", Plural: "hostnamegenerators", Short: "hg",
	One: "hostnamegenerator", Many: "hostnamegenerators",
	Display: "Hostname Generator", DisplayPlural: "Hostname Generators",
	Scope: model.Global, Shape: model.SpecBlock,
	Flow: model.GlobalToZone | model.ZoneToGlobal | model.GlobalWrites | model.ZoneWrites,
	// Proxies take hostnames from the status of services, but those who write it
	// read generators from the same snapshots.
	Feeds:    model.FeedsLabels | model.FeedsSpec,
	New:      func() any { return new(HostnameGeneratorSpec) },
	Validate: validateHostnameGenerator,
}

// HostnameGeneratorSpec says which services get a hostname and how it is made.
type HostnameGeneratorSpec struct {
	// Selector says which services get a hostname: exactly one kind.
	Selector HostnameSelector `json:"selector"`
	// Template of the hostname in the syntax of Go's text/template. It knows
	// .DisplayName, .Name, .Namespace, .Mesh and .Zone of the service, and
	// label "key" for the value of one of its labels. For example
	// "{{ .DisplayName }}.svc.mesh.local".
	Template string `json:"template,omitempty"`
}

// HostnameSelector selects services of one kind.
type HostnameSelector struct {
	// MeshService selects MeshServices.
	MeshService *LabelSelector `json:"meshService,omitempty"`
	// MeshExternalService selects MeshExternalServices.
	MeshExternalService *LabelSelector `json:"meshExternalService,omitempty"`
	// MeshMultiZoneService selects MeshMultiZoneServices.
	MeshMultiZoneService *LabelSelector `json:"meshMultiZoneService,omitempty"`
}

// LabelSelector selects objects by their labels.
type LabelSelector struct {
	// MatchLabels are the labels that an object must have, all of them. Without
	// any, every object of the kind is selected.
	MatchLabels map[string]string `json:"matchLabels,omitempty"`
}

// Address is a hostname of a service.
type Address struct {
	// Hostname that clients use.
	Hostname string `json:"hostname,omitempty"`
	// Origin tells what made the hostname: HostnameGenerator or Kubernetes.
	Origin string `json:"origin,omitempty"`
	// HostnameGeneratorRef names the generator.
	HostnameGeneratorRef *GeneratorRef `json:"hostnameGeneratorRef,omitempty"`
}

// Origins of an Address.
const (
	AddressFromGenerator  = "HostnameGenerator"
	AddressFromKubernetes = "Kubernetes"
)

// GeneratorRef names a HostnameGenerator.
type GeneratorRef struct {
	// CoreName is the name of the HostnameGenerator in this control plane.
	CoreName string `json:"coreName" schema:"required"`
}

// HostnameGeneratorStatus tells what became of a generator at one service.
type HostnameGeneratorStatus struct {
	// HostnameGeneratorRef names the generator.
	HostnameGeneratorRef GeneratorRef `json:"hostnameGeneratorRef" schema:"required"`
	// Conditions tell whether a hostname was made, and why not.
	Conditions []Condition `json:"conditions,omitempty" schema:"listMapKeys=type"`
}

// Condition is one finding about an object.
type Condition struct {
	// Type of the finding, in CamelCase.
	Type string `json:"type" schema:"required,maxLength=316,pattern=^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$"`
	// Status is True, False or Unknown.
	Status string `json:"status" schema:"required,enum=True|False|Unknown"`
	// Reason is one word in CamelCase that says why.
	Reason string `json:"reason" schema:"required,minLength=1,maxLength=1024,pattern=^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"`
	// Message explains the reason to people; may be empty.
	Message string `json:"message" schema:"required,maxLength=32768"`
}

// ConditionGenerated is the type of the condition that a generator sets; its
// reasons follow.
const (
	ConditionGenerated  = "Generated"
	ReasonGenerated     = "Generated"
	ReasonTemplateError = "TemplateError"
	ReasonCollision     = "Collision"
)

// Selects tells whether the generator is for the service o, which is a
// MeshService, MeshExternalService or MeshMultiZoneService.
func (s *HostnameGeneratorSpec) Selects(o *model.Object) bool {
	var sel *LabelSelector
	switch o.Kind.Name {
	case MeshService.Name:
		sel = s.Selector.MeshService
	case MeshExternalService.Name:
		sel = s.Selector.MeshExternalService
	case MeshMultiZoneService.Name:
		sel = s.Selector.MeshMultiZoneService
	}
	return sel != nil && hasAll(labelsWithDisplayName(o), sel.MatchLabels)
}

// hostnameData is what a template may use.
type hostnameData struct{ Name, DisplayName, Namespace, Mesh, Zone string }

// Hostname returns the hostname that the generator makes for a service; localZone
// stands in for the zone of services without a zone label. An empty hostname
// without an error means that the template makes none for this service.
func (s *HostnameGeneratorSpec) Hostname(o *model.Object, localZone string) (string, error) {
	namespace := o.Label(model.LabelK8sNamespace)
	data := hostnameData{
		Name:        o.Meta.Name,
		DisplayName: o.DisplayName(),
		Namespace:   namespace,
		Mesh:        o.Meta.Mesh,
		Zone:        o.Label(model.LabelZone),
	}
	if namespace != "" { // on Kubernetes names are <name>.<namespace>
		data.Name = strings.TrimSuffix(data.Name, "."+namespace)
		if o.Label(model.LabelDisplayName) == "" {
			data.DisplayName = data.Name
		}
	}
	if data.Zone == "" {
		data.Zone = localZone
	}
	return s.evaluate(data, labelsWithDisplayName(o))
}

func (s *HostnameGeneratorSpec) evaluate(data hostnameData, labels map[string]string) (string, error) {
	t, err := parseUserTemplate(s.Template, hostnameFuncs(nil))
	if err != nil {
		return "", fmt.Errorf("parse template: %w", err)
	}
	host, err := t.eval(data, hostnameFuncs(labels))
	if err != nil {
		return "", fmt.Errorf("evaluate template: %w", err)
	}
	if host != "" && !isHost(host) {
		return "", fmt.Errorf("evaluate template: the result %q is no valid hostname", host)
	}
	return host, nil
}

func hostnameFuncs(labels map[string]string) template.FuncMap {
	return template.FuncMap{"label": func(key string) (string, error) {
		v, ok := labels[key]
		if !ok {
			return "", fmt.Errorf("label %s not found", key)
		}
		return v, nil
	}}
}

func validateHostnameGenerator(o *model.Object, v *model.Violations) {
	s, at := model.Spec[HostnameGeneratorSpec](o), v.At("spec")
	n := 0
	for _, sel := range []*LabelSelector{s.Selector.MeshService, s.Selector.MeshExternalService, s.Selector.MeshMultiZoneService} {
		if sel != nil {
			n++
		}
	}
	if n != 1 {
		at.At("selector").Add("must have exactly one of meshService, meshExternalService and meshMultiZoneService; %d are given", n)
	}
	if s.Template == "" {
		at.At("template").Add(`must not be empty; write for example "{{ .DisplayName }}.svc.mesh.local"`)
		return
	}
	if _, err := parseUserTemplate(s.Template, hostnameFuncs(nil)); err != nil {
		at.At("template").Add("is no template that can be used: %v", err)
	}
}

// HostnamesOf returns what the status of a service tells of its hostnames, and what
// became of each generator that selects it; nothing for other objects.
func HostnamesOf(o *model.Object) ([]Address, []HostnameGeneratorStatus) {
	switch s := o.Status.(type) {
	case *MeshServiceStatus:
		return s.Addresses, s.HostnameGenerators
	case *MeshMultiZoneServiceStatus:
		return s.Addresses, s.HostnameGenerators
	case *MeshExternalServiceStatus:
		return s.Addresses, s.HostnameGenerators
	}
	return nil, nil
}
