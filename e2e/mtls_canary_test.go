package e2e

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"weft/internal/mesh/catalog"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
	"weft/internal/testkit/pgtest"
)

// needles are secrets in the forms in which they could be seen.
type needles map[string][]string

// plant adds a secret: as it is, and in base64. Of PEM each line of a key counts.
func (n needles) plant(name string, value []byte) {
	n[name] = append(n[name], base64.StdEncoding.EncodeToString(value))
	if !bytes.HasPrefix(value, []byte("-----BEGIN")) {
		n[name] = append(n[name], string(value))
		return
	}
	private := false
	for line := range strings.Lines(string(value)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "-----BEGIN") {
			private = strings.Contains(line, "PRIVATE KEY")
		} else if private && len(line) > 40 {
			n[name] = append(n[name], line)
		}
	}
}

// check fails the test if a text holds a secret, without showing it.
func (n needles) check(t *testing.T, where, text string) {
	t.Helper()
	for name, forms := range n {
		for _, f := range forms {
			if strings.Contains(text, f) {
				t.Errorf("%s can be read in %s", name, where)
				break
			}
		}
	}
}

// Secrets that are planted in every place for them are seen nowhere else: not in
// logs at the most talkative level, not in settings, lists, overviews, dumps of
// what proxies are told, dumps of Envoy, metrics, or the database.
func TestMTLSCanary(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	encryption := []byte("0123456789-canary-of-the-store-0")
	cp := startCP(t, dir, "KUMA_STORE_ENCRYPTION_KEYS=k1:"+base64.StdEncoding.EncodeToString(encryption), "KUMA_LOG_LEVEL=debug")
	seen := needles{}
	seen.plant("the encryption key", encryption)
	seen.plant("the administrator's token", []byte(cp.token))
	for _, begin := range []string{"-----BEGIN PRIVATE KEY", "-----BEGIN EC PRIVATE KEY", "-----BEGIN RSA PRIVATE KEY"} {
		seen["any private key"] = append(seen["any private key"], begin, base64.StdEncoding.EncodeToString([]byte(begin))[:24])
	}

	secret := func(path, kind, mesh, name string, value []byte) {
		seen.plant(kind+" "+name, value)
		o := map[string]any{"type": kind, "name": name, "data": base64.StdEncoding.EncodeToString(value)}
		if mesh != "" {
			o["mesh"] = mesh
		}
		cp.must(http.MethodPut, path+"/"+name, o)
	}
	secret("/meshes/default/secrets", "Secret", "default", "canary", []byte("canary-in-a-secret"))
	secret("/global-secrets", "GlobalSecret", "", "canary", []byte("canary-in-a-global-secret"))
	caCert, caKey := newAuthority(t)
	secret("/meshes/default/secrets", "Secret", "default", "own-key", caKey)
	clientCert, clientKey := newClient(t)
	secret("/meshes/default/secrets", "Secret", "default", "client-key", clientKey)

	cp.must(http.MethodPut, "/meshes/default", map[string]any{"type": "Mesh", "name": "default", "mtls": map[string]any{
		"enabledBackend": "own", "backends": []any{
			map[string]any{"name": "own", "type": "provided", "conf": map[string]any{
				"cert": map[string]any{"inlineString": string(caCert)}, "key": map[string]any{"secret": "own-key"}}},
			map[string]any{"name": "ca-1", "type": "builtin"},
		},
	}})
	cp.must(http.MethodPut, "/meshes/default/external-services/outside", map[string]any{
		"type": "ExternalService", "mesh": "default", "name": "outside", "tags": map[string]string{"kuma.io/service": "outside", "kuma.io/protocol": "http"},
		"networking": map[string]any{"address": "127.0.0.1:1", "tls": map[string]any{
			"enabled": true, "clientCert": map[string]any{"inlineString": string(clientCert)}, "clientKey": map[string]any{"secret": "client-key"},
		}},
	})
	cp.allow("default", "all", "Allow", nil)
	for _, list := range []string{"/meshes/default/secrets", "/global-secrets"} { // what the control plane made itself
		var all struct {
			Items []struct {
				Name string
				Data []byte
			}
		}
		if err := json.Unmarshal([]byte(cp.must(http.MethodGet, list, nil)), &all); err != nil || len(all.Items) < 3 {
			t.Fatalf("%s: %v, %d items", list, err, len(all.Items))
		}
		for _, s := range all.Items {
			if !strings.Contains(s.Name, "-cert-") {
				seen.plant(s.Name, s.Data)
			}
		}
	}
	p := ports(t, 2)
	web := cp.startDP(t, sidecar{name: "web-1", service: "web", protocol: "http", app: app(t, "web"), outbounds: map[int]map[string]string{p[1]: to("outside")}})
	client := cp.startDP(t, sidecar{name: "client", service: "client", protocol: "http", outbounds: map[int]map[string]string{p[0]: to("web")}})
	(&pair{web: web, client: client, url: fmt.Sprintf("http://127.0.0.1:%d/", p[0])}).answers(t)
	for _, d := range []*dataplane{web, client} {
		seen.plant("the token of "+d.name, []byte(d.token))
	}

	answers := map[int]int{}
	for _, path := range apiPaths() {
		for who, token := range map[string]string{"an administrator": cp.token, "nobody": ""} {
			status, text := cp.requestAs(token, path)
			if status == 0 {
				t.Fatalf("GET %s: %s", path, text)
			}
			answers[status]++
			seen.check(t, fmt.Sprintf("GET %s (%d) of %s", path, status, who), text)
		}
	}
	if answers[http.StatusOK] < 200 {
		t.Errorf("too few pages were seen: %v", answers)
	}
	if _, text := cp.requestAs(cp.token, "/meshes/default/dataplanes/web-1/xds"); !strings.Contains(text, "identity_cert:secret:default") {
		t.Errorf("the dump of the proxy's configuration says nothing of its certificate: %.200s", text)
	}
	for _, path := range []string{"/meshes/default/secrets", "/meshes/default/secrets/canary", "/global-secrets", "/global-secrets/canary"} {
		if status, _ := cp.requestAs("", path); status != http.StatusForbidden {
			t.Errorf("GET %s of nobody: %d", path, status)
		}
	}
	for _, page := range []string{"/metrics", "/ready?verbose"} {
		text, err := fetch(cp.diag + page)
		if err != nil {
			t.Error(err)
		}
		seen.check(t, "the diagnostics "+page, text)
	}
	for _, d := range []*dataplane{web, client} {
		for _, page := range []string{"config_dump?include_eds", "config_dump?resource=&mask=", "certs", "stats", "clusters", "listeners", "server_info", "memory", "runtime"} {
			text, err := fetch(fmt.Sprintf("http://127.0.0.1:%d/%s", d.admin, page))
			if err != nil {
				t.Error(err)
			}
			seen.check(t, fmt.Sprintf("Envoy's %s of %s", page, d.name), text)
		}
		seen.check(t, "the log of "+d.name, d.output())
	}
	seen.check(t, "the log of kuma-cp", cp.output())
	files, err := filepath.Glob(filepath.Join(dir, "kuma-cp.db*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no database: %v", err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		seen.check(t, filepath.Base(f), string(b))
	}
}

// newClient returns a certificate and key of a client, PEM.
func newClient(t *testing.T) (cert, key []byte) {
	t.Helper()
	ca, err := tls.X509KeyPair(newAuthority(t))
	if err != nil {
		t.Fatal(err)
	}
	leaf := leafOf(t, ca, "spiffe://somewhere/client")
	der, err := x509.MarshalPKCS8PrivateKey(leaf.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Certificate[0]}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// apiPaths lists all pages of the API but those of secrets.
func apiPaths() []string {
	out := []string{
		"/", "/config", "/meshes", "/policies", "/versions", "/global-insight", "/_resources", "/status/zones", "/mesh-insights/default",
		"/meshes/default", "/dataplanes+insights", "/dataplanes/_overview", "/service-insights", "/meshes/default/service-insights",
		"/meshes/default/dataplanes+insights", "/meshes/default/dataplanes/_overview", "/meshes/default/external-services/outside",
		"/meshes/default/service-insights/web", "/zones+insights",
	}
	for _, k := range catalog.Kinds {
		if k == kinds.Secret || k == kinds.GlobalSecret {
			continue
		}
		out = append(out, "/"+k.Plural, "/"+k.Plural+"?format=kubernetes")
		if k.Scope == model.InMesh {
			out = append(out, "/meshes/default/"+k.Plural, "/meshes/default/"+k.Plural+"?format=kubernetes")
		}
	}
	for _, d := range []string{"web-1", "client"} {
		for _, page := range []string{
			"", "/_overview", "/_config", "/_config?shadow=true&include=diff", "/_intent", "/_explain", "/_explain-request?to=web", "/_rules", "/xds", "/xds?include_eds=true", "/stats", "/clusters", "/policies", "/rules",
		} {
			out = append(out, "/meshes/default/dataplanes/"+d+page)
		}
		out = append(out, "/meshes/default/dataplanes+insights/"+d, "/meshes/default/dataplane-insights/"+d)
	}
	return out
}

// requestAs gets a page with a token; "" = none.
func (cp *controlPlane) requestAs(token, path string) (int, string) {
	cp.t.Helper()
	other := *cp
	other.token = token
	return other.request(http.MethodGet, path, nil)
}

// With a key PostgreSQL holds no secret that can be read; without it the control
// plane does not start on that data, and says which key it needs.
func TestMTLSEncryptedPostgres(t *testing.T) {
	t.Parallel()
	db := pgtest.Start(t)
	env := []string{
		"KUMA_STORE_TYPE=postgres", "KUMA_STORE_POSTGRES_HOST=" + db.Host, fmt.Sprintf("KUMA_STORE_POSTGRES_PORT=%d", db.Port),
		"KUMA_STORE_POSTGRES_USER=" + db.User, "KUMA_STORE_POSTGRES_PASSWORD=" + db.Password, "KUMA_STORE_POSTGRES_DB_NAME=" + db.Name,
	}
	migrate := start(t, "migrate", env, binary(t, "kuma-cp"), "migrate", "up")
	if err := migrate.wait(30e9); err != nil {
		t.Fatalf("%v: %s", err, migrate.tail(10))
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "keys")
	write(t, file, "# since today\nk1:"+base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32))+"\n")
	cp := startCP(t, dir, append(env, "KUMA_STORE_ENCRYPTION_KEY_FILE="+file)...)
	cp.must(http.MethodPut, "/meshes/default/secrets/canary", map[string]any{
		"type": "Secret", "mesh": "default", "name": "canary", "data": base64.StdEncoding.EncodeToString([]byte("canary-in-postgres")),
	})
	if got := cp.must(http.MethodGet, "/meshes/default/secrets/canary", nil); !strings.Contains(got, base64.StdEncoding.EncodeToString([]byte("canary-in-postgres"))) {
		t.Errorf("read back %s", got)
	}
	rows, err := db.Connect(t).Query(t.Context(), "SELECT type, name, spec FROM resources")
	if err != nil {
		t.Fatal(err)
	}
	secrets := 0
	for rows.Next() {
		var typ, name, spec string
		if err := rows.Scan(&typ, &name, &spec); err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(typ, "Secret") {
			secrets++
			if !strings.HasPrefix(spec, `{"sealed":`) {
				t.Errorf("%s %s is kept as it is", typ, name)
			}
		}
	}
	if err := rows.Err(); err != nil || secrets < 4 {
		t.Errorf("%d secrets in the database, %v", secrets, err)
	}
	cp.kill()

	blind := start(t, "without-key", append(cp.env[:len(cp.env):len(cp.env)], "KUMA_STORE_ENCRYPTION_KEY_FILE="), binary(t, "kuma-cp"), "run")
	if err := blind.wait(30e9); err == nil || !strings.Contains(blind.output(), "k1") || strings.Contains(blind.output(), "control plane is up") {
		t.Errorf("without the key: %v\n%s", err, blind.tail(5))
	}
}
