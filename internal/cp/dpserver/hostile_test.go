package dpserver

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"weft/internal/cp/xds"
	"weft/internal/testkit/xdsclient"
)

// closedFor returns how many streams were closed for a reason.
func closedFor(t *testing.T, w *world, reason string) int {
	t.Helper()
	return int(counterValue(t, w, "xds_streams_closed_total", reason))
}

// A client that does not read what it is sent loses its connection after a while;
// the others do not notice.
func TestClientThatStopsReading(t *testing.T) {
	both(t, func(t *testing.T, delta bool) {
		w := start(t, func(d *Deps) { d.Streams = xds.Options{SendTimeout: 200 * time.Millisecond} })
		for _, name := range []string{"web-1", "web-2"} {
			_, o := dataplane(name, nil)
			w.create(o)
		}
		good := w.connect(w.dial(""), node("web-2", ""), delta)
		w.configured(good, "web-2")
		ads := discovery.NewAggregatedDiscoveryServiceClient(w.dial(""))
		if delta {
			s, err := ads.DeltaAggregatedResources(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Send(&discovery.DeltaDiscoveryRequest{Node: node("web-1", ""), TypeUrl: xdsclient.Clusters}); err != nil {
				t.Fatal(err)
			}
		} else {
			s, err := ads.StreamAggregatedResources(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Send(&discovery.DiscoveryRequest{Node: node("web-1", ""), TypeUrl: xdsclient.Clusters}); err != nil {
				t.Fatal(err)
			}
		}
		w.eventually("it is connected", func() bool { return w.engine.has(key("web-1")) })
		n := 0
		w.eventually("it is thrown out", func() bool {
			n++
			var names []string
			for i := range 200 {
				names = append(names, fmt.Sprintf("%d-%d-%s", n, i, strings.Repeat("x", 1000)))
			}
			w.engine.mu.Lock()
			if sink := w.engine.sinks[key("web-1")]; sink != nil {
				sink.Publish(setOf(names...))
			}
			w.engine.mu.Unlock()
			return closedFor(t, w, "slow") == 1
		})
		w.engine.mu.Lock()
		w.engine.sinks[key("web-2")].Publish(setOf("another"))
		w.engine.mu.Unlock()
		w.eventually("the other is served", func() bool { return good.Resources(xdsclient.Clusters)["another"] != nil })
	})
}

// Whatever strangers send to the port, it goes on serving, keeps nothing, and
// closes their connections.
func TestGarbageOnThePort(t *testing.T) {
	w := start(t, func(d *Deps) { d.ReadHeaderTimeout = 200 * time.Millisecond })
	_, o := dataplane("web-1", nil)
	w.create(o)
	noise := make([]byte, 64<<10)
	if _, err := rand.Read(noise); err != nil {
		t.Fatal(err)
	}
	dialTLS := func(protos ...string) func() (net.Conn, error) {
		return func() (net.Conn, error) {
			d := tls.Dialer{Config: &tls.Config{RootCAs: w.pool(), ServerName: "localhost", NextProtos: protos, MinVersion: tls.VersionTLS12}}
			return d.DialContext(t.Context(), "tcp", w.server.Addr().String())
		}
	}
	plain := func() (net.Conn, error) {
		return (&net.Dialer{}).DialContext(t.Context(), "tcp", w.server.Addr().String())
	}
	before := runtime.NumGoroutine()
	for name, c := range map[string]struct {
		dial func() (net.Conn, error)
		say  []byte
	}{
		"silence":                     {plain, nil},
		"plain HTTP":                  {plain, []byte("GET /bootstrap HTTP/1.1\r\nHost: x\r\n\r\n")},
		"noise":                       {plain, noise},
		"half a handshake":            {plain, []byte{0x16, 0x03, 0x01, 0x02, 0x00, 0x01}},
		"silence over TLS":            {dialTLS(), nil},
		"noise over TLS":              {dialTLS(), noise},
		"half a preface":              {dialTLS(), []byte("PRI * HT")},
		"noise after the preface":     {dialTLS(), append([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), noise...)},
		"noise as HTTP/2":             {dialTLS("h2"), noise},
		"noise as either":             {dialTLS("h2", "http/1.1"), noise},
		"half a header":               {dialTLS("http/1.1"), []byte("POST /bootstrap HTTP/1.1\r\nHost:")},
		"endless header":              {dialTLS("http/1.1"), []byte("GET / HTTP/1.1\r\nX: " + strings.Repeat("x", 200<<10))},
		"body that does not come":     {dialTLS("http/1.1"), []byte("POST /other HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")},
		"negative length":             {dialTLS("http/1.1"), []byte("POST /bootstrap HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n")},
		"two lengths":                 {dialTLS("http/1.1"), []byte("POST /bootstrap HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab")},
		"HTTP/2 preface and no frame": {dialTLS("h2"), []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")},
	} {
		conn, err := c.dial()
		for n := 1; err != nil && n < 20; n++ { // on a busy machine even handshakes take too long
			conn, err = c.dial()
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		_ = conn.SetDeadline(time.Now().Add(2 * time.Second))
		_, _ = conn.Write(c.say)
		if name != "HTTP/2 preface and no frame" { // an idle HTTP/2 client may stay
			if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%s: the connection stays open", name)
			}
		}
		conn.Close()
	}
	w.configured(w.connect(w.dial(""), node("web-1", ""), true), "web-1")
	w.eventually("nothing of the strangers is left", func() bool { return runtime.NumGoroutine() < before+20 })
}

func TestHostileStreams(t *testing.T) {
	w := start(t, func(d *Deps) {
		d.ReadHeaderTimeout = 200 * time.Millisecond
		d.Streams = xds.Options{MaxNames: 10}
	})
	_, o := dataplane("web-1", nil)
	w.create(o)
	many := make([]string, 11)
	for i := range many {
		many[i] = fmt.Sprint(i)
	}
	for name, c := range map[string]struct {
		say  []*discovery.DeltaDiscoveryRequest
		meta []string
		code codes.Code
	}{
		"too large":      {[]*discovery.DeltaDiscoveryRequest{{Node: node("web-1", ""), TypeUrl: strings.Repeat("x", 5<<20)}}, nil, codes.ResourceExhausted},
		"says nothing":   {nil, nil, codes.Unavailable},
		"no node":        {[]*discovery.DeltaDiscoveryRequest{{TypeUrl: xdsclient.Clusters}}, nil, codes.InvalidArgument},
		"too many names": {[]*discovery.DeltaDiscoveryRequest{{Node: node("web-1", ""), TypeUrl: xdsclient.Endpoints, ResourceNamesSubscribe: many}}, nil, codes.ResourceExhausted},
		"changes its node": {[]*discovery.DeltaDiscoveryRequest{
			{Node: node("web-1", ""), TypeUrl: xdsclient.Clusters}, {Node: node("web-2", ""), TypeUrl: xdsclient.Listeners},
		}, nil, codes.InvalidArgument},
		"two credentials": {[]*discovery.DeltaDiscoveryRequest{{Node: node("web-1", ""), TypeUrl: xdsclient.Clusters}}, []string{"a", "b"}, codes.Unauthenticated},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			for _, m := range c.meta {
				ctx = metadata.AppendToOutgoingContext(ctx, "authorization", m)
			}
			s, err := discovery.NewAggregatedDiscoveryServiceClient(w.dial("")).DeltaAggregatedResources(ctx)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range c.say {
				_ = s.Send(m)
			}
			for err == nil {
				_, err = s.Recv()
			}
			if status.Code(err) != c.code {
				t.Errorf("got %v, want %s", err, c.code)
			}
		})
	}
	// A type that we do not have is no reason to end a stream.
	s, err := discovery.NewAggregatedDiscoveryServiceClient(w.dial("")).DeltaAggregatedResources(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []*discovery.DeltaDiscoveryRequest{
		{Node: node("web-1", ""), TypeUrl: "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"}, {TypeUrl: xdsclient.Clusters},
	} {
		if err := s.Send(m); err != nil {
			t.Fatal(err)
		}
	}
	if r, err := s.Recv(); err != nil || r.GetTypeUrl() != xdsclient.Clusters {
		t.Errorf("got %v, %v", r, err)
	}
}

// One connection may take several requests, in pieces.
func TestBootstrapInPieces(t *testing.T) {
	w := start(t, nil)
	_, o := dataplane("web-1", nil)
	w.create(o)
	conn, err := tls.Dial("tcp", w.server.Addr().String(), &tls.Config{RootCAs: w.pool(), ServerName: "localhost", MinVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	body := string(bootBody(t, func(map[string]any) {}))
	request := fmt.Sprintf("POST /bootstrap HTTP/1.1\r\nHost: localhost:5678\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	r := bufio.NewReader(conn)
	for range 2 {
		for i := 0; i < len(request); i += 7 {
			if _, err := io.WriteString(conn, request[i:min(i+7, len(request))]); err != nil {
				t.Fatal(err)
			}
		}
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("%s, %v", res.Status, err)
		}
		res.Body.Close()
	}
}
