package kinds

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"weft/internal/mesh/model"
)

// DefaultAdminPort is Envoy's admin port where neither the Dataplane nor the
// control plane says otherwise.
const DefaultAdminPort = 9901

// DefaultOutboundAddress is where outbounds listen unless they say otherwise.
const DefaultOutboundAddress = "127.0.0.1"

// UnknownService is the name for a proxy without any kuma.io/service tag.
const UnknownService = "unknown"

// Inbounds returns the proxy's inbounds.
func (d *DataplaneSpec) Inbounds() []Inbound {
	if d.Networking == nil {
		return nil
	}
	return d.Networking.Inbound
}

// Outbounds returns the outbounds that the object lists.
func (d *DataplaneSpec) Outbounds() []Outbound {
	if d.Networking == nil {
		return nil
	}
	return d.Networking.Outbound
}

// Address returns the proxy's own address.
func (d *DataplaneSpec) Address() string {
	if d.Networking == nil {
		return ""
	}
	return d.Networking.Address
}

// AdvertisedAddress returns the address that other proxies connect to, where an
// inbound does not say otherwise.
func (d *DataplaneSpec) AdvertisedAddress() string {
	if d.Networking == nil {
		return ""
	}
	if d.Networking.AdvertisedAddress != "" {
		return d.Networking.AdvertisedAddress
	}
	return d.Networking.Address
}

// ListenAddress returns the address on which the proxy listens for an inbound.
func (d *DataplaneSpec) ListenAddress(in *Inbound) string {
	if in.Address != "" {
		return in.Address
	}
	return d.Address()
}

// EndpointAddress returns the address at which others reach an inbound.
func (d *DataplaneSpec) EndpointAddress(in *Inbound) string {
	if d.Networking != nil && d.Networking.AdvertisedAddress != "" {
		return d.Networking.AdvertisedAddress
	}
	return d.ListenAddress(in)
}

// WorkloadAddress returns the address of the workload behind an inbound.
func (d *DataplaneSpec) WorkloadAddress(in *Inbound) string {
	if in.ServiceAddress != "" {
		return in.ServiceAddress
	}
	return d.ListenAddress(in)
}

// WorkloadPort returns the port of the workload behind the inbound.
func (in *Inbound) WorkloadPort() uint32 {
	if in.ServicePort != 0 {
		return in.ServicePort
	}
	return in.Port
}

// Service returns the inbound's kuma.io/service tag.
func (in *Inbound) Service() string { return in.Tags[model.TagService] }

// Protocol returns the inbound's protocol in lower case; absent = tcp.
func (in *Inbound) Protocol() string { return ProtocolOf(in.Tags) }

// SectionName returns what a sectionName calls the inbound: its name, else its port.
func (in *Inbound) SectionName() string {
	if in.Name != "" {
		return in.Name
	}
	return strconv.FormatUint(uint64(in.Port), 10)
}

// Ignored tells whether nobody may use the inbound.
func (in *Inbound) Ignored() bool { return in.State == InboundIgnored }

// Healthy tells whether the inbound is an endpoint for others.
func (in *Inbound) Healthy() bool {
	return in.State == InboundReady && (in.Health == nil || in.Health.Ready)
}

// NotReady tells whether the workload is reported as not ready; an ignored
// inbound is neither ready nor not.
func (in *Inbound) NotReady() bool {
	return in.State == InboundNotReady || (in.Health != nil && !in.Health.Ready)
}

// ListenAddress returns the address on which the outbound listens.
func (o *Outbound) ListenAddress() string {
	if o.Address != "" {
		return o.Address
	}
	return DefaultOutboundAddress
}

// Service returns the outbound's kuma.io/service tag.
func (o *Outbound) Service() string { return o.Tags[model.TagService] }

// Gateway returns the gateway part, nil for a sidecar.
func (d *DataplaneSpec) Gateway() *DataplaneGateway {
	if d.Networking == nil {
		return nil
	}
	return d.Networking.Gateway
}

// IsBuiltinGateway tells whether MeshGateways configure the proxy.
func (d *DataplaneSpec) IsBuiltinGateway() bool {
	g := d.Gateway()
	return g != nil && g.Type == GatewayBuiltin
}

// IsDelegatedGateway tells whether the proxy serves another gateway product.
func (d *DataplaneSpec) IsDelegatedGateway() bool {
	g := d.Gateway()
	return g != nil && g.Type == GatewayDelegated
}

