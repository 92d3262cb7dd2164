package rest

import (
	"net/http"
	"slices"
	"strings"
)

// guard handles web pages: it answers preflights and sets the headers that let
// a page of an allowed origin read answers. It tells whether it answered.
func (s *Server) guard(w http.ResponseWriter, r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" || !s.allowed(origin) {
		return false
	}
	asked := r.Header.Get("Access-Control-Request-Method")
	if r.Method == http.MethodOptions && asked != "" {
		rs, _ := s.find(r.URL.Path)
		ms := methods(rs)
		if slices.Contains(ms, asked) && r.Header.Get("Access-Control-Request-Headers") == "" {
			allow(w, origin)
			w.Header().Set("Access-Control-Allow-Methods", strings.Join(ms, ","))
			w.Header().Set("Access-Control-Allow-Headers", "")
		}
		w.WriteHeader(http.StatusOK)
		return true
	}
	allow(w, origin)
	return false
}

func allow(w http.ResponseWriter, origin string) {
	w.Header().Set("Access-Control-Allow-Origin", origin)
	w.Header().Set("Access-Control-Expose-Headers", "Access-Control-Allow-Origin")
}

// allowed tells whether a page of this origin may talk to the API. Entries are
// literals; only ".*" allows everybody.
func (s *Server) allowed(origin string) bool {
	return slices.ContainsFunc(s.Config.APIServer.CORSAllowedDomains, func(e string) bool { return e == ".*" || strings.EqualFold(e, origin) })
}
