package build_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"weft/internal/cp/build"
	"weft/internal/cp/view"
	"weft/internal/mesh/catalog"
	"weft/internal/mesh/ir"
	"weft/internal/mesh/model"
	"weft/internal/testkit/corpus"
)

const (
	secured = `"mtls": {"enabledBackend": "ca", "backends": [{"name": "ca", "type": "builtin"}]}`
	outward = `{"type": "Mesh", "name": "m", "routing": {"zoneEgress": true}, ` + secured + `}`
	shop    = `{"type": "MeshExternalService", "mesh": "m", "name": "shop", "labels": {"tier": "gold"}, "spec": {
		"match": {"type": "HostnameGenerator", "port": 443, "protocol": "http"}, "endpoints": [{"address": "shop.example", "port": 443}]}}`
	site = `{"type": "ExternalService", "mesh": "m", "name": "site", "tags": {"kuma.io/service": "site", "kuma.io/protocol": "http", "kind": "public"},
		"networking": {"address": "site.example:80"}}`
)

// egress describes the egress of the zone.
func egress(t *testing.T, docs ...string) *ir.Proxy {
	t.Helper()
	return egressWith(t, view.Metadata{SystemCAPath: "/ca"}, docs...)
}

func egressWith(t *testing.T, md view.Metadata, docs ...string) *ir.Proxy {
	t.Helper()
	var objects []*model.Object
	meshes := map[string]bool{}
	for _, d := range append(docs, `{"type": "ZoneEgress", "name": "e", "networking": {"address": "10.0.0.9", "port": 10002}}`) {
		o, err := catalog.Decode([]byte(d))
		if err != nil {
			t.Fatalf("%v\n%s", err, d)
		}
		objects = append(objects, o)
		if o.Kind.Name == "Mesh" {
			meshes[o.Meta.Name] = true
		}
	}
	s := view.Settings{Zone: "z", Policies: catalog.Policies}
	tables := corpus.NewTables(objects...)
	var views []*view.Mesh
	for name := range meshes {
		views = append(views, view.NewMesh(name, s).Next(tables))
	}
	slices.SortFunc(views, func(a, b *view.Mesh) int { return strings.Compare(a.Name(), b.Name()) })
	in, ok := view.Egress(tables, views, "e", md, &s)
	if !ok {
		t.Fatal("there is no egress")
	}
	return build.Of(in)
}

func chains(p *ir.Proxy) []string {
	var out []string
	for _, c := range p.Passage.Chains {
		out = append(out, c.Name)
	}
	return out
}

// What is reached where: by mesh, zone and the mesh's wish.
func TestEgressReaches(t *testing.T) {
	far := strings.Replace(strings.Replace(shop, `"shop"`, `"far"`, 1), `"tier": "gold"`, `"kuma.io/zone": "elsewhere"`, 1)
	farSite := strings.NewReplacer(`"name": "site"`, `"name": "far"`, `"kuma.io/service": "site"`, `"kuma.io/service": "far", "kuma.io/zone": "elsewhere"`).Replace(site)
	plugin := strings.Replace(strings.Replace(shop, `"shop"`, `"plugin"`, 1), `"spec": {`, `"spec": {"extension": {"type": "x"}, `, 1)
	other := strings.ReplaceAll(shop, `"mesh": "m"`, `"mesh": "n"`)
	for name, c := range map[string]struct {
		docs []string
		want []string
	}{
		"without mutual TLS":    {[]string{mesh, shop, site}, nil},
		"direct by default":     {[]string{`{"type": "Mesh", "name": "m", ` + secured + `}`, shop, site}, []string{"m_shop___extsvc_443"}},
		"all through egress":    {[]string{outward, shop, site}, []string{"site_m", "m_shop___extsvc_443"}},
		"of other zones":        {[]string{outward, far, farSite}, nil},
		"with a plugin":         {[]string{outward, plugin}, nil},
		"of several meshes":     {[]string{outward, shop, `{"type": "Mesh", "name": "n", ` + secured + `}`, other}, []string{"m_shop___extsvc_443", "n_shop___extsvc_443"}},
		"nothing to be reached": {[]string{outward}, nil},
	} {
		p := egress(t, c.docs...)
		if d := cmp.Diff(c.want, chains(p)); d != "" {
			t.Errorf("%s: %s", name, d)
		}
		if len(p.Identities) > 2 || len(c.want) == 0 && len(p.Identities) > 0 {
			t.Errorf("%s: %d identities", name, len(p.Identities))
		}
	}
}

