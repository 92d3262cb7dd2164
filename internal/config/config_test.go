package config

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"weft/internal/config/loader"
)

// shared is where the recorded behaviour of 2.10 lies, beside the checkout.
const shared = "../../../shared"

func readShared(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(shared, name))
	if errors.Is(err, os.ErrNotExist) {
		t.Skipf("%s is not beside the checkout", name)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// differences are the deliberate differences from the defaults of 2.10, with the
// reason; docs/compatibility.md tells users about them.
var differences = map[string]string{
	"store.type":                       "objects survive a restart",
	"store.sqlite":                     "new",
	"store.encryption":                 "new",
	"apiServer.http.interface":         "what goes over the network is encrypted",
	"apiServer.authn.localhostIsAdmin": "a proof is asked for",
	"apiServer.corsAllowedDomains":     "web pages may not call the API",
	"access.static.writeResources":     "new; anonymous callers may not write",
}

// The recorded GET /config of 2.10, with its ports and folders normalised, has
// the same shape and values as ours apart from the deliberate differences.
func TestShownMatchesTheRecordedAnswer(t *testing.T) {
	var want map[string]any
	if err := json.Unmarshal(readShared(t, "compat/rest/config/01-response.json"), &want); err != nil {
		t.Fatal(err)
	}
	c, _, err := Load("", []string{"KUMA_DP_SERVER_AUTHN_DP_PROXY_TYPE=none", "KUMA_GENERAL_WORK_DIR=/dir"})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.ResolveWorkDir("/home"); err != nil {
		t.Fatal(err)
	}
	c.Complete(Machine{CertFile: "<dir>/kuma-cp.crt", KeyFile: "<dir>/kuma-cp.key", Address: "<ip>"})
	text, err := json.Marshal(c.Shown())
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(strings.ReplaceAll(string(text), `"/dir"`, `"<dir>"`)), &got); err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	compare(t, "", want, got, found)
	for path := range differences {
		if !found[path] {
			t.Errorf("%s no longer differs; take it off the list of differences", path)
		}
	}
}

// What GET /config shows can be read again, of ours and of 2.10's.
func TestShownCanBeRead(t *testing.T) {
	c, _, err := Load("", []string{
		"KUMA_MULTIZONE_ZONE_NAME=east", "KUMA_BOOTSTRAP_SERVER_PARAMS_XDS_CONNECT_TIMEOUT=3s", "KUMA_STORE_POSTGRES_PASSWORD=secret",
		"KUMA_DNS_SERVER_CIDR=240.1.0.0/16", "KUMA_IPAM_KNOWN_INTERNAL_CIDRS=10.0.0.0/8,fd00::/8", "KUMA_GENERAL_WORK_DIR=/dir",
	})
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(c.Shown())
	if err != nil {
		t.Fatal(err)
	}
	got, err := ReadShown(text)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(c.Shown(), got.Shown()); diff != "" {
		t.Errorf("-shown +read again:\n%s", diff)
	}
	recorded := readShared(t, "compat/rest/config/01-response.json")
	recorded = bytes.ReplaceAll(recorded, []byte(`"<port>"`), []byte("1"))
	if got, err := ReadShown(recorded); err != nil || got.Store.Type != "memory" {
		t.Errorf("the recorded settings: %v, %v", got, err)
	}
	if _, err := ReadShown([]byte(`{"dnsServer": 5}`)); err == nil {
		t.Error("nonsense was read")
	}
}

func compare(t *testing.T, path string, want, got any, found map[string]bool) {
	t.Helper()
	w, isMap := want.(map[string]any)
	g, gotMap := got.(map[string]any)
	if isMap && gotMap {
		for _, k := range slices.Sorted(keysOf(w, g)) {
			compare(t, strings.TrimPrefix(path+"."+k, "."), w[k], g[k], found)
		}
		return
	}
	if want == "<port>" || cmp.Equal(want, got) {
		return
	}
	if _, ok := differences[path]; ok {
		found[path] = true
		return
	}
	t.Errorf("%s: recorded %v, ours %v", path, want, got)
}

