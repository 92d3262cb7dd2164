// Package restcorpus plays recorded exchanges with 2.10's HTTP API
// (shared/compat/rest) against a control plane of ours and compares the answers:
// status, headers, and bodies by value. Deliberate differences are listed in
// internal/testkit/corpus/differences.yaml, area rest; a path there begins with
// the number of the step: "03/status", "03/body/items/0/labels". For tests only.
package restcorpus

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"weft/internal/testkit/corpus"
)

// Instance is a control plane that a scenario is played against.
type Instance struct {
	// HTTP and HTTPS are the ports of the API for callers on the same machine,
	// ExternalHTTP and ExternalHTTPS for others; host:port.
	HTTP, HTTPS, ExternalHTTP, ExternalHTTPS string
	// Ports are all ports that stand in answers.
	Ports []int
	// Hostname, Dir and IP stand in answers, too.
	Hostname, Dir, IP string
	// Patience is how long recorded conditions are waited for; 0 = 40 s, as the
	// recorder did.
	Patience time.Duration
	// Start runs a proxy (kuma-dp with Envoy); Stop ends it. nil = scenarios with
	// proxies are skipped.
	Start func(t *testing.T, p Proxy)
	Stop  func(t *testing.T, name string)
}

// Proxy is what a start step says; File is the Dataplane, absolute.
type Proxy struct {
	Name      string   `yaml:"name"`
	Mesh      string   `yaml:"mesh"`
	ProxyType string   `yaml:"proxyType"`
	File      string   `yaml:"dataplane"`
	Args      []string `yaml:"args"`
}

// Case is a recorded scenario.
type Case struct {
	Name  string
	Dir   string
	Title string            `yaml:"title"`
	Env   map[string]string `yaml:"env"`
	RSA   bool              `yaml:"needs_rsa_key"`
	Steps []step            `yaml:"-"`
}

type step struct {
	Method, Path, Body, Scheme, From, Kind string
	Headers                                map[string]string
	Capture                                map[string]string
	Until                                  any
	Unordered                              []string
	Mask                                   map[string]string
	Start                                  *Proxy
	Stop                                   string
	Expect                                 struct {
		Status  int
		Headers map[string]string
		Body    *string
		Kind    string
	}
}

// Load reads a scenario.
func Load(t *testing.T, root, name string) *Case {
	t.Helper()
	c := &Case{Name: name, Dir: filepath.Join(root, name)}
	corpus.ReadYAML(t, filepath.Join(c.Dir, "case.yaml"), c)
	corpus.ReadYAML(t, filepath.Join(c.Dir, "steps.yaml"), &c.Steps)
	return c
}

// NeedsProxy tells whether real proxies take part.
func (c *Case) NeedsProxy() bool {
	return slices.ContainsFunc(c.Steps, func(s step) bool { return s.Start != nil })
}

// answer is a response in comparable form.
type answer struct {
	status  int
	headers map[string]string
	body    any // tree, or text
	raw     []byte
}

type player struct {
	*Case
	instance *Instance
	known    *corpus.List
	vars     map[string]string
	norm     *normaliser
}

// Play plays a scenario and reports what differs and is not meant to.
func (c *Case) Play(t *testing.T, i *Instance, known *corpus.List) {
	t.Helper()
	if c.NeedsProxy() && i.Start == nil {
		t.Skip("SKIPPED: this scenario needs real proxies")
	}
	p := &player{Case: c, instance: i, known: known, vars: map[string]string{"external_ip": i.IP},
		norm: &normaliser{ports: i.Ports, host: i.Hostname, dir: i.Dir, ip: i.IP}}
	if c.RSA {
		p.vars["rsa_key"] = rsaKey(t)
	}
	for n, s := range c.Steps {
		switch {
		case s.Start != nil:
			proxy := *s.Start
			if proxy.File != "" {
				proxy.File = filepath.Join(c.Dir, proxy.File)
			}
			i.Start(t, proxy)
		case s.Stop != "":
			i.Stop(t, s.Stop)
		default:
			p.play(t, n+1, &s)
		}
	}
}

func rsaKey(t *testing.T) string {
	const bits = 2048
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	block := &pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}
	return base64.StdEncoding.EncodeToString(pem.EncodeToMemory(block))
}

// How long a recorded condition, or the recorded answer, is waited for. Answers
// that are computed in the background follow writes within milliseconds.
const (
	untilDeadline = 40 * time.Second
	equalDeadline = 2 * time.Second
	pause         = 20 * time.Millisecond
)

