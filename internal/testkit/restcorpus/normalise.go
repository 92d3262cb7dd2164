package restcorpus

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// What differs from run to run, as in the recording's normalise.py.
var (
	timeLike = regexp.MustCompile(`\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?`)
	uuid     = regexp.MustCompile(`\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b`)
	jwtLike  = regexp.MustCompile(`\beyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+`)
	pemLike  = regexp.MustCompile(`(?s)-----BEGIN [A-Z0-9 ]+-----.*?-----END [A-Z0-9 ]+-----\n?`)
)

const zeroTime = "0001-01-01T00:00:00Z"

var (
	versionKeys = []string{"version", "gitTag", "gitCommit", "buildDate"}
	programs    = []string{"envoy", "kumaDp", "kumaCp"} // that tell their version
	countKeys   = []string{"responsesSent", "responsesAcknowledged", "generation"}
	idKeys      = []string{"hostname", "instanceId", "clusterId", "controlPlaneInstanceId"}
)

// normaliser replaces what differs from run to run by placeholders.
type normaliser struct {
	ports []int
	host  string
	dir   string
	ip    string
}

func (n *normaliser) text(s string) string {
	s = pemLike.ReplaceAllString(s, "<secret>")
	s = jwtLike.ReplaceAllString(s, "<secret>")
	s = timeLike.ReplaceAllStringFunc(s, func(t string) string {
		if t == zeroTime {
			return t
		}
		return "<time>"
	})
	s = uuid.ReplaceAllString(s, "<id>")
	if n.host != "" {
		s = regexp.MustCompile(regexp.QuoteMeta(n.host)+`-[0-9a-f]{4}\b`).ReplaceAllString(s, "<id>")
	}
	for _, p := range n.ports {
		s = regexp.MustCompile(fmt.Sprintf(`(^|\D)%d(\D|$)`, p)).ReplaceAllString(s, "${1}<port>${2}")
	}
	if n.dir != "" {
		s = strings.ReplaceAll(s, n.dir, "<dir>")
	}
	if n.ip != "" {
		s = strings.ReplaceAll(s, n.ip, "<ip>")
	}
	return s
}

func secretBase64(s string) bool {
	if len(s) < 64 {
		return false
	}
	raw, err := base64.StdEncoding.DecodeString(s)
	return err == nil && (strings.Contains(string(raw), "-----BEGIN") || strings.HasPrefix(string(raw), "eyJ"))
}

// tree normalises a JSON value. key is the key it stands under.
func (n *normaliser) tree(v any, key string, root bool) any {
	switch v := v.(type) {
	case map[string]any:
		return n.object(v, key, root)
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = n.tree(e, key, false)
		}
		return out
	case string:
		if secretBase64(v) {
			return "<secret>"
		}
		return n.text(v)
	case float64:
		if slices.Contains(n.ports, int(v)) {
			return "<port>"
		}
	}
	return v
}

func (n *normaliser) object(o map[string]any, key string, root bool) any {
	_, product := o["product"]
	_, instance := o["instanceId"]
	index := root && product && instance
	out := map[string]any{}
	for k, v := range o {
		text, isText := v.(string)
		switch {
		case isText && slices.Contains(idKeys, k) && (index || k != "hostname"):
			out[k] = "<id>"
		case isText && slices.Contains(versionKeys, k) && (text == "unknown" || slices.Contains(programs, key) || root && k == "version"):
			out[k] = "<version>"
		case k == "build" && key == "envoy":
			out[k] = "<version>"
		case slices.Contains(countKeys, k):
			out[k] = "<n>"
		case k == "dpVersions":
			out[k] = dpVersions(v)
		default:
			out[n.text(k)] = n.tree(v, k, false)
		}
	}
	return out
}