func keysOf(ms ...map[string]any) func(func(string) bool) {
	all := map[string]bool{}
	for _, m := range ms {
		for k := range m {
			all[k] = true
		}
	}
	return func(yield func(string) bool) {
		for k := range all {
			if !yield(k) {
				return
			}
		}
	}
}

// sheetRow is one row of the configuration reference: key, variable, default.
var sheetRow = regexp.MustCompile("^\\| ([^|]+) \\| (KUMA_[A-Z0-9_]+|–) \\| (`.*`|\\(empty\\)) \\|$")

// Every key of the sheet exists with its variable and default.
func TestKeysOfTheSheet(t *testing.T) {
	text := readShared(t, "reference/control-plane-api.md")
	fields := map[string]loader.Field{}
	for _, f := range loader.Fields(Default(), prefix) {
		fields[f.Path] = f
	}
	rows, group := 0, ""
	sc := bufio.NewScanner(strings.NewReader(string(text)))
	for sc.Scan() {
		line := sc.Text()
		if m := regexp.MustCompile(`^\*\*(\w+)\*\*$`).FindStringSubmatch(line); m != nil {
			group = m[1] + "."
			if m[1] == "environment" || m[1] == "mode" {
				group = ""
			}
			continue
		}
		if strings.HasPrefix(line, "**") {
			group = ""
		}
		m := sheetRow.FindStringSubmatch(line)
		if m == nil || strings.HasPrefix(m[1], "kubernetes.injector.exceptions.labels.") || strings.HasPrefix(m[1], "runtime.kubernetes.injector.exceptions") {
			continue
		}
		rows++
		f, ok := fields[group+m[1]]
		if !ok {
			t.Errorf("%s is not a setting", group+m[1])
			continue
		}
		if env := strings.Trim(m[2], "–"); env != f.Env {
			t.Errorf("%s: variable %q, ours %q", f.Path, env, f.Env)
		}
		if _, deliberate := differences[f.Path]; deliberate || strings.HasSuffix(f.Path, ".adminPort") && f.Env != "KUMA_BOOTSTRAP_SERVER_PARAMS_ADMIN_PORT" {
			continue // the deprecated adminPort of the sidecar: the Kubernetes sheet says 0, and the recorded answer agrees
		}
		if got, want := flat(f), sheetDefault(m[3], f); got != want {
			t.Errorf("%s: default %q, ours %q", f.Path, want, got)
		}
	}
	if rows < 250 {
		t.Errorf("only %d rows found; did the sheet change its form?", rows)
	}
}

// flat and sheetDefault bring our value and that of the sheet into one form.
func flat(f loader.Field) string {
	v := f.Value.Interface()
	if s, ok := v.(Secret); ok {
		v = string(s)
	}
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(v), "map", ""), "[]")
}

func sheetDefault(text string, f loader.Field) string {
	text = strings.Trim(text, "`")
	if text == "(empty)" {
		return ""
	}
	if d, err := time.ParseDuration(text); err == nil && f.Value.Type() == reflect.TypeFor[time.Duration]() {
		return d.String()
	}
	return strings.NewReplacer("[", "", "]", "", `"`, "", ",", "", "{}", "").Replace(text)
}

func TestVariablesAndKeysAreUnique(t *testing.T) {
	paths, envs := map[string]bool{}, map[string]bool{}
	for _, f := range loader.Fields(Default(), prefix) {
		if paths[f.Path] || f.Env != "" && envs[f.Env] {
			t.Errorf("%s (%s) is there twice", f.Path, f.Env)
		}
		if f.Env != "" && !strings.HasPrefix(f.Env, prefix) {
			t.Errorf("%s: variable %q does not start with %s", f.Path, f.Env, prefix)
		}
		paths[f.Path], envs[f.Env] = true, true
	}
}

