package cli

import (
	"bytes"
	"cmp"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Outputs are made equal from run to run, as the corpus was when it was recorded.
var (
	timeText   = regexp.MustCompile(`\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?`)
	digits     = regexp.MustCompile(`\d+`)
	uuidText   = regexp.MustCompile(`\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b`)
	jwtText    = regexp.MustCompile(`\beyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+`)
	pemText    = regexp.MustCompile(`(?s)-----BEGIN ([A-Z0-9 ]+)-----.*?-----END [A-Z0-9 ]+-----\n?`)
	base64Text = regexp.MustCompile(`[A-Za-z0-9+/]{64,}={0,2}`)
	ageColumn  = regexp.MustCompile(`(?m)^[A-Z][A-Z ]+ AGE[ \t]*$`)
	lastAge    = regexp.MustCompile(`(?m)(\s)\d+[smhdy][ \t]*$`)
	anyAge     = regexp.MustCompile(`(\s)\d+[smhdy](\s|$)`)
	ourVersion = regexp.MustCompile(`\b\d+\.\d+\.\d+\+weft\b`)
	usageStart = regexp.MustCompile(`(?m)^Usage:$`)
	unknowns   = []*regexp.Regexp{
		regexp.MustCompile(`("?(?:version|gitTag|gitCommit|buildDate)"?: ?"?)unknown\b`),
		regexp.MustCompile(`\b(Kuma:? )unknown\b`),
		regexp.MustCompile(`((?:Version|Git Tag|Git Commit|Build Date): *)unknown\b`),
	}
)

const zeroTime = "0001-01-01T00:00:00Z"

// places are what differs from run to run and from host to host.
type places struct {
	ports, dirs []string
	proxies     []string          // working directories, in the order of start
	moved       map[string]string // ours to the recorded port
	host        string
}

func (p places) normal(s string) string {
	for i, dir := range p.proxies {
		s = strings.ReplaceAll(s, dir, fmt.Sprintf("<dir>/dp-%d", i))
	}
	s = digits.ReplaceAllStringFunc(s, func(n string) string { return cmp.Or(p.moved[n], n) })
	for _, d := range p.dirs {
		s = strings.ReplaceAll(s, d, "<dir>")
	}
	s = pemText.ReplaceAllString(s, "<secret>\n")
	s = jwtText.ReplaceAllString(s, "<secret>")
	s = base64Text.ReplaceAllStringFunc(s, hiddenSecret)
	s = timeText.ReplaceAllStringFunc(s, func(m string) string {
		if m == zeroTime {
			return m
		}
		return "<time>"
	})
	s = uuidText.ReplaceAllString(s, "<id>")
	host := regexp.QuoteMeta(p.host)
	s = regexp.MustCompile(host+`-[0-9a-f]{4}\b`).ReplaceAllString(s, "<id>")
	s = regexp.MustCompile(`(Hostname: )`+host+`\b`).ReplaceAllString(s, "$1<id>")
	s = regexp.MustCompile(`("hostname": ")`+host+`"`).ReplaceAllString(s, `$1<id>"`)
	for _, port := range p.ports {
		s = regexp.MustCompile(`\b`+port+`\b`).ReplaceAllString(s, "<port>")
	}
	if ageColumn.MatchString(s) {
		s = lastAge.ReplaceAllString(s, "$1<age>")
	}
	s = ourVersion.ReplaceAllString(s, "<version>")
	for _, u := range unknowns {
		s = u.ReplaceAllString(s, "${1}<version>")
	}
	if at := usageStart.FindStringIndex(s); at != nil {
		before, mark := s[:at[0]], "<help>\n"
		if strings.HasPrefix(before, "Error") || strings.HasPrefix(before, "#") {
			mark = before + "<usage>\n"
		} else if strings.TrimSpace(before) == "" {
			mark = before + "<usage>\n"
		}
		s = mark
	}
	return s
}

// hiddenSecret replaces base64 of keys and tokens.
func hiddenSecret(s string) string {
	raw, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(s, "="))
	if err == nil && (bytes.Contains(raw, []byte("-----BEGIN")) || bytes.HasPrefix(raw, []byte("eyJ"))) {
		return "<secret>"
	}
	return s
}