// play sends one request, again while the answer is not yet what was recorded.
func (p *player) play(t *testing.T, n int, s *step) {
	t.Helper()
	end := time.Now().Add(equalDeadline)
	if s.Until != nil {
		end = time.Now().Add(cmp.Or(p.instance.Patience, untilDeadline))
	}
	for {
		got, err := p.exchange(s)
		if err != nil {
			t.Errorf("step %02d %s %s: %v", n, s.Method, s.Path, err)
			return
		}
		diffs := p.compare(t, n, s, got)
		// An answer that is as recorded is what was waited for, even if a condition
		// counts on an order of fields that means nothing.
		met := len(diffs) == 0 && (s.Expect.Body != nil || matches(s.Until, got.raw))
		again := s.Method == http.MethodGet && !met || !met && !matches(s.Until, got.raw)
		if again && time.Now().Before(end) {
			time.Sleep(pause)
			continue
		}
		for _, d := range diffs {
			t.Errorf("step %02d %s %s: %s: want %s, got %s", n, s.Method, s.Path, d.Path, d.Want, d.Got)
		}
		p.capture(t, s, got)
		return
	}
}

// matches tells whether the body matches the condition, one expression or all of
// a list.
func matches(until any, body []byte) bool {
	switch u := until.(type) {
	case string:
		return regexp.MustCompile("(?s)" + u).Match(body)
	case []any:
		for _, e := range u {
			if !matches(e, body) {
				return false
			}
		}
	}
	return true
}

var variable = regexp.MustCompile(`\$\{(\w+)\}`)

func (p *player) subst(s string) string {
	return variable.ReplaceAllStringFunc(s, func(m string) string { return p.vars[m[2:len(m)-1]] })
}

// exchange sends the request as it was recorded, with no header of its own.
func (p *player) exchange(s *step) (*answer, error) {
	address, local := p.instance.HTTP, s.From == ""
	switch {
	case s.Scheme == "https" && local:
		address = p.instance.HTTPS
	case s.Scheme == "https":
		address = p.instance.ExternalHTTPS
	case !local:
		address = p.instance.ExternalHTTP
	}
	var conn net.Conn
	conn, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	if s.Scheme == "https" {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // the certificate is not what is tested
	}
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return nil, err
	}
	text, err := p.request(s, address)
	if err != nil {
		return nil, err
	}
	if _, err := conn.Write(text); err != nil {
		return nil, err
	}
	r, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: s.Method}) //nolint:bodyclose // because the connection is closed
	if err != nil {
		return nil, err
	}
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	return p.shape(s, r, raw)
}

func (p *player) request(s *step, address string) ([]byte, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if s.From == "" {
		host = "localhost"
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\n", s.Method, p.subst(s.Path))
	named := map[string]bool{}
	for k, v := range s.Headers {
		named[strings.ToLower(k)] = true
		fmt.Fprintf(&b, "%s: %s\r\n", k, p.subst(v))
	}
	if !named["host"] {
		fmt.Fprintf(&b, "Host: %s\r\n", net.JoinHostPort(host, port))
	}
	var body string
	if s.Body != "" {
		text, err := os.ReadFile(filepath.Join(p.Dir, s.Body))
		if err != nil {
			return nil, err
		}
		body = p.subst(string(text))
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(body))
	}
	b.WriteString("Connection: close\r\n\r\n" + body)
	return b.Bytes(), nil
}

// compared are the headers that count, beside Access-Control-*.
var compared = []string{"Content-Type", "Allow", "Vary", "Location", "Www-Authenticate"}

func (p *player) shape(s *step, r *http.Response, raw []byte) (*answer, error) {
	a := &answer{status: r.StatusCode, headers: map[string]string{}, raw: raw}
	for k, v := range r.Header {
		if slices.Contains(compared, k) || strings.HasPrefix(k, "Access-Control-") {
			a.headers[k] = p.norm.text(strings.Join(v, ", "))
		}
	}
	text := string(raw)
	switch {
	case text == "":
		return a, nil
	case s.kind() == "jwt" && strings.HasPrefix(text, "eyJ"):
		var err error
		a.body, err = decodeJWT(text)
		return a, err
	case s.kind() == "envoy-stat-names":
		a.body = p.norm.statNames(text)
		return a, nil
	}
	var tree any
	if err := json.Unmarshal(raw, &tree); err != nil {
		a.body = p.norm.text(text)
		return a, nil //nolint:nilerr // what is no JSON is text
	}
	if s.kind() == "envoy-config-dump" {
		a.body = configDump(tree)
		return a, nil
	}
	a.body = p.mask(s, sortLists(p.norm.tree(tree, "", true), s.Unordered))
	return a, nil
}