func load(t *testing.T, file string, env ...string) (*Config, []string, error) {
	t.Helper()
	name := ""
	if file != "" {
		name = filepath.Join(t.TempDir(), "kuma-cp.yaml")
		if err := os.WriteFile(name, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return Load(name, env)
}

func TestDefaultsNeedNoWarning(t *testing.T) {
	c, warnings, err := load(t, "")
	if err != nil || len(warnings) > 0 {
		t.Fatalf("got %q, %v", warnings, err)
	}
	if c.IsGlobal() || c.IsFederatedZone() {
		t.Error("the default is a zone on its own")
	}
}

func TestRoles(t *testing.T) {
	c, _, err := load(t, "mode: global\n")
	if err != nil || !c.IsGlobal() || c.IsFederatedZone() {
		t.Errorf("global: %v", err)
	}
	c, _, err = load(t, "", "KUMA_MULTIZONE_ZONE_GLOBAL_ADDRESS=grpcs://g:5685", "KUMA_MULTIZONE_ZONE_NAME=east")
	if err != nil || c.IsGlobal() || !c.IsFederatedZone() {
		t.Errorf("federated zone: %v", err)
	}
	c, warnings, err := load(t, "mode: standalone\n")
	if err != nil || c.Mode != ModeZone || len(warnings) != 1 {
		t.Errorf("standalone: %v, %q", err, warnings)
	}
}

// Each entry gives settings that are refused, and the path that is reported.
func TestValidation(t *testing.T) {
	for want, c := range map[string]struct {
		file string
		env  []string
	}{
		"environment":                                    {"environment: moon\n", nil},
		"mode":                                           {"mode: solo\n", nil},
		"store.type":                                     {"store: {type: etcd}\n", nil},
		"store.sqlite.path":                              {"store: {sqlite: {path: ''}}\n", nil},
		"store.encryption":                               {"store: {encryption: {keyFile: a, keys: 'b:c'}}\n", nil},
		"store.postgres.host":                            {"store: {type: postgres, postgres: {host: ''}}\n", nil},
		"store.postgres.port":                            {"store: {type: postgres, postgres: {port: 0}}\n", nil},
		"store.postgres.tls.mode":                        {"store: {type: postgres, postgres: {tls: {mode: on}}}\n", nil},
		"store.postgres.tls.caPath":                      {"store: {type: postgres, postgres: {tls: {mode: verifyFull}}}\n", nil},
		"store.postgres.tls.keyPath":                     {"store: {type: postgres, postgres: {tls: {certPath: a}}}\n", nil},
		"store.postgres.driverName":                      {"store: {type: postgres, postgres: {driverName: postgres}}\n", nil},
		"apiServer.http.port":                            {"", []string{"KUMA_API_SERVER_HTTP_PORT=65536"}},
		"apiServer.http.interface":                       {"", []string{"KUMA_API_SERVER_HTTP_INTERFACE=eth0"}},
		"apiServer.http.enabled":                         {"apiServer: {http: {enabled: false}, https: {enabled: false}}\n", nil},
		"apiServer.basePath":                             {"apiServer: {basePath: mesh}\n", nil},
		"apiServer.gui.basePath":                         {"apiServer: {gui: {basePath: /}}\n", nil},
		"apiServer.rootUrl":                              {"apiServer: {rootUrl: 'dash.example.com'}\n", nil},
		"apiServer.https.requireClientCert":              {"apiServer: {https: {requireClientCert: true}}\n", nil},
		"apiServer.authn.type":                           {"apiServer: {authn: {type: basic}}\n", nil},
		"apiServer.authn.tokens.validator.publicKeys[0]": {"apiServer: {authn: {tokens: {validator: {publicKeys: [{kid: '1'}]}}}}\n", nil},
		"dpServer.authn.dpProxy.dpToken.validator.publicKeys[1].kid":     {"dpServer: {authn: {dpProxy: {dpToken: {validator: {publicKeys: [{kid: '1', keyFile: f, mesh: m}, {key: k}]}}}}}\n", nil},
		"dpServer.authn.zoneProxy.zoneToken.validator.publicKeys[0]":     {"dpServer: {authn: {zoneProxy: {zoneToken: {validator: {publicKeys: [{kid: a, key: k, keyFile: f}]}}}}}\n", nil},
		"dpServer.authn.dpProxy.type":                                    {"dpServer: {authn: {dpProxy: {type: serviceAccountToken}}}\n", nil},
		"dpServer.authn.zoneProxy.type":                                  {"dpServer: {authn: {zoneProxy: {type: dpToken}}}\n", nil},
		"dpServer.tlsMinVersion":                                         {"dpServer: {tlsMinVersion: TLSv1_1}\n", nil},
		"dpServer.tlsMaxVersion":                                         {"dpServer: {tlsMinVersion: TLSv1_3, tlsMaxVersion: TLSv1_2}\n", nil},
		"general.tlsCipherSuites[1]":                                     {"", []string{"KUMA_GENERAL_TLS_CIPHER_SUITES=TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,TLS_RSA_WITH_RC4_128_SHA"}},
		"diagnostics.tlsKeyFile":                                         {"diagnostics: {tlsCertFile: c}\n", nil},
		"multizone.global.kds.tlsCertFile":                               {"multizone: {global: {kds: {tlsKeyFile: k}}}\n", nil},
		"multizone.global.kds.zoneHealthCheck":                           {"multizone: {global: {kds: {zoneHealthCheck: {timeout: 1m}}}}\n", nil},
		"multizone.zone.name":                                            {"", []string{"KUMA_MULTIZONE_ZONE_NAME=" + strings.Repeat("z", 64)}},
		"multizone.zone.globalAddress":                                   {"multizone: {zone: {globalAddress: 'https://g:5685'}}\n", nil},
		"dnsServer.CIDR":                                                 {"dnsServer: {CIDR: 240.0.0.0}\n", nil},
		"ipam.knownInternalCIDRs[0]":                                     {"ipam: {knownInternalCIDRs: [x]}\n", nil},
		"access.type":                                                    {"access: {type: rbac}\n", nil},
		"runtime.kubernetes.admissionServer.certDir":                     {"environment: kubernetes\nstore: {type: kubernetes}\n", nil},
		"runtime.kubernetes.injector.sidecarContainer.ipFamilyMode":      {"runtime: {kubernetes: {injector: {sidecarContainer: {ipFamilyMode: ipv6}}}}\n", nil},
		"runtime.kubernetes.leaderElection.renewDeadline":                {"", []string{"KUMA_RUNTIME_KUBERNETES_LEADER_ELECTION_RENEW_DEADLINE=15s"}},
		"xdsServer.dataplaneStatusFlushInterval":                         {"", []string{"KUMA_XDS_SERVER_DATAPLANE_STATUS_FLUSH_INTERVAL=0s"}},
		"general.resilientComponentMaxBackoff":                           {"general: {resilientComponentMaxBackoff: 1s}\n", nil},
		"general.dnsCacheTTL":                                            {"general: {dnsCacheTTL: -1s}\n", nil},
		"runtime.kubernetes.injector.sidecarTraffic.excludeInboundPorts": {"", []string{"KUMA_RUNTIME_KUBERNETES_SIDECAR_TRAFFIC_EXCLUDE_INBOUND_PORTS=80,70000"}},
	} {
		t.Run(want, func(t *testing.T) {
			_, _, err := load(t, c.file, c.env...)
			var bad *Invalid
			if !errors.As(err, &bad) {
				t.Fatalf("got %v, want *Invalid", err)
			}
			if len(bad.Violations) != 1 || bad.Violations[0].Field != want {
				t.Errorf("got %v, want one violation at %s", err, want)
			}
		})
	}
}

func TestAllProblemsAtOnceWithTheirVariables(t *testing.T) {
	_, _, err := load(t, "store: {type: etcd}\nmode: 7\n", "KUMA_API_SERVER_HTTP_PORT=x", "KUMA_DIAGNOSTICS_SERVER_PORT=-1")
	if err == nil {
		t.Fatal("no error")
	}
	for _, part := range []string{
		"\n  store.type (KUMA_STORE_TYPE): ", "\n  mode (KUMA_MODE): ", "\n  apiServer.http.port: ",
		"(variable KUMA_API_SERVER_HTTP_PORT)", "\n  diagnostics.serverPort (KUMA_DIAGNOSTICS_SERVER_PORT): -1 ",
	} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q is missing in:\n%v", part, err)
		}
	}
	if n := strings.Count(err.Error(), "\n"); n != 4 {
		t.Errorf("%d problems instead of 4:\n%v", n, err)
	}
}

