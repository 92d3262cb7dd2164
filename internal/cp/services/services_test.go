package services_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"weft/internal/cp/store"
	"weft/internal/cp/vip"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

const localGenerator = `{"type": "HostnameGenerator", "name": "local", "labels": {"kuma.io/origin": "zone"},
	"spec": {"selector": {"meshService": {"matchLabels": {"kuma.io/origin": "zone"}}}, "template": "{{ .DisplayName }}.svc.mesh.local"}}`

// TestGenerate: a service is complete with its first write.
func TestGenerate(t *testing.T) {
	play(t, func(w *world) {
		w.put(localGenerator, meshIn("Everywhere"))
		before := w.store.writes.Load()
		w.put(dataplane("1",
			`{"port": 80, "name": "web", "tags": {"kuma.io/service": "a", "kuma.io/protocol": "http"}}`,
			`{"port": 81, "tags": {"kuma.io/service": "a"}}`,
			`{"port": 82, "state": "Ignored", "tags": {"kuma.io/service": "ignored", "kuma.io/protocol": "grpc"}}`,
			`{"port": 83, "tags": {"kuma.io/service": "under_score"}}`,
			`{"port": 49151, "tags": {"kuma.io/service": "no-port"}}`))
		o := w.get(kinds.MeshService, "a")
		wantLabels := map[string]string{
			"kuma.io/mesh": "m", "kuma.io/display-name": "a", "kuma.io/managed-by": "meshservice-generator",
			"kuma.io/env": "universal", "kuma.io/zone": "z", "kuma.io/origin": "zone",
		}
		if d := cmp.Diff(wantLabels, o.Meta.Labels); d != "" {
			t.Error(d)
		}
		id := func(v string) kinds.MeshServiceIdentity {
			return kinds.MeshServiceIdentity{Type: "ServiceTag", Value: v}
		}
		want := &kinds.MeshServiceSpec{
			State:    "Available",
			Selector: kinds.MeshServiceSelector{DataplaneTags: map[string]string{"kuma.io/service": "a"}},
			Ports: []kinds.MeshServicePort{
				{Name: "web", Port: 80, TargetPort: kinds.TargetPort{Number: 80}, AppProtocol: "http"},
				{Name: "81", Port: 81, TargetPort: kinds.TargetPort{Number: 81}, AppProtocol: "tcp"},
			},
			Identities: []kinds.MeshServiceIdentity{id("a"), id("ignored"), id("no-port"), id("under_score")},
		}
		if d := cmp.Diff(want, o.Spec); d != "" {
			t.Error(d)
		}
		status := &kinds.MeshServiceStatus{
			Addresses: []kinds.Address{{Hostname: "a.svc.mesh.local", Origin: "HostnameGenerator", HostnameGeneratorRef: &kinds.GeneratorRef{CoreName: "local"}}},
			VIPs:      []kinds.VIP{{IP: "241.0.0.0"}},
			TLS:       kinds.MeshServiceTLS{Status: "NotReady"},
			HostnameGenerators: []kinds.HostnameGeneratorStatus{{
				HostnameGeneratorRef: kinds.GeneratorRef{CoreName: "local"},
				Conditions:           []kinds.Condition{{Type: "Generated", Status: "True", Reason: "Generated"}},
			}},
			DataplaneProxies: kinds.DataplaneProxies{Healthy: 1, Total: 1},
		}
		if d := cmp.Diff(status, o.Status); d != "" {
			t.Error(d)
		}
		if spec, _ := w.service("ignored"); spec.State != "Unavailable" {
			t.Errorf("a service without ready inbound is %s", spec.State)
		}
		for _, name := range []string{"under_score", "no-port"} {
			w.absent(kinds.MeshService, name)
		}
		if n := w.store.writes.Load() - before; n != 3 { // two services, and how far the range was given out
			t.Errorf("two services took %d writes", n)
		}
		w.put(meshIn("Disabled"))
		w.absent(kinds.MeshService, "a")
	})
}

