package vip_test

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"weft/internal/cp/state"
	"weft/internal/cp/store"
	"weft/internal/cp/store/memory"
	"weft/internal/cp/view"
	"weft/internal/cp/vip"
	"weft/internal/mesh/catalog"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// counting counts what is read and lets reads fail.
type counting struct {
	store.Store
	reads atomic.Int64
	away  atomic.Bool
}

func (c *counting) Get(ctx context.Context, k model.Key) (*model.Object, error) {
	c.reads.Add(1)
	if c.away.Load() {
		return nil, store.ErrUnavailable
	}
	return c.Store.Get(ctx, k)
}

// playTask runs f in a bubble of time with a leader that keeps addresses.
func playTask(t *testing.T, f func(s *counting)) {
	playTaskLogging(t, slog.DiscardHandler, f)
}

func playTaskLogging(t *testing.T, h slog.Handler, f func(s *counting)) {
	synctest.Test(t, func(t *testing.T) {
		s := &counting{Store: memory.New()}
		log := slog.New(h)
		st := state.New(s, log, time.Now)
		task := &vip.Task{Store: s, State: st, Zone: "z", CIDR: netip.MustParsePrefix("240.0.0.0/4"), Log: log, Now: time.Now}
		ctx, cancel := context.WithCancel(context.Background())
		var running sync.WaitGroup
		running.Go(func() { _ = st.Run(ctx) })
		running.Go(func() { _ = task.Run(ctx) })
		f(s)
		cancel()
		running.Wait()
	})
}

func put(t *testing.T, s *counting, doc string) {
	t.Helper()
	o, err := catalog.Decode([]byte(doc))
	if err != nil {
		t.Fatal(err)
	}
	have, err := s.Store.Get(t.Context(), o.Key())
	switch {
	case errors.Is(err, store.ErrNotFound):
		_, err = s.Create(t.Context(), o)
	case err == nil:
		o.Meta.Version = have.Meta.Version
		_, err = s.Update(t.Context(), o)
	}
	if err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
}

// stored returns the addresses in the mesh's Config, those in quarantine in brackets.
func stored(t *testing.T, s *counting) map[string]string {
	t.Helper()
	o, err := s.Store.Get(t.Context(), kinds.Config.Key("", view.VIPConfigName("m")))
	if err != nil {
		t.Fatal(err)
	}
	vips, err := view.ParseVIPs(model.Spec[kinds.ConfigSpec](o).Config)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for k, e := range vips {
		if out[k.Name] = e.Address; !e.ReleasedAt.IsZero() {
			out[k.Name] = "(" + e.Address + ")"
		}
	}
	return out
}

func TestTask(t *testing.T) {
	playTask(t, func(s *counting) {
		want := func(want map[string]string) {
			t.Helper()
			if d := cmp.Diff(want, stored(t, s)); d != "" {
				t.Error(d)
			}
		}
		put(t, s, `{"type": "Mesh", "name": "m"}`)
		put(t, s, dataplane("1", "a"))
		want(map[string]string{"a": "240.0.0.0"})

		// What no address depends on costs no look at the stored ones.
		before := s.reads.Load()
		put(t, s, `{"type": "Dataplane", "mesh": "m", "name": "1", "networking": {"address": "10.0.0.9",
			"inbound": [{"port": 81, "state": "NotReady", "tags": {"kuma.io/service": "a"}}]}}`)
		if n := s.reads.Load() - before; n != 0 {
			t.Errorf("a proxy whose health changed costs %d reads", n)
		}

		put(t, s, dataplane("1", "b"))
		want(map[string]string{"a": "(240.0.0.0)", "b": "240.0.0.1"})
		time.Sleep(vip.Quarantine - time.Second)
		synctest.Wait()
		want(map[string]string{"a": "(240.0.0.0)", "b": "240.0.0.1"})
		time.Sleep(2 * time.Second)
		synctest.Wait()
		want(map[string]string{"b": "240.0.0.1"})

		s.away.Store(true)
		put(t, s, dataplane("2", "c"))
		time.Sleep(time.Minute)
		s.away.Store(false)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		want(map[string]string{"b": "240.0.0.1", "c": "240.0.0.2"})
	})
}

// A reason why a VirtualOutbound gives no address is logged once, however many
// proxies share it and however often the mesh changes; and again when it comes back.
func TestWarningsAreNotRepeated(t *testing.T) {
	var b strings.Builder
	warnings := func(want int) {
		t.Helper()
		if n := strings.Count(b.String(), "gives no address"); n != want {
			t.Errorf("%d warnings, want %d:\n%s", n, want, b.String())
		}
	}
	playTaskLogging(t, slog.NewTextHandler(&b, nil), func(s *counting) {
		put(t, s, `{"type": "Mesh", "name": "m"}`)
		selecting := func(service string) string {
			return `{"type": "VirtualOutbound", "mesh": "m", "name": "vo", "selectors": [{"match": {"kuma.io/service": "` + service + `"}}], "conf": {"host": "{{.s}}-{{.v}}.mesh", "port": "80",
				"parameters": [{"name": "s", "tagKey": "kuma.io/service"}, {"name": "v", "tagKey": "version"}]}}`
		}
		put(t, s, selecting("*"))
		put(t, s, dataplane("1", "a"))
		put(t, s, dataplane("2", "b"))
		put(t, s, dataplane("3", "c"))
		warnings(1)
		put(t, s, selecting("nothing"))
		put(t, s, selecting("*"))
		warnings(2)
	})
}
