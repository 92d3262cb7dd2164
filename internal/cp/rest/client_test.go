package rest_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
)

// localAdmin lets callers on this machine be administrators.
var localAdmin = map[string]string{"KUMA_API_SERVER_AUTHN_LOCALHOST_IS_ADMIN": "true"}

// with returns the settings of localAdmin with some more.
func with(more ...string) map[string]string {
	out := map[string]string{}
	for k, v := range localAdmin {
		out[k] = v
	}
	for i := 0; i < len(more); i += 2 {
		out[more[i]] = more[i+1]
	}
	return out
}

// answer is a response, read.
type answer struct {
	status int
	header http.Header
	text   string
}

// field returns a field of a JSON answer, "" if it has none.
func (a answer) field(name string) string {
	var doc map[string]any
	if json.Unmarshal([]byte(a.text), &doc) != nil {
		return ""
	}
	s, _ := doc[name].(string)
	return s
}

// fields returns the fields of the violations.
func (a answer) fields() string {
	var doc struct {
		Parameters []struct{ Field string } `json:"invalid_parameters"`
	}
	if json.Unmarshal([]byte(a.text), &doc) != nil {
		return "no JSON"
	}
	var out []string
	for _, p := range doc.Parameters {
		out = append(out, p.Field)
	}
	return strings.Join(out, " ")
}

// send sends a request; headers are key, value, key, value …; Host counts as one.
func send(t testing.TB, method, url, body string, headers ...string) answer {
	t.Helper()
	var r io.Reader
	if body != "" {
		r = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, url, r)
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			req.Host = headers[i+1]
			continue
		}
		req.Header.Set(headers[i], headers[i+1])
	}
	return do(t, http.DefaultTransport, req)
}

func do(t testing.TB, c http.RoundTripper, req *http.Request) answer {
	t.Helper()
	resp, err := c.RoundTrip(req)
	if err != nil {
		t.Fatalf("%s %s: %v", req.Method, req.URL, err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", req.Method, req.URL, err)
	}
	return answer{resp.StatusCode, resp.Header, string(b)}
}
