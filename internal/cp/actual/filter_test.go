package actual_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"weft/internal/cp/actual"
	"weft/internal/cp/state"
	"weft/internal/cp/store"
	"weft/internal/cp/store/memory"
	"weft/internal/mesh/catalog"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// world is a store with a filter behind it, in a bubble of time.
type world struct {
	t      *testing.T
	store  store.Store
	filter *actual.Filter

	mu      sync.Mutex
	dns     map[string][]string // "" = fails
	lookups map[string]int
	updates []state.Update
}

const grace = 5 * time.Second

// play runs f in a bubble.
func play(t *testing.T, alone bool, f func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, store: memory.New(), dns: map[string][]string{}, lookups: map[string]int{}}
		w.put(`{"type": "Mesh", "name": "m"}`)
		stop := w.start(alone)
		f(w)
		stop()
	})
}

// start starts a control plane called "me".
func (w *world) start(alone bool) (stop func()) {
	log := slog.New(slog.DiscardHandler)
	st := state.New(w.store, log, time.Now)
	filter := actual.New(actual.Deps{
		State: st, Lookup: w.lookup, TTL: 10 * time.Second, Instance: "me", Alone: alone, Grace: grace, Log: log, Now: time.Now,
	})
	w.filter = filter
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = st.Run(ctx) })
	running.Go(func() { _ = filter.Run(ctx) })
	running.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case u := <-filter.Updates():
				w.mu.Lock()
				w.updates = append(w.updates, u)
				w.mu.Unlock()
			}
		}
	})
	synctest.Wait()
	return func() { cancel(); running.Wait() }
}

func (w *world) lookup(_ context.Context, host string) ([]netip.Addr, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lookups[host]++
	var out []netip.Addr
	for _, a := range w.dns[host] {
		out = append(out, netip.MustParseAddr(a))
	}
	if len(out) == 0 {
		return nil, errors.New("no such host")
	}
	return out, nil
}

func (w *world) resolve(host string, addresses ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dns[host] = addresses
}

func (w *world) put(docs ...string) {
	w.t.Helper()
	for _, d := range docs {
		o, err := catalog.Decode([]byte(d))
		if err != nil {
			w.t.Fatalf("%v\n%s", err, d)
		}
		have, err := w.store.Get(w.t.Context(), o.Key())
		if err == nil {
			o.Meta.Version = have.Meta.Version
			_, err = w.store.Update(w.t.Context(), o)
		} else {
			_, err = w.store.Create(w.t.Context(), o)
		}
		if err != nil {
			w.t.Fatal(err)
		}
	}
	synctest.Wait()
}

func (w *world) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// show returns address and state of a proxy as the filter tells it.
func (w *world) show(name string) string {
	row, ok := w.filter.Current().Table(kinds.Dataplane, "m").Get(name)
	if !ok {
		return "absent"
	}
	spec := model.Spec[kinds.DataplaneSpec](row.Object)
	if spec.Networking.Inbound[0].Healthy() {
		return spec.AdvertisedAddress() + " Ready"
	}
	return spec.AdvertisedAddress() + " NotReady"
}

func (w *world) want(name, want string) {
	w.t.Helper()
	if got := w.show(name); got != want {
		w.t.Errorf("%s is %q, want %q", name, got, want)
	}
}

func dataplane(name, address string) string {
	return fmt.Sprintf(`{"type": "Dataplane", "mesh": "m", "name": %q, "networking": {"address": %q, "inbound": [{"port": 80, "tags": {"kuma.io/service": "a"}}]}}`, name, address)
}

// insight tells about connections: "instance+" is open, "instance-" ended now.
func insight(name string, subs ...string) string {
	var list []string
	now := time.Now().Format(time.RFC3339Nano)
	for i, s := range subs {
		sub := fmt.Sprintf(`{"id": "%d", "controlPlaneInstanceId": %q, "connectTime": "1999-01-01T00:00:00Z"`, i, strings.TrimRight(s, "+-"))
		if strings.HasSuffix(s, "-") {
			sub += `, "disconnectTime": "` + now + `"`
		}
		list = append(list, sub+"}")
	}
	return fmt.Sprintf(`{"type": "DataplaneInsight", "mesh": "m", "name": %q, "subscriptions": [%s]}`, name, strings.Join(list, ","))
}

