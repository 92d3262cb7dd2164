package envoy

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// script writes a program that prints and ends.
func script(t *testing.T, dir, name, body string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+body+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFind(t *testing.T) {
	onPath, cwd, elsewhere := t.TempDir(), t.TempDir(), t.TempDir()
	t.Setenv("PATH", onPath)
	t.Chdir(cwd)
	if got, err := Find("envoy"); err == nil || !strings.Contains(err.Error(), "make envoy") || !strings.Contains(err.Error(), "the PATH (envoy)") {
		t.Errorf("nowhere: %q, %v", got, err)
	}
	inCwd := script(t, cwd, "envoy", "")
	if got, err := Find("envoy"); err != nil || !sameFile(t, got, inCwd) {
		t.Errorf("in the working directory: %q, %v", got, err)
	}
	first := script(t, onPath, "envoy", "")
	if got, err := Find("envoy"); err != nil || got != first {
		t.Errorf("on the PATH: %q, %v", got, err)
	}
	named := script(t, elsewhere, "my-envoy", "")
	if got, err := Find(named); err != nil || got != named {
		t.Errorf("by path: %q, %v", got, err)
	}
	// A path that does not exist falls back to the usual places, as in 2.10.
	if got, err := Find("/no/such/envoy"); err != nil || !sameFile(t, got, inCwd) {
		t.Errorf("missing path: %q, %v", got, err)
	}
}

func sameFile(t *testing.T, a, b string) bool {
	t.Helper()
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	if err != nil {
		t.Fatal(err)
	}
	return os.SameFile(x, y)
}

func TestAskVersion(t *testing.T) {
	dir := t.TempDir()
	for name, tc := range map[string]struct {
		body string
		want Version
		err  string
	}{
		"newest":   {"echo; echo 'envoy  version: abc/1.40.0/Clean/RELEASE/BoringSSL'; echo", Version{"1.40.0", "abc/1.40.0/Clean/RELEASE/BoringSSL", true, true, true}, ""},
		"of 1.36":  {"echo 'envoy  version: abc/1.36.2/Clean/RELEASE/BoringSSL'", Version{"1.36.2", "abc/1.36.2/Clean/RELEASE/BoringSSL", true, true, false}, ""},
		"of 2.10":  {"echo 'envoy  version: abc/1.33.14/Clean/RELEASE/BoringSSL'", Version{"1.33.14", "abc/1.33.14/Clean/RELEASE/BoringSSL", true, false, false}, ""},
		"too old":  {"echo 'envoy  version: abc/1.20.0/Clean/RELEASE/BoringSSL'", Version{"1.20.0", "abc/1.20.0/Clean/RELEASE/BoringSSL", false, false, false}, ""},
		"other":    {"echo 'version: 1'", Version{}, "is it one?"},
		"nothing":  {"", Version{}, "is it one?"},
		"fails":    {"echo broken pipe dream >&2; exit 3", Version{}, "broken pipe dream"},
		"garbage":  {"head -c 100000 /dev/urandom | base64", Version{}, "is it one?"},
		"no parts": {"echo 'version: a/b/c/d'", Version{}, "is it one?"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := AskVersion(t.Context(), script(t, dir, strings.ReplaceAll(name, " ", "-"), tc.body))
			if (err == nil) != (tc.err == "") || (err != nil && !strings.Contains(err.Error(), tc.err)) {
				t.Errorf("error %v, want %q", err, tc.err)
			}
			if err != nil && len(err.Error()) > 1000 {
				t.Errorf("error of %d bytes", len(err.Error()))
			}
			if got != tc.want {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestArguments(t *testing.T) {
	dir := t.TempDir()
	for name, tc := range map[string]struct {
		options Options
		want    string
	}{
		"usual": {Options{DrainTime: 30 * time.Second, LogLevel: "info"}, "--drain-time-s 30 --drain-strategy immediate --disable-hot-restart --log-level info --cpuset-threads"},
		"all":   {Options{DrainTime: 300 * time.Millisecond, LogLevel: "debug", ComponentLogLevel: "http:trace", Concurrency: 2}, "--drain-time-s 1 --drain-strategy immediate --disable-hot-restart --log-level debug --component-log-level http:trace --concurrency 2"},
	} {
		t.Run(name, func(t *testing.T) {
			tc.options.ConfigDir = filepath.Join(dir, name)
			tc.options.Bootstrap = []byte("node: {}\n")
			if name == "all" { // an old file that everybody may read
				if err := os.MkdirAll(tc.options.ConfigDir, 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(tc.options.ConfigDir, "bootstrap.yaml"), []byte("old"), 0o666); err != nil {
					t.Fatal(err)
				}
			}
			p, err := Prepare(tc.options, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			config := filepath.Join(tc.options.ConfigDir, "bootstrap.yaml")
			if got := strings.Join(p.Args, " "); got != "--config-path "+config+" "+tc.want {
				t.Errorf("got %s", got)
			}
			info, err := os.Stat(config)
			if err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%v %v", info, err)
			}
			if text, _ := os.ReadFile(config); string(text) != "node: {}\n" {
				t.Errorf("document %q", text)
			}
		})
	}
}

func TestReadDocument(t *testing.T) {
	for name, tc := range map[string]struct {
		text string
		want Document
	}{
		"camel":    {"node: {id: default.a.b, cluster: web}\nadmin: {address: {socketAddress: {address: 127.0.0.1, portValue: 9901}}}", Document{AdminAddress: "127.0.0.1", AdminPort: 9901, NodeID: "default.a.b", Cluster: "web"}},
		"snake":    {"admin: {address: {socket_address: {address: 0.0.0.0, port_value: 1}}}", Document{AdminAddress: "127.0.0.1", AdminPort: 1}},
		"IPv6":     {"admin: {address: {socketAddress: {address: '::', portValue: 2}}}", Document{AdminAddress: "::1", AdminPort: 2}},
		"no admin": {"node: {id: a}", Document{AdminAddress: "127.0.0.1", NodeID: "a"}},
		"JSON":     {`{"admin": {"address": {"socketAddress": {"address": "127.0.0.1", "portValue": 3}}}}`, Document{AdminAddress: "127.0.0.1", AdminPort: 3}},
		"checks":   {"hdsConfig: {apiType: GRPC}", Document{AdminAddress: "127.0.0.1", HealthDiscovery: true}},
		"checks 2": {"hds_config: {api_type: GRPC}", Document{AdminAddress: "127.0.0.1", HealthDiscovery: true}},
		"nothing":  {"", Document{AdminAddress: "127.0.0.1"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ReadDocument([]byte(tc.text))
			if err != nil || got != tc.want {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
	for _, bad := range []string{"[", "admin: 7", "admin: {address: {socketAddress: {portValue: 70000}}}"} {
		if got, err := ReadDocument([]byte(bad)); err == nil {
			t.Errorf("%q accepted: %+v", bad, got)
		}
	}
}

// TestReadRecordedDocuments reads what a 2.10 control plane really sends.
func TestReadRecordedDocuments(t *testing.T) {
	files, _ := filepath.Glob("../../../../shared/compat/bootstrap/*/bootstrap.json")
	if len(files) == 0 {
		t.Skip("SKIPPED: no recorded answers beside the checkout")
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		d, err := ReadDocument(text)
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		var raw struct {
			Node struct {
				ID       string            `json:"id"`
				Metadata map[string]any    `json:"metadata"`
				Locality map[string]string `json:"locality"`
			} `json:"node"`
		}
		if err := json.Unmarshal(text, &raw); err != nil {
			t.Fatal(err)
		}
		port, _ := raw.Node.Metadata["dataplane.admin.port"].(string)
		if d.NodeID != raw.Node.ID || (port != "" && port != strconv.Itoa(int(d.AdminPort))) {
			t.Errorf("%s: %+v, want node %s, port %s", file, d, raw.Node.ID, port)
		}
	}
}

func FuzzReadDocument(f *testing.F) {
	f.Add([]byte("admin: {address: {socketAddress: {portValue: 1}}}"))
	f.Fuzz(func(_ *testing.T, text []byte) {
		_, _ = ReadDocument(text) // must not panic
	})
}

func TestActivity(t *testing.T) {
	var query string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query = r.URL.Query().Get("filter")
		_, _ = w.Write([]byte(`{"stats":[
			{"name":"listener.10.0.0.1_80.downstream_cx_active","value":2},
			{"name":"listener.10.0.0.1_80.downstream_cx_total","value":10},
			{"name":"listener.10.0.0.1_80.worker_0.downstream_cx_active","value":2},
			{"name":"listener.127.0.0.1_81.downstream_cx_active","value":1},
			{"name":"listener.127.0.0.1_81.downstream_cx_total","value":5},
			{"name":"listener.admin.downstream_cx_active","value":7},
			{"name":"listener.admin.main_thread.downstream_cx_total","value":7},
			{"name":"listener.kuma_envoy_admin.downstream_cx_active","value":7}]}`))
	}))
	defer s.Close()
	a := &Admin{base: s.URL, http: s.Client()}
	got, err := a.Activity(t.Context())
	if diff := cmp.Diff(Activity{Active: 3, Total: 15}, got); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	if query != `^listener\..*\.downstream_cx_(active|total)$` {
		t.Errorf("filter %q", query)
	}
	if NewAdmin(Document{}) != nil {
		t.Error("a client without an admin interface")
	}
}