// looseTable is for tables with several ages.
func looseTable(s string) string {
	for range 2 { // ages that stand side by side share a blank
		s = anyAge.ReplaceAllString(s, "${1}<age>${2}")
	}
	s = regexp.MustCompile(` {3,}`).ReplaceAllString(s, "   ")
	s = regexp.MustCompile(`(Online   <age>   <age>   )\d+`).ReplaceAllString(s, "${1}<n>")
	return regexp.MustCompile(`(?m)(unknown|<version>)   \d+\.\d+\.\d+(\s|$)`).ReplaceAllString(s, "<version>   <version>$2")
}

// jwtTree decodes a token; times are relative to its iat.
func jwtTree(t *testing.T, text string) any {
	t.Helper()
	parts := strings.Split(strings.TrimSpace(text), ".")
	var trees [2]map[string]any
	for i := range trees {
		b, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err == nil {
			err = json.Unmarshal(b, &trees[i])
		}
		if err != nil {
			t.Fatalf("no JWT: %v", err)
		}
	}
	claims := trees[1]
	iat, _ := claims["iat"].(float64)
	for _, k := range []string{"nbf", "exp"} {
		if v, ok := claims[k].(float64); ok {
			claims[k] = fmt.Sprintf("<iat%+d>", int64(v-iat))
		}
	}
	claims["iat"] = "<time>"
	if claims["jti"] != nil {
		claims["jti"] = "<id>"
	}
	return map[string]any{"header": trees[0], "claims": claims, "trailing_newline": strings.HasSuffix(text, "\n")}
}

var (
	helpSection = regexp.MustCompile(`^([A-Z][A-Za-z ]+):$`)
	helpFlag    = regexp.MustCompile(`^\s+(?:-(\w), )?--([\w.-]+)(\[=[^\]]*\])?(?: (\S+))?(?:\s{2,}(.*))?$`)
	helpDefault = regexp.MustCompile(`\(default (.*?)\)(?: \(DEPRECATED.*)?$`)
)

// flagTable takes from a help page what is no help text.
func flagTable(help string) any {
	out := map[string][]any{}
	section := ""
	for line := range strings.SplitSeq(strings.TrimSuffix(help, "\n"), "\n") {
		if m := helpSection.FindStringSubmatch(line); m != nil {
			section = m[1]
			continue
		}
		switch {
		case strings.TrimSpace(line) == "":
			if section != "Usage" {
				section = ""
			}
		case section == "Usage" && strings.HasPrefix(line, "  "):
			out["usage"] = append(out["usage"], strings.TrimSpace(line))
		case section == "Available Commands":
			out["commands"] = append(out["commands"], strings.Fields(line)[0])
		case section == "Aliases":
			for a := range strings.SplitSeq(line, ",") {
				out["aliases"] = append(out["aliases"], strings.TrimSpace(a))
			}
		case section == "Flags" || section == "Global Flags":
			if m := helpFlag.FindStringSubmatch(line); m != nil {
				out["flags"] = append(out["flags"], flagEntry(m, section == "Global Flags"))
			}
		}
	}
	tree := map[string]any{}
	for k, v := range out {
		tree[k] = v
	}
	return tree
}

func flagEntry(m []string, global bool) map[string]any {
	f := map[string]any{"name": m[2], "type": m[4]}
	if m[1] != "" {
		f["shorthand"] = m[1]
	}
	if m[4] == "" {
		f["type"] = "bool"
	}
	if d := helpDefault.FindStringSubmatch(m[5]); d != nil {
		f["default"] = d[1]
	}
	if global {
		f["global"] = true
	}
	return f
}

