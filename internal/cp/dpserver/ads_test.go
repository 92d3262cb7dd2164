package dpserver

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"weft/internal/cp/insight"
	"weft/internal/cp/store"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

func key(name string) model.Key { return kinds.Dataplane.Key("default", name) }

func both(t *testing.T, f func(t *testing.T, delta bool)) {
	for _, delta := range []bool{true, false} {
		t.Run(fmt.Sprintf("delta=%v", delta), func(t *testing.T) { f(t, delta) })
	}
}

func TestStoredProxyIsConfigured(t *testing.T) {
	both(t, func(t *testing.T, delta bool) {
		w := start(t, nil)
		_, o := dataplane("web-1", nil)
		w.create(o)
		p := w.connect(w.dial(""), node("web-1", ""), delta)
		w.configured(p, "web-1")
		w.eventually("the insight is there", func() bool {
			o := w.get(kinds.DataplaneInsight.Key("default", "web-1"))
			return o != nil && model.Spec[kinds.DataplaneInsightSpec](o).Online() && (*insight.Subscriptions(o))[0].Status.CDS.ResponsesAcknowledged == 1
		})
		sub := (*insight.Subscriptions(w.get(kinds.DataplaneInsight.Key("default", "web-1"))))[0]
		if v := sub.Version; v.KumaDP.Version != "2.10.3" || !v.KumaDP.KumaCPCompatible || v.Envoy.Version != "1.40.0" || v.Dependencies["coredns"] != "1.14.1" {
			t.Errorf("versions %+v %+v", v.KumaDP, v.Envoy)
		}
		p.leave()
		w.eventually("the engine lets go", func() bool { return !w.engine.has(key("web-1")) })
		w.eventually("the proxy is offline", func() bool {
			return !model.Spec[kinds.DataplaneInsightSpec](w.get(kinds.DataplaneInsight.Key("default", "web-1"))).Online()
		})
		if w.get(key("web-1")) == nil {
			t.Error("a Dataplane that the proxy did not register was deleted")
		}
	})
}

func TestRegistration(t *testing.T) {
	both(t, func(t *testing.T, delta bool) {
		w := start(t, nil)
		text, _ := dataplane("web-1", map[string]any{"serviceProbe": map[string]any{"tcp": map[string]any{}}})
		p := w.connect(w.dial(""), node("web-1", text), delta)
		w.configured(p, "web-1")
		o := w.get(key("web-1"))
		in := model.Spec[kinds.DataplaneSpec](o).Inbounds()[0]
		if in.State != kinds.InboundNotReady || in.Tags[model.TagZone] != "default" {
			t.Errorf("registered %+v", in)
		}
		// Its probe succeeds; then it reconnects.
		ready := o.Clone()
		ready.Spec = model.CopyValue(o.Spec)
		model.Spec[kinds.DataplaneSpec](ready).Networking.Inbound[0].State = kinds.InboundReady
		model.Spec[kinds.DataplaneSpec](ready).Networking.Inbound[0].Health = nil
		ready, err := w.store.Update(t.Context(), ready)
		if err != nil {
			t.Fatal(err)
		}
		again := w.connect(w.dial(""), node("web-1", text), delta)
		w.configured(again, "web-1")
		if err := w.ended(p); status.Code(err) != codes.Aborted {
			t.Errorf("the former stream ended with %v", err)
		}
		if now := w.get(key("web-1")); now.Meta.Version != ready.Meta.Version {
			t.Error("a proxy that reconnects as it was is written again")
		}
		again.leave()
		w.eventually("the Dataplane is deleted", func() bool { return w.get(key("web-1")) == nil })
	})
}

func TestQuickReturnKeepsTheObject(t *testing.T) {
	w := start(t, func(d *Deps) { d.DeregistrationDelay = 300 * time.Millisecond })
	text, _ := dataplane("web-1", nil)
	p := w.connect(w.dial(""), node("web-1", text), true)
	w.configured(p, "web-1")
	created := w.get(key("web-1")).Meta.Created
	p.leave()
	w.eventually("the stream ended", func() bool { return !w.engine.has(key("web-1")) })
	again := w.connect(w.dial(""), node("web-1", text), true)
	w.configured(again, "web-1")
	other, _ := dataplane("web-2", nil)
	q := w.connect(w.dial(""), node("web-2", other), true)
	w.configured(q, "web-2")
	q.leave()
	// The departure of web-2 comes after that of web-1 in the queue.
	w.eventually("web-2 is deleted", func() bool { return w.get(key("web-2")) == nil })
	if o := w.get(key("web-1")); o == nil || !o.Meta.Created.Equal(created) {
		t.Error("the Dataplane of a proxy that came back was deleted")
	}
}