// TestSilence: what changes nothing for services writes nothing.
func TestSilence(t *testing.T) {
	play(t, func(w *world) {
		w.put(localGenerator, meshIn("Exclusive"), dataplane("1", inbound("80", "a")), insight("1", ""))
		time.Sleep(time.Minute)
		w.settle()
		before := w.store.writes.Load()
		for i := range 5 {
			w.put(fmt.Sprintf(`{"type": "DataplaneInsight", "mesh": "m", "name": "1", "subscriptions": [{"id": "1", "connectTime": "2026-01-01T00:00:00Z", "generation": %d}]}`, i))
			w.put(fmt.Sprintf(`{"type": "MeshTimeout", "mesh": "m", "name": "t", "spec": {"targetRef": {"kind": "Mesh"}, "to": [{"targetRef": {"kind": "Mesh"}, "default": {"connectionTimeout": "%ds"}}]}}`, i+1))
			time.Sleep(time.Minute)
		}
		if n := w.store.writes.Load() - before; n != 0 {
			t.Errorf("%d writes", n)
		}
	})
}

// TestPortConflict: the ports of a service stay while one proxy has them; then
// those of the oldest proxy count.
func TestPortConflict(t *testing.T) {
	play(t, func(w *world) {
		ports := func() string {
			spec, _ := w.service("a")
			return fmt.Sprint(spec.Ports[0].Port)
		}
		w.put(meshIn("Everywhere"), dataplane("2", inbound("80", "a")), dataplane("1", inbound("81", "a")))
		if got := ports(); got != "80" {
			t.Errorf("the service has port %s, not that of the older proxy", got)
		}
		time.Sleep(2 * time.Second) // counts have time
		w.settle()
		if _, s := w.service("a"); s.DataplaneProxies != (kinds.DataplaneProxies{Healthy: 1, Total: 2}) {
			t.Errorf("counts are %+v", s.DataplaneProxies)
		}
		w.put(dataplane("3", inbound("80", "a")))
		w.drop(kinds.Dataplane, "2")
		if got := ports(); got != "80" {
			t.Errorf("the service has port %s, though a proxy still has 80", got)
		}
		w.drop(kinds.Dataplane, "3")
		if got := ports(); got != "81" {
			t.Errorf("the service has port %s, which no proxy has", got)
		}
	})
}

// TestGrace: without proxies a generated service stays for an hour, and keeps its
// address when one returns.
func TestGrace(t *testing.T) {
	play(t, func(w *world) {
		w.put(meshIn("Everywhere"), dataplane("0", inbound("80", "other")), dataplane("1", inbound("80", "a")))
		address := w.vip(kinds.MeshService, "a")
		w.drop(kinds.Dataplane, "1")
		if o := w.get(kinds.MeshService, "a"); o.Label(model.LabelGracePeriodStart) == "" {
			t.Error("the grace period did not start")
		}
		if spec, s := w.service("a"); spec.State != "Unavailable" || len(spec.Identities) != 0 || s.DataplaneProxies.Total != 0 {
			t.Errorf("without proxies the service is %+v, %+v", spec, s)
		}
		time.Sleep(59 * time.Minute)
		w.stop()
		w.lead() // a restart does not begin anew
		w.put(dataplane("1", inbound("90", "a")))
		if o := w.get(kinds.MeshService, "a"); o.Label(model.LabelGracePeriodStart) != "" || w.vip(kinds.MeshService, "a") != address {
			t.Errorf("the service came back as %+v with address %s, not %s", o.Meta.Labels, w.vip(kinds.MeshService, "a"), address)
		}
		if spec, _ := w.service("a"); spec.State != "Available" || spec.Ports[0].Port != 90 {
			t.Errorf("the service came back as %+v", spec)
		}
		w.drop(kinds.Dataplane, "1")
		time.Sleep(59 * time.Minute)
		w.settle()
		w.get(kinds.MeshService, "a")
		time.Sleep(time.Minute + time.Second)
		w.settle()
		w.absent(kinds.MeshService, "a")
		w.get(kinds.MeshService, "other")
	})
}