// envoyNames reduces statistics and clusters of Envoy to their names.
func (p places) envoyNames(s string) any {
	set := map[string]bool{}
	for line := range strings.SplitSeq(strings.TrimSpace(s), "\n") {
		if i := strings.LastIndex(line, "::"); i >= 0 {
			line = line[:i]
		} else {
			line, _, _ = strings.Cut(line, ": ")
		}
		if line != "" {
			set[p.normal(line)] = true
		}
	}
	var out []any
	for k := range set {
		out = append(out, k)
	}
	slices.SortFunc(out, func(a, b any) int { return strings.Compare(a.(string), b.(string)) })
	return out
}

// configDump reduces a configuration dump of Envoy to the types of its parts.
func configDump(t *testing.T, s string) any {
	t.Helper()
	i := strings.IndexByte(s, '{')
	if i < 0 {
		t.Fatalf("no JSON: %.300q", s)
	}
	var dump struct {
		Configs []struct {
			Type string `json:"@type"`
		} `json:"configs"`
	}
	if err := json.Unmarshal([]byte(s[i:]), &dump); err != nil {
		t.Fatal(err)
	}
	types := []any{}
	for _, c := range dump.Configs {
		types = append(types, c.Type)
	}
	return map[string]any{"before": s[:i], "configs": types}
}

// filesTree describes the files of a folder.
func filesTree(t *testing.T, dir string) any {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]any{}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		st, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		f := map[string]any{"mode": fmt.Sprintf("%o", st.Mode().Perm())}
		kinds := []any{}
		for rest := text; ; {
			var b *pem.Block
			if b, rest = pem.Decode(rest); b == nil {
				break
			}
			kinds = append(kinds, b.Type)
			if b.Type == "CERTIFICATE" {
				describeCertificate(t, b.Bytes, f)
			}
		}
		f["pem"] = kinds
		out[e.Name()] = f
	}
	return out
}

// describeCertificate writes down what openssl would print.
func describeCertificate(t *testing.T, der []byte, f map[string]any) {
	t.Helper()
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	critical := map[string]string{}
	for _, x := range c.Extensions {
		if x.Critical {
			critical[x.Id.String()] = " critical"
		}
	}
	var usages, extended, names []string
	for bit, name := range []string{"Digital Signature", "Non Repudiation", "Key Encipherment", "Data Encipherment", "Key Agreement", "Certificate Sign"} {
		if c.KeyUsage&(1<<bit) != 0 {
			usages = append(usages, name)
		}
	}
	for _, u := range c.ExtKeyUsage {
		extended = append(extended, map[x509.ExtKeyUsage]string{
			x509.ExtKeyUsageServerAuth: "TLS Web Server Authentication", x509.ExtKeyUsageClientAuth: "TLS Web Client Authentication",
		}[u])
	}
	for _, n := range c.DNSNames {
		names = append(names, "DNS:"+n)
	}
	for _, ip := range c.IPAddresses {
		names = append(names, "IP Address:"+ip.String())
	}
	f["certificate"] = []any{
		"subject=" + c.Subject.String(), "issuer=" + c.Issuer.String(),
		"X509v3 Key Usage:" + critical["2.5.29.15"], strings.Join(usages, ", "),
		"X509v3 Extended Key Usage:" + critical["2.5.29.37"], strings.Join(extended, ", "),
		"X509v3 Basic Constraints:" + critical["2.5.29.19"], fmt.Sprintf("CA:%s", strings.ToUpper(fmt.Sprint(c.IsCA))),
		"X509v3 Subject Alternative Name:" + critical["2.5.29.17"], strings.Join(names, ", "),
	}
	switch k := c.PublicKey.(type) {
	case *rsa.PublicKey:
		f["key"] = fmt.Sprint(k.N.BitLen())
	case *ecdsa.PublicKey:
		f["key"] = fmt.Sprint(k.Curve.Params().BitSize)
	}
	f["signature"] = map[x509.SignatureAlgorithm]string{
		x509.SHA256WithRSA: "sha256WithRSAEncryption", x509.ECDSAWithSHA256: "ecdsa-with-SHA256",
	}[c.SignatureAlgorithm]
}
