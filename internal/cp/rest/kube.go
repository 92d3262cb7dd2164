package rest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"time"

	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// kubeManifest is an object as it would stand in the Kubernetes API.
type kubeManifest struct {
	APIVersion string            `json:"apiVersion"`
	Kind       string            `json:"kind"`
	Mesh       string            `json:"mesh,omitempty"`
	Type       string            `json:"type,omitempty"` // of a Secret
	Metadata   kubeMeta          `json:"metadata"`
	Data       map[string][]byte `json:"data,omitempty"`
	Spec       json.RawMessage   `json:"spec,omitempty"`
	Status     json.RawMessage   `json:"status,omitempty"`
}

type kubeMeta struct {
	Name        string            `json:"name"`
	Namespace   string            `json:"namespace,omitempty"`
	Created     model.Timestamp   `json:"creationTimestamp"`
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// namespaced are the kinds of the older shape that live in namespaces; those of
// the newer shape all do.
var namespaced = map[*model.Kind]bool{
	kinds.Dataplane: true, kinds.DataplaneInsight: true,
	kinds.ZoneIngress: true, kinds.ZoneIngressInsight: true,
	kinds.ZoneEgress: true, kinds.ZoneEgressInsight: true,
	kinds.Secret: true, kinds.GlobalSecret: true,
}

// kubeForm returns the object as a Kubernetes manifest. Namespaced kinds are put
// into the namespace given.
func kubeForm(o *model.Object, namespace string) (any, error) {
	m := kubeManifest{APIVersion: "kuma.io/v1alpha1", Kind: o.Kind.Name, Metadata: kubeMeta{
		Name: o.Meta.Name, Created: model.Timestamp{Time: o.Meta.Created.Truncate(time.Second)}, Labels: maps.Clone(o.Meta.Labels),
	}}
	inBlocks := o.Kind.Shape == model.SpecBlock
	if inBlocks || namespaced[o.Kind] {
		m.Metadata.Namespace = namespace
	}
	m.label()
	if o.Kind == kinds.Secret || o.Kind == kinds.GlobalSecret {
		return m.secret(o), nil
	}
	var err error
	if m.Spec, err = model.EncodeSpec(o.Spec); err != nil {
		return nil, fmt.Errorf("encode %s: %w", o.Key(), err)
	}
	switch {
	case inBlocks && o.Kind.Scope == model.InMesh:
		m.setLabel(model.LabelMesh, o.Meta.Mesh)
	case !inBlocks:
		m.Mesh = o.Meta.Mesh
	}
	if o.Status != nil {
		if m.Status, err = model.EncodeSpec(o.Status); err != nil {
			return nil, fmt.Errorf("encode %s: %w", o.Key(), err)
		}
		if bytes.Equal(m.Status, []byte("{}")) {
			m.Status = nil
		}
	}
	if o.Kind == kinds.DataplaneInsight { // its CRD has the content there
		m.Spec, m.Status = nil, m.Spec
	}
	return m, nil
}

// label moves the display name to where Kubernetes can hold a long one.
func (m *kubeManifest) label() {
	if name, has := m.Metadata.Labels[model.LabelDisplayName]; has {
		delete(m.Metadata.Labels, model.LabelDisplayName)
		m.Metadata.Annotations = map[string]string{model.LabelDisplayName: name}
	}
}

func (m *kubeManifest) setLabel(key, value string) {
	if m.Metadata.Labels == nil {
		m.Metadata.Labels = map[string]string{}
	}
	m.Metadata.Labels[key] = value
}

func (m *kubeManifest) secret(o *model.Object) any {
	m.APIVersion, m.Kind, m.Type = "v1", "Secret", "system.kuma.io/global-secret"
	if o.Kind == kinds.Secret {
		m.Type = "system.kuma.io/secret"
		m.setLabel(model.LabelMesh, cmp.Or(o.Meta.Mesh, model.DefaultMesh))
	}
	m.Data = map[string][]byte{"value": model.Spec[kinds.SecretSpec](o).Data}
	return m
}