// TestNames: names become addresses, follow the DNS, and survive its failures.
func TestNames(t *testing.T) {
	play(t, true, func(w *world) {
		w.resolve("a.example", "2001:db8::1", "10.0.0.2", "10.0.0.1")
		w.put(dataplane("1", "a.example"), dataplane("2", "10.9.9.9"))
		w.want("1", "10.0.0.1 Ready") // the first, IPv4 before IPv6
		w.want("2", "10.9.9.9 Ready")
		w.resolve("a.example", "10.0.0.0", "10.0.0.1")
		w.pass(10 * time.Second)
		w.want("1", "10.0.0.1 Ready") // still among the answers
		w.resolve("a.example", "10.0.0.0")
		w.pass(10 * time.Second)
		w.want("1", "10.0.0.0 Ready")
		w.resolve("a.example")
		w.pass(time.Minute)
		w.want("1", "10.0.0.0 Ready") // the last good answer
		w.put(dataplane("1", "b.example"))
		w.want("1", "b.example Ready")
		w.resolve("b.example", "10.0.0.5")
		w.pass(10 * time.Second)
		w.want("1", "10.0.0.5 Ready")
		w.pass(time.Second)
		w.mu.Lock()
		before := w.lookups["a.example"]
		w.mu.Unlock()
		w.pass(time.Minute)
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.lookups["a.example"] != before {
			t.Error("a name that nobody has is still resolved")
		}
		o, err := w.store.Get(t.Context(), kinds.Dataplane.Key("m", "1"))
		if err != nil || model.Spec[kinds.DataplaneSpec](o).Address() != "b.example" {
			t.Error("the object in the store was changed")
		}
	})
}

// TestNamesOfZoneProxies: theirs are resolved, too.
func TestNamesOfZoneProxies(t *testing.T) {
	play(t, true, func(w *world) {
		w.resolve("e.example", "10.0.0.1")
		w.put(`{"type": "ZoneEgress", "name": "e", "networking": {"address": "e.example", "port": 1}}`,
			`{"type": "ZoneIngress", "name": "i", "networking": {"address": "10.0.0.9", "port": 1, "advertisedAddress": "e.example", "advertisedPort": 2}}`)
		e, _ := w.filter.Current().Table(kinds.ZoneEgress, "").Get("e")
		i, _ := w.filter.Current().Table(kinds.ZoneIngress, "").Get("i")
		if a := model.Spec[kinds.ZoneEgressSpec](e.Object).Networking.Address; a != "10.0.0.1" {
			t.Errorf("the egress is at %s", a)
		}
		if n := model.Spec[kinds.ZoneIngressSpec](i.Object).Networking; n.AdvertisedAddress != "10.0.0.1" || n.Address != "10.0.0.9" {
			t.Errorf("the ingress is at %+v", n)
		}
	})
}

// TestChangesAreTold: whoever follows the filter hears of rows that became
// different though their objects did not, and of nothing else.
func TestChangesAreTold(t *testing.T) {
	play(t, true, func(w *world) {
		w.resolve("a.example", "10.0.0.1")
		w.put(dataplane("1", "a.example"), dataplane("2", "10.0.0.2"), insight("2", "me+"))
		take := func() []string {
			w.mu.Lock()
			defer w.mu.Unlock()
			var keys []string
			for _, u := range w.updates {
				for _, k := range u.Changes.Keys {
					keys = append(keys, k.String())
				}
			}
			w.updates = nil
			return keys
		}
		take()
		w.pass(time.Minute) // names are resolved to the same
		if got := take(); len(got) != 0 {
			t.Errorf("told %v", got)
		}
		w.resolve("a.example", "10.0.0.3")
		w.pass(10 * time.Second)
		if got := take(); !slices.Equal(got, []string{"Dataplane m/1"}) {
			t.Errorf("told %v", got)
		}
		w.put(insight("2", "me-"))
		if got := take(); len(got) != 0 {
			t.Errorf("told %v", got)
		}
		changed := w.filter.Changed(w.filter.Current())
		w.pass(grace)
		if got := take(); !slices.Equal(got, []string{"Dataplane m/2"}) {
			t.Errorf("told %v", got)
		}
		select {
		case <-changed:
		default:
			t.Error("who waits for another snapshot was not woken")
		}
	})
}

// TestGone: a proxy that leaves, while its control plane lives, is gone after the
// grace time, and back when it returns.
func TestGone(t *testing.T) {
	play(t, true, func(w *world) {
		w.put(dataplane("1", "10.0.0.1"), dataplane("never", "10.0.0.2"), insight("1", "me+"))
		w.pass(time.Hour)
		w.want("1", "10.0.0.1 Ready")
		w.want("never", "10.0.0.2 Ready") // was never connected: others may have defined it
		w.put(insight("1", "me-"))
		w.pass(grace - time.Millisecond)
		w.want("1", "10.0.0.1 Ready")
		w.put(insight("1", "me-", "me+"))
		w.pass(time.Hour)
		w.want("1", "10.0.0.1 Ready") // it only reconnected
		w.put(insight("1", "me-", "me-"))
		w.pass(grace)
		w.want("1", "10.0.0.1 NotReady")
		w.put(dataplane("1", "10.0.0.7"))
		w.want("1", "10.0.0.7 NotReady") // somebody edits it
		w.put(insight("1", "me-", "me-", "me+"))
		w.want("1", "10.0.0.7 Ready")
		o, err := w.store.Get(t.Context(), kinds.Dataplane.Key("m", "1"))
		if err != nil || !model.Spec[kinds.DataplaneSpec](o).Networking.Inbound[0].Healthy() {
			t.Error("the object in the store was changed")
		}
	})
}

