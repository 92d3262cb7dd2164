package hds

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"weft/internal/mesh/kinds"
	"weft/internal/testkit/envoytest"
)

const bootstrap = `
node: {id: default.web-1, cluster: web, metadata: {dataplane.proxyType: dataplane, dataplane.admin.port: "%[1]d"}}
admin: {address: {socket_address: {address: 127.0.0.1, port_value: %[1]d}}}
hds_config:
  api_type: GRPC
  transport_api_version: V3
  grpc_services: [{envoy_grpc: {cluster_name: cp}}]
static_resources:
  clusters:
  - name: cp
    type: STATIC
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
    load_assignment:
      cluster_name: cp
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %[2]d}}}}]}]
`

// A real Envoy checks a workload that comes and goes, and itself when it drains.
func TestEnvoyChecksTheWorkload(t *testing.T) {
	bin := envoytest.Binary(t)
	w := start(t, verifier{})
	workload, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := workload.Addr().(*net.TCPAddr)
	w.put(dataplane(t, func(d *kinds.DataplaneSpec) {
		d.Networking.Inbound[0].ServicePort = uint32(addr.Port)
		d.Networking.Inbound[0].State = kinds.InboundNotReady
	}))
	spare, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	admin := spare.Addr().(*net.TCPAddr).Port
	spare.Close()
	file := filepath.Join(t.TempDir(), "bootstrap.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, bootstrap, admin, w.addr.Port), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, bin, "-c", file, "--concurrency", "1", "--disable-hot-restart", "--log-level", "error")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); _ = cmd.Wait() })

	w.eventually("the workload is ready", func() bool { return equal(w.ready(), true, true) })
	workload.Close()
	w.eventually("it is gone", func() bool { return equal(w.ready(), false, true) })
	again, err := net.Listen("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	w.eventually("it is back", func() bool { return equal(w.ready(), true, true) })

	res, err := http.Post(fmt.Sprintf("http://127.0.0.1:%d/healthcheck/fail", admin), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	w.eventually("a draining Envoy takes all inbounds with it", func() bool { return equal(w.ready(), false, false) })
}
