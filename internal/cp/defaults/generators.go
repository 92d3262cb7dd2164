package defaults

import (
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// Generators returns the hostname generators of a control plane: the one of a zone, or the global one if there is
// no zone.
func Generators(zone string, kubernetes bool) []*model.Object {
	if zone == "" {
		return globalGenerators()
	}
	origin := map[string]string{model.LabelOrigin: model.OriginZone}
	out := []*model.Object{
		generator("local-mesh-external-service", "{{ .DisplayName }}.extsvc.mesh.local",
			kinds.HostnameSelector{MeshExternalService: &kinds.LabelSelector{MatchLabels: origin}}),
	}
	if !kubernetes {
		out = append(out, generator("local-universal-mesh-service", "{{ .DisplayName }}.svc.mesh.local",
			kinds.HostnameSelector{MeshService: &kinds.LabelSelector{MatchLabels: origin}}))
	}
	for _, g := range out {
		g.Meta.Labels = origin
	}
	return out
}

// globalGenerators are for services that arrive in a zone through global.
func globalGenerators() []*model.Object {
	with := func(more ...string) *kinds.LabelSelector {
		l := map[string]string{model.LabelOrigin: model.OriginGlobal}
		for i := 0; i < len(more); i += 2 {
			l[more[i]] = more[i+1]
		}
		return &kinds.LabelSelector{MatchLabels: l}
	}
	services := func(l *kinds.LabelSelector) kinds.HostnameSelector { return kinds.HostnameSelector{MeshService: l} }
	return []*model.Object{
		generator("synced-kube-mesh-service", "{{ .DisplayName }}.{{ .Namespace }}.svc.{{ .Zone }}.mesh.local",
			services(with(model.LabelK8sHeadless, "false", model.LabelEnv, model.EnvKubernetes))),
		generator("synced-headless-kube-mesh-service",
			`{{ label "statefulset.kubernetes.io/pod-name" }}.{{ label "k8s.kuma.io/service-name" }}.{{ .Namespace }}.svc.{{ .Zone }}.mesh.local`,
			services(with(model.LabelK8sHeadless, "true", model.LabelEnv, model.EnvKubernetes))),
		generator("synced-universal-mesh-service", "{{ .DisplayName }}.svc.{{ .Zone }}.mesh.local",
			services(with(model.LabelEnv, model.EnvUniversal))),
		generator("synced-mesh-multi-zone-service", "{{ .DisplayName }}.mzsvc.mesh.local",
			kinds.HostnameSelector{MeshMultiZoneService: with()}),
		generator("synced-mesh-external-service", "{{ .DisplayName }}.extsvc.mesh.local",
			kinds.HostnameSelector{MeshExternalService: with()}),
	}
}

func generator(name, template string, sel kinds.HostnameSelector) *model.Object {
	g := kinds.HostnameGenerator.Make("", name)
	g.Spec = &kinds.HostnameGeneratorSpec{Selector: sel, Template: template}
	return g
}
