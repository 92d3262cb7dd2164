package vip_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"weft/internal/cp/vip"
	"weft/internal/mesh/model"
)

func key(n int) model.Key { return model.Key{Kind: "MeshService", Mesh: "m", Name: fmt.Sprint("s", n)} }

// play uses a pool as the leader does: what is taken is told to others only after
// the mark was stored, and a restart knows the mark and who has what.
type play struct {
	t      *testing.T
	cidr   netip.Prefix
	rnd    *rand.Rand
	at     time.Time
	pool   *vip.Pool
	stored *vip.Mark
	has    map[model.Key]netip.Addr
	last   map[netip.Addr]holding
}

type holding struct {
	by model.Key
	at time.Time
}

func (p *play) restart() {
	var hs []vip.Holder
	for k, a := range p.has {
		hs = append(hs, vip.Holder{Key: k, Address: a})
	}
	p.pool = vip.NewPool(p.cidr, p.stored, hs, p.at)
}

func (p *play) take(k model.Key) {
	a, err := p.pool.Take(k, p.at)
	if errors.Is(err, vip.ErrFull) {
		return
	}
	if err != nil {
		p.t.Fatal(err)
	}
	if m, ok := p.pool.Unsaved(); ok {
		if p.rnd.IntN(4) == 0 {
			p.restart() // before the mark was stored: nobody knows the address
			return
		}
		p.stored = &m
		p.pool.Saved(m)
		if p.rnd.IntN(4) == 0 {
			p.restart() // before the object was written
			return
		}
	}
	p.give(k, a)
}

// give checks that an address may be told to clients as that of an object.
func (p *play) give(k model.Key, a netip.Addr) {
	if !p.cidr.Contains(a) {
		p.t.Fatalf("%s is not in %s", a, p.cidr)
	}
	for other, b := range p.has {
		if other != k && b == a {
			p.t.Fatalf("%s is given to %s, but %s has it", a, k, other)
		}
	}
	if h, ok := p.last[a]; ok && h.by != k && p.at.Sub(h.at) < vip.Quarantine {
		p.t.Fatalf("%s goes from %s to %s after %s", a, h.by, k, p.at.Sub(h.at))
	}
	p.has[k] = a
}

func (p *play) drop(k model.Key) {
	if a, ok := p.has[k]; ok {
		p.last[a] = holding{k, p.at}
		delete(p.has, k)
	}
	if p.rnd.IntN(3) > 0 { // else nobody watches, as while there is no leader
		p.pool.Keep(func(k model.Key) bool { _, ok := p.has[k]; return ok }, p.at)
	}
}

// TestPoolProperty lets services come and go, the leader restart and writes fail,
// at random, in ranges of all sizes.
func TestPoolProperty(t *testing.T) {
	for seed := range uint64(100) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 2))
			cidrs := []string{"241.0.0.0/30", "241.0.0.0/28", "241.0.0.0/24", "241.0.0.0/8", "fd00::/120", "255.255.255.248/29"}
			p := &play{
				t: t, cidr: netip.MustParsePrefix(cidrs[seed%uint64(len(cidrs))]), rnd: rnd, at: now,
				has: map[model.Key]netip.Addr{}, last: map[netip.Addr]holding{},
			}
			p.restart()
			given := 0
			for range 1000 {
				p.at = p.at.Add(time.Duration(rnd.IntN(40)) * time.Second)
				k := key(rnd.IntN(6))
				switch rnd.IntN(5) {
				case 0, 1:
					if _, ok := p.has[k]; !ok {
						p.take(k)
						given++
					}
				case 2, 3:
					p.drop(k)
				case 4:
					if rnd.IntN(3) == 0 {
						p.restart()
					}
				}
			}
			if given == 0 || len(p.last) == 0 {
				t.Fatal("nothing was given out")
			}
		})
	}
}

// TestPoolOrder: addresses are given out from the start of the range, each once,
// and are used again when the range is through and they rested.
func TestPoolOrder(t *testing.T) {
	p := vip.NewPool(cidr, nil, nil, now)
	take := func(n int, at time.Time) string {
		t.Helper()
		a, err := p.Take(key(n), at)
		if err != nil {
			return err.Error()
		}
		return a.String()
	}
	for i := range 3 {
		if got, want := take(i, now), fmt.Sprint("240.0.0.", i); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	p.Free(key(1), now)
	if got := take(3, now); got != "240.0.0.3" {
		t.Errorf("got %s though the range is not through", got)
	}
	if got := take(4, now.Add(vip.Quarantine-1)); got != vip.ErrFull.Error() {
		t.Errorf("got %s from a range that has nothing but an address in quarantine", got)
	}
	if got := take(4, now.Add(vip.Quarantine)); got != "240.0.0.1" {
		t.Errorf("got %s, want the address whose quarantine is over", got)
	}
}

// TestPoolHolders: who has an address keeps it, also without a mark; of two with
// one address the first does.
func TestPoolHolders(t *testing.T) {
	a := func(s string) netip.Addr { return netip.MustParseAddr(s) }
	p := vip.NewPool(netip.MustParsePrefix("241.0.0.0/24"), nil, []vip.Holder{
		{Key: key(1), Address: a("241.0.0.7")}, {Key: key(2), Address: a("241.0.0.7")}, {Key: key(3), Address: a("10.0.0.1")},
	}, now)
	if got, _ := p.Take(key(1), now); got != a("241.0.0.7") {
		t.Errorf("the first holder has %s", got)
	}
	if got, _ := p.Take(key(2), now); got != a("241.0.0.8") {
		t.Errorf("the second holder has %s", got)
	}
	if own := p.Set(key(1), []netip.Addr{a("241.0.0.9"), a("241.0.0.8")}, now); len(own) != 1 || own[0] != a("241.0.0.9") {
		t.Errorf("the first may hold %v", own)
	}
	if got, _ := p.Take(key(4), now); got == a("241.0.0.7") || got == a("241.0.0.9") {
		t.Errorf("%s is given to another one at once", got)
	}
}

// TestPoolMark: the mark is stored ahead, so that most addresses cost no write,
// and never tells less than was given out.
func TestPoolMark(t *testing.T) {
	p := vip.NewPool(netip.MustParsePrefix("241.0.0.0/8"), nil, nil, now)
	if _, ok := p.Unsaved(); ok {
		t.Error("a pool that gave out nothing wants to store a mark")
	}
	writes := 0
	for i := range 1000 {
		if _, err := p.Take(key(i), now); err != nil {
			t.Fatal(err)
		}
		if m, ok := p.Unsaved(); ok {
			writes++
			p.Saved(m)
		}
	}
	if writes != 4 {
		t.Errorf("1000 addresses took %d writes of the mark", writes)
	}
}
