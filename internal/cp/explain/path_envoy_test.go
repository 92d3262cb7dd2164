package explain_test

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"weft/internal/cp/envoy"
	"weft/internal/cp/explain"
	"weft/internal/cp/view"
	"weft/internal/testkit/envoytest"
)

// TestPathsAreSeenAsEnvoySeesThem sends random paths through an Envoy: the
// server behind it gets the path that the explanation tells.
func TestPathsAreSeenAsEnvoySeesThem(t *testing.T) {
	envoytest.Binary(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	d := dice{rand.New(rand.NewPCG(seed, 2))}
	port := envoytest.FreePort(t)
	tables := tablesOf(t, []object{
		{"type": "Mesh", "name": "m"},
		{"type": "Dataplane", "mesh": "m", "name": "b-1", "networking": object{"address": "127.0.0.1", "inbound": []object{{
			"port": echo(t), "tags": object{"kuma.io/service": "b", "kuma.io/protocol": "http"}}}}},
		{"type": "Dataplane", "mesh": "m", "name": "client", "networking": object{"address": "127.0.0.1", "inbound": []object{{
			"port": envoytest.FreePort(t), "tags": object{"kuma.io/service": "client"}}}, "outbound": []object{{
			"port": port, "tags": object{"kuma.io/service": "b"}}}}},
	})
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
	nobody := func(string) (explain.Subject, bool, error) { return explain.Subject{}, false, nil }
	for range 800 {
		path := d.path()
		to := fmt.Sprintf("127.0.0.1:%d%s", port, path)
		a, err := explain.OfRequest(s, explain.Request{To: to}, explain.World{Tables: tables, Proxies: nobody})
		if err != nil {
			t.Fatalf("%s: %v", to, err)
		}
		said := a.Path
		if a.Outcome == explain.Refused {
			said = "400"
		}
		if got := rawGet(t, port, path); got != said {
			t.Errorf("%s: said %s, but %s happened", path, said, got)
		}
	}
}

// path makes one of pieces that Envoy might change.
func (d dice) path() string {
	var b strings.Builder
	for range 1 + d.IntN(4) {
		b.WriteString("/")
		for range d.IntN(4) {
			if d.one(4) {
				fmt.Fprintf(&b, "%%%02x", d.IntN(256))
				continue
			}
			b.WriteString(d.text("a", "Z", "0", ".", ".", "..", "..", ";", ";x", `\`, "|", `"`, "{", "^", "~", "%2e", "%2E", "%2f", "%5c", "%41", "%7e", "-", "+", ":", "=", "&"))
		}
	}
	return b.String()
}

// echo answers with the path that it gets, and returns its port.
func echo(t *testing.T) int {
	t.Helper()
	return serve(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.RequestURI) })
}

// rawGet asks for a path as it is written, which http.Client would change.
func rawGet(t *testing.T, port uint32, path string) string {
	t.Helper()
	c, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), 20*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", path); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	return answerOf(t, resp)
}