func TestFileErrors(t *testing.T) {
	if _, _, err := Load("/does/not/exist", nil); err == nil || !strings.Contains(err.Error(), "/does/not/exist") {
		t.Errorf("absent file: %v", err)
	}
	if _, _, err := load(t, "store: {\n"); err == nil || !strings.Contains(err.Error(), "kuma-cp.yaml") {
		t.Errorf("broken file: %v", err)
	}
}

func TestAliases(t *testing.T) {
	for alias, right := range envAliases {
		value := "/x"
		if strings.HasSuffix(alias, "PORT") {
			value = "81"
		}
		c, warnings, err := load(t, "", alias+"="+value)
		if err != nil || len(warnings) != 1 || !strings.Contains(warnings[0], right) {
			t.Errorf("%s: %q, %v", alias, warnings, err)
			continue
		}
		for _, f := range loader.Fields(c, prefix) {
			if f.Env == right && fmt.Sprint(f.Value) != value {
				t.Errorf("%s did not set %s", alias, f.Path)
			}
		}
	}
}

func TestOtherPeoplesVariables(t *testing.T) {
	_, warnings, err := load(t, "",
		"KUMA_CONTROL_PLANE_SERVICE_HOST=10.0.0.1", "KUMA_CONTROL_PLANE_PORT=tcp://10.0.0.1:5681", "KUMA_CONTROL_PLANE_PORT_5681_TCP_ADDR=10.0.0.1",
		"KUMA_INGRESS_SERVICE_HOST=10.0.0.2", "KUMA_INGRESS_SERVICE_PORT_HTTP=1", "KUMA_INGRESS_PORT_1_TCP=tcp://x",
		"KUMA_DATAPLANE_MESH=default", "KUMA_DNS_ENABLED=true", "KUMA_LOG_FORMAT=json")
	if err != nil || len(warnings) > 0 {
		t.Errorf("got %q, %v", warnings, err)
	}
	_, warnings, _ = load(t, "", "KUMA_DIAGNOSTIC_SERVER_PORT=1", "KUMA_POSTGRES_HOST=h")
	if len(warnings) != 2 || !strings.Contains(warnings[0], "did you mean KUMA_DIAGNOSTICS_SERVER_PORT?") || !strings.Contains(warnings[1], "did you mean KUMA_STORE_POSTGRES_HOST?") {
		t.Errorf("got %q", warnings)
	}
}

