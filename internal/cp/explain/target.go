package explain

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"weft/internal/mesh/ir"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
	"weft/internal/mesh/policy"
)

// target is where a request goes.
type target struct {
	host string
	port uint32 // 0 = not said
	// implied: the port is only that of the URL's scheme.
	implied bool
	path    string
	url     *url.URL
}

// at tells whether the target is an address.
func (t *target) at(address string) bool { return sameAddress(t.host, address) }

func sameAddress(a, b string) bool {
	if a == b {
		return true
	}
	x, err := netip.ParseAddr(a)
	y, err2 := netip.ParseAddr(b)
	return err == nil && err2 == nil && x.Unmap() == y.Unmap()
}

// secured tells whether the client itself speaks TLS.
func (t *target) secured() bool { return t.url.Scheme == "https" }

// TargetError says that where a request goes is not understood.
type TargetError struct{ Reason string }

func (e *TargetError) Error() string { return "to: " + e.Reason }

func parse(to string) (*target, *TargetError) {
	if to == "" {
		return nil, &TargetError{"say where the request goes: a URL, host:port, a DNS name or the name of a service"}
	}
	u := &url.URL{Host: to}
	rest, text, full := to, "//"+to, false
	if scheme, after, is := strings.Cut(to, "://"); is && !strings.ContainsAny(scheme, "/?#") {
		rest, text, full = after, to, true
	}
	path := ""
	if i := strings.IndexAny(rest, "/?#"); i >= 0 { // as it is written, which url.URL does not keep
		path, _, _ = strings.Cut(rest[i:], "#")
		path, _, _ = strings.Cut(path, "?")
		full = true
	}
	if full {
		var err error
		if u, err = url.Parse(text); err != nil {
			return nil, &TargetError{fmt.Sprintf("%q is no URL", to)}
		}
	}
	t := &target{host: u.Hostname(), path: cmp.Or(path, "/"), url: u}
	if net.ParseIP(to) != nil { // IPv6 without brackets
		t.host = to
		return t, nil
	}
	switch p := u.Port(); {
	case p != "":
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n == 0 {
			return nil, &TargetError{fmt.Sprintf("%q has no valid port: it is a number from 1 to 65535", to)}
		}
		t.port = uint32(n)
	case u.Scheme == "http":
		t.port, t.implied = 80, true
	case u.Scheme == "https":
		t.port, t.implied = 443, true
	}
	if t.host == "" {
		return nil, &TargetError{fmt.Sprintf("%q names no host", to)}
	}
	return t, nil
}

// hit is the outbound that gets traffic, by its index, with the name that led
// to it. Without one it is -1, and why says what there is instead; dead tells
// that the address is a virtual one, at which nothing else listens.
type hit struct {
	index     int
	name, why string
	dead      bool
}

// catch finds the outbound that gets the traffic.
func catch(s Subject, t *target) hit {
	name := ""
	addresses := []string{t.host}
	// Not from Proxy.DNS, which is only known while the proxy is connected.
	for _, o := range s.Inputs.Outbounds.List() {
		for _, n := range o.Names {
			if name == "" && strings.EqualFold(n, strings.TrimSuffix(t.host, ".")) { // the first address of a name counts
				name = n
				addresses = append(addresses, o.Address)
			}
		}
	}
	byName := -1
	var ports []string
	for i, o := range s.Proxy.Outbounds {
		here := slices.ContainsFunc(addresses, func(a string) bool { return sameAddress(a, o.Address) }) || (o.Address == "127.0.0.1" && t.host == "localhost")
		switch {
		case here && (t.port == o.Port || t.port == 0):
			return hit{index: i, name: name}
		case here:
			ports = append(ports, strconv.Itoa(int(o.Port)))
		case byName < 0 && t.named(o):
			byName = i
		}
	}
	switch {
	case byName >= 0 && len(ports) == 0:
		return hit{index: byName}
	case len(ports) > 0:
		return hit{-1, name, fmt.Sprintf("%s is known on port %s only", t.host, strings.Join(ports, ", ")), true}
	case name != "":
		return hit{-1, name, fmt.Sprintf("%s has an address, but this proxy has no port for it", t.host), false}
	}
	return hit{-1, "", fmt.Sprintf("%s is no name or address of the mesh on this proxy", t.host), false}
}

