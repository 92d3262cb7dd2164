package kinds

import (
	"maps"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"weft/internal/mesh/model"
)

// backendKinds are the kinds that a backend reference may name.
var backendKinds = []string{"MeshExternalService", "MeshMultiZoneService", "MeshService"}

func validateDataplane(o *model.Object, v *model.Violations) {
	d := model.Spec[DataplaneSpec](o)
	if d.Networking == nil {
		v.At("networking").Add("is missing: give the address and what is offered under inbound, or gateway")
		return
	}
	net := v.At("networking")
	if g := d.Networking.Gateway; g != nil {
		d.validateGateway(g, v)
	} else if len(d.Networking.Inbound) == 0 {
		net.Add("must have at least one inbound, or gateway")
	}
	checkAddress(d.Networking.Address, net.At("address"))
	if a := d.Networking.AdvertisedAddress; a != "" {
		checkAddress(a, net.At("advertisedAddress"))
	}
	d.validateAdmin(net.At("admin", "port"))
	for i := range d.Networking.Inbound {
		d.validateInbound(&d.Networking.Inbound[i], net.At("inbound", i))
	}
	for i := range d.Networking.Outbound {
		validateOutbound(&d.Networking.Outbound[i], net.At("outbound", i))
	}
	d.Networking.TransparentProxying.validate(net)
	if d.Probes != nil {
		d.Probes.validate(v.At("probes"))
	}
	if d.Metrics != nil && d.Networking.Gateway == nil {
		d.Metrics.validate(v.At("metrics"))
	}
}

func (d *DataplaneSpec) validateGateway(g *DataplaneGateway, v *model.Violations) {
	kind := "delegated"
	if g.Type == GatewayBuiltin {
		kind = "builtin"
	}
	if len(d.Networking.Inbound) > 0 {
		v.At("networking", "inbound").Add("must not be there for a %s gateway", kind)
	}
	if g.Type == GatewayBuiltin {
		if len(d.Networking.Outbound) > 0 {
			v.At("networking", "outbound").Add("must not be there for a builtin gateway: routes say where it sends traffic")
		}
		if d.Probes != nil {
			v.At("networking", "probes").Add("must not be there for a builtin gateway")
		}
	}
	tags := v.At("networking", "gateway", "tags")
	if p, ok := g.Tags[model.TagProtocol]; ok && p != ProtocolTCP {
		tags.At(model.Q(model.TagProtocol)).Add("must be tcp for a gateway, not %q", p)
	}
	TagRules{Service: true}.Check(g.Tags, tags)
	checkNotEgress(g.Tags, tags)
}

// validateAdmin refuses an admin port that another listener of the proxy needs:
// the admin endpoint listens on 127.0.0.1.
func (d *DataplaneSpec) validateAdmin(v *model.Violations) {
	port := d.AdminPort(0)
	if port == 0 {
		return
	}
	if port > 65535 {
		checkPort(int64(port), v)
	}
	for i := range d.Networking.Inbound {
		in := &d.Networking.Inbound[i]
		if (port == in.Port && coversLoopback(d.ListenAddress(in))) ||
			(port == in.WorkloadPort() && coversLoopback(d.WorkloadAddress(in))) {
			v.Add("%d is also the port of inbound %d on this machine; choose another one", port, i)
		}
	}
	for i := range d.Networking.Outbound {
		out := &d.Networking.Outbound[i]
		if port == out.Port && coversLoopback(out.ListenAddress()) {
			v.Add("%d is also the port of outbound %d on this machine; choose another one", port, i)
		}
	}
}

// coversLoopback tells whether a listener at the address takes 127.0.0.1.
func coversLoopback(address string) bool {
	ip, err := netip.ParseAddr(address)
	return err == nil && (ip.IsUnspecified() || ip.Unmap() == netip.AddrFrom4([4]byte{127, 0, 0, 1}))
}

func (d *DataplaneSpec) validateInbound(in *Inbound, v *model.Violations) {
	checkPort(int64(in.Port), v.At("port"))
	if in.ServicePort != 0 {
		checkPort(int64(in.ServicePort), v.At("servicePort"))
	}
	if in.ServiceAddress != "" {
		at := v.At("serviceAddress")
		checkIP(in.ServiceAddress, at)
		if in.ServiceAddress == d.ListenAddress(in) && in.WorkloadPort() == in.Port {
			at.Add("together with servicePort is where the proxy itself listens; the proxy would call itself")
		}
	}
	if in.Address != "" {
		checkIP(in.Address, v.At("address"))
	}
	tags := v.At("tags")
	if _, ok := in.Tags[model.TagService]; !ok {
		tags.At(model.Q(model.TagService)).Add("is missing; it names the service that the workload offers")
	}
	checkNotEgress(in.Tags, tags)
	TagRules{Protocol: true}.Check(in.Tags, tags)
	if in.ServiceProbe != nil {
		in.ServiceProbe.validate(v.At("serviceProbe"))
	}
}

