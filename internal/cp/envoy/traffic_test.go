package envoy_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"weft/internal/cp/build"
	"weft/internal/cp/envoy"
	"weft/internal/cp/view"
	"weft/internal/cp/xds"
	"weft/internal/mesh/catalog"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
	"weft/internal/testkit/corpus"
	"weft/internal/testkit/envoytest"
)

// everything returns all that a proxy of mesh m gets.
func everything(t *testing.T, v *view.Mesh, name string) []*xds.Resource {
	t.Helper()
	in, ok := v.For(kinds.Dataplane, name, view.Metadata{NoKafka: true})
	if !ok {
		t.Fatalf("there is no proxy %s", name)
	}
	rs, refs, err := envoy.Resources(build.Proxy(in))
	if err != nil {
		t.Fatal(err)
	}
	for _, ref := range refs {
		rs = append(rs, envoy.Assignment(ref, v.Endpoints(ref)))
	}
	return rs
}

// TestTraffic sends HTTP and TCP from a client through both its own sidecar and
// that of the service, with the policies that a new mesh gets.
func TestTraffic(t *testing.T) {
	envoytest.Binary(t)
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "hello over %s", r.Proto)
	}))
	defer app.Close()
	appPort := app.Listener.Addr().(*net.TCPAddr).Port
	echoPort := echo(t)

	inHTTP, inTCP := envoytest.FreePort(t), envoytest.FreePort(t)
	outHTTP, outTCP := envoytest.FreePort(t), envoytest.FreePort(t)
	var objects []*model.Object
	for _, doc := range []string{
		`{"type": "Mesh", "name": "m"}`,
		`{"type": "MeshTimeout", "mesh": "m", "name": "t", "spec": {"targetRef": {"kind": "Mesh"}, "to": [{"targetRef": {"kind": "Mesh"}, "default": {"connectionTimeout": "5s"}}]}}`,
		`{"type": "MeshRetry", "mesh": "m", "name": "r", "spec": {"targetRef": {"kind": "Mesh"}, "to": [{"targetRef": {"kind": "Mesh"}, "default": {"http": {"numRetries": 2}}}]}}`,
		fmt.Sprintf(`{"type": "Dataplane", "mesh": "m", "name": "server", "networking": {"address": "127.0.0.1", "inbound": [
			{"port": %d, "servicePort": %d, "tags": {"kuma.io/service": "web", "kuma.io/protocol": "http"}},
			{"port": %d, "servicePort": %d, "tags": {"kuma.io/service": "echo", "kuma.io/protocol": "tcp"}}]}}`, inHTTP, appPort, inTCP, echoPort),
		fmt.Sprintf(`{"type": "Dataplane", "mesh": "m", "name": "client", "networking": {"address": "127.0.0.1", "inbound": [
			{"port": %d, "tags": {"kuma.io/service": "client"}}],
			"outbound": [{"port": %d, "tags": {"kuma.io/service": "web"}}, {"port": %d, "tags": {"kuma.io/service": "echo"}}]}}`,
			envoytest.FreePort(t), outHTTP, outTCP),
	} {
		o, err := catalog.Decode([]byte(doc))
		if err != nil {
			t.Fatalf("%v\n%s", err, doc)
		}
		objects = append(objects, o)
	}
	v := view.NewMesh("m", settings()).Next(corpus.NewTables(objects...))
	envoytest.Run(t, everything(t, v, "server"))
	envoytest.Run(t, everything(t, v, "client"))

	client := &http.Client{Timeout: 5 * time.Second}
	resp, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d/", outHTTP))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	// Between the sidecars the request is HTTP/2; the workload speaks HTTP/1.
	if resp.StatusCode != http.StatusOK || string(body) != "hello over HTTP/1.1" {
		t.Errorf("answer through two sidecars is %s %q", resp.Status, body)
	}
	if resp.Header.Get("Server") != "envoy" {
		t.Errorf("the server header is %q; the request did not pass a sidecar", resp.Header.Get("Server"))
	}
	conn, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", outTCP), 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	fmt.Fprintln(conn, "ping")
	if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || line != "ping\n" {
		t.Errorf("echo through two sidecars is %q, %v", line, err)
	}
}

// echo serves lines back and returns its port.
func echo(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	return l.Addr().(*net.TCPAddr).Port
}
