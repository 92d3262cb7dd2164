package cp_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weft/internal/config"
	"weft/internal/cp"
	"weft/internal/testkit/freeport"
	"weft/internal/testkit/lockedbuf"
)

// plane is a control plane that runs in this process.
type plane struct {
	api, diagnostics string // addresses
	token            string // of the administrator
	log              *lockedbuf.Buffer
	ended            chan error
	stop             context.CancelFunc
}

// start runs a control plane with settings changed by variables.
func start(t *testing.T, env ...string) *plane {
	t.Helper()
	return startAt(t, time.Now, env...)
}

// startAt is start with another clock.
func startAt(t *testing.T, now func() time.Time, env ...string) *plane {
	t.Helper()
	ports := freeport.Take(t, 4)
	dir := t.TempDir()
	env = append([]string{
		"KUMA_GENERAL_WORK_DIR=" + dir,
		fmt.Sprintf("KUMA_API_SERVER_HTTP_PORT=%d", ports[0]), fmt.Sprintf("KUMA_API_SERVER_HTTPS_PORT=%d", ports[1]),
		fmt.Sprintf("KUMA_DP_SERVER_PORT=%d", ports[2]), fmt.Sprintf("KUMA_DIAGNOSTICS_SERVER_PORT=%d", ports[3]),
	}, env...)
	c, _, err := config.Load("", env)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	p := &plane{
		api: fmt.Sprintf("http://127.0.0.1:%d", ports[0]), diagnostics: fmt.Sprintf("http://127.0.0.1:%d", ports[3]),
		log: new(lockedbuf.Buffer), ended: make(chan error, 1), stop: stop,
	}
	go func() {
		p.ended <- cp.Run(ctx, c, cp.Host{Name: "host", Home: dir, Now: now}, slog.New(slog.NewTextHandler(p.log, nil)))
	}()
	t.Cleanup(func() {
		stop()
		if err := <-p.ended; err != nil {
			t.Errorf("control plane: %v\n%s", err, p.log.String())
		}
	})
	for deadline := time.Now().Add(time.Minute); p.status(t, http.MethodGet, p.diagnostics+"/ready", "") != http.StatusOK; {
		if time.Now().After(deadline) {
			t.Fatalf("not ready\n%s", p.log.String())
		}
		time.Sleep(20 * time.Millisecond)
	}
	token, err := os.ReadFile(filepath.Join(dir, "admin-token"))
	if err != nil {
		t.Fatal(err)
	}
	p.token = string(token)
	return p
}

// do makes a request; status 0 = nobody answers.
func (p *plane) do(t *testing.T, method, url, body string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+p.token)
	r.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, ""
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func (p *plane) status(t *testing.T, method, url, body string) int {
	t.Helper()
	s, _ := p.do(t, method, url, body)
	return s
}

// TestKindsThatAreLeftOut: what the settings leave out does not exist for anybody.
func TestKindsThatAreLeftOut(t *testing.T) {
	p := start(t, "KUMA_STORE_TYPE=memory",
		"KUMA_PLUGIN_POLICIES_ENABLED=meshretries,meshopas", "KUMA_CORE_RESOURCES_ENABLED=meshservices")
	for path, want := range map[string]int{
		"/meshretries": 200, "/meshservices": 200, "/timeouts": 200, "/meshtimeouts": 404, "/hostnamegenerators": 404,
		"/meshes/default/meshretries/mesh-retry-all-default": 200, "/meshes/default/meshexternalservices": 404,
	} {
		if got := p.status(t, http.MethodGet, p.api+path, ""); got != want {
			t.Errorf("GET %s: %d, want %d", path, got, want)
		}
	}
	if _, body := p.do(t, http.MethodGet, p.api+"/_resources", ""); strings.Contains(body, "MeshTimeout") || !strings.Contains(body, "MeshRetry") {
		t.Errorf("/_resources: %s", body)
	}
	_, metrics := p.do(t, http.MethodGet, p.diagnostics+"/metrics", "")
	for line, there := range map[string]bool{
		`resources_count{resource_type="MeshRetry",tenant="",zone="default"} 1`: true,
		`resources_count{resource_type="Mesh",tenant="",zone="default"} 1`:      true,
		`resource_type="MeshTimeout"`:                                           false,
	} {
		if strings.Contains(metrics, line) != there {
			t.Errorf("%s in the metrics: %t", line, !there)
		}
	}
	if log := p.log.String(); !strings.Contains(log, "policies.pluginPoliciesEnabled names") || !strings.Contains(log, "meshopas") {
		t.Errorf("nobody is told about an unknown name:\n%s", log)
	}
}

// TestCountsCanBeSwitchedOff checks metrics.controlPlane.reportResourcesCount.
func TestCountsCanBeSwitchedOff(t *testing.T) {
	p := start(t, "KUMA_STORE_TYPE=memory", "KUMA_METRICS_CONTROL_PLANE_REPORT_RESOURCES_COUNT=false")
	if _, metrics := p.do(t, http.MethodGet, p.diagnostics+"/metrics", ""); strings.Contains(metrics, "resources_count") || !strings.Contains(metrics, "leader{") {
		t.Errorf("resources_count is there, or nothing is")
	}
}