// A service whose secrets are missing is not talked to without them.
func TestEgressWithoutSecrets(t *testing.T) {
	tls := strings.Replace(shop, `"endpoints"`, `"tls": {"enabled": true, "verification": {"caCert": {"secret": "gone"}}}, "endpoints"`, 1)
	p := egress(t, outward, tls)
	cl := p.Clusters[0]
	if len(cl.Static) != 0 || len(p.Warnings) != 1 || !strings.Contains(p.Warnings[0].Message, `caCert: there is no Secret "gone"`) {
		t.Errorf("endpoints %v, warnings %v", cl.Static, p.Warnings)
	}
	p = egress(t, outward, tls, `{"type": "Secret", "mesh": "m", "name": "gone", "data": "Y2E="}`)
	if x := p.Clusters[0].TLS.PerTags[0].External; string(x.CAPEM) != "ca" || x.SystemCAPath != "" || x.Name != "shop.example" {
		t.Errorf("TLS is %+v", x)
	}
	p = egress(t, outward, strings.Replace(tls, `"caCert": {"secret": "gone"}`, `"mode": "Secured"`, 1))
	if x := p.Clusters[0].TLS.PerTags[0].External; x.SystemCAPath != "/ca" {
		t.Errorf("without an authority TLS is %+v", x)
	}
}

// Services of two meshes whose clusters would have one name stay apart, and of two
// that clients cannot tell apart the second is left out: Envoy would take none.
func TestEgressNames(t *testing.T) {
	one := strings.NewReplacer(`"mesh": "m"`, `"mesh": "a_b"`, `"shop"`, `"c"`).Replace(shop)
	two := strings.NewReplacer(`"mesh": "m"`, `"mesh": "a"`, `"shop"`, `"b_c"`).Replace(shop)
	p := egress(t, `{"type": "Mesh", "name": "a_b", `+secured+`}`, `{"type": "Mesh", "name": "a", `+secured+`}`, one, two)
	if len(p.Clusters) != 2 || p.Clusters[0].Name == p.Clusters[1].Name {
		t.Errorf("clusters are %v", p.Clusters)
	}
	for i, c := range p.Passage.Chains {
		if got := c.In.HTTP.Routes[0].Splits[0].Cluster; got != p.Clusters[i].Name {
			t.Errorf("chain %d leads to %s, not to %s", i, got, p.Clusters[i].Name)
		}
	}
	twin := strings.Replace(strings.Replace(shop, `"shop"`, `"shop-from-global"`, 1), `"tier": "gold"`, `"kuma.io/display-name": "shop"`, 1)
	p = egress(t, outward, shop, twin)
	if len(p.Passage.Chains) != 1 || len(p.Warnings) != 1 || !strings.Contains(p.Warnings[0].Message, "same name and port") {
		t.Errorf("chains %v, warnings %v", chains(p), p.Warnings)
	}
}

// An egress that does not know the authorities of its host does not talk to a service
// whose certificate they would have to check.
func TestEgressWithoutAuthorities(t *testing.T) {
	doc := strings.Replace(shop, `"endpoints"`, `"tls": {"enabled": true}, "endpoints"`, 1)
	p := egressWith(t, view.Metadata{}, outward, doc)
	if len(p.Clusters[0].Static) != 0 || len(p.Warnings) != 1 || !strings.Contains(p.Warnings[0].Message, "no authorities") {
		t.Errorf("endpoints %v, warnings %v", p.Clusters[0].Static, p.Warnings)
	}
}

func policyOf(kind, name, target, rest string) string {
	return `{"type": "` + kind + `", "mesh": "m", "name": "` + name + `", "spec": {"targetRef": ` + target + `, ` + rest + `}}`
}

