package client

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

func client(t *testing.T, o Options) *Client {
	t.Helper()
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// serve answers every request with f.
func serve(t *testing.T, f http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	return s
}

func TestOptionsAreChecked(t *testing.T) {
	for _, c := range []struct {
		name string
		o    Options
		want string
	}{
		{"no URL", Options{URL: "localhost"}, "http://"},
		{"scheme", Options{URL: "ftp://localhost"}, "http://"},
		{"password", Options{URL: "http://me:secret@localhost"}, "token"},
		{"broken with password", Options{URL: "http://me:secret@local host"}, "http://"},
		{"authority", Options{URL: "https://localhost", CAPEM: []byte("hello")}, "no PEM"},
		{"pair", Options{URL: "https://localhost", CertPEM: []byte("x"), KeyPEM: []byte("y")}, "client certificate"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := New(c.o)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error is %v, want something about %q", err, c.want)
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("the error holds the password: %v", err)
			}
		})
	}
}

func TestCertificatesAreVerified(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"product":"Kuma"}`) }))
	t.Cleanup(s.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})

	_, _, err := client(t, Options{URL: s.URL}).Index(t.Context())
	if err == nil {
		t.Fatal("a certificate of an unknown authority was accepted")
	}
	for _, way := range []string{"--ca-cert-file", "--skip-verify", "insecure"} {
		if !strings.Contains(err.Error(), way) {
			t.Errorf("the error does not mention %s: %v", way, err)
		}
	}
	for name, o := range map[string]Options{
		"authority":       {URL: s.URL, CAPEM: ca},
		"more authority":  {URL: s.URL, MoreCAPEM: ca},
		"told not to ask": {URL: s.URL, SkipVerify: true},
	} {
		if _, _, err := client(t, o).Index(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	// The certificate is for example.com and 127.0.0.1, not for localhost.
	other := strings.Replace(s.URL, "127.0.0.1", "localhost", 1)
	if _, _, err := client(t, Options{URL: other, CAPEM: ca}).Index(t.Context()); err == nil {
		t.Error("a certificate for another host was accepted")
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.TLS = &tls.Config{MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10} //nolint:gosec // because the client must refuse it
	s.StartTLS()
	t.Cleanup(s.Close)
	if _, _, err := client(t, Options{URL: s.URL, SkipVerify: true}).Index(t.Context()); err == nil {
		t.Error("TLS 1.1 was accepted")
	}
}

func TestWhatListensIsNoTLS(t *testing.T) {
	s := serve(t, func(http.ResponseWriter, *http.Request) {})
	_, _, err := client(t, Options{URL: strings.Replace(s.URL, "http:", "https:", 1)}).Index(t.Context())
	if err == nil || !strings.Contains(err.Error(), "does not speak TLS") {
		t.Errorf("error is %v", err)
	}
}

func TestNobodyListensOrAnswers(t *testing.T) {
	_, _, err := client(t, Options{URL: "http://127.0.0.1:1"}).Index(t.Context())
	if err == nil || !strings.Contains(err.Error(), "cannot be reached") {
		t.Errorf("error is %v", err)
	}
	stop := make(chan struct{})
	s := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-stop:
		case <-r.Context().Done():
		}
	})
	t.Cleanup(func() { close(stop) })
	_, _, err = client(t, Options{URL: s.URL, Timeout: 50 * time.Millisecond}).Index(t.Context())
	if err == nil || !strings.Contains(err.Error(), "--api-timeout") {
		t.Errorf("error is %v", err)
	}
}

// A token that was found on this host is of no use at another control plane
// behind a local port; then requests go without it.
func TestFoundToken(t *testing.T) {
	for token, proxy := range map[string]bool{"found": false, "": true} {
		c := client(t, Options{URL: "http://LOCALHOST:5681", FoundToken: token})
		if got := c.http.Transport.(*http.Transport).Proxy != nil; got != proxy {
			t.Errorf("token %q: a proxy is asked: %t", token, got)
		}
	}
	var seen []string
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.Header.Get("Authorization"))
		switch {
		case r.Header.Get("Authorization") == "Bearer wrong":
			w.WriteHeader(http.StatusUnauthorized)
		case r.URL.Path == "/secret":
			w.WriteHeader(http.StatusForbidden)
		}
		fmt.Fprint(w, `{}`)
	})
	c := client(t, Options{URL: s.URL, FoundToken: "wrong"})
	for range 2 {
		if _, err := c.Get(t.Context(), "/secret", nil); err == nil || !strings.Contains(err.Error(), "found on this host is not accepted") {
			t.Errorf("what the token would have opened: %v", err)
		}
	}
	seen = nil
	c = client(t, Options{URL: s.URL, FoundToken: "wrong"})
	for range 2 {
		if _, err := c.Get(t.Context(), "/x", nil); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"Bearer wrong", "", ""}, seen); diff != "" {
		t.Error(diff)
	}
	seen = nil
	given := http.Header{"Authorization": {"Bearer given"}}
	if _, err := client(t, Options{URL: s.URL, FoundToken: "wrong", Headers: given}).Get(t.Context(), "/x", nil); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"Bearer given"}, seen); diff != "" {
		t.Error(diff)
	}
}

func TestRedirectsStayAtTheServer(t *testing.T) {
	leaked := ""
	other := serve(t, func(_ http.ResponseWriter, r *http.Request) { leaked = r.Header.Get("X-Key") })
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/away":
			http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
		case "/near":
			http.Redirect(w, r, "/there", http.StatusTemporaryRedirect)
		case "/loop":
			http.Redirect(w, r, "/loop", http.StatusTemporaryRedirect)
		}
	})
	c := client(t, Options{URL: s.URL, Headers: http.Header{"X-Key": {"secret"}}})
	if _, err := c.Get(t.Context(), "/away", nil); err == nil || leaked != "" {
		t.Errorf("followed a redirect to another server: %v, which got %q", err, leaked)
	}
	if _, err := c.Get(t.Context(), "/near", nil); err != nil {
		t.Error(err)
	}
	if _, err := c.Get(t.Context(), "/loop", nil); err == nil {
		t.Error("followed redirects without end")
	}
}

func TestErrors(t *testing.T) {
	for _, c := range []struct {
		name, body, want string
	}{
		{
			"error body", `{"title":"Could not x","detail":"Resource is not valid","invalid_parameters":[{"field":"a.b","reason":"is bad"},{"field":"c","reason":"too"}]}`,
			"Could not x (Resource is not valid)\n* a.b: is bad\n* c: too",
		},
		{"detail ends with a newline", `{"title":"Method not allowed","detail":"not here\n"}`, "Method not allowed (not here)"},
		{"text", "404: Page Not Found", "the control plane answered 400 Bad Request (404: Page Not Found)"},
		{"page of a proxy", "<html><body>nginx</body></html>", "the control plane answered 400 Bad Request (no reason was given)"},
		{"nothing", "", "the control plane answered 400 Bad Request (no reason was given)"},
		{"terminal", `{"title":"a\u001b[2Jb","detail":"c"}`, "a\uFFFD[2Jb (c)"},
		{"other JSON", `["x"]`, `the control plane answered 400 Bad Request (["x"])`},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusBadRequest)
				fmt.Fprint(w, c.body)
			})
			_, err := client(t, Options{URL: s.URL}).Get(t.Context(), "/", nil)
			if err == nil || err.Error() != c.want {
				t.Errorf("error is %q, want %q", err, c.want)
			}
		})
	}
}

func TestPaths(t *testing.T) {
	var got string
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got = r.RequestURI
		fmt.Fprint(w, `{"type":"Dataplane","mesh":"m","name":"x"}`)
	})
	for _, c := range []struct {
		base, mesh, name, want string
	}{
		{"", "m", "web-1", "/meshes/m/dataplanes/web-1"},
		{"/", "", "", "/dataplanes"},
		{"/base/path", "m", "a..b", "/base/path/meshes/m/dataplanes/a..b"},
		{"", "m", "a?b#c d", "/meshes/m/dataplanes/a%3Fb%23c%20d"},
	} {
		if _, err := client(t, Options{URL: s.URL + c.base}).Get(t.Context(), Path(kinds.Dataplane, c.mesh, c.name), nil); err != nil {
			t.Fatal(err)
		}
		if got != c.want {
			t.Errorf("%q below %q is asked as %s, want %s", c.name, c.base, got, c.want)
		}
	}
}

// Whoever sends a token that is over is told so.
func TestTokenThatEnded(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"title":"Invalid authentication data","detail":"Unauthenticated"}`)
	})
	for claims, want := range map[string]string{
		`{"exp":86400}`:      "the token ended at 1970-01-02T00:00:00Z",
		`{"exp":7258118400}`: "Invalid authentication data (Unauthenticated)",
		`nonsense`:           "Invalid authentication data (Unauthenticated)",
	} {
		text := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"RS256"}`)) + "." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2ln"
		_, err := client(t, Options{URL: s.URL, Headers: http.Header{"Authorization": {"Bearer " + text}}}).Get(t.Context(), "/x", nil)
		if err == nil || !strings.HasSuffix(strings.TrimSuffix(err.Error(), "; get a new one"), want) {
			t.Errorf("%s: error is %v, want %q", claims, err, want)
		}
	}
}

// A name never leads to another page than its own.
func TestNamesDoNotClimb(t *testing.T) {
	s := serve(t, func(_ http.ResponseWriter, r *http.Request) { t.Errorf("%s was asked for", r.RequestURI) })
	for _, name := range []string{"..", ".", "a/b", "../dataplanes/web-1", "a/../b", "/", `..\..\/`} {
		for _, path := range []string{Path(kinds.Dataplane, "m", name), Path(kinds.Dataplane, name, "x")} {
			if _, err := client(t, Options{URL: s.URL}).Get(t.Context(), path, nil); err == nil || !strings.Contains(err.Error(), "slashes") {
				t.Errorf("%q: error is %v", name, err)
			}
		}
	}
}

func TestAllPages(t *testing.T) {
	var asked []string
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.RawQuery)
		next := "null"
		if r.URL.Query().Get("offset") == "" {
			next = `"http://elsewhere.test/x?offset=2&size=2"`
		}
		fmt.Fprintf(w, `{"total":3,"items":[{"name":"a"}],"next":%s}`, next)
	})
	items, err := client(t, Options{URL: s.URL}).All(t.Context(), "/x", url.Values{"tag": {"a:b"}})
	if err != nil || len(items) != 2 {
		t.Fatalf("%d items, %v", len(items), err)
	}
	if diff := cmp.Diff([]string{"size=1000&tag=a%3Ab", "offset=2&size=1000&tag=a%3Ab"}, asked); diff != "" {
		t.Error(diff)
	}
}

// A server whose pages never end must not keep the client busy for ever.
func TestPagesThatGoInCircles(t *testing.T) {
	n := 0
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		n++
		fmt.Fprint(w, `{"total":9,"items":[{}],"next":"/x?offset=1"}`)
	})
	if _, err := client(t, Options{URL: s.URL}).All(t.Context(), "/x", nil); err != nil {
		t.Fatal(err)
	}
	if n > 3 {
		t.Errorf("asked %d times", n)
	}
}

func TestObjectsKeepTheirTimes(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"type":"Mesh","name":"m","creationTime":"2026-01-02T03:04:05Z","modificationTime":"2026-02-03T04:05:06Z"}`)
	})
	o, doc, err := client(t, Options{URL: s.URL}).Object(t.Context(), kinds.Mesh, "", "m")
	if err != nil {
		t.Fatal(err)
	}
	if want := time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC); !o.Meta.Modified.Equal(want) {
		t.Errorf("modified at %v", o.Meta.Modified)
	}
	if !json.Valid(doc) {
		t.Errorf("document %s", doc)
	}
}

func TestPutLeavesAnEmptyStatusOut(t *testing.T) {
	var body string
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		b := make([]byte, 4096)
		n, _ := r.Body.Read(b)
		body = string(b[:n])
		w.WriteHeader(http.StatusCreated)
		fmt.Fprint(w, `{"warnings":["careful"]}`)
	})
	o := kinds.MeshService.Make("default", "web")
	warnings, err := client(t, Options{URL: s.URL}).Put(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"careful"}, warnings); diff != "" {
		t.Error(diff)
	}
	if strings.Contains(body, "status") {
		t.Errorf("sent %s", body)
	}
	model.Status[kinds.MeshServiceStatus](o).DataplaneProxies.Total = 1
	if _, err := client(t, Options{URL: s.URL}).Put(t.Context(), o); err != nil || !strings.Contains(body, `"total":1`) {
		t.Errorf("sent %s, %v", body, err)
	}
}
