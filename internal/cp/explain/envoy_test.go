package explain_test

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"weft/internal/cp/envoy"
	"weft/internal/cp/explain"
	"weft/internal/cp/view"
	"weft/internal/mesh/catalog"
	"weft/internal/mesh/model"
	"weft/internal/testkit/corpus"
	"weft/internal/testkit/envoytest"
)

type object = map[string]any

// dice makes routes and requests that often meet.
type dice struct{ *rand.Rand }

func (d dice) of(all ...any) any         { return all[d.IntN(len(all))] }
func (d dice) text(all ...string) string { return all[d.IntN(len(all))] }
func (d dice) one(in int) bool           { return d.IntN(in) == 0 }

func (d dice) match() object {
	m := object{}
	if !d.one(4) {
		m["path"] = d.of(
			object{"type": "Exact", "value": d.text("/", "/a", "/a/b", "/b")},
			object{"type": "PathPrefix", "value": d.text("/", "/a", "/a/b", "/b", "/a/b/c")},
			object{"type": "RegularExpression", "value": d.text("/a.*", "/[ab]/c", "/a", ".*c", "/a|/b", "/(a|b)/b/.+")},
		)
	}
	if d.one(4) {
		m["method"] = d.text("GET", "POST", "DELETE")
	}
	if d.one(3) {
		var hs []object
		for _, name := range []string{d.text("x-one", "x-one", "x-one", "host", "x-forwarded-proto", "x-request-id", "x-forwarded-for"), "x-two"}[:1+d.IntN(2)] {
			h := object{"name": name}
			switch d.IntN(5) {
			case 0:
				h["type"] = "Present"
			case 1:
				h["type"] = "Absent"
			case 2:
				h["type"], h["value"] = "RegularExpression", d.text("v.", "v1|v2", "v", "127.*", "http", "/a.*", "")
			case 3:
				h["type"], h["value"] = "Prefix", d.text("v", "v1", "127", "/a", "")
			default:
				h["type"], h["value"] = "Exact", d.text("v1", "v2", "v1,v2", "127.0.0.1", "http", "")
			}
			hs = append(hs, h)
		}
		m["headers"] = hs
	}
	if d.one(4) {
		m["queryParams"] = []object{d.of(
			object{"name": "q", "type": "Exact", "value": d.text("1", "2", "%31", "")},
			object{"name": "q", "type": "RegularExpression", "value": d.text("1|2", "[0-9]", "1+")},
		).(object)}
	}
	return m
}

const backends = 5

func (d dice) rule() object {
	def := object{"backendRefs": []object{{"kind": "MeshService", "name": fmt.Sprintf("b%d", d.IntN(backends))}}}
	if d.one(6) {
		def = object{"filters": []object{{"type": "RequestRedirect", "requestRedirect": object{"hostname": "elsewhere.example", "statusCode": d.of(301, 302)}}}}
	}
	matches := []object{d.match()}
	if d.one(3) {
		matches = append(matches, d.match())
	}
	return object{"matches": matches, "default": def}
}

// request returns a URL, a method and headers.
func (d dice) request(port uint32) (string, string, http.Header) {
	u := url.URL{
		Scheme: "http", Host: fmt.Sprintf("127.0.0.1:%d", port),
		Path: d.text("/", "/a", "/a/", "/ab", "/a/b", "/a/b/", "/a/bc", "/a/b/c", "/b", "/b/c", "/b/b/x", "/c"),
	}
	if d.one(3) { // Envoy changes some paths before it looks for a route
		u.Path = ""
		u.Opaque = "//" + u.Host + d.text("/a/./b", "/b/../a", "/x/../../b/c", "//a", "/a//b", "/%61", "/a%2Fb", "/a%2fb/c", "/A", "/a/b;x", "/a/.",
			"/a/b/..", "/a/%2e%2e/b", "/%2E/a", "/a%20b", "/a%7e", "/a/b%3Fq=1", "/a/b/.hidden", "/c/.../b", "/a|b", "/%C3%A9", "/b/..;/a", "/a%5cb", "/a/..%2fb", "/a%00")
	}
	if d.one(2) {
		u.RawQuery = d.text("q=1", "q=2", "q=11", "q=3&q=1", "p=1", "q=", "q", "q=%31", "%71=1", "q=1+", "q=1;q=2", "Q=1", "p=2&&q=1", "q=1=1", "&q=1", "q=1#2")
	}
	h := http.Header{}
	for _, name := range []string{"X-One", "X-Two"} {
		switch d.IntN(4) {
		case 0:
			h.Set(name, d.text("v1", "v2", "v", "w1", "v1,v2"))
		case 1:
			h.Add(name, "v1")
			h.Add(name, "v2")
		}
	}
	return u.String(), d.text("GET", "GET", "POST", "PUT"), h
}

