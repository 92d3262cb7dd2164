package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"syscall"
	"testing"
	"time"

	"weft/internal/testkit/pgtest"
)

// A control plane that is killed and comes back, also in the middle of a change of
// the authority, costs no request; proxies get certificates of it again.
func TestMTLSControlPlaneRestarts(t *testing.T) {
	t.Parallel()
	cp := startCP(t, t.TempDir())
	cp.allow("default", "all", "Allow", nil)
	cp.setMTLS("default", &mtls{enabled: "ca-1", backends: []string{"ca-1"}, expiration: "1m"})
	p := cp.startPair(t, "default")
	p.answers(t)
	before := cp.awaitCertificates("default", "web-1", "has a certificate", func(*certificates) bool { return true })
	l, fresh := startLoad(t, p.url, 2), startFreshLoad(t, p.url)

	cp.signal(syscall.SIGKILL)
	<-cp.done
	time.Sleep(300 * time.Millisecond)
	cp.run(t)
	cp.awaitCertificates("default", "web-1", "was certified again", func(c *certificates) bool {
		return c.CertificateRegenerations > before.CertificateRegenerations && c.IssuedAuthority == before.IssuedAuthority
	})

	cp.setMTLS("default", &mtls{enabled: "ca-2", backends: []string{"ca-2"}, expiration: "1m"})
	time.Sleep(700 * time.Millisecond) // both are trusted, the old one signs
	cp.signal(syscall.SIGKILL)
	<-cp.done
	cp.run(t)
	for _, n := range []string{"web-1", "client"} {
		cp.awaitCertificates("default", n, "uses and trusts only the other", func(c *certificates) bool {
			return c.IssuedBackend == "ca-2" && slices.Equal(c.SupportedBackends, []string{"ca-2"})
		})
	}
	l.verdict(t)
	fresh.verdict(t)
}

// Two control planes that share a database take the steps to another authority
// together: proxies of both trust each other all the time.
func TestMTLSTwoControlPlanes(t *testing.T) {
	t.Parallel()
	db := pgtest.Start(t)
	env := []string{
		"KUMA_STORE_TYPE=postgres", "KUMA_STORE_POSTGRES_HOST=" + db.Host, fmt.Sprintf("KUMA_STORE_POSTGRES_PORT=%d", db.Port),
		"KUMA_STORE_POSTGRES_USER=" + db.User, "KUMA_STORE_POSTGRES_PASSWORD=" + db.Password, "KUMA_STORE_POSTGRES_DB_NAME=" + db.Name,
	}
	migrate := start(t, "migrate", env, binary(t, "kuma-cp"), "migrate", "up")
	if err := migrate.wait(30 * time.Second); err != nil {
		t.Fatalf("%v: %s", err, migrate.tail(10))
	}
	one := startCP(t, t.TempDir(), env...)
	two := startCP(t, t.TempDir(), env...)
	one.allow("default", "all", "Allow", nil)
	one.setMTLS("default", &mtls{enabled: "ca-1", backends: []string{"ca-1"}})
	ps := ports(t, 1)
	web := one.startDP(t, sidecar{name: "web-1", service: "web", protocol: "http", app: app(t, "web")})
	client := two.startDP(t, sidecar{name: "client", service: "client", protocol: "http", outbounds: map[int]map[string]string{ps[0]: to("web")}})
	p := &pair{web: web, client: client, url: fmt.Sprintf("http://127.0.0.1:%d/", ps[0])}
	p.answers(t)
	l, fresh := startLoad(t, p.url, 2), startFreshLoad(t, p.url)
	for i, name := range []string{"ca-2", "ca-3"} {
		cp := []*controlPlane{two, one}[i]
		cp.setMTLS("default", &mtls{enabled: name, backends: []string{name}})
		for _, n := range []string{"web-1", "client"} {
			cp.awaitCertificates("default", n, "uses and trusts only "+name, func(c *certificates) bool {
				return c.IssuedBackend == name && slices.Equal(c.SupportedBackends, []string{name})
			})
		}
	}
	l.verdict(t)
	fresh.verdict(t)
	type counts map[string]struct{ Total int }
	var insight struct {
		MTLS struct{ IssuedBackends, SupportedBackends counts }
	}
	if err := json.Unmarshal([]byte(one.must(http.MethodGet, "/mesh-insights/default", nil)), &insight); err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]counts{"issued": insight.MTLS.IssuedBackends, "supported": insight.MTLS.SupportedBackends} {
		if len(c) != 1 || c["ca-3"].Total != 2 {
			t.Errorf("the insight of the mesh says %s: %v", what, c)
		}
	}
}
