package kinds

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	"weft/internal/mesh/model"
)

// Protocols that the tag kuma.io/protocol and appProtocol may name.
const (
	ProtocolTCP   = "tcp"
	ProtocolHTTP  = "http"
	ProtocolHTTP2 = "http2"
	ProtocolGRPC  = "grpc"
	ProtocolKafka = "kafka"
	ProtocolTLS   = "tls"
	ProtocolMySQL = "mysql"
)

// protocols lists the values that the tag kuma.io/protocol accepts.
var protocols = []string{ProtocolGRPC, ProtocolHTTP, ProtocolHTTP2, ProtocolKafka, ProtocolMySQL, ProtocolTCP, ProtocolTLS}

// MultiTags are tags with all their values, sorted.
type MultiTags map[string][]string

// String returns "k1=v1,v2 k2=v", sorted.
func (m MultiTags) String() string {
	parts := make([]string, 0, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		parts = append(parts, k+"="+strings.Join(m[k], ","))
	}
	return strings.Join(parts, " ")
}

// Matches tells whether for every tag of the selector one of the values fits.
func (m MultiTags) Matches(selector map[string]string) bool {
	for k, want := range selector {
		have := m[k]
		if len(have) == 0 || (want != MatchAll && !slices.Contains(have, want)) {
			return false
		}
	}
	return true
}

func (m MultiTags) add(tags map[string]string) {
	for k, v := range tags {
		if !slices.Contains(m[k], v) {
			m[k] = append(m[k], v)
		}
	}
}

func (m MultiTags) sort() {
	for _, vs := range m {
		slices.Sort(vs)
	}
}

// MatchAll as a selector's value means that the tag must be there.
const MatchAll = "*"

// MatchTags tells whether the tags have every key of the selector with the same
// value, or any value where the selector says "*". An empty selector matches all.
func MatchTags(selector, tags map[string]string) bool {
	for k, want := range selector {
		have, ok := tags[k]
		if !ok || (want != MatchAll && have != want) {
			return false
		}
	}
	return true
}

// TagsString returns "key=value key=value", sorted by key.
func TagsString(tags map[string]string) string {
	parts := make([]string, 0, len(tags))
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		parts = append(parts, k+"="+tags[k])
	}
	return strings.Join(parts, " ")
}

// Selector selects by tags in kinds that come from the time before targetRef.
type Selector struct {
	Match map[string]string `json:"match,omitempty"`
}

var (
	tagName       = regexp.MustCompile(`^[a-zA-Z0-9.\-_:/]*$`)
	tagValue      = regexp.MustCompile(`^[a-zA-Z0-9.\-_:]*$`)
	selectorValue = regexp.MustCompile(`^([a-zA-Z0-9.\-_:/]*|\*)$`)
)

const (
	tagNameMessage       = "the name of a tag may hold letters, digits, '.', '-', '_', ':' and '/' only"
	tagValueMessage      = "the value of a tag may hold letters, digits, '.', '-', '_' and ':' only"
	selectorValueMessage = "the value must be \"*\" or hold letters, digits, '.', '-', '_', ':' and '/' only"
)

// TagRules say what a set of tags must be like.
type TagRules struct {
	// Selector allows "*" and "/" in values.
	Selector bool
	// NotEmpty asks for at least one tag.
	NotEmpty bool
	// Service asks for the tag kuma.io/service.
	Service bool
	// Protocol checks the value of the tag kuma.io/protocol.
	Protocol bool
	// Forbidden lists names that must not be used.
	Forbidden []string
}

// Check adds what is wrong with tags; v is positioned at them.
func (r TagRules) Check(tags map[string]string, v *model.Violations) {
	if r.NotEmpty && len(tags) == 0 {
		v.Add("at least one tag is needed")
		return
	}
	if r.Protocol {
		checkProtocolTag(tags, v)
	}
	value, valueMessage := tagValue, tagValueMessage
	if r.Selector {
		value, valueMessage = selectorValue, selectorValueMessage
	}
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		at := v.At(model.Q(k))
		if k == "" {
			at = v // a path cannot name a tag without a name
		}
		switch {
		case k == "":
			at.Add("the name of a tag must not be empty")
		case !tagName.MatchString(k):
			at.Add("%s", tagNameMessage)
		case slices.Contains(r.Forbidden, k):
			at.Add("the tag %s must not be used here", k)
		}
		switch {
		case tags[k] == "":
			at.Add("the value of a tag must not be empty")
		case !value.MatchString(tags[k]):
			at.Add("%s", valueMessage)
		}
	}
	if _, ok := tags[model.TagService]; r.Service && !ok {
		v.Add("the tag %s is missing; it names the service", model.TagService)
	}
}

func checkProtocolTag(tags map[string]string, v *model.Violations) {
	p, ok := tags[model.TagProtocol]
	if ok && !slices.Contains(protocols, strings.ToLower(p)) {
		v.At(model.Q(model.TagProtocol)).Add("%q is no protocol that is known; use one of %s", p, strings.Join(protocols, ", "))
	}
}

// CheckSelectors adds what is wrong with a list of selectors; v is positioned at it.
func (r TagRules) CheckSelectors(sel []Selector, v *model.Violations) {
	if len(sel) == 0 {
		v.Add("at least one selector is needed")
	}
	for i := range sel {
		r.Check(sel[i].Match, v.At(i, "match"))
	}
}
