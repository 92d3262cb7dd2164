package bootstrap

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"weft/internal/dp/envoy"
)

// corpus is the folder with what a control plane of release 2.10 answered.
func corpus(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if root := filepath.Join(dir, "shared", "compat", "bootstrap"); isDir(root) {
			return root
		}
	}
	t.Skip("SKIPPED: no recorded corpus shared/compat/bootstrap above the working directory")
	return ""
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// recorded is one answer.
type recorded struct {
	Status      int             `json:"status"`
	ContentType *string         `json:"contentType"`
	Body        json.RawMessage `json:"body"`
}

// serve plays it; the document takes the place of its stand-in.
func (r recorded) serve(document []byte) http.HandlerFunc {
	body := []byte(r.Body)
	var text string
	if json.Unmarshal(body, &text) == nil {
		body = []byte(text)
	}
	body = bytes.ReplaceAll(body, []byte("<bootstrap.json>"), []byte(base64.StdEncoding.EncodeToString(document)))
	return func(w http.ResponseWriter, _ *http.Request) {
		if r.ContentType != nil {
			w.Header().Set("Content-Type", *r.ContentType)
		}
		w.WriteHeader(r.Status)
		_, _ = w.Write(body)
	}
}

// What a control plane of release 2.10 answers is understood: documents, and
// refusals with their reason and whether another attempt makes sense.
func TestAnswersOf210(t *testing.T) {
	root := corpus(t)
	cases, err := filepath.Glob(filepath.Join(root, "*", "response.json"))
	if err != nil || len(cases) < 20 {
		t.Fatal(len(cases), err)
	}
	for _, file := range cases {
		dir := filepath.Dir(file)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var r recorded
			if err := json.Unmarshal(text, &r); err != nil {
				t.Fatal(err)
			}
			document, _ := os.ReadFile(filepath.Join(dir, "bootstrap.json"))
			playAnswer(t, r, document)
		})
	}
}

func playAnswer(t *testing.T, r recorded, document []byte) {
	t.Helper()
	if r.ContentType != nil && !strings.HasPrefix(*r.ContentType, "application/json") && r.Status == http.StatusOK {
		t.Skip("SKIPPED: an answer in another form, which kuma-dp does not ask for")
	}
	asked := 0
	answer := r.serve(document)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { asked++; answer(w, req) }))
	defer s.Close()
	c := Client{
		URL: s.URL, Trust: Trust{SkipVerify: true}, Backoff: time.Millisecond, MaxDuration: 5 * time.Millisecond,
		Log: slog.New(slog.DiscardHandler),
	}
	got, err := c.Fetch(t.Context(), Request{})
	switch {
	case r.Status == http.StatusOK:
		if err != nil {
			t.Fatal(err)
		}
		checkDocument(t, got, r, document)
	case r.Status == http.StatusNotFound:
		if !errors.Is(err, ErrNotFound) {
			t.Errorf("got %v", err)
		}
	case r.Status < 500:
		if err == nil || asked != 1 {
			t.Errorf("%d attempts although the control plane refused; error %v", asked, err)
		}
		var reason string
		if json.Unmarshal(r.Body, &reason) == nil && reason != "" && !strings.Contains(err.Error(), strings.TrimSpace(reason)[:min(40, len(reason))]) {
			t.Errorf("the reason %q is not in %v", reason, err)
		}
	default:
		if err == nil || asked < 2 {
			t.Errorf("%d attempts although the control plane may recover; error %v", asked, err)
		}
	}
}

func checkDocument(t *testing.T, got *Response, r recorded, document []byte) {
	t.Helper()
	if !bytes.Equal(got.Bootstrap, document) {
		t.Error("the document was changed")
	}
	// No field of the answer is unknown here.
	strict := json.NewDecoder(bytes.NewReader(bytes.ReplaceAll(r.Body, []byte("<bootstrap.json>"), nil)))
	strict.DisallowUnknownFields()
	var all Response
	if err := strict.Decode(&all); err != nil {
		t.Error(err)
	}
	var want struct {
		Node struct {
			ID, Cluster string
		}
		Admin struct {
			Address struct {
				SocketAddress struct {
					Address   string
					PortValue uint16
				}
			}
		}
	}
	if err := json.Unmarshal(document, &want); err != nil {
		t.Fatal(err)
	}
	d, err := envoy.ReadDocument(got.Bootstrap)
	if err != nil {
		t.Fatal(err)
	}
	if d.NodeID != want.Node.ID || d.Cluster != want.Node.Cluster || d.AdminPort != want.Admin.Address.SocketAddress.PortValue || d.NodeID == "" {
		t.Errorf("read %+v from the document, want %+v", d, want)
	}
}

// What kuma-dp of release 2.10 asks has no field that ours lacks, and the same
// form.
func TestRequestsOf210(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(corpus(t), "*", "request.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		t.Run(filepath.Base(filepath.Dir(file)), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !json.Valid(text) {
				t.Skip("SKIPPED: broken on purpose")
			}
			strict := json.NewDecoder(bytes.NewReader(text))
			strict.DisallowUnknownFields()
			var r Request
			if err := strict.Decode(&r); err != nil {
				t.Fatal(err)
			}
			back, err := json.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			var want, got map[string]any
			if err := errors.Join(json.Unmarshal(text, &want), json.Unmarshal(back, &got)); err != nil {
				t.Fatal(err)
			}
			for name := range got {
				if _, there := want[name]; !there {
					delete(got, name) // some cases leave fields out on purpose
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Our Envoy accepts the documents of a control plane of release 2.10.
func TestEnvoyAcceptsDocumentsOf210(t *testing.T) {
	binary := realEnvoy(t)
	files, err := filepath.Glob(filepath.Join(corpus(t), "*", "bootstrap.json"))
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewTLSServer(http.NotFoundHandler())
	defer s.Close()
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
	for _, file := range files {
		t.Run(filepath.Base(filepath.Dir(file)), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			document := strings.ReplaceAll(string(text), `"<secret>"`, `"`+base64.StdEncoding.EncodeToString([]byte(ca))+`"`)
			document = strings.ReplaceAll(document, `"<port>"`, "5678")
			document = strings.ReplaceAll(document, `:<port>`, ":5678")
			dir := t.TempDir()
			p, err := envoy.Prepare(envoy.Options{
				Path: binary, ConfigDir: dir, Bootstrap: []byte(document), DrainTime: time.Second, LogLevel: "error",
				Stdout: io.Discard, Stderr: io.Discard,
			}, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			check := exec.Command(binary, append([]string{"--mode", "validate"}, p.Args...)...)
			check.Dir = dir // one case logs into a file called NUL
			if out, err := check.CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}

// realEnvoy finds the Envoy for tests, or skips loudly.
func realEnvoy(t *testing.T) string {
	t.Helper()
	for _, c := range []string{os.Getenv("WEFT_ENVOY"), "../../../bin/envoy", "envoy"} {
		if path, err := exec.LookPath(c); c != "" && err == nil {
			if abs, err := filepath.Abs(path); err == nil {
				return abs
			}
		}
	}
	if strings.Contains(os.Getenv("REQUIRE"), "envoy") {
		t.Fatal("no Envoy, but REQUIRE asks for one: `make envoy`, or set WEFT_ENVOY")
	}
	t.Skip("SKIPPED: no Envoy: `make envoy`, or set WEFT_ENVOY")
	return ""
}