// TestPredictionsHold sends random requests through an Envoy with random routes:
// it does what the explanation says.
func TestPredictionsHold(t *testing.T) {
	envoytest.Binary(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	d := dice{rand.New(rand.NewPCG(seed, 1))}
	const sets, requests = 30, 60
	ports := make([]uint32, sets)
	docs := []object{{"type": "Mesh", "name": "m"}}
	for i := range backends {
		docs = append(docs, object{"type": "Dataplane", "mesh": "m", "name": fmt.Sprintf("b%d-1", i), "networking": object{
			"address": "127.0.0.1", "inbound": []object{{"port": backend(t, fmt.Sprintf("b%d", i)), "tags": object{
				"kuma.io/service": fmt.Sprintf("b%d", i), "kuma.io/protocol": "http"}}},
		}})
	}
	var outbounds []object
	for i := range sets {
		ports[i] = envoytest.FreePort(t)
		name := fmt.Sprintf("s%d", i)
		outbounds = append(outbounds, object{"port": ports[i], "tags": object{"kuma.io/service": name}})
		docs = append(docs, object{"type": "Dataplane", "mesh": "m", "name": name + "-1", "networking": object{
			"address": "127.0.0.1", "inbound": []object{{"port": backend(t, name), "tags": object{"kuma.io/service": name, "kuma.io/protocol": "http"}}},
		}})
		var rules []object
		for range 1 + d.IntN(6) {
			rules = append(rules, d.rule())
		}
		docs = append(docs, object{"type": "MeshHTTPRoute", "mesh": "m", "name": "route-" + name, "spec": object{
			"targetRef": object{"kind": "Mesh"}, "to": []object{{"targetRef": object{"kind": "MeshService", "name": name}, "rules": rules}},
		}})
	}
	docs = append(docs, object{"type": "Dataplane", "mesh": "m", "name": "client", "networking": object{
		"address": "127.0.0.1", "inbound": []object{{"port": envoytest.FreePort(t), "tags": object{"kuma.io/service": "client"}}}, "outbound": outbounds,
	}})
	tables := tablesOf(t, docs)
	v := view.NewMesh("m", settings()).Next(tables)
	s, _ := subject(t, v, "client")
	rs, refs, err := envoy.Resources(s.Proxy)
	if err != nil {
		t.Fatal(err)
	}
	for _, ref := range refs {
		rs = append(rs, envoy.Assignment(ref, v.Endpoints(ref)))
	}
	envoytest.Run(t, rs)
	far := func(name string) (explain.Subject, bool, error) {
		s, ok := subject(t, v, name)
		return s, ok, nil
	}
	client := &http.Client{Timeout: 20 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	outcomes := map[string]int{}
	for i := range sets {
		for range requests {
			to, method, h := d.request(ports[i])
			a, err := explain.OfRequest(s, explain.Request{To: to, Method: method, Headers: h}, explain.World{Tables: tables, Proxies: far})
			if err != nil {
				t.Fatal(err)
			}
			said, did := predicted(a), happened(t, client, to, method, h)
			outcomes[said]++
			if said != did {
				text, _ := json.MarshalIndent(a, "", " ")
				t.Errorf("%s %s %v: said %s, but %s happened\n%s\nroutes: %v", method, to, h, said, did, text, explain.Of(s).Outbounds[i].Routes)
			}
		}
	}
	if len(outcomes) < backends+2 {
		t.Errorf("only this happened: %v", outcomes)
	}
}

func tablesOf(t *testing.T, docs []object) corpus.Tables {
	t.Helper()
	var all []*model.Object
	for _, doc := range docs {
		b, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		o, err := catalog.Decode(b)
		if err != nil {
			t.Fatalf("%v\n%s", err, b)
		}
		all = append(all, o)
	}
	return corpus.NewTables(all...)
}

// backend serves its name and returns its port.
func backend(t *testing.T, name string) int {
	t.Helper()
	return serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, name) })
}

// serve answers over HTTP/2, as sidecars do, and returns the port.
func serve(t *testing.T, h http.HandlerFunc) int {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(s.Close)
	return s.Listener.Addr().(*net.TCPAddr).Port
}

func predicted(a *explain.Answer) string {
	switch a.Outcome {
	case explain.Forwarded:
		return a.Clusters[0].Name
	case explain.Redirected:
		if strings.Contains(a.Route.Action, "301") {
			return "301"
		}
		return "302"
	case explain.Refused:
		if strings.Contains(a.Why, "answers 400") {
			return "400"
		}
	case explain.Answered, explain.PassedOn, explain.NotCaptured:
	}
	return string(a.Outcome)
}

func happened(t *testing.T, c *http.Client, to, method string, h http.Header) string {
	t.Helper()
	q, err := http.NewRequestWithContext(t.Context(), method, to, nil)
	if err != nil {
		t.Fatal(err)
	}
	q.Header = h
	resp, err := c.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	return answerOf(t, resp)
}

// answerOf returns the body of an answer, or its status if that is not 200.
func answerOf(t *testing.T, resp *http.Response) string {
	t.Helper()
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Sprint(resp.StatusCode)
	}
	return string(body)
}
