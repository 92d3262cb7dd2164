package dpserver

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"weft/internal/cp/xds"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
	"weft/internal/testkit/xdsclient"
)

// leaveNow says that a proxy stops, and returns the status of the answer.
func (w *world) leaveNow(method string, body any) int {
	w.t.Helper()
	return w.say(method, "/leave", body)
}

// say sends a word of a proxy, and returns the status of the answer.
func (w *world) say(method, path string, body any) int {
	w.t.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		w.t.Fatal(err)
	}
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: w.pool(), ServerName: "localhost", MinVersion: tls.VersionTLS12},
	}}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(w.t.Context(), method, "https://"+w.server.Addr().String()+path, bytes.NewReader(b))
	if err != nil {
		w.t.Fatal(err)
	}
	res, err := client.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	res.Body.Close()
	return res.StatusCode
}

func (w *world) state(name string) kinds.InboundState {
	return model.Spec[kinds.DataplaneSpec](w.get(key(name))).Inbounds()[0].State
}

func TestLeave(t *testing.T) {
	w := start(t, nil)
	w.tokens.needs = true
	w.tokens.good = map[string][]string{"mine": {"web-1", "web-2"}, "other": {"other"}}
	for _, name := range []string{"web-1", "web-2"} {
		_, o := dataplane(name, nil)
		w.create(o)
	}
	for _, c := range []struct {
		what   string
		method string
		body   any
		status int
	}{
		{"GET", http.MethodGet, map[string]any{}, http.StatusMethodNotAllowed},
		{"no JSON object", http.MethodPost, []int{1}, http.StatusBadRequest},
		{"unknown type", http.MethodPost, map[string]any{"proxyType": "router"}, http.StatusBadRequest},
		{"too large", http.MethodPost, map[string]any{"name": string(make([]byte, maxWordBody))}, http.StatusBadRequest},
		{"no token", http.MethodPost, map[string]any{"mesh": "default", "name": "web-1"}, http.StatusForbidden},
		{"another's token", http.MethodPost, map[string]any{"mesh": "default", "name": "web-1", "dataplaneToken": "other", "registered": true}, http.StatusForbidden},
		{"nobody", http.MethodPost, map[string]any{"mesh": "default", "name": "nobody", "dataplaneToken": "mine"}, http.StatusOK},
		{"stored", http.MethodPost, map[string]any{"mesh": "default", "name": "web-1", "dataplaneToken": "mine"}, http.StatusOK},
		{"registered", http.MethodPost, map[string]any{"mesh": "default", "name": "web-2", "dataplaneToken": "mine", "registered": true}, http.StatusOK},
	} {
		if c.what == "stored" && (w.state("web-1") != kinds.InboundReady || w.get(key("web-2")) == nil) {
			t.Fatal("a request that was refused had an effect")
		}
		if got := w.leaveNow(c.method, c.body); got != c.status {
			t.Errorf("%s: %d, want %d", c.what, got, c.status)
		}
	}
	if w.state("web-1") != kinds.InboundNotReady {
		t.Error("the stored Dataplane is still ready")
	}
	if w.get(key("web-2")) != nil {
		t.Error("the registered Dataplane is still there")
	}
	w.flaky.Down()
	if got := w.leaveNow(http.MethodPost, map[string]any{"mesh": "default", "name": "web-1", "dataplaneToken": "mine"}); got != http.StatusServiceUnavailable {
		t.Errorf("without a store: %d", got)
	}
}

// A proxy that has just started gets no traffic before its listeners are there,
// and one that reconnects goes on getting it.
func TestStartingProxyBecomesReady(t *testing.T) {
	w := start(t, func(d *Deps) { d.Engine.(*fakeEngine).first = xds.NewSet(nil, nil) })
	text, _ := dataplane("web-1", nil)
	n := node("web-1", text)
	p := w.connect(w.dial(""), n, true)
	w.eventually("it is connected", func() bool { return w.engine.has(key("web-1")) })
	w.eventually("it is ready when it has its listeners", func() bool { return w.state("web-1") == kinds.InboundReady })
	if !p.Has(xdsclient.Listeners) {
		t.Error("it is ready without listeners")
	}
	version := w.get(key("web-1")).Meta.Version

	// The store is away when the next one has its listeners.
	text2, _ := dataplane("web-2", nil)
	q := w.connect(w.dial(""), node("web-2", text2), true)
	w.eventually("it is registered", func() bool { return w.get(key("web-2")) != nil })
	w.flaky.Down()
	w.eventually("it has its listeners", func() bool { return q.Has(xdsclient.Listeners) })
	w.flaky.Up()
	w.eventually("it is ready all the same", func() bool { return w.state("web-2") == kinds.InboundReady })

	if now := w.get(key("web-1")).Meta.Version; now != version {
		t.Error("the first proxy was written again")
	}
}

// A proxy whose application listens is an endpoint at once, without waiting for
// health discovery; one that says so of another proxy is refused.
func TestServing(t *testing.T) {
	w := start(t, nil)
	w.tokens.needs = true
	w.tokens.good = map[string][]string{"mine": {"probed", "starting", "ignored", "ready"}, "other": {"other"}}
	for name, more := range map[string]map[string]any{
		"probed":   {"serviceProbe": map[string]any{"tcp": map[string]any{}}, "state": "NotReady", "health": map[string]any{"ready": false}},
		"starting": {"state": "NotReady"},
		"ignored":  {"state": "Ignored"},
		"ready":    nil,
	} {
		_, o := dataplane(name, more)
		w.create(o)
	}
	serve := func(name, token string) int {
		return w.say(http.MethodPost, "/serving", map[string]any{"mesh": "default", "name": name, "dataplaneToken": token})
	}
	if got := serve("probed", "other"); got != http.StatusForbidden || w.state("probed") != kinds.InboundNotReady {
		t.Errorf("another's token: %d, %v", got, w.state("probed"))
	}
	version := w.get(key("ready")).Meta.Version
	for name, want := range map[string]kinds.InboundState{
		"probed": kinds.InboundReady, "starting": kinds.InboundReady, "ignored": kinds.InboundIgnored, "ready": kinds.InboundReady,
	} {
		if got := serve(name, "mine"); got != http.StatusOK || w.state(name) != want {
			t.Errorf("%s: status %d, state %v", name, got, w.state(name))
		}
	}
	if in := model.Spec[kinds.DataplaneSpec](w.get(key("probed"))).Inbounds()[0]; in.Health == nil || !in.Health.Ready {
		t.Errorf("the older field says %+v", in.Health)
	}
	if in := model.Spec[kinds.DataplaneSpec](w.get(key("starting"))).Inbounds()[0]; in.Health != nil {
		t.Errorf("the older field was written: %+v", in.Health)
	}
	if w.get(key("ready")).Meta.Version != version {
		t.Error("a proxy that was ready was written again")
	}
}