func TestRisks(t *testing.T) {
	for name, c := range map[string]struct {
		env  []string
		want string
	}{
		"localhost":       {[]string{"KUMA_API_SERVER_AUTHN_LOCALHOST_IS_ADMIN=true"}, "localhostIsAdmin"},
		"plain HTTP":      {[]string{"KUMA_API_SERVER_HTTP_INTERFACE=0.0.0.0"}, "apiServer.http.interface"},
		"web pages":       {[]string{"KUMA_API_SERVER_CORS_ALLOWED_DOMAINS=.*"}, "corsAllowedDomains"},
		"open writes":     {[]string{"KUMA_ACCESS_STATIC_WRITE_RESOURCES_GROUPS=mesh-system:unauthenticated"}, "writeResources"},
		"open secrets":    {[]string{"KUMA_ACCESS_STATIC_ADMIN_RESOURCES_GROUPS=mesh-system:unauthenticated"}, "adminResources"},
		"open tokens":     {[]string{"KUMA_ACCESS_STATIC_GENERATE_DP_TOKEN_GROUPS=mesh-system:unauthenticated"}, "issue tokens"},
		"any proxy":       {[]string{"KUMA_DP_SERVER_AUTHN_DP_PROXY_TYPE=none"}, "dpProxy"},
		"any zone proxy":  {[]string{"KUMA_DP_SERVER_AUTHN_ZONE_PROXY_TYPE=none"}, "zoneProxy"},
		"memory":          {[]string{"KUMA_STORE_TYPE=memory"}, "memory"},
		"plain global":    {[]string{"KUMA_MULTIZONE_ZONE_GLOBAL_ADDRESS=grpc://g:1"}, "use grpcs://"},
		"unverified":      {[]string{"KUMA_MULTIZONE_ZONE_GLOBAL_ADDRESS=grpcs://g:1", "KUMA_MULTIZONE_ZONE_KDS_TLS_SKIP_VERIFY=true"}, "tlsSkipVerify is true"},
		"plain zones":     {[]string{"KUMA_MODE=global", "KUMA_MULTIZONE_GLOBAL_KDS_TLS_ENABLED=false"}, "tlsEnabled is false"},
		"odd zone name":   {[]string{"KUMA_MULTIZONE_ZONE_NAME=East_1"}, "DNS label"},
		"remote database": {[]string{"KUMA_STORE_TYPE=postgres", "KUMA_STORE_POSTGRES_HOST=db", "KUMA_STORE_POSTGRES_PASSWORD=x"}, "verifyFull"},
		"known password":  {[]string{"KUMA_STORE_TYPE=postgres"}, "well-known"},
		"old interval":    {[]string{"KUMA_METRICS_MESH_MIN_RESYNC_TIMEOUT=3s"}, "metrics.mesh.minResyncTimeout has no effect"},
		"polling":         {[]string{"KUMA_XDS_SERVER_DATAPLANE_CONFIGURATION_REFRESH_INTERVAL=5s"}, "has no effect: changes are sent at once"},
		"global":          {[]string{"KUMA_MODE=global"}, "zones cannot connect yet"},
		"federated zone":  {[]string{"KUMA_MULTIZONE_ZONE_GLOBAL_ADDRESS=grpcs://g:1"}, "no meshes and no policies"},
	} {
		t.Run(name, func(t *testing.T) {
			_, warnings, err := load(t, "", c.env...)
			meant := slices.DeleteFunc(slices.Clone(warnings), func(w string) bool { return !strings.Contains(w, c.want) })
			if err != nil || len(meant) != 1 {
				t.Errorf("got %q, %v", warnings, err)
			}
		})
	}
}

