package main

import (
	"fmt"
	"slices"
	"strings"

	"weft/internal/mesh/model"
)

// crds writes one CustomResourceDefinition for each kind that is one on Kubernetes.
func (g *generator) crds(files map[string][]byte) error {
	for _, k := range g.kinds {
		if !isCustomResource(k) {
			continue
		}
		crd, err := g.crd(k)
		if err != nil {
			return fmt.Errorf("CRD of %s: %w", k.Name, err)
		}
		b, err := marshal(crd)
		if err != nil {
			return fmt.Errorf("CRD of %s: %w", k.Name, err)
		}
		files["api/crds/kuma.io_"+crdPlural(k)+".yaml"] = append([]byte(header), b...)
	}
	return nil
}

// isCustomResource: secrets are Kubernetes Secrets, Config is a ConfigMap.
func isCustomResource(k *model.Kind) bool {
	return !k.Hidden && k.Name != "Secret" && k.Name != "GlobalSecret"
}

// crdPlural is the REST collection without dashes.
func crdPlural(k *model.Kind) string { return strings.ReplaceAll(k.Plural, "-", "") }

// isNamespaced: newer kinds, and what belongs to a pod.
func isNamespaced(k *model.Kind) bool {
	proxies := []string{"Dataplane", "DataplaneInsight", "ZoneIngress", "ZoneIngressInsight", "ZoneEgress", "ZoneEgressInsight"}
	return k.Shape == model.SpecBlock || slices.Contains(proxies, k.Name)
}

func (g *generator) crd(k *model.Kind) (tree, error) {
	schema, err := g.crdSchema(k)
	if err != nil {
		return nil, err
	}
	version := tree{
		"name":   "v1alpha1",
		"served": true, "storage": true,
		"schema": tree{"openAPIV3Schema": schema},
	}
	if c := printerColumns(k); c != nil {
		version["additionalPrinterColumns"] = c
	}
	names := tree{
		"categories": []string{"kuma"},
		"kind":       k.Name,
		"listKind":   k.Name + "List",
		"plural":     crdPlural(k),
		"singular":   strings.ToLower(k.Name),
	}
	if k.Short != "" {
		names["shortNames"] = []string{k.Short}
	}
	scope := "Cluster"
	if isNamespaced(k) {
		scope = "Namespaced"
	}
	return tree{
		"apiVersion": "apiextensions.k8s.io/v1",
		"kind":       "CustomResourceDefinition",
		"metadata":   tree{"name": crdPlural(k) + ".kuma.io"},
		"spec": tree{
			"group":    "kuma.io",
			"names":    names,
			"scope":    scope,
			"versions": []any{version},
		},
	}, nil
}

func (g *generator) crdSchema(k *model.Kind) (tree, error) {
	doc, err := g.kindDoc(k)
	if err != nil {
		return nil, err
	}
	props := tree{
		"apiVersion": tree{"type": "string"},
		"kind":       tree{"type": "string"},
		"metadata":   tree{"type": "object"},
	}
	if k.Shape == model.Flat {
		// Kinds of the protobuf mapping are checked by the webhook only: they
		// accept spellings that a structural schema would prune.
		props["mesh"] = tree{"type": "string"}
		block := "spec"
		if k.Name == "DataplaneInsight" {
			block = "status"
		}
		props[block] = tree{"x-kubernetes-preserve-unknown-fields": true}
		return tree{"type": "object", "description": doc, "properties": props}, nil
	}
	w := &schemaWriter{docs: g.docs, crd: true}
	specDoc, err := g.docs.blockDoc(specType(k))
	if err != nil {
		return nil, err
	}
	if props["spec"], err = w.write(k.SpecSchema(), specType(k), specDoc); err != nil {
		return nil, err
	}
	if s := k.StatusSchema(); s != nil {
		statusDoc, err := g.docs.blockDoc(statusType(k))
		if err != nil {
			return nil, err
		}
		if props["status"], err = w.write(s, statusType(k), statusDoc); err != nil {
			return nil, err
		}
	}
	return tree{"type": "object", "description": doc, "properties": props}, nil
}

// printerColumns are the columns of kubectl get.
func printerColumns(k *model.Kind) []any {
	column := func(name, path string) tree {
		return tree{"name": name, "jsonPath": path, "type": "string"}
	}
	switch {
	case k.Policy != nil && k.Policy.TargetRef:
		return []any{column("TargetRef Kind", ".spec.targetRef.kind"), column("TargetRef Name", ".spec.targetRef.name")}
	case k.StatusSchema() != nil && k.StatusSchema().Properties["addresses"] != nil:
		return []any{column("Hostname", ".status.addresses[0].hostname")}
	case k.Name == "ZoneIngress" || k.Name == "ZoneEgress":
		return []any{column("zone", ".spec.zone")}
	case k.Name == "Dataplane":
		var out []any
		for i := range 4 {
			c := column("kuma.io/service", fmt.Sprintf(`.spec.networking.inbound[%d].tags['kuma\.io/service']`, i))
			if i > 1 {
				c["priority"] = 1 // shown by -o wide only
			}
			out = append(out, c)
		}
		return out
	}
	return nil
}
