package vip

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"weft/internal/cp/view"
)

// Quarantine is how long an address waits after its service is gone: DNS answers
// live for 30 seconds, and what clients add to that is theirs, but seldom more
// than this.
const Quarantine = 2 * time.Minute

// Allocate returns the entries with addresses. Entries that had one before keep
// it; the others get addresses in the order of type and name. Those start after
// the highest one that is known; when the range is through, free ones are used
// from its start. What is not among the entries any more stays, without
// outbounds, until the quarantine of its address is over. Hosts that are
// addresses stand for themselves.
//
// An error names entries for which no address is left; the others are returned.
func Allocate(before view.VIPs, entries map[view.VIPKey][]view.VIPOutbound, cidr netip.Prefix, now time.Time) (view.VIPs, error) {
	r := ring{cidr: cidr.Masked(), taken: map[netip.Addr]bool{}}
	r.next = r.cidr.Addr()
	out := make(view.VIPs, len(entries))
	for k, e := range before {
		if _, still := entries[k]; !still {
			e.Outbounds = nil
			if e.ReleasedAt.IsZero() {
				e.ReleasedAt = now
			}
			if now.Sub(e.ReleasedAt) >= Quarantine || isAddress(k) {
				continue
			}
			out[k] = e
		}
		r.note(e.Address)
	}
	var errs []error
	for _, k := range slices.SortedFunc(maps.Keys(entries), view.VIPKey.Compare) {
		e := view.VIPEntry{Address: before[k].Address, Outbounds: entries[k]}
		if isAddress(k) {
			e.Address = k.Name
		}
		if e.Address == "" {
			a, ok := r.take()
			if !ok {
				errs = append(errs, fmt.Errorf("%q gets no address of %s (dnsServer.CIDR): %w", k.Name, cidr, ErrFull))
				continue
			}
			e.Address = a.String()
		}
		out[k] = e
	}
	return out, errors.Join(errs...)
}

// nextRelease returns when the first quarantine is over, zero if there is none.
func nextRelease(vips view.VIPs) time.Time {
	var first time.Time
	for _, e := range vips {
		if e.ReleasedAt.IsZero() {
			continue
		}
		if end := e.ReleasedAt.Add(Quarantine); first.IsZero() || end.Before(first) {
			first = end
		}
	}
	return first
}

// isAddress tells whether what needs an address is one itself.
func isAddress(k view.VIPKey) bool {
	_, err := netip.ParseAddr(k.Name)
	return err == nil && k.Type == view.VIPHost
}

// ring gives out the addresses of a range, beginning after the highest taken one.
type ring struct {
	cidr    netip.Prefix
	taken   map[netip.Addr]bool
	next    netip.Addr
	wrapped bool
}

// note keeps an address from being given out.
func (r *ring) note(address string) {
	a, err := netip.ParseAddr(address)
	if err != nil || !r.cidr.Contains(a) {
		return
	}
	r.taken[a] = true
	if r.next.IsValid() && !a.Less(r.next) {
		r.next = a.Next() // invalid after the last address there is
	}
}

// take returns an address that nobody has; false if there is none.
func (r *ring) take() (netip.Addr, bool) {
	for {
		if !r.next.IsValid() || !r.cidr.Contains(r.next) {
			if r.wrapped {
				return netip.Addr{}, false
			}
			r.wrapped, r.next = true, r.cidr.Addr()
		}
		a := r.next
		r.next = a.Next()
		if !r.taken[a] {
			r.taken[a] = true
			return a, true
		}
	}
}
