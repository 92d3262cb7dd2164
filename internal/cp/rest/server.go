// Package rest serves the HTTP API of the control plane (5681, 5682): generic
// create, read, update, delete and list for every kind of the catalog, and the
// questions that people and tools ask beside it. Everything that is written
// passes the admission gate. Handlers are safe for concurrent use.
package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"path"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"weft/internal/cp/summary"
)

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
	headers     map[string]string
	redirect    string // to another page
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
	// hosts are the names of this control plane.
	hosts  []string
	naming summary.Naming
	ports  []*port
	// last is what was written last; nil = snapshots have it.
	last atomic.Pointer[written]
}

// New returns the API of what d names.
func New(d Deps) *Server {
	s := &Server{
		Deps:   d,
		base:   strings.TrimRight(path.Clean(d.Config.APIServer.BasePath), "/"),
		gui:    path.Clean(d.Config.APIServer.GUI.BasePath),
		naming: summary.Naming{Domain: d.Config.DNSServer.Domain, VIPPort: uint32(d.Config.DNSServer.ServiceVIPPort)},
	}
	s.hosts = ownNames(d.Instance().Hostname, d.Config.APIServer)
	s.routes()
	if err := s.guiRoutes(); err != nil {
		panic(err) // the embedded pages are broken: a mistake of the build
	}
	return s
}

// Handler returns the API with all that guards it.
func (s *Server) Handler() http.Handler {
	return http.HandlerFunc(s.serve)
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	rec := &recorder{ResponseWriter: w}
	pattern := unknownPage
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
	rt, params := s.screen(rec, r)
	if rt == nil {
		return
	}
	pattern = rt.pattern
	if s.Metrics != nil {
		defer s.Metrics.Begin(pattern)()
	}
	ctx, cancel := context.WithTimeout(r.Context(), handleTimeout)
	defer cancel()
	s.run(rec, r.WithContext(ctx), rt, params)
}

// unknownPage is the route of metrics where none matched, so that clients cannot
// make time series by asking for pages.
const unknownPage = "/"

// screen finds the route of a request and checks what needs no credentials. It
// returns nil if it answered itself.
func (s *Server) screen(w http.ResponseWriter, r *http.Request) (*route, map[string]string) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	if why := outOfBounds(r); why != "" {
		s.fail(w, r, "", badRequest("%s", why))
		return nil, nil
	}
	if to, dirty := cleaned(r.URL.Path); dirty {
		u := *r.URL
		u.Path, u.RawPath = to, ""
		http.Redirect(w, r, u.RequestURI(), http.StatusTemporaryRedirect)
		return nil, nil
	}
	if s.guard(w, r) {
		return nil, nil
	}
	rs, params := s.find(r.URL.Path)
	if rs == nil {
		s.missing(w, r)
		return nil, nil
	}
	i := slices.IndexFunc(rs, func(x *route) bool { return x.method == r.Method })
	if i < 0 {
		h.Set("Allow", strings.Join(methods(rs), ", "))
		plain(w, r, http.StatusMethodNotAllowed, "405: Method Not Allowed")
		return nil, nil
	}
	if !rs[i].page && !negotiate(w, r) {
		return nil, nil
	}
	return rs[i], params
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

// run authenticates, calls the handler and writes its answer.
func (s *Server) run(w http.ResponseWriter, r *http.Request, rt *route, params map[string]string) {
	c := &call{Request: r, params: params, pattern: rt.pattern}
	if !rt.open {
		user, err := s.Authn.Authenticate(r)
		if err != nil {
			s.Log.Debug("a credential is not accepted", "client", r.RemoteAddr, "path", r.URL.Path, "error", err)
			s.fail(w, r, rt.title, unauthenticated(err))
			return
		}
		c.user = user
	}
	rep, err := rt.handle(c)
	if err != nil {
		s.fail(w, r, rt.title, err)
		return
	}
	if rep.redirect != "" {
		http.Redirect(w, r, rep.redirect, http.StatusTemporaryRedirect)
		return
	}
	s.write(w, rep)
}

func (s *Server) write(w http.ResponseWriter, rep *reply) {
	for k, v := range rep.headers {
		w.Header().Set(k, v)
	}
	status := rep.status
	if status == 0 {
		status = http.StatusOK
	}
	if rep.contentType != "" {
		w.Header().Set("Content-Type", rep.contentType)
		if w.Header().Get("Cache-Control") == "" {
			w.Header().Set("Cache-Control", "no-store")
		}
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
	w.Header().Set("Cache-Control", "no-store")
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
