// Package dns runs the DNS server of a proxy: CoreDNS, linked in, with our
// plugins `alternate` and `remember`; or an external CoreDNS if one is named.
// Names of the mesh are asked of Envoy, all others of the host's resolvers.
// kuma-dp starts one server for each process.
package dns

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/template"
)

// builtin is the Corefile where nobody brings another. Envoy answers over UDP
// only, hence prefer_udp for queries that come over TCP.
const builtin = `.:{{ .CoreDNSPort }} {
    forward . 127.0.0.1:{{ .EnvoyDNSPort }} {
        prefer_udp
    }
    remember 1s
    # what Envoy does not know, the resolvers of this host may
    alternate NOTIMP,FORMERR,NXDOMAIN,SERVFAIL,REFUSED . /etc/resolv.conf
{{- if .PrometheusPort }}
    prometheus localhost:{{ .PrometheusPort }}
{{- end }}
    errors
{{- if .CoreDNSLogging }}
    log
{{- end }}
}
`

// maxTemplate bounds a template; real ones are a few hundred bytes.
const maxTemplate = 1 << 20

// Template returns the text of the Corefile template: the file if one is
// named, else what the control plane sent, else the built-in one. The built-in
// one relies on Envoy where Envoy answers names of the mesh.
func Template(path string, fromControlPlane []byte, envoyAnswers bool) (text, source string, err error) {
	switch {
	case path != "":
		b, err := os.ReadFile(path)
		if err != nil {
			return "", "", fmt.Errorf("read Corefile template: %w", err)
		}
		if len(b) > maxTemplate {
			return "", "", fmt.Errorf("read Corefile template %s: longer than %d bytes", path, maxTemplate)
		}
		return string(b), path, nil
	case len(fromControlPlane) > 0:
		return string(fromControlPlane), "control plane", nil
	case !envoyAnswers:
		return strings.Replace(builtin, "    alternate ", "    alternate lenient ", 1), "built-in", nil
	default:
		return builtin, "built-in", nil
	}
}

// Corefile fills a template with the DNS settings and writes it into dir, so
// that a person can look at it.
func Corefile(text string, settings any, dir string) (corefile, path string, err error) {
	tmpl, err := template.New("Corefile").Parse(text)
	if err != nil {
		return "", "", fmt.Errorf("parse Corefile template: %w", err)
	}
	var b bytes.Buffer
	if err := tmpl.Execute(&b, settings); err != nil {
		return "", "", fmt.Errorf("fill Corefile template: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", "", fmt.Errorf("make directory for the Corefile: %w", err)
	}
	path = filepath.Join(dir, "Corefile")
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil { //nolint:gosec // because it holds no secret.
		return "", "", fmt.Errorf("write Corefile: %w", err)
	}
	return b.String(), path, nil
}
