// Package whatif says what a control plane of a zone would make of objects: what
// its gate would refuse, the objects that it would make itself (default policies,
// services, names, addresses), and the configuration of each proxy. kumactl
// analyzes and renders directories with it; kuma-cp takes its settings from here,
// so that both decide alike. It runs the same code as a control plane, without a
// store and without a network.
//
// What only a running control plane knows is not there: which proxies are
// connected, what host names of proxies resolve to, and the state of a change of
// certificate authorities.
package whatif

import (
	"fmt"
	"net/netip"
	"slices"

	"weft/internal/config"
	"weft/internal/cp/admit"
	"weft/internal/cp/envoy"
	"weft/internal/cp/services"
	"weft/internal/cp/view"
	"weft/internal/mesh/catalog"
	"weft/internal/mesh/ir"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
	"weft/internal/mesh/policy"
	"weft/internal/mesh/policy/legacy"
)

// Settings are those of a control plane that decide what becomes of objects.
type Settings struct {
	Zone string
	View view.Settings
	// Kinds are those that exist here, and UnknownKinds sentences about names in
	// the settings that are none.
	Kinds        []*model.Kind
	UnknownKinds []string
	// Services are the settings of the task that keeps services; its Log is nil.
	Services services.Settings
	// VIPs is the range of the older virtual addresses.
	VIPs netip.Prefix
	// Initial are the policies that a new mesh gets.
	Initial admit.Initial
	// Federated: the zone belongs to a global control plane.
	Federated bool
}

// SettingsOf returns the settings that a configuration means.
func SettingsOf(c *config.Config) (Settings, error) {
	zone := c.Multizone.Zone.Name
	if c.IsGlobal() {
		zone = ""
	}
	all, unknown := enabledKinds(c)
	enabled := func(kind *model.Kind) bool { return slices.Contains(all, kind) }
	s := Settings{
		Kinds: all, UnknownKinds: unknown,
		Zone: zone, Federated: c.IsFederatedZone(),
		View: view.Settings{
			Zone: zone, InternalCIDRs: c.IPAM.KnownInternalCIDRs,
			DNSDomain: c.DNSServer.Domain, ServiceVIPPort: uint32(c.DNSServer.ServiceVIPPort), ServiceVIPs: c.DNSServer.ServiceVIPEnabled,
			AutoReachable: c.Experimental.AutoReachableServices,
			Policies:      slices.DeleteFunc(slices.Clone(catalog.Policies), func(p *policy.Policy) bool { return !enabled(p.Kind) }),
		},
		Services: services.Settings{
			Zone:      zone,
			Generate:  c.Environment == config.Universal && enabled(kinds.MeshService),
			Addresses: enabled(kinds.MeshService), Hostnames: enabled(kinds.HostnameGenerator),
			GracePeriod: c.MeshService.DeletionGracePeriod,
		},
		Initial: admit.Initial{Routing: c.Defaults.CreateMeshRoutingResources},
	}
	s.Initial.Kind = s.Kind
	if c.IsGlobal() {
		return s, nil // it gives out no addresses
	}
	var err error
	if s.VIPs, err = netip.ParsePrefix(c.DNSServer.CIDR); err != nil {
		return s, fmt.Errorf("dnsServer.CIDR: %w", err)
	}
	return s, s.ranges(c)
}

// ranges reads where the addresses of services come from.
func (s *Settings) ranges(c *config.Config) error {
	list := []struct {
		path, text string
		to         *netip.Prefix
	}{
		{"ipam.meshService.cidr", c.IPAM.MeshService.CIDR, &s.Services.MeshServices},
		{"ipam.meshExternalService.cidr", c.IPAM.MeshExternalService.CIDR, &s.Services.ExternalServices},
		{"ipam.meshMultiZoneService.cidr", c.IPAM.MeshMultiZoneService.CIDR, &s.Services.MeshMultiZoneServices},
	}
	for i, r := range list {
		cidr, err := netip.ParsePrefix(r.text)
		if err != nil {
			return fmt.Errorf("%s: %w", r.path, err)
		}
		for _, o := range list[:i] {
			if o.to.Overlaps(cidr) {
				return fmt.Errorf("%s: %s overlaps with %s of %s, so that two services could get one address; give each a range of its own", r.path, cidr, o.to, o.path)
			}
		}
		*r.to = cidr
	}
	return nil
}

// CheckPatches finds patches and resources in objects that are none of Envoy's. It
// warns of fields that Envoy does not have.
func CheckPatches(o *model.Object, v *model.Violations) (warnings []string) {
	check := func(pt ir.Patch, v *model.Violations) {
		checkPart(pt, v)
		for _, f := range envoy.UnknownFields(pt) {
			warnings = append(warnings, v.Path()+": has no effect: Envoy has no field "+f+" there; correct its name")
		}
	}
	if t, ok := o.Spec.(*kinds.ProxyTemplateSpec); ok {
		for _, part := range legacy.EnvoyParts(t) {
			check(part.Patch, v.At(part.Path...))
		}
		return warnings
	}
	for _, p := range catalog.Policies {
		if p.Kind != o.Kind {
			continue
		}
		for _, part := range p.Patches(o) {
			check(part.Patch, v.At(part.Path...))
		}
	}
	return warnings
}

func checkPart(pt ir.Patch, v *model.Violations) {
	check := envoy.CheckPatch
	if pt.Target == "" {
		check = func(pt ir.Patch) error { return envoy.CheckResource(pt.Value) }
	}
	if err := check(pt); err != nil {
		v.Add("is no valid Envoy resource: %v", err)
	}
}
