package vip_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"weft/internal/cp/view"
	"weft/internal/cp/vip"
	"weft/internal/mesh/catalog"
	"weft/internal/mesh/model"
	"weft/internal/testkit/corpus"
)

func tables(t *testing.T, docs ...string) corpus.Tables {
	t.Helper()
	var objects []*model.Object
	for _, d := range docs {
		o, err := catalog.Decode([]byte(d))
		if err != nil {
			t.Fatalf("%v\n%s", err, d)
		}
		objects = append(objects, o)
	}
	return corpus.NewTables(objects...)
}

var (
	cidr = netip.MustParsePrefix("240.0.0.0/30")
	now  = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
)

func dataplane(name, service string) string {
	return `{"type": "Dataplane", "mesh": "m", "name": "` + name + `", "networking": {"address": "10.0.0.1",
		"inbound": [{"port": 80, "tags": {"kuma.io/service": "` + service + `"}}]}}`
}

// addresses returns entries by name with their addresses, without those in quarantine.
func addresses(v view.VIPs) map[string]string {
	out := map[string]string{}
	for k, e := range v {
		if e.ReleasedAt.IsZero() {
			out[k.Name] = e.Address
		}
	}
	return out
}

func TestAddressesAreKept(t *testing.T) {
	entries, _ := vip.Entries(tables(t, dataplane("1", "b"), dataplane("2", "c")), "m", "z")
	first, err := vip.Allocate(nil, entries, cidr, now)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(map[string]string{"b": "240.0.0.0", "c": "240.0.0.1"}, addresses(first)); d != "" {
		t.Error(d)
	}
	// a comes before b in the order, but b has its address already; clients may
	// remember that of c, which is gone.
	entries, _ = vip.Entries(tables(t, dataplane("1", "b"), dataplane("3", "a")), "m", "z")
	second, err := vip.Allocate(first, entries, cidr, now)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(map[string]string{"b": "240.0.0.0", "a": "240.0.0.2"}, addresses(second)); d != "" {
		t.Error(d)
	}
	// c comes back while clients remember it, and has its address again.
	entries, _ = vip.Entries(tables(t, dataplane("1", "b"), dataplane("2", "c")), "m", "z")
	third, err := vip.Allocate(second, entries, cidr, now.Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(map[string]string{"b": "240.0.0.0", "c": "240.0.0.1"}, addresses(third)); d != "" {
		t.Error(d)
	}
}

// TestQuarantine plays services that come and go at random in a small range, with
// the addresses written and read in between as by a restart, and requires that no
// address goes from one service to another too soon.
func TestQuarantine(t *testing.T) {
	for seed := range uint64(50) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 1))
			at := now
			type use struct {
				service string
				last    time.Time
			}
			used := map[string]use{}
			var vips view.VIPs
			for range 200 {
				at = at.Add(time.Duration(rnd.IntN(60)) * time.Second)
				entries := map[view.VIPKey][]view.VIPOutbound{}
				for range rnd.IntN(8) {
					name := fmt.Sprint("s", rnd.IntN(20))
					entries[view.VIPKey{Type: view.VIPService, Name: name}] = []view.VIPOutbound{{TagSet: map[string]string{"kuma.io/service": name}}}
				}
				next, err := vip.Allocate(vips, entries, netip.MustParsePrefix("240.0.0.0/28"), at)
				if err != nil && !errors.Is(err, vip.ErrFull) {
					t.Fatal(err)
				}
				text, err := next.Encode()
				if err != nil {
					t.Fatal(err)
				}
				if vips, err = view.ParseVIPs(text); err != nil {
					t.Fatal(err)
				}
				for name, a := range addresses(vips) {
					if u := used[a]; u.service != "" && u.service != name && at.Sub(u.last) < vip.Quarantine {
						t.Fatalf("%s goes from %s to %s after %s", a, u.service, name, at.Sub(u.last))
					}
					used[a] = use{name, at}
				}
				if n := len(addresses(vips)); n < len(entries) && len(vips) < 16 {
					t.Fatalf("%d of %d services have an address, though the range is not full", n, len(entries))
				}
			}
		})
	}
}

func TestFreeAddressesAreUsedInTheEnd(t *testing.T) {
	entries, _ := vip.Entries(tables(t, dataplane("1", "a"), dataplane("2", "b"), dataplane("3", "c")), "m", "z")
	before := view.VIPs{{Type: view.VIPService, Name: "a"}: {Address: "240.0.0.3"}}
	got, err := vip.Allocate(before, entries, cidr, now)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(map[string]string{"a": "240.0.0.3", "b": "240.0.0.0", "c": "240.0.0.1"}, addresses(got)); d != "" {
		t.Error(d)
	}
}