// named tells whether the target names the destination of an outbound.
func (t *target) named(o *ir.Outbound) bool {
	d := o.Destination
	return (d.Name == t.host || d.Display == t.host) && (t.port == 0 || t.implied || t.port == o.Port || t.port == d.Port)
}

// escape says what becomes of traffic that no outbound catches.
func escape(a *Answer, s Subject, t *target, x *policy.Explanation, c hit) {
	why := c.why
	tr := s.Proxy.Transparent
	if tr == nil {
		a.Outcome, a.Why = NotCaptured, why+"; without transparent proxying it does not go through the proxy at all"
		return
	}
	if c.dead {
		a.Outcome, a.Why = Refused, why+"; nobody answers on others"
		return
	}
	for _, d := range s.Proxy.DirectAccess {
		if t.at(d.Address) && (t.port == 0 || d.Port == t.port) {
			a.Outcome, a.Why = Forwarded, "it is the address of a proxy that may be called directly (directAccessServices)"
			return
		}
	}
	a.Policies = append(list(x.Passthrough), x.Proxy...)
	switch {
	case tr.Passthrough && tr.Matches == nil:
		a.Outcome, a.Why = PassedOn, why+"; what is not of the mesh may leave it"
	case slices.ContainsFunc(tr.Matches, func(m ir.PassthroughMatch) bool { return passes(m, t) }):
		a.Outcome, a.Why = PassedOn, why+"; a MeshPassthrough allows it"
	case tr.Matches != nil:
		a.Outcome, a.Why = Refused, why+"; no match of the MeshPassthrough allows it"
		if _, err := netip.ParseAddr(t.host); err != nil && slices.ContainsFunc(tr.Matches, func(m ir.PassthroughMatch) bool { return m.Type != "Domain" }) {
			a.Why += ", unless by an address that the name stands for: ask for that"
		}
	default:
		a.Outcome, a.Why = Refused, why+"; the mesh or a MeshPassthrough forbids to leave it"
	}
}

// passes tells whether a match of MeshPassthrough is for a target.
func passes(m ir.PassthroughMatch, t *target) bool {
	if m.Port != 0 && t.port != 0 && m.Port != t.port {
		return false
	}
	switch t.url.Scheme {
	case "https": // told from other traffic by its first bytes
		if m.Protocol != ir.ProtocolTLS && m.Protocol != ir.ProtocolMySQL {
			return false
		}
	case "http":
		if m.Protocol == ir.ProtocolTLS {
			return false
		}
	}
	switch m.Type {
	case "CIDR":
		p, err := netip.ParsePrefix(m.Value)
		a, aerr := netip.ParseAddr(t.host)
		return err == nil && aerr == nil && p.Contains(a)
	case "Domain":
		host := strings.ToLower(t.host)
		if tail, wild := strings.CutPrefix(strings.ToLower(m.Value), "*"); wild {
			return strings.HasSuffix(host, tail) && len(host) > len(tail)
		}
		return strings.ToLower(m.Value) == host
	}
	return t.at(m.Value)
}

// around says what becomes of traffic that goes to a proxy's inbound, but not by
// an outbound that knows it: it arrives in plain text.
func (a *Answer) around(s Subject, t *target, w World) error {
	if t.port == 0 || (a.Outcome != PassedOn && a.Outcome != NotCaptured) {
		return nil
	}
	for _, row := range w.Tables.Table(kinds.Dataplane, s.Proxy.ID.Mesh).Rows() {
		spec := model.Spec[kinds.DataplaneSpec](row.Object)
		inbounds := spec.Inbounds()
		for i := range inbounds {
			in := &inbounds[i]
			if in.Port != t.port || !t.at(spec.EndpointAddress(in)) {
				continue
			}
			far, is, err := w.Proxies(row.Meta.Name)
			if err != nil || !is {
				return err
			}
			v, has := serverOf(s, &ir.Cluster{}, far, in)
			if !has {
				return nil
			}
			a.Why += fmt.Sprintf("; it reaches port %d of the proxy %s, but not through the mesh", v.Port, v.Proxy)
			if !v.Allowed {
				a.Outcome = Refused
				a.Why += ": " + v.Why + ". Call the service by its name"
			}
			return nil
		}
	}
	return nil
}
