package hds

import (
	"net/netip"
	"strconv"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	health "github.com/envoyproxy/go-control-plane/envoy/service/health/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"weft/internal/cp/view"
	"weft/internal/mesh/kinds"
)

// envoyCheck is the name of the check of the proxy itself: an Envoy that drains
// is not ready, whatever its workload says.
const envoyCheck = "kuma:envoy:admin"

// Addresses that checks come from where the kernel redirects traffic, so that
// they are not redirected.
const (
	outsideRedirect4 = "127.0.0.6"
	outsideRedirect6 = "::6"
)

// plan is what a proxy shall check and which inbound each check is for.
type plan struct {
	specifier *health.HealthCheckSpecifier
	// checks are the names of checks by inbound; absent = it is not probed.
	checks map[inboundKey]string
	// envoy tells whether the proxy itself is checked.
	envoy bool
}

// inboundKey identifies an inbound of a Dataplane.
type inboundKey struct {
	address string
	port    uint32
}

func keyOf(d *kinds.DataplaneSpec, in *kinds.Inbound) inboundKey {
	return inboundKey{d.ListenAddress(in), in.Port}
}

// makePlan returns the checks of a proxy.
func makePlan(d *kinds.DataplaneSpec, md view.Metadata, deps Deps) plan {
	p := plan{
		specifier: &health.HealthCheckSpecifier{Interval: durationpb.New(deps.Config.Interval)},
		checks:    map[inboundKey]string{},
	}
	port := md.AdminPort
	if port == 0 {
		port = d.AdminPort(deps.AdminPort)
	}
	if port != 0 {
		p.envoy = true
		c := check(envoyCheck, loopback(md.AdminAddress), port)
		c.HealthChecks = []*corev3.HealthCheck{adminCheck(deps)}
		p.specifier.ClusterHealthChecks = append(p.specifier.ClusterHealthChecks, c)
	}
	used := map[string]netip.AddrPort{}
	for i := range d.Inbounds() {
		in := &d.Networking.Inbound[i]
		if in.ServiceProbe == nil {
			continue
		}
		target := netip.AddrPortFrom(workload(d, in), uint16(in.WorkloadPort()))
		name := "localhost:" + strconv.FormatUint(uint64(in.WorkloadPort()), 10)
		if other, taken := used[name]; taken && other != target {
			name += "@" + target.Addr().String() // the same port of another address
		}
		p.checks[keyOf(d, in)] = name
		if _, done := used[name]; done {
			continue
		}
		used[name] = target
		c := check(name, target.Addr().String(), in.WorkloadPort())
		c.HealthChecks = []*corev3.HealthCheck{probe(in.ServiceProbe, deps)}
		if d.IsTransparent() && !target.Addr().IsLoopback() {
			c.UpstreamBindConfig = source(target.Addr())
		}
		p.specifier.ClusterHealthChecks = append(p.specifier.ClusterHealthChecks, c)
	}
	return p
}

// workload returns the address of an inbound's workload. One that is given by
// name is on this host, because proxies stand beside their workloads.
func workload(d *kinds.DataplaneSpec, in *kinds.Inbound) netip.Addr {
	if a, err := netip.ParseAddr(d.WorkloadAddress(in)); err == nil && !a.IsUnspecified() {
		return a.Unmap()
	}
	return netip.AddrFrom4([4]byte{127, 0, 0, 1})
}

// loopback returns the address of Envoy's admin endpoint as seen by Envoy.
func loopback(address string) string {
	a, err := netip.ParseAddr(address)
	if err == nil && a.Is6() && !a.Is4In6() && (a.IsLoopback() || a.IsUnspecified()) {
		return "::1"
	}
	return "127.0.0.1"
}

func check(name, address string, port uint32) *health.ClusterHealthCheck {
	return &health.ClusterHealthCheck{
		ClusterName: name,
		LocalityEndpoints: []*health.LocalityEndpoints{{
			Endpoints: []*endpoint.Endpoint{{Address: socket(address, port)}},
		}},
	}
}

func socket(address string, port uint32) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: address, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port},
	}}}
}

func source(target netip.Addr) *corev3.BindConfig {
	address := outsideRedirect4
	if target.Is6() {
		address = outsideRedirect6
	}
	return &corev3.BindConfig{SourceAddress: socket(address, 0).GetSocketAddress()}
}

// defaults returns a check with the control plane's timings.
func defaults(deps Deps) *corev3.HealthCheck {
	c := deps.Config.CheckDefaults
	return &corev3.HealthCheck{
		Timeout: durationpb.New(c.Timeout), Interval: durationpb.New(c.Interval), NoTrafficInterval: durationpb.New(c.NoTrafficInterval),
		HealthyThreshold: threshold(c.HealthyThreshold), UnhealthyThreshold: threshold(c.UnhealthyThreshold),
	}
}

func threshold(n int) *wrapperspb.UInt32Value { return wrapperspb.UInt32(uint32(max(n, 1))) }

func adminCheck(deps Deps) *corev3.HealthCheck {
	h := defaults(deps)
	h.HealthChecker = &corev3.HealthCheck_HttpHealthCheck_{HttpHealthCheck: &corev3.HealthCheck_HttpHealthCheck{Path: "/ready"}}
	return h
}

// probe returns the check of a workload; what the probe leaves open is as the
// control plane has it, each value by itself.
func probe(p *kinds.ServiceProbe, deps Deps) *corev3.HealthCheck {
	h := defaults(deps)
	h.HealthChecker = &corev3.HealthCheck_TcpHealthCheck_{TcpHealthCheck: &corev3.HealthCheck_TcpHealthCheck{}}
	set := func(to **durationpb.Duration, d time.Duration) { *to = durationpb.New(d) }
	if p.Timeout != nil {
		set(&h.Timeout, p.Timeout.Std())
	}
	if p.Interval != nil {
		set(&h.Interval, p.Interval.Std())
	}
	if p.HealthyThreshold != nil {
		h.HealthyThreshold = wrapperspb.UInt32(*p.HealthyThreshold)
	}
	if p.UnhealthyThreshold != nil {
		h.UnhealthyThreshold = wrapperspb.UInt32(*p.UnhealthyThreshold)
	}
	return h
}
