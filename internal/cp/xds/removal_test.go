package xds

import (
	"slices"
	"testing"
	"time"
)

// A cluster that goes with a change of listeners stays for a while, as some that
// drain still use it; one that goes alone is meant to stop traffic, and goes at once.
func TestRemovalOfClusters(t *testing.T) {
	cluster := func(names ...string) (out []*Resource) {
		for _, n := range names {
			out = append(out, NewResource(Cluster, n, []byte(n)))
		}
		return out
	}
	listener := func(body string) *Resource { return NewResource(Listener, "l", []byte(body)) }
	for name, tc := range map[string]struct {
		after []*Resource
		wait  time.Duration
	}{
		"alone":            {append(cluster("kept"), listener("one")), 0},
		"with a listener":  {append(cluster("kept"), listener("two")), 30 * time.Second},
		"with one removed": {cluster("kept"), 30 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			now := time.Now()
			m := NewMachine(true, nil, Options{})
			m.SetTarget(NewSet(append(cluster("kept", "gone"), listener("one")), nil))
			// drain sends all there is, confirms it, and returns the clusters that are removed.
			drain := func() (removed []string) {
				for {
					r, more := m.Next(now)
					if !more {
						return removed
					}
					if r.Type == Cluster {
						removed = append(removed, r.Removed...)
					}
					if err := m.Request(&Request{Type: r.Type, Nonce: r.Nonce}, now); err != nil {
						t.Fatal(err)
					}
				}
			}
			for _, typ := range []Type{Cluster, Listener} {
				if err := m.Request(&Request{Node: "n", Type: typ, Subscribe: []string{"*"}}, now); err != nil {
					t.Fatal(err)
				}
				drain()
			}
			m.SetTarget(NewSet(tc.after, nil))
			if tc.wait > 0 {
				if got := drain(); len(got) != 0 {
					t.Errorf("%v is removed at once", got)
				}
				now = now.Add(tc.wait)
			}
			if got := drain(); !slices.Equal(got, []string{"gone"}) {
				t.Errorf("after %s %v is removed", tc.wait, got)
			}
		})
	}
}