func TestRangeIsFull(t *testing.T) {
	var docs []string
	for _, s := range []string{"a", "b", "c", "d", "e"} {
		docs = append(docs, dataplane(s, s))
	}
	entries, _ := vip.Entries(tables(t, docs...), "m", "z")
	if _, err := vip.Allocate(nil, entries, cidr, now); err == nil {
		t.Error("five addresses fit into a range of four")
	}
}

func TestWhatGetsAnAddress(t *testing.T) {
	entries, warnings := vip.Entries(tables(t,
		`{"type": "Dataplane", "mesh": "m", "name": "1", "networking": {"address": "10.0.0.1", "inbound": [
			{"port": 80, "tags": {"kuma.io/service": "web", "v": "1"}},
			{"port": 81, "state": "Ignored", "tags": {"kuma.io/service": "ignored"}},
			{"port": 49151, "tags": {"kuma.io/service": "no-port"}}]}}`,
		`{"type": "Dataplane", "mesh": "other", "name": "1", "networking": {"address": "10.0.0.1", "inbound": [{"port": 80, "tags": {"kuma.io/service": "elsewhere"}}]}}`,
		`{"type": "ExternalService", "mesh": "m", "name": "es", "tags": {"kuma.io/service": "out"}, "networking": {"address": "example.org:443"}}`,
		`{"type": "ExternalService", "mesh": "m", "name": "quiet", "tags": {"kuma.io/service": "quiet"}, "networking": {"address": "quiet.example.org:443", "disableHostDNSEntry": true}}`,
		`{"type": "ExternalService", "mesh": "m", "name": "ip", "tags": {"kuma.io/service": "ip"}, "networking": {"address": "192.0.2.1:443"}}`,
		`{"type": "VirtualOutbound", "mesh": "m", "name": "vo", "selectors": [{"match": {"kuma.io/service": "*", "v": "*"}}],
			"conf": {"host": "{{.s}}-{{.v}}.mesh", "port": "81", "parameters": [{"name": "s", "tagKey": "kuma.io/service"}, {"name": "v"}]}}`,
		`{"type": "ZoneIngress", "name": "far", "zone": "far", "availableServices": [{"tags": {"kuma.io/service": "remote"}, "mesh": "m"}, {"tags": {"kuma.io/service": "x"}, "mesh": "other"}]}`,
		`{"type": "ZoneIngress", "name": "own", "zone": "z", "availableServices": [{"tags": {"kuma.io/service": "own"}, "mesh": "m"}]}`,
	), "m", "z")
	if len(warnings) != 0 {
		t.Errorf("warnings are %v", warnings)
	}
	service := func(name string, port uint32, origin string) []view.VIPOutbound {
		return []view.VIPOutbound{{Port: port, TagSet: map[string]string{"kuma.io/service": name}, Origin: origin}}
	}
	want := map[view.VIPKey][]view.VIPOutbound{
		{Type: view.VIPService, Name: "web"}:      service("web", 0, "service"),
		{Type: view.VIPService, Name: "remote"}:   service("remote", 0, "service"),
		{Type: view.VIPService, Name: "out"}:      service("out", 443, "external-service:es"),
		{Type: view.VIPHost, Name: "example.org"}: service("out", 443, "external-service:es"),
		{Type: view.VIPService, Name: "quiet"}:    service("quiet", 443, "external-service:quiet"),
		{Type: view.VIPService, Name: "ip"}:       service("ip", 443, "external-service:ip"),
		{Type: view.VIPHost, Name: "192.0.2.1"}:   service("ip", 443, "external-service:ip"),
		{Type: view.VIPDomain, Name: "web-1.mesh"}: {
			{Port: 81, TagSet: map[string]string{"kuma.io/service": "web", "v": "1"}, Origin: "virtual-outbound:vo"},
		},
	}
	if d := cmp.Diff(want, entries); d != "" {
		t.Error(d)
	}
	given, err := vip.Allocate(nil, entries, netip.MustParsePrefix("240.0.0.0/8"), now)
	if err != nil {
		t.Fatal(err)
	}
	if a := given[view.VIPKey{Type: view.VIPHost, Name: "192.0.2.1"}].Address; a != "192.0.2.1" {
		t.Errorf("a host that is an address got %s", a)
	}
}

// TestImpossibleName: a template that gives no DNS name is told and costs nothing else.
func TestImpossibleName(t *testing.T) {
	entries, warnings := vip.Entries(tables(t, dataplane("1", "web_1"),
		`{"type": "VirtualOutbound", "mesh": "m", "name": "vo", "selectors": [{"match": {"kuma.io/service": "*"}}],
			"conf": {"host": "{{.s}}", "port": "{{.s}}", "parameters": [{"name": "s", "tagKey": "kuma.io/service"}]}}`), "m", "z")
	if len(warnings) != 1 || len(entries) != 1 {
		t.Errorf("warnings %v, entries %v", warnings, entries)
	}
}
