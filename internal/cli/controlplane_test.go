package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"weft/internal/config"
	"weft/internal/cp"
	"weft/internal/mesh/catalog"
	"weft/internal/mesh/model"
	"weft/internal/testkit/freeport"
)

// testCP is a control plane that runs in this process.
type testCP struct {
	url, secure string // of the API
	dp          string // of the data plane server
	dir         string // working directory
	ports       []string
	moved       map[string]string // ports of the fixture: ours to the recorded one
	proxies     []string          // working directories, in the order of start
}

// startCP runs a control plane with the memory store until the test ends.
// settings are variables, KUMA_X=y.
func startCP(t *testing.T, settings ...string) *testCP {
	t.Helper()
	c := &testCP{dir: t.TempDir(), ports: freePorts(t, 7)}
	env := []string{
		"KUMA_STORE_TYPE=memory", "KUMA_GENERAL_WORK_DIR=" + c.dir, "KUMA_REPORTS_ENABLED=false", "KUMA_DNS_SERVER_PORT=0",
		"KUMA_API_SERVER_HTTP_PORT=" + c.ports[0], "KUMA_API_SERVER_HTTPS_PORT=" + c.ports[1], "KUMA_DP_SERVER_PORT=" + c.ports[2],
		"KUMA_DIAGNOSTICS_SERVER_PORT=" + c.ports[3], "KUMA_MONITORING_ASSIGNMENT_SERVER_PORT=" + c.ports[4],
		"KUMA_INTER_CP_SERVER_PORT=" + c.ports[5], "KUMA_MULTIZONE_GLOBAL_KDS_GRPC_PORT=" + c.ports[6],
	}
	conf, _, err := config.Load("", append(env, settings...))
	if err != nil {
		t.Fatal(err)
	}
	c.url, c.secure, c.dp = "http://localhost:"+c.ports[0], "https://localhost:"+c.ports[1], "https://localhost:"+c.ports[2]
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- cp.Run(ctx, conf, cp.Host{Name: hostname(t), Home: c.dir, Now: time.Now}, slog.New(slog.DiscardHandler))
	}()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("control plane: %v", err)
		}
	})
	c.await(t, "/meshes/default/meshcircuitbreakers/mesh-circuit-breaker-all-default", 30*time.Second)
	c.await(t, "/meshes/default/meshretries/mesh-retry-all-default", 30*time.Second)
	return c
}

func hostname(t *testing.T) string {
	t.Helper()
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// freePorts returns ports that nobody listens on at the moment.
func freePorts(t *testing.T, n int) []string {
	t.Helper()
	var out []string
	for _, p := range freeport.Take(t, n) {
		out = append(out, strconv.Itoa(p))
	}
	return out
}

// ask sends a request without kumactl.
func (c *testCP) ask(t *testing.T, method, path string, body []byte) (int, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, c.url+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if token, err := os.ReadFile(config.AdminTokenFile(c.dir)); err == nil {
		req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, []byte(err.Error())
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, b
}

// await polls a page until it is there and matches all patterns. It returns
// false when it gave up.
func (c *testCP) await(t *testing.T, path string, limit time.Duration, until ...string) bool {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		status, body := c.ask(t, http.MethodGet, path, nil)
		if status == http.StatusOK && !slices.ContainsFunc(until, func(p string) bool { return !regexp.MustCompile("(?s)" + p).Match(body) }) {
			return true
		}
		if time.Now().After(deadline) {
			t.Logf("%s never showed %q: %d %.1500s", path, until, status, body)
			return false
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// until polls a condition.
func (c *testCP) until(t *testing.T, ok func() bool, what string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// put writes the documents of a YAML file.
func (c *testCP) put(t *testing.T, file string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for d := yaml.NewDecoder(bytes.NewReader(text)); ; {
		var doc any
		if err := d.Decode(&doc); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		body, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		head, err := model.PeekHead(body)
		if err != nil {
			t.Fatal(err)
		}
		k := catalog.ByName(head.Type)
		if k == nil {
			t.Errorf("%s: type %s is not known", file, head.Type)
			continue
		}
		path := "/" + k.Plural + "/" + head.Name
		if k.Scope == model.InMesh {
			path = "/meshes/" + head.Mesh + path
		}
		if status, answer := c.ask(t, http.MethodPut, path, body); status/100 != 2 {
			t.Errorf("%s: PUT %s: %d %s", filepath.Base(file), path, status, answer)
		}
	}
}

// kumactl is one user of kumactl.
type kumactl struct {
	home, dir string
	stdin     string
	env       map[string]string
}

// result is what a run of kumactl gave.
type result struct {
	code     int
	out, err string
}

// run runs kumactl in this process.
func (k *kumactl) run(t *testing.T, args ...string) result {
	t.Helper()
	if k.dir != "" {
		t.Chdir(k.dir)
	}
	var out, err bytes.Buffer
	app := &App{
		In: strings.NewReader(k.stdin), Out: &out, Err: &err, Home: k.home, Now: time.Now,
		Env: func(name string) string { return k.env[name] },
	}
	code := Main(t.Context(), app, args)
	return result{code, out.String(), err.String()}
}

// user returns a user whose configuration names a control plane.
func (c *testCP) user(t *testing.T) *kumactl {
	t.Helper()
	k := &kumactl{home: t.TempDir(), dir: t.TempDir(), env: map[string]string{"KUMA_GENERAL_WORK_DIR": c.dir}}
	k.configure(t, fmt.Sprintf(oneControlPlane, c.url))
	return k
}

const oneControlPlane = `contexts:
- controlPlane: local
  name: local
controlPlanes:
- coordinates:
    apiServer:
      url: %s
  name: local
currentContext: local
`

// configure writes the configuration file.
func (k *kumactl) configure(t *testing.T, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(k.home, ".kumactl"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(k.home, ".kumactl", "config"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
