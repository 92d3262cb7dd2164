package meshtrafficpermission

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"weft/internal/mesh/ir"
	"weft/internal/mesh/model"
	"weft/internal/mesh/policy"
)

func item(action Action, tags ...string) policy.ClientItem[Conf] {
	m := map[string]string{}
	for i := 0; i < len(tags); i += 2 {
		m[tags[i]] = tags[i+1]
	}
	return policy.ClientItem[Conf]{Tags: m, Conf: &Conf{Action: action}}
}

func decide(items ...policy.ClientItem[Conf]) *ir.Access {
	in := &ir.Inbound{TLS: &ir.ServerTLS{Mesh: "m"}}
	clients(items, in, &policy.Context{Proxy: &ir.Proxy{}})
	return in.Access
}

func is(uri string) ir.IdentityMatch  { return ir.IdentityMatch{URI: uri} }
func not(uri string) ir.IdentityMatch { return ir.IdentityMatch{URI: uri, Not: true} }

func TestClients(t *testing.T) {
	web, v2 := "spiffe://m/web", "kuma://version/v2"
	for name, c := range map[string]struct {
		items         []policy.ClientItem[Conf]
		allow, shadow []ir.Principal
	}{
		"nobody spoke":         {},
		"everybody":            {[]policy.ClientItem[Conf]{item(Allow)}, []ir.Principal{{}}, nil},
		"nobody":               {[]policy.ClientItem[Conf]{item(Deny)}, nil, nil},
		"one service":          {[]policy.ClientItem[Conf]{item(Deny), item(Allow, model.TagService, "web")}, []ir.Principal{{All: []ir.IdentityMatch{is(web)}}}, nil},
		"all but one service":  {[]policy.ClientItem[Conf]{item(Allow), item(Deny, model.TagService, "web")}, []ir.Principal{{All: []ir.IdentityMatch{not(web)}}}, nil},
		"a later item for all": {[]policy.ClientItem[Conf]{item(Allow, model.TagService, "web"), item(Deny)}, nil, nil},
		"all but a version of a service": {
			[]policy.ClientItem[Conf]{item(Allow), item(Deny, model.TagService, "web", "version", "v2")},
			[]ir.Principal{{Except: [][]ir.IdentityMatch{{is(web), is(v2)}}}}, nil,
		},
		"all but a service with any version": {
			[]policy.ClientItem[Conf]{item(Allow), item(Deny, model.TagService, "web", "version", "*")},
			[]ir.Principal{{Except: [][]ir.IdentityMatch{{is(web), {URI: "kuma://version/", Prefix: true}}}}}, nil,
		},
		"a version, and any": {[]policy.ClientItem[Conf]{item(Allow, "version", "v2"), item(Deny, "version", "*")}, nil, nil},
		"counted only":       {[]policy.ClientItem[Conf]{item(AllowWithShadowDeny)}, []ir.Principal{{}}, []ir.Principal{{}}},
		"counted, one service not": {
			[]policy.ClientItem[Conf]{item(AllowWithShadowDeny), item(Allow, model.TagService, "web")},
			[]ir.Principal{{All: []ir.IdentityMatch{is(web)}}, {}}, []ir.Principal{{All: []ir.IdentityMatch{not(web)}}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := decide(c.items...)
			if d := cmp.Diff(c.allow, got.Allow); d != "" {
				t.Errorf("allowed (-want +got):\n%s", d)
			}
			if d := cmp.Diff(c.shadow, got.ShadowDeny); d != "" {
				t.Errorf("denied in the shadow (-want +got):\n%s", d)
			}
		})
	}
}

// TestTwoGroupsOfOneKey: spelling out combinations of tags group by group lets a
// denied client in, because it is none of the other denied group.
func TestTwoGroupsOfOneKey(t *testing.T) {
	a := decide(item(Allow), item(Deny, "version", "v1"), item(Deny, "version", "v2"))
	for v, want := range map[string]bool{"v1": false, "v2": false, "v3": true} {
		if got := passes(a.Allow, map[string]bool{"kuma://version/" + v: true}); got != want {
			t.Errorf("client of version %s passes: %v, want %v", v, got, want)
		}
	}
}

// passes tells whether a client with these names in its certificate is one of
// the principals, as a proxy evaluates them.
func passes(ps []ir.Principal, names map[string]bool) bool {
	all := func(ms []ir.IdentityMatch) bool {
		for _, m := range ms {
			if names[m.URI] == m.Not {
				return false
			}
		}
		return true
	}
	for _, p := range ps {
		ok := all(p.All)
		for _, e := range p.Except {
			ok = ok && !all(e)
		}
		if ok {
			return true
		}
	}
	return false
}

// TestRandomClients compares with the definition: the strongest item that fits
// decides, and without one nobody passes.
func TestRandomClients(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	actions := []Action{Allow, Deny, AllowWithShadowDeny}
	tags := func(n int) map[string]string {
		m := map[string]string{}
		for range r.IntN(n + 1) {
			m[string(rune('a'+r.IntN(3)))] = fmt.Sprint(r.IntN(2))
		}
		return m
	}
	for range 3000 {
		var items []policy.ClientItem[Conf]
		for range r.IntN(6) {
			items = append(items, policy.ClientItem[Conf]{Tags: tags(2), Conf: &Conf{Action: actions[r.IntN(3)]}})
		}
		access := decide(items...)
		client := tags(5)
		names := map[string]bool{}
		for k, v := range client {
			names["kuma://"+k+"/"+v] = true
		}
		action := Deny
		for _, it := range items {
			fits := true
			for k, v := range it.Tags {
				fits = fits && client[k] == v
			}
			if fits {
				action = it.Conf.Action
			}
		}
		if got := passes(access.Allow, names); got != (action != Deny) {
			t.Fatalf("client %v of %+v: passes %v, but the action is %s", client, items, got, action)
		}
		if got := passes(access.ShadowDeny, names); got != (action == AllowWithShadowDeny) {
			t.Fatalf("client %v of %+v: counted as denied %v, but the action is %s", client, items, got, action)
		}
	}
}

// TestOlderPolicyStays: what an older policy decided holds until one of this
// kind speaks about the inbound.
func TestOlderPolicyStays(t *testing.T) {
	older := &ir.Access{PolicyName: "older"}
	in := &ir.Inbound{TLS: &ir.ServerTLS{Mesh: "m"}, Access: older}
	x := &policy.Context{Proxy: &ir.Proxy{}}
	if clients(nil, in, x); in.Access != older {
		t.Error("the older policy was replaced although nobody spoke")
	}
	if clients([]policy.ClientItem[Conf]{item(Allow)}, in, x); in.Access == older {
		t.Error("the older policy was kept")
	}
}

func TestWithoutTLS(t *testing.T) {
	in := &ir.Inbound{}
	clients([]policy.ClientItem[Conf]{item(Deny)}, in, &policy.Context{Proxy: &ir.Proxy{}})
	if in.Access != nil {
		t.Error("without mutual TLS nobody can be told apart, so nothing may be decided")
	}
}
