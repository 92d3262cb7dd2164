package policy

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"
)

// TestExclude compares, for random items and random clients, what Exclude says
// with the definition: the strongest item that has the client decides.
func TestExclude(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	keys, values := []string{"service", "zone", "version"}, []string{"1", "2", "3"}
	randomTags := func(most int, values []string) map[string]string {
		m := map[string]string{}
		for range r.IntN(most + 1) {
			m[keys[r.IntN(len(keys))]] = values[r.IntN(len(values))]
		}
		return m
	}
	for round := range 3000 {
		var items []ClientItem[bool]
		for range 1 + r.IntN(6) {
			allow := r.IntN(2) == 0
			items = append(items, ClientItem[bool]{Tags: randomTags(2, append(values, "*")), Conf: &allow})
		}
		for range 20 {
			client := randomTags(6, values)
			want := false
			for _, it := range items {
				if containsAll(client, it.Tags) {
					want = *it.Conf
				}
			}
			if got := allowed(items, client); got != want {
				t.Fatalf("round %d: client %v of items %s: got %v, want %v", round, client, describeItems(items), got, want)
			}
		}
	}
}

// allowed tells whether one of the allowing items means the client.
func allowed(items []ClientItem[bool], client map[string]string) bool {
	for i, it := range items {
		if !*it.Conf || !containsAll(client, it.Tags) {
			continue
		}
		except, covered := Exclude(items, i, func(c *bool) bool { return !*c })
		if !covered && !slices.ContainsFunc(except, func(m map[string]string) bool { return containsAll(client, m) }) {
			return true
		}
	}
	return false
}

func describeItems(items []ClientItem[bool]) string {
	out := ""
	for _, it := range items {
		out += fmt.Sprintf("[%s %v] ", sortedTags(it.Tags), *it.Conf)
	}
	return out
}

func TestBySpecificity(t *testing.T) {
	items := []ClientItem[bool]{{Tags: map[string]string{}}, {Tags: map[string]string{"a": "1"}}, {Tags: map[string]string{"a": "1", "b": "2"}}, {Tags: map[string]string{"c": "3"}}}
	if got := BySpecificity(items); !slices.Equal(got, []int{2, 3, 1, 0}) {
		t.Errorf("got %v", got)
	}
}

// TestCombinationsAreBounded: what inspection spells out must not grow with the
// exponential of what users write.
func TestCombinationsAreBounded(t *testing.T) {
	var from []Item[testConf]
	for i := range 60 {
		from = append(from, Item[testConf]{
			TargetRef{Kind: RefMeshSubset, Tags: map[string]string{fmt.Sprintf("k%d", i): "v"}}, testConf{A: num(i)},
		})
	}
	p := object(testPolicy, "p", &testSpec{From: from})
	f := sidecar()
	m := Match([]*Policy{testPolicy}, f, tablesOf(p))
	rules := m.Rules(World{Tables: tablesOf()}, NewMemo())
	if len(rules) != 0 && (len(rules[0].FromRules) != 0 || len(rules[0].Warnings) == 0) {
		t.Errorf("%d rules, warnings %v", len(rules[0].FromRules), rules[0].Warnings)
	}
	// A proxy gets all of them, exactly.
	r := newResolver(m.list[0], NewMemo())
	items, ok := r.forClients(0)
	if !ok || len(items) != 60 {
		t.Errorf("%d items", len(items))
	}
}

// TestCliques compares with all subsets of nodes, tried one by one.
func TestCliques(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	for range 300 {
		var subs []subset
		for range 1 + r.IntN(7) {
			s := subset{}
			for range r.IntN(3) {
				s[string(rune('a'+r.IntN(3)))] = string(rune('0' + r.IntN(2)))
			}
			if !slices.ContainsFunc(subs, func(o subset) bool { return maps.Equal(o, s) }) {
				subs = append(subs, s)
			}
		}
		got, _ := cliques(subs)
		want := bruteCliques(subs)
		slices.SortFunc(got, slices.Compare[[]int])
		slices.SortFunc(want, slices.Compare[[]int])
		if !slices.EqualFunc(got, want, slices.Equal[[]int]) {
			t.Fatalf("cliques of %v: got %v, want %v", subs, got, want)
		}
	}
}

// TestCliquesEnd: the search ends soon, also among many subsets that all go together.
func TestCliquesEnd(t *testing.T) {
	var together, apart []subset
	for i := range 2000 {
		together = append(together, subset{"k" + strconv.Itoa(i): "v"})
		apart = append(apart, subset{"k": strconv.Itoa(i)})
	}
	start := time.Now()
	if groups, ok := cliques(together); ok {
		t.Errorf("%d groups", len(groups))
	}
	if groups, ok := cliques(apart); !ok || len(groups) != len(apart) {
		t.Errorf("%d groups of %d, %v", len(groups), len(apart), ok)
	}
	if d := time.Since(start); d > time.Minute {
		t.Errorf("took %s", d)
	}
}

func bruteCliques(subs []subset) [][]int {
	var all []int // as bit sets
	for set := 1; set < 1<<len(subs); set++ {
		ok := true
		for i := range subs {
			for j := range i {
				if set>>i&1 == 1 && set>>j&1 == 1 && !subs[i].intersects(subs[j]) {
					ok = false
				}
			}
		}
		if ok {
			all = append(all, set)
		}
	}
	var out [][]int
	for _, s := range all {
		if slices.ContainsFunc(all, func(o int) bool { return o != s && o&s == s }) {
			continue
		}
		var nodes []int
		for i := range subs {
			if s>>i&1 == 1 {
				nodes = append(nodes, i)
			}
		}
		out = append(out, nodes)
	}
	return out
}