// TestControlPlaneRestarts: proxies whose control plane went down have time to
// come back, those that had left before are gone.
func TestControlPlaneRestarts(t *testing.T) {
	play(t, true, func(w *world) {
		w.put(dataplane("left", "10.0.0.1"), insight("left", "old-"))
		w.pass(time.Minute)
		w.put(dataplane("well", "10.0.0.2"), insight("well", "old-"), dataplane("well2", "10.0.0.3"), insight("well2", "old-"))
		w.pass(time.Hour) // nobody leads
		stop := w.start(true)
		defer stop()
		w.want("left", "10.0.0.1 NotReady")
		w.want("well", "10.0.0.2 Ready")
		w.put(insight("well2", "old-", "me+"))
		w.pass(time.Minute)
		w.want("well", "10.0.0.2 NotReady")
		w.want("well2", "10.0.0.3 Ready")
	})
}

// TestControlPlaneCrashes: connections that nobody ended count as open, unless
// this instance is the only one.
func TestControlPlaneCrashes(t *testing.T) {
	for _, alone := range []bool{true, false} {
		play(t, alone, func(w *world) {
			w.put(dataplane("1", "10.0.0.1"), insight("1", "old+"))
			w.pass(time.Minute)
			want := "10.0.0.1 Ready"
			if alone {
				want = "10.0.0.1 NotReady"
			}
			w.want("1", want)
		})
	}
}

// TestOtherInstance: another instance that lives is believed at once; one that
// goes down gives its proxies time.
func TestOtherInstance(t *testing.T) {
	play(t, false, func(w *world) {
		w.put(dataplane("1", "10.0.0.1"), dataplane("2", "10.0.0.2"), insight("1", "other+"), insight("2", "other+"))
		w.pass(time.Hour)
		w.put(insight("1", "other-"))
		w.pass(grace)
		w.want("1", "10.0.0.1 NotReady")
		w.put(insight("2", "other-"))
		w.pass(30 * time.Second)
		w.want("2", "10.0.0.2 Ready")
		w.want("1", "10.0.0.1 NotReady")
		w.pass(30 * time.Second)
		w.want("2", "10.0.0.2 NotReady")
	})
}

// TestProperty edits at random and requires that the filter which saw everything
// tells the same as one that starts then, once the grace times are over.
func TestProperty(t *testing.T) {
	for seed := range uint64(30) {
		play(t, false, func(w *world) {
			rnd := rand.New(rand.NewPCG(seed, 4))
			pick := func(s ...string) string { return s[rnd.IntN(len(s))] }
			for _, h := range []string{"a.example", "b.example"} {
				w.resolve(h, "10.1.0."+pick("1", "2"))
			}
			for range 60 {
				name := fmt.Sprint("p", rnd.IntN(4))
				switch rnd.IntN(6) {
				case 0, 1:
					w.put(dataplane(name, pick("10.0.0.1", "a.example", "b.example")))
				case 2, 3:
					if _, err := w.store.Get(t.Context(), kinds.Dataplane.Key("m", name)); err == nil {
						w.put(insight(name, pick("me-", "me+", "x-", "x+", "y-"), pick("me+", "me-", "x+", "x-")))
					}
				case 4:
					_ = w.store.Delete(t.Context(), kinds.Dataplane.Key("m", name))
				case 5:
					w.resolve(pick("a.example", "b.example"), "10.1.0."+pick("1", "2"))
				}
				w.pass(time.Duration(rnd.IntN(20)) * time.Second)
			}
			w.pass(10 * time.Minute)
			warm := w.filter
			names := []string{"p0", "p1", "p2", "p3"}
			var want []string
			for _, n := range names {
				want = append(want, w.show(n))
			}
			stop := w.start(false)
			defer stop()
			w.pass(10 * time.Minute)
			for i, n := range names {
				if got := w.show(n); got != want[i] {
					t.Errorf("seed %d: %s was %q and is %q after a start", seed, n, want[i], got)
				}
			}
			raw := tablesOf(t, w.store)
			for _, n := range names {
				row, ok := warm.Tables(raw).Table(kinds.Dataplane, "m").Get(n)
				other, _ := warm.Current().Table(kinds.Dataplane, "m").Get(n)
				if ok && row.Hash != other.Hash {
					t.Errorf("seed %d: a preview of %s differs from what is", seed, n)
				}
			}
		})
	}
}

type tables map[*model.Kind]*model.Table

func (x tables) Table(k *model.Kind, _ string) *model.Table {
	if t := x[k]; t != nil {
		return t
	}
	return model.EmptyTable
}

func tablesOf(t *testing.T, s store.Store) tables {
	t.Helper()
	list, err := s.List(t.Context(), kinds.Dataplane, "m")
	if err != nil {
		t.Fatal(err)
	}
	var rows []model.Row
	for _, o := range list {
		rows = append(rows, model.Row{Object: o, Hash: model.ContentHash(o)})
	}
	return tables{kinds.Dataplane: model.NewTable(rows)}
}