func TestTakeOverKeepsTheObject(t *testing.T) {
	w1 := start(t, nil)
	w2 := startOn(t, w1.store, func(d *Deps) { d.Instance = "cp-2" })
	text, _ := dataplane("web-1", nil)
	p := w1.connect(w1.dial(""), node("web-1", text), true)
	w1.configured(p, "web-1")
	q := w2.connect(w2.dial(""), node("web-1", text), true)
	w2.configured(q, "web-1")
	w1.eventually("the other instance is noted", func() bool {
		o := w1.get(kinds.DataplaneInsight.Key("default", "web-1"))
		return o != nil && insight.LastInstance(o) == "cp-2"
	})
	p.leave()
	text2, _ := dataplane("web-2", nil)
	r := w1.connect(w1.dial(""), node("web-2", text2), true)
	w1.configured(r, "web-2")
	r.leave()
	w1.eventually("web-2 is deleted", func() bool { return w1.get(key("web-2")) == nil })
	if w1.get(key("web-1")) == nil {
		t.Error("the Dataplane of a proxy that went to another control plane was deleted")
	}
}

func TestShutdownKeepsObjects(t *testing.T) {
	w := start(t, nil)
	text, _ := dataplane("web-1", nil)
	p := w.connect(w.dial(""), node("web-1", text), true)
	w.configured(p, "web-1")
	w.stop()
	if err := w.ended(p); status.Code(err) != codes.Unavailable {
		t.Errorf("the stream ended with %v", err)
	}
	if w.get(key("web-1")) == nil {
		t.Error("the Dataplane was deleted when its control plane stopped")
	}
	o := w.get(kinds.DataplaneInsight.Key("default", "web-1"))
	if model.Spec[kinds.DataplaneInsightSpec](o).Online() {
		t.Error("the proxy is still noted as online")
	}
}

func TestRefusals(t *testing.T) {
	_, stored := dataplane("web-1", nil)
	mine, _ := dataplane("mine", nil)
	stolen, _ := dataplane("web-1", map[string]any{"port": 9999})
	for name, c := range map[string]struct {
		credential string
		node       func() *proxyNode
		code       codes.Code
		text       string
	}{
		"no credential":         {"", named("web-1", ""), codes.Unauthenticated, "another proxy"},
		"credential of another": {"other", named("web-1", ""), codes.Unauthenticated, "another proxy"},
		"absent":                {"all", named("nobody", ""), codes.NotFound, "there is no Dataplane default/nobody"},
		"overwriting another's": {"mine", named("web-1", stolen), codes.Unauthenticated, ""},
		"other name in object":  {"all", named("web-1", mine), codes.InvalidArgument, "node's id says"},
		"no object":             {"all", named("web-1", "{"), codes.InvalidArgument, "dataplane.resource"},
		"two objects":           {"all", named("web-1", "type: Dataplane\n---\ntype: Dataplane\n"), codes.InvalidArgument, "holds 2 objects"},
		"object of other kind":  {"all", named("web-1", `{"type":"Mesh","name":"web-1"}`), codes.InvalidArgument, "is a Mesh"},
		"invalid object":        {"all", named("x", `{"type":"Dataplane","mesh":"default","name":"x","networking":{}}`), codes.InvalidArgument, "networking"},
		"object in no mesh":     {"all", named("x", `{"type":"Dataplane","mesh":"nowhere","name":"x"}`), codes.InvalidArgument, ""},
		"unknown proxy type":    {"all", with("web-1", "dataplane.proxyType", "router"), codes.InvalidArgument, "router"},
		"port is text":          {"all", with("web-1", "dataplane.admin.port", "many"), codes.InvalidArgument, "dataplane.admin.port"},
		"no node id":            {"all", id(""), codes.InvalidArgument, "node's id"},
		"node id without mesh":  {"all", id(".web-1"), codes.InvalidArgument, "no mesh"},
	} {
		t.Run(name, func(t *testing.T) {
			w := start(t, nil)
			w.create(stored)
			w.tokens.needs = true
			w.tokens.good = map[string][]string{"all": {"*"}, "mine": {"mine"}, "other": {"other"}}
			p := w.connect(w.dial(c.credential), c.node().Node, true)
			err := w.ended(p)
			if status.Code(err) != c.code || !strings.Contains(status.Convert(err).Message(), c.text) {
				t.Errorf("got %v, want %s with %q", err, c.code, c.text)
			}
			if o := w.get(key("web-1")); o.Meta.Version != w.get(key("web-1")).Meta.Version || model.Spec[kinds.DataplaneSpec](o).Inbounds()[0].Port != 8080 {
				t.Error("the stored Dataplane was changed")
			}
		})
	}
}