func TestCompleteInheritsTLS(t *testing.T) {
	c, _, err := load(t, `
general: {tlsMinVersion: TLSv1_3, tlsMaxVersion: TLSv1_3, tlsCipherSuites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]}
dpServer: {tlsMinVersion: TLSv1_2, tlsCertFile: own.crt, tlsKeyFile: own.key}
environment: universal
`)
	if err != nil {
		t.Fatal(err)
	}
	c.Complete(Machine{CertFile: "m.crt", KeyFile: "m.key", Address: "10.0.0.1"})
	https, dp := c.APIServer.HTTPS, c.DPServer
	if https.TLSCertFile != "m.crt" || https.TLSKeyFile != "m.key" || c.General.TLSCertFile != "m.crt" {
		t.Errorf("the API uses %s and %s", https.TLSCertFile, https.TLSKeyFile)
	}
	if dp.TLSCertFile != "own.crt" || dp.TLSKeyFile != "own.key" {
		t.Errorf("the data plane server lost its certificate: %s", dp.TLSCertFile)
	}
	if https.TLSMinVersion != "TLSv1_3" || dp.TLSMinVersion != "TLSv1_2" {
		t.Errorf("versions: API %s, data plane server %s", https.TLSMinVersion, dp.TLSMinVersion)
	}
	if c.InterCP.Server.TLSMaxVersion != "TLSv1_3" || len(c.MADS.TLSCipherSuites) != 1 {
		t.Error("general versions and ciphers did not reach all servers")
	}
	if dp.Authn.DPProxy.Type != ProxyAuthnDPToken || dp.Authn.ZoneProxy.Type != ProxyAuthnZoneToken ||
		c.BootstrapServer.Params.XDSPort != 5678 || c.InterCP.Catalog.InstanceAddress != "10.0.0.1" {
		t.Errorf("what follows from other settings is missing: %+v", dp.Authn)
	}
}

