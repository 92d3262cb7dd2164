package actual

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

const (
	// maxLookups bounds the names that are resolved at the same time.
	maxLookups = 16
	// lookupTimeout bounds one try.
	lookupTimeout = 5 * time.Second
	// minTTL keeps a TTL of zero from asking without end.
	minTTL = time.Second
)

// names are the host names in use. The filter's mutex guards it.
type names struct {
	d      Deps
	byHost map[string]*entry
	next   time.Time // when the next name is due, zero = never
	// turned are the names whose address changed since the last look.
	turned map[string]bool
}

// entry is a host name.
type entry struct {
	uses    int
	address string // "" = not known yet
	due     time.Time
	busy    bool
	failing bool
}

func newNames(d Deps) *names {
	d.TTL = max(d.TTL, minTTL)
	return &names{d: d, byHost: map[string]*entry{}}
}

// use notes that a row needs names.
func (n *names) use(hosts []string) {
	for _, h := range hosts {
		e := n.byHost[h]
		if e == nil {
			e = &entry{due: n.d.Now()}
			n.byHost[h] = e
			n.next = earlier(n.next, e.due)
		}
		e.uses++
	}
}

// release notes that rows do not need their names any more.
func (n *names) release(byRow map[string][]string) {
	for _, hosts := range byRow {
		for _, h := range hosts {
			e := n.byHost[h]
			if e.uses--; e.uses == 0 {
				delete(n.byHost, h)
			}
		}
	}
}

// address returns the address of a host name, "" if it is not known.
func (n *names) address(host string) string {
	if e := n.byHost[host]; e != nil {
		return e.address
	}
	return ""
}

// due returns at most limit names that have to be resolved now.
func (n *names) due(now time.Time, limit int) []string {
	var out []string
	n.next = time.Time{}
	for host, e := range n.byHost {
		switch {
		case e.busy:
		case !e.due.After(now) && len(out) < limit:
			e.busy = true
			out = append(out, host)
		case !e.due.After(now):
			// Its turn comes when a lookup ends, which wakes the loop.
		default:
			n.next = earlier(n.next, e.due)
		}
	}
	return out
}

// lookup resolves a name and takes the answer over.
func (f *Filter) lookup(ctx context.Context, host string) {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	found, err := f.d.Lookup(ctx, host)
	f.mu.Lock()
	turned := f.names.answer(host, found, err, f.d.Now())
	f.mu.Unlock()
	if turned {
		f.refresh()
	}
}

// answer notes what a lookup gave and tells whether the address is another one.
func (n *names) answer(host string, found []netip.Addr, err error, now time.Time) (turned bool) {
	e := n.byHost[host]
	if e == nil {
		return false // nobody needs it any more
	}
	e.busy, e.due = false, now.Add(n.d.TTL)
	n.next = earlier(n.next, e.due)
	best, ok := choose(found, e.address)
	if err != nil || !ok {
		if !e.failing {
			n.d.Log.Warn("the host name of a proxy cannot be resolved; what is known stays", "host", host, "address", e.address, "error", err)
		}
		e.failing = true
		return false
	}
	if e.failing {
		n.d.Log.Info("the host name of a proxy can be resolved again", "host", host, "address", best)
	}
	e.failing = false
	if best == e.address {
		return false
	}
	e.address = best
	if n.turned == nil {
		n.turned = map[string]bool{}
	}
	n.turned[host] = true
	return true
}

// choose returns one of several addresses: the one in use as long as it is among
// them, else the first in an order in which IPv4 comes first.
func choose(found []netip.Addr, current string) (string, bool) {
	var list []netip.Addr
	for _, a := range found {
		if a = a.Unmap(); a.IsValid() && !a.IsUnspecified() && a.Zone() == "" {
			list = append(list, a)
		}
	}
	if len(list) == 0 {
		return "", false
	}
	if slices.ContainsFunc(list, func(a netip.Addr) bool { return a.String() == current }) {
		return current, true
	}
	return slices.MinFunc(list, netip.Addr.Compare).String(), true
}

// isName tells whether an address is a host name.
func isName(address string) bool {
	if address == "" {
		return false
	}
	_, err := netip.ParseAddr(address)
	return err != nil
}

// hostsOf returns the host names among the addresses of a proxy.
func hostsOf(o *model.Object) []string {
	var out []string
	note := func(address string) {
		if isName(address) && !slices.Contains(out, address) {
			out = append(out, address)
		}
	}
	switch s := o.Spec.(type) {
	case *kinds.DataplaneSpec:
		if s.Networking != nil {
			note(s.Networking.Address)
			note(s.Networking.AdvertisedAddress)
		}
	case *kinds.ZoneIngressSpec:
		if s.Networking != nil {
			note(s.Networking.Address)
			note(s.Networking.AdvertisedAddress)
		}
	case *kinds.ZoneEgressSpec:
		if s.Networking != nil {
			note(s.Networking.Address)
		}
	}
	return out
}

// resolved returns the proxy with the addresses of its host names, as far as they
// are known; o itself if there is nothing to replace.
func resolved(o *model.Object, address func(host string) string) *model.Object {
	known := false
	for _, h := range hostsOf(o) {
		known = known || address(h) != ""
	}
	if !known {
		return o
	}
	replace := func(at *string) {
		if isName(*at) {
			if a := address(*at); a != "" {
				*at = a
			}
		}
	}
	out := *o
	switch s := o.Spec.(type) {
	case *kinds.DataplaneSpec:
		spec, n := *s, *s.Networking
		replace(&n.Address)
		replace(&n.AdvertisedAddress)
		spec.Networking = &n
		out.Spec = &spec
	case *kinds.ZoneIngressSpec:
		spec, n := *s, *s.Networking
		replace(&n.Address)
		replace(&n.AdvertisedAddress)
		spec.Networking = &n
		out.Spec = &spec
	case *kinds.ZoneEgressSpec:
		spec, n := *s, *s.Networking
		replace(&n.Address)
		spec.Networking = &n
		out.Spec = &spec
	}
	return &out
}
