package rest

import (
	"net/http"
	"net/url"
	"strings"

	"weft/internal/cp/rest/gui"
)

// guiRoutes registers the GUI, or the page that says that there is none. Pages
// need no credentials: what they show they ask the API for.
func (s *Server) guiRoutes() error {
	a := s.Config.APIServer
	i := s.Instance()
	// Where a reverse proxy stands before the API, paths are those outside.
	base, api := s.gui, s.base+"/"
	if p := pathOf(a.GUI.RootURL); p != "" {
		base = p
	}
	if a.RootURL != "" {
		api = a.RootURL
	}
	g, err := gui.New(gui.Config{
		APIURL: api, BaseGUIPath: base, Version: i.Version, Product: i.Product, Mode: s.Config.Mode,
		Environment: s.Config.Environment, StoreType: s.Config.Store.Type, APIReadOnly: a.ReadOnly,
	})
	if err != nil {
		return err
	}
	s.offBase.add(route{method: http.MethodGet, pattern: s.gui, open: true, page: true, handle: func(c *call) (*reply, error) {
		if !strings.HasSuffix(c.URL.Path, "/") {
			return &reply{redirect: s.gui + "/"}, nil
		}
		return webPage(s.hasGUI(), g, ""), nil
	}})
	s.offBase.add(route{method: http.MethodGet, pattern: s.gui + "/{file...}", open: true, page: true, handle: func(c *call) (*reply, error) {
		return webPage(s.hasGUI(), g, c.params["file"]), nil
	}})
	return nil
}

func webPage(enabled bool, g *gui.GUI, file string) *reply {
	r := &reply{headers: map[string]string{
		"Content-Security-Policy": gui.Policy, "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY", "Cache-Control": "no-cache",
	}}
	if r.text, r.contentType = g.File(file); !enabled && strings.HasPrefix(r.contentType, "text/html") {
		r.text, r.contentType = g.Disabled()
	}
	return r
}

// pathOf returns the path of a URL without a slash at its end.
func pathOf(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	return strings.TrimRight(u.Path, "/")
}