func TestOwnCertificateNeedsRSA(t *testing.T) {
	const rsa, ecdsa = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"
	for file, want := range map[string]bool{
		"mode: zone\n": false,
		"general: {tlsCipherSuites: [" + rsa + "]}\n":                                            true,
		"general: {tlsCipherSuites: [" + rsa + ", " + ecdsa + "]}\n":                             false,
		"dpServer: {tlsCipherSuites: [" + rsa + "]}\n":                                           true,
		"dpServer: {tlsCipherSuites: [" + rsa + "], tlsCertFile: a, tlsKeyFile: b}\n":            false,
		"general: {tlsCertFile: a, tlsKeyFile: b}\ndpServer: {tlsCipherSuites: [" + rsa + "]}\n": false,
	} {
		c, _, err := load(t, file)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.OwnCertificateNeedsRSA(); got != want {
			t.Errorf("%s: %v", file, got)
		}
	}
}

func TestWorkDir(t *testing.T) {
	c := Default()
	if err := c.ResolveWorkDir(""); err == nil {
		t.Error("no home folder and none set: want an error")
	}
	if err := c.ResolveWorkDir("/home/ann"); err != nil || c.General.WorkDir != "/home/ann/.kuma" {
		t.Errorf("got %s, %v", c.General.WorkDir, err)
	}
	if f := c.Store.SQLite.File(c.General.WorkDir); f != "/home/ann/.kuma/kuma-cp.db" {
		t.Errorf("database in %s", f)
	}
	if f := (SQLite{Path: "/data/x.db"}).File("/home"); f != "/data/x.db" {
		t.Errorf("absolute database path became %s", f)
	}
}

func TestSecretsAreNotShown(t *testing.T) {
	const canary = "canary-7f3"
	c, _, err := load(t, "", "KUMA_STORE_TYPE=postgres", "KUMA_STORE_POSTGRES_PASSWORD="+canary)
	if err != nil {
		t.Fatal(err)
	}
	if string(c.Store.Postgres.Password) != canary {
		t.Fatal("the password did not arrive")
	}
	shown, err := json.Marshal(c.Shown())
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "a", c.Store.Postgres.Password, "b", c.Store.Postgres, "c", c)
	all := string(shown) + string(raw) + log.String() + fmt.Sprintf("%v %+v %#v %s %q %x", c, c, c, c.Store.Postgres.Password, c.Store.Postgres.Password, c.Store.Postgres.Password)
	if strings.Contains(all, canary) || strings.Contains(all, fmt.Sprintf("%x", canary)) {
		t.Errorf("the password is shown in %s", all)
	}
	if !strings.Contains(string(shown), `"password":"*****"`) {
		t.Errorf("no asterisks in %s", shown)
	}
}