// TestHandWritten: what a user wrote is not touched, only its status is.
func TestHandWritten(t *testing.T) {
	play(t, func(w *world) {
		own := `{"type": "MeshService", "mesh": "m", "name": "a", "labels": {"l": "x"},
			"spec": {"selector": {"dataplaneTags": {"kuma.io/service": "a"}}, "ports": [{"port": 80, "targetPort": 8080}]}}`
		w.put(meshIn("Everywhere"), own, dataplane("1", inbound("80", "a")))
		spec, _ := w.service("a")
		if o := w.get(kinds.MeshService, "a"); o.Label("l") != "x" || o.Label(model.LabelManagedBy) != "" || spec.Ports[0].TargetPort.Number != 8080 {
			t.Errorf("the user's service is %+v %+v", o.Meta.Labels, spec)
		}
		if spec.State != "Unavailable" {
			t.Error("a proxy without the port counts as healthy")
		}
		address := w.vip(kinds.MeshService, "a")
		w.put(own) // without status
		if got := w.vip(kinds.MeshService, "a"); got != address {
			t.Errorf("the address was %s and is %s", address, got)
		}
		w.drop(kinds.MeshService, "a")
		if o := w.get(kinds.MeshService, "a"); !managed(o) {
			t.Error("the name is free, but no service is made")
		}
		if got := w.vip(kinds.MeshService, "a"); got != address {
			// It is the same name, but another object; either is fine for clients.
			t.Logf("the address was %s and is %s", address, got)
		}
	})
}

func managed(o *model.Object) bool { return o.Label(model.LabelManagedBy) == model.ManagedByMSGen }

// TestReadyForTLS: ready once all proxies had a certificate, for as long as the
// mesh has mutual TLS.
func TestReadyForTLS(t *testing.T) {
	play(t, func(w *world) {
		mtls := `{"type": "Mesh", "name": "m", "meshServices": {"mode": "Everywhere"}, "mtls": {"enabledBackend": "ca", "backends": [{"name": "ca", "type": "builtin"}]}}`
		status := func() string { _, s := w.service("a"); return s.TLS.Status }
		steps := []struct {
			put, want string
		}{
			{dataplane("1", inbound("80", "a")), "NotReady"},
			{mtls, "NotReady"},
			{insight("1", ""), "NotReady"},
			{insight("1", "ca"), "Ready"},
			{dataplane("2", inbound("80", "a")), "Ready"}, // it gets a certificate with its first configuration
			{meshIn("Everywhere"), "NotReady"},
			{mtls, "NotReady"},
			{insight("2", "ca"), "Ready"},
		}
		w.put(meshIn("Everywhere"))
		for i, s := range steps {
			w.put(s.put)
			if got := status(); got != s.want {
				t.Errorf("step %d: %s, want %s", i, got, s.want)
			}
		}
		time.Sleep(2 * time.Second)
		w.settle()
		if _, s := w.service("a"); s.DataplaneProxies != (kinds.DataplaneProxies{Connected: 2, Healthy: 2, Total: 2}) {
			t.Errorf("counts are %+v", s.DataplaneProxies)
		}
	})
}

// TestCountsHaveTime: a crowd that connects is not worth a write for each.
func TestCountsHaveTime(t *testing.T) {
	play(t, func(w *world) {
		w.put(meshIn("Everywhere"))
		for i := range 100 {
			w.put(dataplane(fmt.Sprint("p", i), inbound("80", "a")))
		}
		time.Sleep(2 * time.Second)
		w.settle()
		before := w.store.writes.Load()
		for i := range 100 {
			w.put(insight(fmt.Sprint("p", i), ""))
		}
		time.Sleep(2 * time.Second)
		w.settle()
		if n := w.store.writes.Load() - before; n > 2 {
			t.Errorf("100 proxies that connect take %d writes", n)
		}
		if _, s := w.service("a"); s.DataplaneProxies.Connected != 100 {
			t.Errorf("counts are %+v", s.DataplaneProxies)
		}
	})
}

// TestMultiZone: what a MeshMultiZoneService joins, and its address.
func TestMultiZone(t *testing.T) {
	play(t, func(w *world) {
		w.put(meshIn("Everywhere"),
			`{"type": "MeshMultiZoneService", "mesh": "m", "name": "all", "spec": {"selector": {"meshService": {"matchLabels": {"kuma.io/display-name": "a"}}}, "ports": [{"port": 80}]}}`,
			`{"type": "MeshService", "mesh": "m", "name": "a-far", "labels": {"kuma.io/display-name": "a", "kuma.io/origin": "global", "kuma.io/zone": "far", "k8s.kuma.io/namespace": "ns"},
				"spec": {"state": "Available", "identities": [{"type": "ServiceTag", "value": "a_ns_svc"}], "ports": [{"port": 80}]}}`,
			dataplane("1", inbound("80", "a")))
		s := model.Status[kinds.MeshMultiZoneServiceStatus](w.get(kinds.MeshMultiZoneService, "all"))
		want := []kinds.MatchedMeshService{{Name: "a", Zone: "z", Mesh: "m"}, {Name: "a", Namespace: "ns", Zone: "far", Mesh: "m"}}
		if d := cmp.Diff(want, s.MeshServices); d != "" {
			t.Error(d)
		}
		if s.VIPs[0].IP != "243.0.0.0" {
			t.Errorf("VIP is %v", s.VIPs)
		}
		spec, far := w.service("a-far")
		if spec.State != "Available" || len(spec.Identities) != 1 || len(far.VIPs) != 1 || far.TLS.Status != "" {
			t.Errorf("a service of another zone is %+v %+v; it shall have a local address and nothing else", spec, far)
		}
		w.drop(kinds.MeshService, "a-far")
		s = model.Status[kinds.MeshMultiZoneServiceStatus](w.get(kinds.MeshMultiZoneService, "all"))
		if len(s.MeshServices) != 1 {
			t.Errorf("joins %v", s.MeshServices)
		}
	})
}