func dpVersions(v any) any {
	kinds, ok := v.(map[string]any)
	if !ok {
		return v
	}
	out := map[string]any{}
	for kind, counts := range kinds {
		byVersion := map[string]any{}
		m, _ := counts.(map[string]any)
		for name, n := range m {
			if name != "" && name[0] >= '0' && name[0] <= '9' {
				name = "<version>"
			}
			byVersion[name] = n
		}
		out[kind] = byVersion
	}
	return out
}

// decodeJWT returns header and claims of a token, times relative to iat.
func decodeJWT(token string) (any, error) {
	parts := strings.Split(strings.TrimSpace(token), ".")
	if len(parts) != 3 {
		return nil, fmt.Errorf("%q is no token", token)
	}
	var out [2]map[string]any
	for i := range out {
		b, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil {
			return nil, err
		}
		if err := json.Unmarshal(b, &out[i]); err != nil {
			return nil, err
		}
	}
	claims := out[1]
	iat, has := claims["iat"].(float64)
	for _, k := range []string{"nbf", "exp"} {
		if t, ok := claims[k].(float64); ok && has {
			claims[k] = fmt.Sprintf("<iat%+d>", int64(t-iat))
		}
	}
	if has {
		claims["iat"] = "<time>"
	}
	if _, ok := claims["jti"]; ok {
		claims["jti"] = "<id>"
	}
	return map[string]any{"header": out[0], "claims": claims}, nil
}

// configDump keeps only what kinds of entries an Envoy configuration dump has
// and how the dynamic ones are called.
func configDump(o any) any {
	dump, _ := o.(map[string]any)
	configs, _ := dump["configs"].([]any)
	out := []any{}
	for _, c := range configs {
		c, _ := c.(map[string]any)
		e := map[string]any{"@type": c["@type"]}
		for k, v := range c {
			list, ok := v.([]any)
			if ok && (strings.HasPrefix(k, "static_") || strings.HasPrefix(k, "dynamic_")) {
				e[k] = entryNames(list)
			}
		}
		out = append(out, e)
	}
	return map[string]any{"configs": out}
}

func entryNames(list []any) any {
	names := make([]string, len(list))
	for i, x := range list {
		x, _ := x.(map[string]any)
		name, _ := x["name"].(string)
		for _, sub := range []string{"cluster", "route_config", "endpoint_config", "scoped_route_configs"} {
			if s, ok := x[sub].(map[string]any); ok {
				name, _ = s["name"].(string)
				if name == "" {
					name, _ = s["cluster_name"].(string)
				}
			}
		}
		names[i] = name
	}
	slices.Sort(names)
	return anys(names)
}

// statNames returns the sorted names in statistics ("name: value") or clusters
// ("name::part::value").
func (n *normaliser) statNames(s string) any {
	seen := map[string]bool{}
	for line := range strings.SplitSeq(s, "\n") {
		name, _, _ := strings.Cut(line, ": ")
		if i := strings.LastIndex(line, "::"); i >= 0 {
			name = line[:i]
		}
		if name != "" {
			seen[n.text(name)] = true
		}
	}
	names := make([]string, 0, len(seen))
	for k := range seen {
		names = append(names, k)
	}
	slices.Sort(names)
	return anys(names)
}

func anys(in []string) []any {
	out := make([]any, len(in))
	for i, s := range in {
		out[i] = s
	}
	return out
}

// sortLists sorts the lists under the keys, whose order is not fixed.
func sortLists(v any, keys []string) any {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			e = sortLists(e, keys)
			if list, ok := e.([]any); ok && slices.Contains(keys, k) {
				slices.SortFunc(list, func(a, b any) int { return strings.Compare(encoded(wordless(a)), encoded(wordless(b))) })
			}
			v[k] = e
		}
	case []any:
		for i := range v {
			v[i] = sortLists(v[i], keys)
		}
	}
	return v
}

// wordless returns a value without the messages in it, which are ours.
func wordless(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, e := range v {
			if k != "message" {
				out[k] = wordless(e)
			}
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = wordless(e)
		}
		return out
	}
	return v
}

func encoded(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}
