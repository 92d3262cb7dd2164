// Package gui holds the web page that the API server serves: a small overview of
// meshes and proxies, made of files that need nothing from elsewhere. The page
// asks the same public API as everybody. Values are immutable and safe for
// concurrent use.
package gui

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"io/fs"
	"path"
)

//go:embed files
var files embed.FS

// Config is what the page is told about the control plane.
type Config struct {
	APIURL      string `json:"apiUrl"`
	BaseGUIPath string `json:"baseGuiPath"`
	Version     string `json:"version"`
	Product     string `json:"product"`
	Mode        string `json:"mode"`
	Environment string `json:"environment"`
	StoreType   string `json:"storeType"`
	APIReadOnly bool   `json:"apiReadOnly"`
}

// Policy is the Content-Security-Policy of the pages: nothing from elsewhere, no
// inline code, no frames around them.
const Policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'self'; form-action 'none'; frame-ancestors 'none'"

// GUI is the set of pages.
type GUI struct{ index, disabled []byte }

// New renders the pages.
func New(c Config) (*GUI, error) {
	conf, err := json.Marshal(c) // escapes what could end the script element
	if err != nil {
		return nil, fmt.Errorf("encode the configuration of the GUI: %w", err)
	}
	pages, err := template.ParseFS(files, "files/*.html")
	if err != nil {
		return nil, fmt.Errorf("read the pages of the GUI: %w", err)
	}
	data := struct {
		Base string
		Conf template.JS
	}{c.BaseGUIPath + "/", template.JS(conf)} //nolint:gosec // it is JSON
	g := &GUI{}
	for name, to := range map[string]*[]byte{"index.html": &g.index, "disabled.html": &g.disabled} {
		var b bytes.Buffer
		if err := pages.ExecuteTemplate(&b, name, data); err != nil {
			return nil, fmt.Errorf("render %s of the GUI: %w", name, err)
		}
		*to = b.Bytes()
	}
	return g, nil
}

// types are the media types of the files; those of the machine may be anything.
var types = map[string]string{
	".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".txt": "text/plain; charset=utf-8",
}

// htmlType is the media type of the pages.
const htmlType = "text/html; charset=utf-8"

// File returns a file of the bundle, the page itself for every other path, so
// that addresses within the page can be bookmarked.
func (g *GUI) File(name string) (content []byte, contentType string) {
	if path.Ext(name) != ".html" && fs.ValidPath(name) {
		if b, err := files.ReadFile("files/" + name); err == nil {
			return b, types[path.Ext(name)]
		}
	}
	return g.index, htmlType
}

// Disabled returns the page that stands where there is no GUI.
func (g *GUI) Disabled() (content []byte, contentType string) { return g.disabled, htmlType }