// TestHostnames: order of generators, collisions, failures and what is withdrawn.
func TestHostnames(t *testing.T) {
	play(t, func(w *world) {
		external := func(name, team string) string {
			return `{"type": "MeshExternalService", "mesh": "m", "name": "` + name + `", "labels": {"team": "` + team + `"}, "spec": {"match": {"port": 80}, "endpoints": [{"address": "example.org", "port": 80}]}}`
		}
		generator := func(name, template string) string {
			return `{"type": "HostnameGenerator", "name": "` + name + `", "spec": {"selector": {"meshExternalService": {}}, "template": "` + template + `"}}`
		}
		w.put(meshIn("Disabled"), external("b", "x"), external("a", "y"),
			generator("team", `{{ label \"team\" }}.example`), generator("same", "same.example"),
			generator("none", `{{ if eq .DisplayName \"a\" }}a.example{{ end }}`), generator("broken", `{{ label \"absent\" }}.example`))
		show := func(name string) string {
			s := model.Status[kinds.MeshExternalServiceStatus](w.get(kinds.MeshExternalService, name))
			out := ""
			for _, a := range s.Addresses {
				out += a.HostnameGeneratorRef.CoreName + "=" + a.Hostname + " "
			}
			for _, g := range s.HostnameGenerators {
				out += g.HostnameGeneratorRef.CoreName + ":" + g.Conditions[0].Reason + " "
				if g.Conditions[0].Status == "False" && g.Conditions[0].Message == "" {
					t.Errorf("%s: the condition %s does not say why", name, g.Conditions[0].Reason)
				}
			}
			return out
		}
		if got, want := show("b"), "same=same.example team=x.example broken:TemplateError same:Generated team:Generated "; got != want {
			t.Errorf("b, the older, has\n%s\nwant\n%s", got, want)
		}
		if got, want := show("a"), "none=a.example team=y.example broken:TemplateError none:Generated same:Collision team:Generated "; got != want {
			t.Errorf("a has\n%s\nwant\n%s", got, want)
		}
		w.drop(kinds.MeshExternalService, "b")
		if got, want := show("a"), "none=a.example same=same.example team=y.example broken:TemplateError none:Generated same:Generated team:Generated "; got != want {
			t.Errorf("a alone has\n%s\nwant\n%s", got, want)
		}
		w.drop(kinds.HostnameGenerator, "same")
		w.put(external("a", "z"), generator("none", "fixed.example"))
		if got, want := show("a"), "none=fixed.example team=z.example broken:TemplateError none:Generated team:Generated "; got != want {
			t.Errorf("after edits a has\n%s\nwant\n%s", got, want)
		}
	})
}

// TestSwitchedOff: without hostnames and addresses both are left alone.
func TestSwitchedOff(t *testing.T) {
	play(t, func(w *world) {
		w.stop()
		w.task.Hostnames, w.task.Addresses, w.task.Generate = false, false, false
		w.lead()
		w.put(localGenerator, meshIn("Everywhere"), dataplane("1", inbound("80", "a")),
			`{"type": "MeshService", "mesh": "m", "name": "own", "spec": {"selector": {"dataplaneTags": {"kuma.io/service": "a"}}, "ports": [{"port": 80}]},
				"status": {"vips": [{"ip": "10.1.2.3"}], "addresses": [{"hostname": "own.example", "origin": "Kubernetes"}]}}`)
		w.absent(kinds.MeshService, "a")
		spec, s := w.service("own")
		if spec.State != "Available" || w.vip(kinds.MeshService, "own") != "10.1.2.3" || len(s.Addresses) != 1 {
			t.Errorf("own is %+v %+v", spec, s)
		}
	})
}

