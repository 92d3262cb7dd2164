// Package rest serves the HTTP API of the control plane (5681, 5682): generic
// create, read, update, delete and list for every kind of the catalog, and the
// questions that people and tools ask beside it. Everything that is written
// passes the admission gate. Handlers are safe for concurrent use.
package rest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"weft/internal/cp/summary"
)

// maxBody bounds a request body; the largest sensible object is far smaller.
const maxBody = 4 << 20

// call is one request on its way through a handler.
type call struct {
	*http.Request
	params map[string]string
	user   User
	// pattern is the route that matched, for the paths of violations.
	pattern string
}

// reply is what a handler answers: a value for JSON, or text.
type reply struct {
	status int // 0 = 200
	value  any
	// text is used when contentType is set.
	text        []byte
	contentType string
}

func ok(v any) *reply { return &reply{value: v} }

// Server is the API. Create it with New.
type Server struct {
	Deps
	router router
	// offBase holds the pages that do not follow the base path.
	offBase router
	// base is the path below which the API lies, without a slash at the end;
	// gui that of the GUI.
	base, gui string
	naming    summary.Naming
	ports     []*port
}

// New returns the API of what d names.
func New(d Deps) *Server {
	s := &Server{
		Deps:   d,
		base:   strings.TrimRight(path.Clean(d.Config.APIServer.BasePath), "/"),
		gui:    path.Clean(d.Config.APIServer.GUI.BasePath),
		naming: summary.Naming{Domain: d.Config.DNSServer.Domain, VIPPort: uint32(d.Config.DNSServer.ServiceVIPPort)},
	}
	s.routes()
	return s
}

// Handler returns the API with all that guards it.
func (s *Server) Handler() http.Handler {
	return http.HandlerFunc(s.serve)
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	rec := &recorder{ResponseWriter: w}
	pattern := "/"
	defer func() {
		if p := recover(); p != nil {
			s.Log.Error("request panicked", "method", r.Method, "path", r.URL.Path, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			if !rec.wrote {
				s.fail(rec, r, "Could not process the request", fmt.Errorf("panic: %v", p))
			}
		}
		if s.Metrics != nil {
			s.Metrics.Observe(pattern, r.Method, rec.status, rec.size, time.Since(start))
		}
	}()
	if to, dirty := cleaned(r.URL.Path); dirty {
		u := *r.URL
		u.Path, u.RawPath = to, ""
		http.Redirect(rec, r, u.RequestURI(), http.StatusTemporaryRedirect)
		return
	}
	if s.guard(rec, r) {
		return
	}
	rs, params := s.find(r.URL.Path)
	if rs == nil {
		s.missing(rec, r)
		return
	}
	i := slices.IndexFunc(rs, func(x *route) bool { return x.method == r.Method })
	if i < 0 {
		rec.Header().Set("Allow", strings.Join(methods(rs), ", "))
		plain(rec, r, http.StatusMethodNotAllowed, "405: Method Not Allowed")
		return
	}
	pattern = rs[i].pattern
	if !s.negotiate(rec, r) {
		return
	}
	s.run(rec, r, rs[i], params)
}

// find looks a path up, below the base path or beside it.
func (s *Server) find(p string) ([]*route, map[string]string) {
	if rs, params := s.offBase.find(p); rs != nil {
		return rs, params
	}
	rest, below := strings.CutPrefix(p, s.base)
	if !below || (rest != "" && rest[0] != '/') {
		return nil, nil
	}
	return s.router.find(rest)
}

func (s *Server) missing(w http.ResponseWriter, r *http.Request) {
	if s.base != "" && r.URL.Path != s.base && !strings.HasPrefix(r.URL.Path, s.base+"/") {
		plain(w, r, http.StatusNotFound, "404 page not found\n")
		return
	}
	plain(w, r, http.StatusNotFound, "404: Page Not Found")
}

// negotiate checks media types; it answers itself when they do not fit.
func (s *Server) negotiate(w http.ResponseWriter, r *http.Request) bool {
	ct, hasCT := r.Header["Content-Type"]
	body := r.Method == http.MethodPut || r.Method == http.MethodPost
	if body && !hasCT || hasCT && r.Method != http.MethodGet && mediaType(ct[0]) != "application/json" {
		plain(w, r, http.StatusUnsupportedMediaType, "415: Unsupported Media Type")
		return false
	}
	if a := r.Header.Get("Accept"); a != "" && !acceptsJSON(a) && !strings.HasPrefix(r.URL.Path, s.gui) {
		plain(w, r, http.StatusNotAcceptable, "406: Not Acceptable: this API answers application/json")
		return false
	}
	return true
}

func mediaType(v string) string {
	t, _, _ := strings.Cut(v, ";")
	return strings.ToLower(strings.TrimSpace(t))
}

func acceptsJSON(accept string) bool {
	for part := range strings.SplitSeq(accept, ",") {
		switch mediaType(part) {
		case "*/*", "application/*", "application/json":
			return true
		}
	}
	return false
}

// run authenticates, calls the handler and writes its answer.
func (s *Server) run(w http.ResponseWriter, r *http.Request, rt *route, params map[string]string) {
	c := &call{Request: r, params: params, pattern: rt.pattern}
	if !rt.open {
		user, err := s.Authn.Authenticate(r)
		if err != nil {
			s.fail(w, r, rt.title, &failure{status: http.StatusUnauthorized, title: "Invalid authentication data", detail: "Unauthenticated"})
			return
		}
		c.user = user
	}
	rep, err := rt.handle(c)
	if err != nil {
		s.fail(w, r, rt.title, err)
		return
	}
	s.write(w, rep)
}

func (s *Server) write(w http.ResponseWriter, rep *reply) {
	status := rep.status
	if status == 0 {
		status = http.StatusOK
	}
	if rep.contentType != "" {
		w.Header().Set("Content-Type", rep.contentType)
		w.WriteHeader(status)
		_, _ = w.Write(rep.text)
		return
	}
	body, err := render(rep.value)
	if err != nil {
		s.Log.Error("answer cannot be encoded", "error", err)
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// render encodes a value as 2.10 does: indented with one blank, & and < as they are.
func render(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("encode answer: %w", err)
	}
	return b.Bytes(), nil
}

// fail writes an error body; the log gets what the client must not see.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, title string, err error) {
	f := failureOf(err)
	if f.status >= http.StatusInternalServerError {
		s.Log.Error("request failed", "method", r.Method, "path", r.URL.Path, "error", err)
	}
	body, _ := render(f.body(title)) // plain strings always encode
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(f.status)
	_, _ = w.Write(body)
}

// readBody returns the body, bounded.
func readBody(c *call) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(c.Body, maxBody+1))
	if err != nil {
		return nil, badRequest("the body could not be read: %v", err)
	}
	if len(b) > maxBody {
		return nil, &failure{status: http.StatusRequestEntityTooLarge, title: "Bad Request",
			detail: fmt.Sprintf("the body is larger than %d bytes", maxBody)}
	}
	return b, nil
}

// recorder notes status and size for metrics.
type recorder struct {
	http.ResponseWriter
	status int
	size   int
	wrote  bool
}

// WriteHeader notes the status.
func (r *recorder) WriteHeader(status int) {
	if !r.wrote {
		r.status, r.wrote = status, true
	}
	r.ResponseWriter.WriteHeader(status)
}

// Write counts bytes.
func (r *recorder) Write(b []byte) (int, error) {
	if !r.wrote {
		r.WriteHeader(http.StatusOK)
	}
	n, err := r.ResponseWriter.Write(b)
	r.size += n
	return n, err
}

// Unwrap lets http.ResponseController reach the real writer.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