// Which policies act at the egress: about what comes in by the tags of the service,
// about what goes out those that are for any client.
func TestPoliciesAtEgress(t *testing.T) {
	public := `{"kind": "MeshSubset", "tags": {"kind": "public"}}`
	all := `{"kind": "Mesh"}`
	from := func(conf string) string { return `"from": [{"targetRef": ` + all + `, "default": ` + conf + `}]` }
	to := func(target, conf string) string {
		return `"to": [{"targetRef": ` + target + `, "default": ` + conf + `}]`
	}
	limits := func(n string) string { return `{"connectionLimits": {"maxConnections": ` + n + `}}` }
	p := egress(t, outward, shop, site,
		policyOf("MeshTrafficPermission", "public", public, from(`{"action": "Allow"}`)),
		policyOf("MeshTrafficPermission", "others", `{"kind": "MeshSubset", "tags": {"kind": "private"}}`, from(`{"action": "Deny"}`)),
		policyOf("MeshTrafficPermission", "workload", `{"kind": "Dataplane"}`, from(`{"action": "Deny"}`)),
		policyOf("MeshRateLimit", "site", `{"kind": "MeshService", "name": "site"}`, from(`{"local": {"http": {"requestRate": {"num": 3, "interval": "1m"}}}}`)),
		policyOf("MeshCircuitBreaker", "all", `{"kind": "MeshSubset", "tags": {"team": "a"}}`, to(all, limits("7"))),
		policyOf("MeshHealthCheck", "all", all, to(all, `{"interval": "9s", "http": {"path": "/up"}}`)),
		policyOf("MeshLoadBalancingStrategy", "all", all, to(all, `{"loadBalancer": {"type": "RingHash", "ringHash": {"hashPolicies": [{"type": "Header", "header": {"name": "x-user"}}]}}}`)),
		policyOf("MeshLoadBalancingStrategy", "some", `{"kind": "MeshSubset", "tags": {"kind": "public"}}`, to(`{"kind": "MeshService", "name": "site"}`, `{"loadBalancer": {"type": "Random"}}`)),
		policyOf("MeshTimeout", "all", all, to(all, `{"connectionTimeout": "77s"}`)),
	)
	siteChain, shopChain := p.Passage.Chains[0], p.Passage.Chains[1]
	siteCluster, shopCluster := p.Clusters[0], p.Clusters[1]
	if a := siteChain.In.Access; len(a.Allow) != 1 || len(a.Allow[0].All) != 0 || a.Network {
		t.Errorf("access to the site is %+v", a)
	}
	if a := shopChain.In.Access; len(a.Allow) != 1 {
		t.Errorf("access to the shop is %+v", a)
	}
	if r := siteChain.In.HTTP.Routes[0].RateLimit; r == nil || r.Num != 3 {
		t.Errorf("the site's limit is %v", r)
	}
	if shopChain.In.HTTP.Routes[0].RateLimit != nil {
		t.Error("the shop is limited")
	}
	if l := shopCluster.Limits; l == nil || *l.MaxConnections != 7 {
		t.Errorf("limits of the shop are %v", l)
	}
	if siteCluster.Limits != nil || len(siteCluster.HealthChecks) != 0 {
		t.Errorf("the site has %v, %v", siteCluster.Limits, siteCluster.HealthChecks)
	}
	if len(shopCluster.HealthChecks) != 1 || shopCluster.HealthChecks[0].HTTP.ClientTags != nil {
		t.Errorf("the shop is checked by %+v", shopCluster.HealthChecks)
	}
	if shopCluster.Balancer == nil || shopCluster.Balancer.Type != "RingHash" || len(shopChain.In.HTTP.Routes[0].HashPolicies) != 1 {
		t.Errorf("the shop is balanced by %+v, %v", shopCluster.Balancer, shopChain.In.HTTP.Routes[0].HashPolicies)
	}
	if siteCluster.Balancer == nil || siteCluster.Balancer.Type != "RingHash" {
		t.Errorf("the site is balanced by %+v: the policy for some clients counts, or none does", siteCluster.Balancer)
	}
	for _, c := range p.Clusters {
		if c.ConnectTimeout.Seconds() != 5 {
			t.Errorf("%s waits %s", c.Name, c.ConnectTimeout)
		}
	}

	p = egress(t, strings.Replace(outward, `"zoneEgress": true`, `"zoneEgress": true, "defaultForbidMeshExternalServiceAccess": true`, 1), shop, site,
		`{"type": "TrafficPermission", "mesh": "m", "name": "tp", "sources": [{"match": {"kuma.io/service": "web"}}], "destinations": [{"match": {"kind": "public"}}]}`)
	if a := p.Passage.Chains[0].In.Access; !a.Network || a.PolicyName != "tp" || len(a.Allow) != 1 {
		t.Errorf("an older permission gives %+v", a)
	}
	if a := p.Passage.Chains[1].In.Access; len(a.Allow) != 0 {
		t.Errorf("what is forbidden is open to %v", a.Allow)
	}
	if a := egress(t, outward, site).Passage.Chains[0].In.Access; len(a.Allow) != 0 {
		t.Errorf("without any permission the site is open to %v", a.Allow)
	}
}

// Clients take the egress for an ExternalService where the mesh wants it, and know
// it by its name.
func TestClientsOfEgress(t *testing.T) {
	dp := dataplane(`"inbound": [{"port": 80, "tags": {"kuma.io/service": "a"}}], "outbound": [{"port": 1, "tags": {"kuma.io/service": "site"}}]`)
	e := `{"type": "ZoneEgress", "name": "e", "networking": {"address": "10.0.0.9", "port": 10002}}`
	p := proxy(t, view.Metadata{}, outward, site, dp, e)
	cl := p.Clusters[0]
	if cl.Endpoints == nil || cl.TLS == nil || cl.TLS.SNI != "site{mesh=m}" || !slices.Equal(cl.TLS.ExactSANs, []string{"spiffe://m/zone-egress"}) || !cl.HTTP1 {
		t.Errorf("the client gets %+v, TLS %+v", cl, cl.TLS)
	}
	p = proxy(t, view.Metadata{}, strings.Replace(outward, "true", "false", 1), site, dp, e)
	if cl := p.Clusters[0]; cl.Endpoints != nil || len(cl.Static) != 1 {
		t.Errorf("a client that goes itself gets %+v", cl)
	}
}