// TestFailingStore: what could not be written is written later, and only once.
func TestFailingStore(t *testing.T) {
	play(t, func(w *world) {
		var failures atomic.Int64
		w.store.fail = func(o *model.Object) error {
			if o.Kind == kinds.MeshService || o.Kind == kinds.Config {
				if n := failures.Add(1); n <= 5 {
					return fmt.Errorf("try %d: %w", n, store.ErrUnavailable)
				}
			}
			return nil
		}
		w.put(meshIn("Everywhere"), dataplane("1", inbound("80", "a")), dataplane("2", inbound("80", "b")))
		time.Sleep(time.Minute)
		w.settle()
		a, b := w.vip(kinds.MeshService, "a"), w.vip(kinds.MeshService, "b")
		if a == "" || b == "" || a == b {
			t.Errorf("addresses are %q and %q", a, b)
		}
		if n := failures.Load(); n <= 5 {
			t.Errorf("only %d writes", n)
		}
	})
}

// TestAddressesProperty lets users create, delete and damage services at random
// while leaders change, and requires that no address is ever had by two services
// or goes to another one within the quarantine.
func TestAddressesProperty(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			play(t, func(w *world) {
				rnd := rand.New(rand.NewPCG(seed, 3))
				w.stop()
				if seed%2 == 0 { // a range that is soon through
					w.task.MeshServices = netip.MustParsePrefix("241.0.0.0/28")
				}
				w.lead()
				w.put(meshIn("Everywhere"), `{"type": "Mesh", "name": "n", "meshServices": {"mode": "Everywhere"}}`)
				type holding struct {
					by model.Key
					at time.Time
				}
				last := map[string]holding{}
				for range 150 {
					mesh, n := []string{"m", "n"}[rnd.IntN(2)], rnd.IntN(4)
					key := kinds.MeshService.Key(mesh, fmt.Sprint("s", n))
					switch rnd.IntN(6) {
					case 0, 1, 2:
						w.put(fmt.Sprintf(`{"type": "MeshService", "mesh": %q, "name": "s%d", "spec": {"ports": [{"port": 80}]}}`, mesh, n))
					case 3:
						if err := w.store.Delete(t.Context(), key); err != nil && !errors.Is(err, store.ErrNotFound) {
							t.Fatal(err)
						}
						w.settle()
					case 4:
						time.Sleep(time.Duration(rnd.IntN(90)) * time.Second)
					case 5:
						w.stop()
						w.lead()
						w.settle()
					}
					list, err := w.store.List(t.Context(), kinds.MeshService, "")
					if err != nil {
						t.Fatal(err)
					}
					for _, o := range list {
						for _, v := range model.Status[kinds.MeshServiceStatus](o).VIPs {
							if h, ok := last[v.IP]; ok && h.by != o.Key() && time.Since(h.at) < vip.Quarantine {
								t.Fatalf("%s goes from %s to %s after %s", v.IP, h.by, o.Key(), time.Since(h.at))
							}
							last[v.IP] = holding{o.Key(), time.Now()}
						}
					}
				}
				if len(last) < 3 {
					t.Fatalf("only %d addresses were given out", len(last))
				}
			})
		})
	}
}

// TestStolenAddress: of two services with one address, which a user wrote, the
// older keeps it.
func TestStolenAddress(t *testing.T) {
	play(t, func(w *world) {
		own := func(name, ip string) string {
			return fmt.Sprintf(`{"type": "MeshService", "mesh": "m", "name": %q, "spec": {"ports": [{"port": 80}]}, "status": {"vips": [{"ip": %q}]}}`, name, ip)
		}
		w.put(meshIn("Disabled"), own("a", "241.0.0.5"), own("b", "241.0.0.5"), own("c", "192.0.2.1"))
		if got := w.vip(kinds.MeshService, "a"); got != "241.0.0.5" {
			t.Errorf("a has %s", got)
		}
		if got := w.vip(kinds.MeshService, "b"); got == "241.0.0.5" || got == "" {
			t.Errorf("b has %s", got)
		}
		if got := w.vip(kinds.MeshService, "c"); got != "192.0.2.1" {
			t.Errorf("c, which has an address of another range, has %s", got)
		}
	})
}