// checkNotEgress refuses the name by which clients know the egress of the zone, to
// which they entrust what leaves the mesh.
func checkNotEgress(tags map[string]string, v *model.Violations) {
	if tags[model.TagService] == EgressService {
		v.At(model.Q(model.TagService)).Add("%q is the name by which zone egresses prove who they are; choose another one", EgressService)
	}
}

func (p *ServiceProbe) validate(v *model.Violations) {
	for _, f := range []struct {
		name  string
		value *model.ProtoDuration
	}{{"interval", p.Interval}, {"timeout", p.Timeout}} {
		if f.value != nil && *f.value <= 0 {
			v.At(f.name).Add("must be longer than 0s")
		}
	}
	for _, f := range []struct {
		name  string
		value *uint32
	}{{"unhealthyThreshold", p.UnhealthyThreshold}, {"healthyThreshold", p.HealthyThreshold}} {
		if f.value != nil && *f.value == 0 {
			v.At(f.name).Add("must be at least 1")
		}
	}
}

func validateOutbound(o *Outbound, v *model.Violations) {
	checkPort(int64(o.Port), v.At("port"))
	if o.Address != "" {
		checkIP(o.Address, v.At("address"))
	}
	if o.BackendRef == nil {
		TagRules{Service: true}.Check(o.Tags, v.At("tags"))
		return
	}
	ref := v.At("backendRef")
	if len(o.Tags) > 0 {
		ref.Add("must not be there together with tags: both name the destination")
		return
	}
	b := o.BackendRef
	if !slices.Contains(backendKinds, b.Kind) {
		ref.At("kind").Add("%q is not possible here; use one of %s", b.Kind, strings.Join(backendKinds, ", "))
	}
	if b.Name == "" && len(b.Labels) == 0 {
		ref.Add("must name the destination by name or by labels")
	}
	if b.Kind != "MeshExternalService" {
		checkPort(int64(b.Port), ref.At("port"))
	}
}

// validate is called with v at networking.
func (t *TransparentProxying) validate(v *model.Violations) {
	if t == nil {
		return
	}
	at := v.At("transparentProxying")
	for _, f := range []struct {
		name string
		port uint32
	}{{"redirectPortInbound", t.RedirectPortInbound}, {"redirectPortOutbound", t.RedirectPortOutbound}} {
		if f.port != 0 {
			checkPort(int64(f.port), at.At(f.name))
		}
	}
	if t.ReachableBackends == nil {
		return
	}
	for i := range t.ReachableBackends.Refs {
		// Clients know this path with 2.10's spelling.
		t.ReachableBackends.Refs[i].validate(v.At("transparentProxing", "reachableBackends", "refs", i))
	}
}

var identifier = regexp.MustCompile(`^[0-9a-z.\-_]*$`)

func (r *ReachableBackendRef) validate(v *model.Violations) {
	if !slices.Contains(backendKinds, r.Kind) {
		v.At("kind").Add("%q is not possible here; use one of %s", r.Kind, strings.Join(backendKinds, ", "))
	}
	if !identifier.MatchString(r.Name) {
		v.At("name").Add("may hold lower case letters, digits, '-', '.' and '_' only")
	}
	switch {
	case r.Name == "" && r.Namespace == "" && len(r.Labels) == 0:
		v.At("name").Add("is missing: give name or labels")
	case r.Name == "" && r.Namespace != "":
		v.At("name").Add("is missing: a namespace alone names nothing")
	}
	if len(r.Labels) > 0 && (r.Name != "" || r.Namespace != "") {
		v.At("labels").Add("must not be there together with name or namespace")
	}
	if r.Port != nil {
		checkPort(int64(*r.Port), v.At("port"))
	}
	for _, k := range slices.Sorted(maps.Keys(r.Labels)) {
		model.CheckLabel(k, r.Labels[k], v.At("labels", model.Q(k)))
	}
}

func (p *DataplaneProbes) validate(v *model.Violations) {
	checkPort(int64(p.Port), v.At("port"))
	for i, e := range p.Endpoints {
		at := v.At("endpoints", i)
		checkPort(int64(e.InboundPort), at.At("inboundPort"))
		checkURLPath(e.InboundPath, at.At("inboundPath"))
		checkURLPath(e.Path, at.At("path"))
	}
}

// checkURLPath wants a path as it stands in a request line, with its query.
func checkURLPath(path string, v *model.Violations) {
	if _, err := url.ParseRequestURI(path); err != nil || !strings.HasPrefix(path, "/") {
		v.Add("%q is no path of a URL; it begins with '/' and encodes blanks as %%20", path)
	}
}
