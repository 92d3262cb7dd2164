package envoytest

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	bootstrap "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"weft/internal/cp/envoy"
	"weft/internal/cp/xds"
	"weft/internal/testkit/freeport"
)

// Process is a running Envoy. It is stopped at the end of the test.
type Process struct {
	// Admin is host:port of its admin endpoint.
	Admin string

	mu  sync.Mutex
	log bytes.Buffer
}

// Write collects Envoy's log.
func (p *Process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.Write(b)
}

// Log returns what Envoy has written.
func (p *Process) Log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// FreePort returns a port that nobody else gets.
func FreePort(t testing.TB) uint32 {
	t.Helper()
	return uint32(freeport.Take(t, 1)[0])
}

// Run starts Envoy with resources as they are, endpoint lists included, and
// waits until it serves. No control plane is needed: lists are put into their
// clusters.
func Run(t testing.TB, rs []*xds.Resource) *Process {
	t.Helper()
	admin := FreePort(t)
	b, err := standalone(rs, admin)
	if err != nil {
		t.Fatal(err)
	}
	return Start(t, b, net.JoinHostPort("127.0.0.1", strconv.FormatUint(uint64(admin), 10)))
}

// Start starts Envoy with a bootstrap document and waits until it serves.
func Start(t testing.TB, document []byte, admin string) *Process {
	t.Helper()
	bin := Binary(t)
	file := filepath.Join(t.TempDir(), "bootstrap.yaml")
	if err := os.WriteFile(file, document, 0o600); err != nil {
		t.Fatal(err)
	}
	p := &Process{Admin: admin}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, bin, "-c", file, "--disable-hot-restart", "--concurrency", "1", "--log-level", "warning")
	cmd.Stdout, cmd.Stderr = p, p
	if err := cmd.Start(); err != nil {
		cancel()
		t.Fatalf("start Envoy: %v", err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	t.Cleanup(func() {
		cancel()
		<-ended
		if t.Failed() {
			t.Logf("Envoy's log:\n%s", p.Log())
		}
	})
	p.waitReady(t, ended)
	return p
}

func (p *Process) waitReady(t testing.TB, ended <-chan struct{}) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			t.Fatalf("Envoy ended:\n%s", p.Log())
		case <-deadline:
			t.Fatalf("Envoy is not ready after 20s:\n%s", p.Log())
		case <-tick.C:
		}
		resp, err := http.Get("http://" + p.Admin + "/ready")
		if err != nil {
			continue
		}
		_ = resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return
		}
	}
}

// standalone puts the resources of one proxy into a bootstrap document.
func standalone(rs []*xds.Resource, admin uint32) ([]byte, error) {
	b := &bootstrap.Bootstrap{
		Node: &core.Node{Id: "test", Cluster: "test"},
		Admin: &bootstrap.Admin{Address: &core.Address{Address: &core.Address_SocketAddress{SocketAddress: &core.SocketAddress{
			Address: "127.0.0.1", PortSpecifier: &core.SocketAddress_PortValue{PortValue: admin},
		}}}},
		StaticResources: &bootstrap.Bootstrap_StaticResources{},
	}
	lists := map[string]*endpoint.ClusterLoadAssignment{}
	for _, r := range rs {
		m, err := envoy.Decode(r)
		if err != nil {
			return nil, err
		}
		switch m := m.(type) {
		case *cluster.Cluster:
			b.StaticResources.Clusters = append(b.StaticResources.Clusters, m)
		case *listener.Listener:
			b.StaticResources.Listeners = append(b.StaticResources.Listeners, m)
		case *endpoint.ClusterLoadAssignment:
			lists[m.ClusterName] = m
		}
	}
	for _, c := range b.StaticResources.Clusters {
		if c.GetType() == cluster.Cluster_EDS {
			c.ClusterDiscoveryType = &cluster.Cluster_Type{Type: cluster.Cluster_STATIC}
			c.EdsClusterConfig = nil
			c.LoadAssignment = lists[c.Name]
		}
	}
	return protojson.Marshal(b)
}