func TestRevokedCredentialEndsTheStream(t *testing.T) {
	w := start(t, nil)
	w.tokens.needs = true
	w.tokens.good = map[string][]string{"a": {"*"}, "b": {"*"}}
	_, o1 := dataplane("web-1", nil)
	_, o2 := dataplane("web-2", nil)
	w.create(o1)
	w.create(o2)
	p := w.connect(w.dial("a"), node("web-1", ""), true)
	q := w.connect(w.dial("b"), node("web-2", ""), true)
	w.configured(p, "web-1")
	w.configured(q, "web-2")

	w.tokens.mu.Lock()
	w.tokens.err = fmt.Errorf("load keys: %w", store.ErrUnavailable)
	w.tokens.mu.Unlock()
	w.server.Recheck(t.Context(), "") // the store is away: nobody is thrown out
	w.tokens.mu.Lock()
	w.tokens.err = nil
	w.tokens.mu.Unlock()

	w.tokens.revoke("a")
	w.server.Recheck(t.Context(), "other-mesh")
	w.server.Recheck(t.Context(), "default")
	if err := w.ended(p); status.Code(err) != codes.Unauthenticated {
		t.Errorf("the stream ended with %v", err)
	}
	select {
	case <-q.done:
		t.Errorf("the other stream ended too: %v", q.err)
	default:
	}
}

func TestStoreAway(t *testing.T) {
	w := start(t, nil)
	text, _ := dataplane("web-1", nil)
	w.flaky.Down()
	p := w.connect(w.dial(""), node("web-1", text), true)
	if err := w.ended(p); status.Code(err) != codes.Unavailable {
		t.Errorf("the stream ended with %v", err)
	}
	w.flaky.Up()
	w.configured(w.connect(w.dial(""), node("web-1", text), true), "web-1")
}

// A gRPC client that offers HTTP/1.1 too is served by the HTTP half.
func TestClientThatOffersBoth(t *testing.T) {
	w := start(t, nil)
	_, o := dataplane("web-1", nil)
	w.create(o)
	conn, err := grpc.NewClient(w.server.Addr().String(), grpc.WithTransportCredentials(bothProtocols{credentials.NewTLS(nil), w}))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	w.configured(w.connect(conn, node("web-1", ""), true), "web-1")
}

// curl and browsers come with HTTP/2 by default.
func TestBootstrapOverHTTP2(t *testing.T) {
	w := start(t, nil)
	tr := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: w.pool(), ServerName: "localhost", MinVersion: tls.VersionTLS12}}
	defer tr.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+w.server.Addr().String()+"/bootstrap", strings.NewReader("{"))
	if err != nil {
		t.Fatal(err)
	}
	res, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.ProtoMajor != 2 || res.StatusCode != http.StatusBadRequest {
		t.Errorf("got %s %s", res.Proto, res.Status)
	}
}

func TestStreamsReplaceEachOther(t *testing.T) {
	now := time.Now()
	s := newStreams(func() time.Time { return now })
	enter := func(peer string) (*stream, *stream, error) {
		n := &stream{key: key("web-1"), peer: peer}
		before, err := s.enter(t.Context(), n)
		return n, before, err
	}
	first, _, err := enter("10.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := enter("10.0.0.2"); err == nil {
		t.Error("a proxy of another host takes the place of a living one")
	}
	second, before, err := enter("10.0.0.1")
	if err != nil || before != first {
		t.Errorf("a reconnecting proxy: %v, %v", before, err)
	}
	s.leave(first) // late
	if _, _, err := enter("10.0.0.2"); err == nil {
		t.Error("the end of a replaced stream made room")
	}
	s.leave(second)
	if _, _, err := enter("10.0.0.2"); err != nil {
		t.Error(err)
	}
	var fight error
	for range 2 * maxReplaced {
		if _, _, err := enter("10.0.0.2"); err != nil {
			fight = err
		}
	}
	if fight == nil {
		t.Error("two proxies of one name on one host replace each other for ever")
	}
	now = now.Add(2 * replacedWindow)
	if _, _, err := enter("10.0.0.2"); err != nil {
		t.Errorf("after a while: %v", err)
	}
	if release, ok := s.away(key("web-1")); ok {
		release()
		t.Error("a connected proxy counts as away")
	}
}

func TestCompatible(t *testing.T) {
	for dp, want := range map[string]bool{"2.10.3": true, "2.8.0": true, "2.12.1": true, "2.7.9": false, "3.0.0": false, "unknown": true, "0.0.0-preview.x": true, "": true} {
		if got := compatible(dp, "2.10.11+weft"); got != want {
			t.Errorf("compatible(%q) = %v", dp, got)
		}
	}
}

func TestCauses(t *testing.T) {
	if got := reason(fmt.Errorf("x: %w", errors.New("y"))); got != "other" {
		t.Errorf("got %q", got)
	}
}