// AdminPort returns Envoy's admin port; byDefault is the control plane's default.
func (d *DataplaneSpec) AdminPort(byDefault uint32) uint32 {
	if d.Networking != nil && d.Networking.Admin != nil && d.Networking.Admin.Port != 0 {
		return d.Networking.Admin.Port
	}
	return byDefault
}

// IsTransparent tells whether the kernel redirects the workload's traffic to the
// proxy: both ports are given and the address is of a redirected family.
func (d *DataplaneSpec) IsTransparent() bool {
	n := d.Networking
	if n == nil || n.TransparentProxying == nil {
		return false
	}
	t := n.TransparentProxying
	if t.RedirectPortInbound == 0 || t.RedirectPortOutbound == 0 {
		return false
	}
	ip, err := netip.ParseAddr(n.Address)
	return err != nil || ip.Is4() || ip.Is4In6() || t.IPFamilyMode != IPFamilyIPv4
}

// Tags returns all tags of the inbounds and the gateway with their values.
func (d *DataplaneSpec) Tags() MultiTags {
	m := MultiTags{}
	if g := d.Gateway(); g != nil {
		m.add(g.Tags)
	}
	for i := range d.Inbounds() {
		m.add(d.Networking.Inbound[i].Tags)
	}
	m.sort()
	return m
}

// Services returns the distinct kuma.io/service values, sorted.
func (d *DataplaneSpec) Services() []string {
	var out []string
	add := func(tags map[string]string) {
		if s := tags[model.TagService]; s != "" {
			out = append(out, s)
		}
	}
	if g := d.Gateway(); g != nil {
		add(g.Tags)
	}
	for i := range d.Inbounds() {
		add(d.Networking.Inbound[i].Tags)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// IdentifyingService returns the alphabetically first kuma.io/service value, or UnknownService.
func (d *DataplaneSpec) IdentifyingService() string {
	if s := d.Services(); len(s) > 0 {
		return s[0]
	}
	return UnknownService
}

// HasTags tells whether some inbound, or the gateway, has all tags of the selector.
func (d *DataplaneSpec) HasTags(selector map[string]string) bool {
	if g := d.Gateway(); g != nil && MatchTags(selector, g.Tags) {
		return true
	}
	return slices.ContainsFunc(d.Inbounds(), func(in Inbound) bool { return MatchTags(selector, in.Tags) })
}

// ProxyType returns the value of the label kuma.io/proxy-type.
func (d *DataplaneSpec) ProxyType() string {
	if d.IsBuiltinGateway() {
		return ProxyTypeGateway
	}
	return ProxyTypeSidecar
}

// Values of the label kuma.io/proxy-type.
const (
	ProxyTypeSidecar     = "sidecar"
	ProxyTypeGateway     = "gateway"
	ProxyTypeZoneIngress = "zoneingress"
	ProxyTypeZoneEgress  = "zoneegress"
)

// ProtocolOf returns the protocol among tags in lower case; absent = tcp.
func ProtocolOf(tags map[string]string) string {
	if p := tags[model.TagProtocol]; p != "" {
		return strings.ToLower(p)
	}
	return ProtocolTCP
}

// SetReady writes the state in its present and its older form. An inbound that
// was only starting is as it was defined when it becomes ready.
func (in *Inbound) SetReady(ready bool) {
	in.State = InboundNotReady
	if ready {
		in.State = InboundReady
	}
	if ready && in.Health == nil && in.ServiceProbe == nil {
		return
	}
	in.Health = &InboundHealth{Ready: ready}
}

// ChangeStates returns a Dataplane with the states of its inbounds changed; nil if
// none is, as with an object of another kind. change gets a copy of each inbound,
// may set its State and Health, and tells whether it did.
func ChangeStates(o *model.Object, change func(in *Inbound) bool) *model.Object {
	d, ok := o.Spec.(*DataplaneSpec)
	if !ok {
		return nil
	}
	var next *DataplaneSpec
	for i, in := range d.Inbounds() {
		if !change(&in) {
			continue
		}
		if next == nil {
			next = model.CopyValue(d).(*DataplaneSpec)
		}
		to := &next.Networking.Inbound[i]
		to.State, to.Health = in.State, in.Health
	}
	if next == nil {
		return nil
	}
	out := o.Clone()
	out.Spec = next
	return out
}
