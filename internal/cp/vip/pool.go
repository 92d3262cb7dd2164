package vip

import (
	"errors"
	"net/netip"
	"slices"
	"time"

	"weft/internal/mesh/model"
)

// Pool gives out the addresses of a range to objects. It goes through the range
// from its start and uses an address again only when the range is through and
// the address has been free for Quarantine.
//
// How far it came is its Mark, which has to be stored before an address after
// the stored one is told to anybody (Unsaved, Saved). With a Mark a new Pool knows
// what may have been given out and let go before it was made, and so keeps the
// quarantine without a list of it. A Pool is not safe for concurrent use.
type Pool struct {
	cidr  netip.Prefix
	since time.Time
	// before is what was given out before since.
	before, mark, stored Mark
	scan                 netip.Addr // where the search for free addresses goes on

	of    map[model.Key][]netip.Addr
	held  map[netip.Addr]model.Key
	freed map[netip.Addr]time.Time
}

// Mark says how far a range was given out.
type Mark struct {
	// Next is the first address that was never given out.
	Next netip.Addr `json:"next,omitzero"`
	// Through: every address may have been given out.
	Through bool `json:"through,omitempty"`
}

// passed tells whether an address may have been given out.
func (m Mark) passed(a netip.Addr) bool { return m.Through || a.Less(m.Next) }

// Holder is an object with an address that it has.
type Holder struct {
	Key     model.Key
	Address netip.Addr
}

// NewPool returns a pool of a range. stored is the Mark that was stored last, nil
// if there is none. holders are those of before; the first of several that have
// one address keeps it.
func NewPool(cidr netip.Prefix, stored *Mark, holders []Holder, now time.Time) *Pool {
	p := &Pool{
		cidr: cidr.Masked(), since: now,
		of: map[model.Key][]netip.Addr{}, held: map[netip.Addr]model.Key{}, freed: map[netip.Addr]time.Time{},
	}
	p.scan = p.cidr.Addr()
	p.mark.Next = p.cidr.Addr()
	if stored != nil {
		p.stored = *stored
		if stored.Through || p.cidr.Contains(stored.Next) {
			p.mark = *stored
		}
	}
	for _, h := range holders {
		if p.Hold(h.Key, h.Address) && !p.mark.passed(h.Address) {
			p.mark = p.after(h.Address)
		}
	}
	p.before = p.mark
	return p
}

// after returns the mark behind an address.
func (p *Pool) after(a netip.Addr) Mark {
	if next := a.Next(); next.IsValid() && p.cidr.Contains(next) {
		return Mark{Next: next}
	}
	return Mark{Through: true}
}

// Contains tells whether an address is of the pool's range.
func (p *Pool) Contains(a netip.Addr) bool { return p.cidr.Contains(a) }

// Hold notes that an object has an address; false if another one has it. Only
// addresses of the range count.
func (p *Pool) Hold(k model.Key, a netip.Addr) bool {
	if !p.cidr.Contains(a) {
		return true
	}
	if other, taken := p.held[a]; taken {
		return other == k
	}
	p.held[a] = k
	p.of[k] = append(p.of[k], a)
	delete(p.freed, a)
	return true
}

// Set notes which addresses an object has now. It returns those that are its
// own: addresses of the range that another object has are not.
func (p *Pool) Set(k model.Key, list []netip.Addr, now time.Time) (own []netip.Addr) {
	if slices.Equal(p.of[k], list) {
		return list
	}
	for _, a := range p.of[k] {
		if !slices.Contains(list, a) {
			delete(p.held, a)
			p.freed[a] = now
		}
	}
	delete(p.of, k)
	for _, a := range list {
		if other, taken := p.held[a]; taken && other == k { // it had it before
			p.of[k] = append(p.of[k], a)
			own = append(own, a)
		} else if p.Hold(k, a) {
			own = append(own, a)
		}
	}
	return own
}

// Free notes that an object is gone; its addresses go into quarantine.
func (p *Pool) Free(k model.Key, now time.Time) {
	for _, a := range p.of[k] {
		delete(p.held, a)
		p.freed[a] = now
	}
	delete(p.of, k)
}

// Keep frees the addresses of all objects for which exists is false, and forgets
// quarantines that are over.
func (p *Pool) Keep(exists func(model.Key) bool, now time.Time) {
	for k := range p.of {
		if !exists(k) {
			p.Free(k, now)
		}
	}
	if now.Sub(p.since) < Quarantine {
		return // what is forgotten now would count as free since the start
	}
	for a, at := range p.freed {
		if now.Sub(at) >= Quarantine {
			delete(p.freed, a)
		}
	}
}

// ErrFull tells that every address is in use or in quarantine.
var ErrFull = errors.New("no address is left; make the range larger")

// Take returns the object's address, a new one if it has none.
func (p *Pool) Take(k model.Key, now time.Time) (netip.Addr, error) {
	if have := p.of[k]; len(have) > 0 {
		return have[0], nil
	}
	for !p.mark.Through {
		a := p.mark.Next
		p.mark = p.after(a)
		if p.free(a, now) {
			p.Hold(k, a)
			return a, nil
		}
	}
	a := p.scan
	for first := true; first || a != p.scan; first = false {
		next := a.Next()
		if !next.IsValid() || !p.cidr.Contains(next) {
			next = p.cidr.Addr()
		}
		if p.free(a, now) {
			p.scan = next
			p.Hold(k, a)
			return a, nil
		}
		a = next
	}
	return netip.Addr{}, ErrFull
}

// free tells whether nobody has an address and no client may remember it.
func (p *Pool) free(a netip.Addr, now time.Time) bool {
	if _, taken := p.held[a]; taken {
		return false
	}
	if at, ok := p.freed[a]; ok {
		return now.Sub(at) >= Quarantine
	}
	return !p.before.passed(a) || now.Sub(p.since) >= Quarantine
}

// Unsaved returns the Mark that must be stored before the addresses that were
// taken are told to anybody; ok is false if what is stored is enough. It reserves
// some addresses more, so that it needs not be stored for every address.
func (p *Pool) Unsaved() (m Mark, ok bool) {
	if p.stored.Through || (!p.mark.Through && p.stored.Next.IsValid() && !p.stored.Next.Less(p.mark.Next)) {
		return Mark{}, false
	}
	if !p.mark.Through && !p.stored.Next.IsValid() && p.mark.Next == p.cidr.Addr() {
		return Mark{}, false // nothing was given out ever
	}
	m = p.mark
	for range p.block() {
		if m.Through {
			break
		}
		m = p.after(m.Next)
	}
	return m, true
}

// Saved notes that a Mark was stored.
func (p *Pool) Saved(m Mark) { p.stored = m }

// block is how many addresses are reserved at once.
func (p *Pool) block() int {
	const most = 256
	bits := p.cidr.Addr().BitLen() - p.cidr.Bits()
	if bits >= 14 {
		return most
	}
	return max(1<<bits/64, 1)
}
