package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// Mutual TLS of a running mesh is turned off, from STRICT at once and from
// PERMISSIVE, while HTTP and TCP clients go on: no request fails, and at the end
// everything is plain text, without certificates.
func TestMTLSTurnedOffUnderLoad(t *testing.T) {
	t.Parallel()
	cp := startCP(t, t.TempDir())
	cp.allow("default", "all", "Allow", nil)
	cp.setMTLS("default", &mtls{enabled: "ca-1", backends: []string{"ca-1"}})
	p := ports(t, 2)
	web := cp.startDP(t, sidecar{name: "web-1", service: "web", protocol: "http", app: app(t, "web")})
	server := cp.startDP(t, sidecar{name: "echo-1", service: "echo", protocol: "tcp", app: echo(t)})
	client := cp.startDP(t, sidecar{
		name: "client", service: "client", protocol: "http", outbounds: map[int]map[string]string{p[0]: to("web"), p[1]: to("echo")},
	})
	pair := &pair{web: web, client: client, url: fmt.Sprintf("http://127.0.0.1:%d/", p[0])}
	pair.answers(t)
	eventually(t, 20*time.Second, "TCP gets through", func() error { return say(p[1], "hello") })
	names := []string{"web-1", "echo-1", "client"}
	certified := func() {
		for _, n := range names {
			cp.awaitCertificates("default", n, "has a certificate", func(c *certificates) bool { return c.IssuedBackend == "ca-1" })
		}
	}
	certified()
	l, fresh := startLoad(t, pair.url, 4), startFreshLoad(t, pair.url)
	tcp := startEchoLoad(t, p[1])
	off := func() {
		begin := time.Now()
		cp.setMTLS("default", nil)
		for _, n := range names {
			eventually(t, 60*time.Second, n+" has no certificate any more", func() error {
				c, err := cp.certificatesOf("default", n)
				switch {
				case err == nil:
					return fmt.Errorf("it has %+v", *c)
				case strings.Contains(err.Error(), "has no certificate"):
					return nil
				}
				return err
			})
		}
		t.Logf("off after %s", time.Since(begin))
		for _, d := range []*dataplane{web, server, client} {
			eventually(t, 10*time.Second, d.name+" has no TLS", func() error {
				text, err := fetch(fmt.Sprintf("http://127.0.0.1:%d/config_dump?resource=dynamic_listeners", d.admin))
				if err == nil && strings.Contains(text, "identity_cert:secret:default") && !strings.Contains(text, "draining_state") {
					err = fmt.Errorf("its listeners name a certificate")
				}
				return err
			})
		}
		if text, err := fetch(pair.direct()); err != nil || text != "web" {
			t.Errorf("plain text: %q, %v", text, err)
		}
	}
	cp.must(http.MethodPut, "/meshes/default/meshtlses/strict", map[string]any{
		"type": "MeshTLS", "mesh": "default", "name": "strict", "spec": map[string]any{
			"targetRef": map[string]any{"kind": "Mesh"}, "from": []any{map[string]any{
				"targetRef": map[string]any{"kind": "Mesh"}, "default": map[string]any{"mode": "Strict"},
			}},
		},
	})
	off()
	handshakes := client.stat(t, "cluster.web.ssl.handshake")
	time.Sleep(4 * time.Second) // the drain time is over, too
	if n := client.stat(t, "cluster.web.ssl.handshake"); n != handshakes {
		t.Errorf("the client still shakes hands: %d, %d before", n, handshakes)
	}
	cp.must(http.MethodDelete, "/meshes/default/meshtlses/strict", nil)

	cp.setMTLS("default", &mtls{mode: "PERMISSIVE", enabled: "ca-1", backends: []string{"ca-1"}})
	certified()
	eventually(t, 20*time.Second, "the client uses TLS again", func() error {
		if n := client.stat(t, "cluster.web.ssl.handshake"); n == handshakes {
			return fmt.Errorf("%d handshakes", n)
		}
		return nil
	})
	off()
	l.verdict(t)
	fresh.verdict(t)
	tcp.verdict(t)
	t.Logf("%d requests and %d connections of TCP, none failed", l.ok.Load()+fresh.ok.Load(), tcp.ok.Load())
}

// Where plain text is accepted beside TLS, a server that speaks first (a database)
// is heard by clients of the mesh and by others.
func TestMTLSPermissiveServerSpeaksFirst(t *testing.T) {
	t.Parallel()
	cp := startCP(t, t.TempDir())
	cp.allow("default", "all", "Allow", nil)
	cp.setMTLS("default", &mtls{mode: "PERMISSIVE", enabled: "ca-1", backends: []string{"ca-1"}})
	p := ports(t, 1)
	db := cp.startDP(t, sidecar{name: "db-1", service: "db", protocol: "tcp", app: greeter(t, "db")})
	client := cp.startDP(t, sidecar{name: "client", service: "client", protocol: "http", outbounds: map[int]map[string]string{p[0]: to("db")}})
	cp.awaitCertificates("default", "db-1", "has a certificate", func(*certificates) bool { return true })
	eventually(t, 20*time.Second, "a client of the mesh is greeted with TLS", func() error {
		if _, err := greeting(p[0]); err != nil {
			return err
		}
		if client.stat(t, "cluster.db.ssl.handshake") == 0 {
			return errors.New("no handshakes")
		}
		return nil
	})
	if text, err := greeting(db.inbound); err != nil {
		t.Errorf("a client without proxy: %q, %v", text, err)
	}
}

// echoLoad opens one connection of TCP after the other.
type echoLoad struct {
	ok, failed atomic.Int64
	last       atomic.Value
	stop       chan struct{}
	done       chan struct{}
}

func startEchoLoad(t testing.TB, port int) *echoLoad {
	t.Helper()
	l := &echoLoad{stop: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(l.done)
		for {
			select {
			case <-l.stop:
				return
			case <-time.After(2 * time.Millisecond):
			}
			if err := say(port, "hello"); err != nil {
				l.failed.Add(1)
				l.last.Store(time.Now().Format("15:04:05.000 ") + err.Error())
			} else {
				l.ok.Add(1)
			}
		}
	}()
	return l
}

func (l *echoLoad) verdict(t testing.TB) {
	t.Helper()
	close(l.stop)
	<-l.done
	if l.failed.Load() > 0 || l.ok.Load() == 0 {
		t.Errorf("%d connections of TCP succeeded, %d failed, last: %v", l.ok.Load(), l.failed.Load(), l.last.Load())
	}
}
