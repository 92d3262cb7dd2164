package rest

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"weft/internal/config"
)

// guard keeps web pages in their place: a browser that looks at a stranger's
// page must not become that stranger's way to the API. It answers preflights,
// sets the headers that let pages of allowed origins read answers, and refuses
//   - requests that change something from pages of other origins (forged
//     requests; they would carry the browser's client certificate and address);
//   - requests over loopback, or from a page, under a host name that is not ours
//     (DNS rebinding: the stranger's name was made to lead here, so that the
//     browser believes page and API to be of one origin).
//
// Programs send neither Origin nor Sec-Fetch-Site. It tells whether it answered.
func (s *Server) guard(w http.ResponseWriter, r *http.Request) bool {
	origin := r.Header.Get("Origin")
	cors := origin != "" && s.allowed(origin)
	if why := s.refusal(r, origin, cors); why != "" {
		s.fail(w, r, "", &failure{status: http.StatusForbidden, title: "Access Denied", detail: why})
		return true
	}
	if !cors {
		return false
	}
	if asked := r.Header.Get("Access-Control-Request-Method"); r.Method == http.MethodOptions && asked != "" {
		s.preflight(w, r, origin, asked)
		return true
	}
	allow(w, origin)
	return false
}

// refusal says why a request is refused, "" if it is not.
func (s *Server) refusal(r *http.Request, origin string, cors bool) string {
	ours := s.ownHost(r.Host) || s.allowed("") // where all pages may call, names do not matter
	if !ours && r.TLS == nil && overLoopback(r) {
		return "the host name " + shorten(r.Host) + " is not one of this control plane; use localhost, or set apiServer.rootUrl to the URL under which it is reached"
	}
	changes := r.Method != http.MethodGet && r.Method != http.MethodHead && r.Method != http.MethodOptions
	if !changes || cors {
		return ""
	}
	const hint = "; to allow it, add the page's origin to apiServer.corsAllowedDomains"
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" && site != "none" {
		return "a web page of another site must not change anything here" + hint
	}
	if origin == "" {
		return ""
	}
	u, err := url.Parse(origin)
	if err != nil || !strings.EqualFold(u.Host, r.Host) || !ours && r.TLS == nil {
		return "a web page of " + shorten(origin) + " must not change anything here" + hint
	}
	return ""
}

// overLoopback tells whether a request came in through the loopback interface.
func overLoopback(r *http.Request) bool {
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return false
	}
	a, err := netip.ParseAddrPort(local.String())
	return err == nil && a.Addr().Unmap().IsLoopback()
}

// ownHost tells whether a request names this machine by something that nobody
// else can give it: an address, localhost, its own name, or what the settings
// name.
func (s *Server) ownHost(hostport string) bool {
	host := hostname(hostport)
	if host == "" || host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	return slices.Contains(s.hosts, host)
}

// ownNames are the name of this machine and those in the settings.
func ownNames(name string, a config.APIServer) []string {
	out := []string{strings.ToLower(name)}
	for _, u := range append([]string{a.RootURL, a.GUI.RootURL}, a.CORSAllowedDomains...) {
		if p, err := url.Parse(u); err == nil && p.Host != "" {
			out = append(out, hostname(p.Host))
		}
	}
	return out
}

// hostname returns the host of host:port in lower case.
func hostname(hostport string) string {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	return strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
}

// shorten bounds what a message repeats of a request.
func shorten(s string) string {
	const most = 80
	if len(s) > most {
		s = s[:most] + "…"
	}
	return s
}

// preflight tells a browser which methods a page may use. Like 2.10 it allows no
// headers, and says nothing where some are asked for.
func (s *Server) preflight(w http.ResponseWriter, r *http.Request, origin, asked string) {
	rs, _ := s.find(r.URL.Path)
	ms := methods(rs)
	if slices.Contains(ms, asked) && r.Header.Get("Access-Control-Request-Headers") == "" {
		allow(w, origin)
		w.Header().Set("Access-Control-Allow-Methods", strings.Join(ms, ","))
		w.Header().Set("Access-Control-Allow-Headers", "")
	}
	w.WriteHeader(http.StatusOK)
}

// allow lets a page read the answer. It never may with credentials of the
// browser: Access-Control-Allow-Credentials is not sent.
func allow(w http.ResponseWriter, origin string) {
	w.Header().Set("Access-Control-Allow-Origin", origin)
	w.Header().Set("Access-Control-Expose-Headers", "Access-Control-Allow-Origin")
}

// allowed tells whether a page of this origin may talk to the API. Entries are
// literals; only ".*" allows everybody.
func (s *Server) allowed(origin string) bool {
	return slices.ContainsFunc(s.Config.APIServer.CORSAllowedDomains, func(e string) bool { return e == ".*" || strings.EqualFold(e, origin) })
}