// group is how the recorder names what an expression caught: \1.
var group = regexp.MustCompile(`\\(\d)`)

// mask applies the expressions to the answer as the recorder printed it.
func (p *player) mask(s *step, tree any) any {
	if len(s.Mask) == 0 {
		return tree
	}
	b, err := json.MarshalIndent(tree, "", "  ")
	if err != nil {
		return err.Error()
	}
	text := string(b)
	for pattern, by := range s.Mask {
		text = regexp.MustCompile(pattern).ReplaceAllString(text, group.ReplaceAllString(by, "$${$1}"))
	}
	var out any
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		return text
	}
	return out
}

func (s *step) kind() string {
	if s.Kind != "" {
		return s.Kind
	}
	return s.Expect.Kind
}

// compare returns what differs and is not listed.
func (p *player) compare(t *testing.T, n int, s *step, got *answer) []corpus.Diff {
	t.Helper()
	at := fmt.Sprintf("%02d/", n)
	all := corpus.Compare(at+"status", float64(s.Expect.Status), float64(got.status))
	want := map[string]any{}
	for k, v := range s.Expect.Headers {
		want[k] = v
	}
	have := map[string]any{}
	for k, v := range got.headers {
		have[k] = v
	}
	all = append(all, corpus.Compare(at+"headers", want, have)...)
	if s.Expect.Body != nil && s.kind() != "type-only" {
		all = append(all, p.compareBody(t, at+"body", s, got)...)
	}
	return slices.DeleteFunc(all, func(d corpus.Diff) bool { return p.known.Deliberate(p.Name, d.Path) != "" })
}

func (p *player) compareBody(t *testing.T, at string, s *step, got *answer) []corpus.Diff {
	t.Helper()
	name := *s.Expect.Body
	if name == "" {
		return corpus.Compare(at, "", string(got.raw))
	}
	file := filepath.Join(p.Dir, name)
	if !strings.HasSuffix(name, ".json") {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return corpus.Compare(at, string(b), got.body)
	}
	want := sortLists(corpus.ReadJSON(t, file), s.Unordered)
	if s.kind() == "envoy-stat-names" {
		return missingNames(at, want, got.body)
	}
	out := corpus.Compare(at, want, got.body)
	return append(out, titles(at, want, got.body)...)
}

// missingNames compares lists of which ours may have more.
func missingNames(at string, want, got any) []corpus.Diff {
	w, _ := want.([]any)
	g, _ := got.([]any)
	var out []corpus.Diff
	for _, name := range w {
		if !slices.Contains(g, name) {
			out = append(out, corpus.Diff{Path: at, Want: fmt.Sprint(name), Got: "(absent)"})
		}
	}
	return out
}

// titles compares the titles of errors: unlike details they tell what was tried,
// and kumactl prints them.
func titles(at string, want, got any) []corpus.Diff {
	w, _ := want.(map[string]any)
	g, _ := got.(map[string]any)
	if w["type"] != "/std-errors" || w["title"] == g["title"] {
		return nil
	}
	return []corpus.Diff{{Path: at + "/title", Want: fmt.Sprint(w["title"]), Got: fmt.Sprint(g["title"])}}
}

// capture keeps what later steps need.
func (p *player) capture(t *testing.T, s *step, got *answer) {
	t.Helper()
	for name, how := range s.Capture {
		field, encoding, _ := strings.Cut(how, "|")
		switch {
		case how == "body":
			p.vars[name] = strings.TrimSpace(string(got.raw))
		case field == "jti":
			p.vars[name] = base64.StdEncoding.EncodeToString([]byte(tokenID(t, string(got.raw))))
		default:
			var doc map[string]any
			if err := json.Unmarshal(got.raw, &doc); err != nil {
				t.Errorf("capture %s: %v", name, err)
				continue
			}
			v := fmt.Sprint(doc[field])
			if encoding == "base64" {
				b, err := base64.StdEncoding.DecodeString(v)
				if err != nil {
					t.Errorf("capture %s: %v", name, err)
				}
				v = string(b)
			}
			p.vars[name] = v
		}
	}
}

func tokenID(t *testing.T, token string) string {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Errorf("%q is no token", token)
		return ""
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Error(err)
	}
	var claims struct{ JTI string }
	if err := json.Unmarshal(b, &claims); err != nil {
		t.Error(err)
	}
	return claims.JTI
}
