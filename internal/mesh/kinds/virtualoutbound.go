package kinds

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"

	"weft/internal/mesh/model"
)

// VirtualOutbound gives services further hostnames and ports, made from the tags
// of their proxies. HostnameGenerator supersedes it.
var VirtualOutbound = &model.Kind{
	Name: "VirtualOutbound", Plural: "virtual-outbounds", One: "virtual-outbound", Many: "virtual-outbounds",
	Display: "Virtual Outbound", DisplayPlural: "Virtual Outbounds",
	Scope: model.InMesh, Shape: model.Flat,
	Flow:     model.GlobalToZone | model.GlobalWrites,
	Feeds:    model.FeedsSpec,
	Policy:   &model.PolicyInfo{},
	New:      func() any { return new(VirtualOutboundSpec) },
	Validate: validateVirtualOutbound,
}

// VirtualOutboundSpec says which services get a hostname and port and how they are made.
type VirtualOutboundSpec struct {
	// Selectors say by their tags which inbounds and external services are meant.
	Selectors []Selector `json:"selectors,omitempty"`
	// Conf says how hostname and port are made.
	Conf *VirtualOutboundConf `json:"conf,omitempty"`
}

// VirtualOutboundConf says how hostname and port are made.
type VirtualOutboundConf struct {
	// Host is the template of the hostname in the syntax of Go's text/template.
	// It knows every parameter by its name, as in "{{.service}}.mesh".
	Host string `json:"host,omitempty"`
	// Port is the template of the port, as in "{{.port}}" or "80".
	Port string `json:"port,omitempty"`
	// Parameters of the templates. One must stand for the tag kuma.io/service.
	// Endpoints that agree in the tags of all parameters share the outbound.
	Parameters []VirtualOutboundParameter `json:"parameters,omitempty"`
}

// VirtualOutboundParameter gives a tag a name in templates.
type VirtualOutboundParameter struct {
	// Name in the templates: letters and digits.
	Name string `json:"name,omitempty"`
	// TagKey is the tag whose value the parameter has. Without one it is the
	// tag with the parameter's name.
	TagKey string `json:"tagKey,omitempty"`
}

// Tag returns the name of the tag whose value the parameter has.
func (p *VirtualOutboundParameter) Tag() string {
	if p.TagKey != "" {
		return p.TagKey
	}
	return p.Name
}

// ParameterTags returns the tags that the parameters speak of, with their values
// in tags: what an endpoint must have to belong to the outbound. ok is false if
// one is missing, so that no outbound can be made.
func (s *VirtualOutboundSpec) ParameterTags(tags map[string]string) (out map[string]string, ok bool) {
	out = make(map[string]string, len(s.Conf.Parameters))
	for i := range s.Conf.Parameters {
		key := s.Conf.Parameters[i].Tag()
		v, has := tags[key]
		if !has {
			return nil, false
		}
		out[key] = v
	}
	return out, true
}

// Evaluate returns the hostname and port that are made from a set of tags.
func (s *VirtualOutboundSpec) Evaluate(tags map[string]string) (host string, port uint32, err error) {
	data := make(map[string]string, len(s.Conf.Parameters))
	for i := range s.Conf.Parameters {
		p := &s.Conf.Parameters[i]
		v, ok := tags[p.Tag()]
		if !ok {
			return "", 0, fmt.Errorf("the tag %q of parameter %q is missing", p.Tag(), p.Name)
		}
		data[p.Name] = v
	}
	if host, err = evalHost(s.Conf.Host, data); err != nil {
		return "", 0, fmt.Errorf("evaluate host: %w", err)
	}
	if port, err = evalPort(s.Conf.Port, data); err != nil {
		return "", 0, fmt.Errorf("evaluate port: %w", err)
	}
	return host, port, nil
}

func evalHost(text string, data map[string]string) (string, error) {
	host, err := evalTemplate(text, data)
	if err != nil {
		return "", err
	}
	if !isHost(host) {
		return "", fmt.Errorf("the result %q is no valid DNS name", host)
	}
	return host, nil
}

func evalPort(text string, data map[string]string) (uint32, error) {
	s, err := evalTemplate(text, data)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("the result %q is no number", s)
	}
	if n < 1 || n > 65535 {
		return 0, fmt.Errorf("the result %d is no port between 1 and 65535", n)
	}
	return uint32(n), nil
}

func evalTemplate(text string, data map[string]string) (string, error) {
	t, err := parseUserTemplate(text, nil)
	if err != nil {
		return "", err
	}
	return t.eval(data, nil)
}

var parameterNamePattern = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9]*$`)

func validateVirtualOutbound(o *model.Object, v *model.Violations) {
	s := model.Spec[VirtualOutboundSpec](o)
	MatchRules(false).CheckSelectors(s.Selectors, v.At("selectors"))
	if s.Conf == nil {
		v.At("conf").Add("has to be defined: it says how host and port are made")
		return
	}
	s.Conf.validate(v.At("conf"))
}

func (c *VirtualOutboundConf) validate(v *model.Violations) {
	params := v.At("parameters")
	named := map[string]bool{}
	hasService := false
	for i := range c.Parameters {
		p, at := &c.Parameters[i], params.At(i)
		if named[p.Name] {
			at.At("name").Add("the name %q is used before", p.Name)
		}
		named[p.Name] = true
		if !parameterNamePattern.MatchString(p.Name) {
			at.At("name").Add("%q must be letters and digits and begin with a letter, since templates use it as .%s", p.Name, p.Name)
		}
		if p.TagKey == "" && !tagName.MatchString(p.Name) {
			at.At("name").Add("%q is no possible name of a tag, so it needs a tagKey", p.Name)
		}
		if !tagName.MatchString(p.TagKey) {
			at.At("tagKey").Add(tagNameMessage)
		}
		hasService = hasService || p.Tag() == model.TagService
	}
	if !hasService {
		params.Add("one parameter must have %q as tagKey", model.TagService)
	}
	c.validateTemplates(v, slices.Collect(maps.Keys(named)))
}

// validateTemplates tries the templates with values that any tag could have.
func (c *VirtualOutboundConf) validateTemplates(v *model.Violations, params []string) {
	sample := func(value string) map[string]string {
		data := make(map[string]string, len(params))
		for _, p := range params {
			data[p] = value
		}
		return data
	}
	if c.Host == "" {
		v.At("host").Add("has to be defined")
	} else if _, err := evalHost(c.Host, sample("dummy")); err != nil {
		v.At("host").Add("does not work with every parameter set to \"dummy\": %v", err)
	}
	if c.Port == "" {
		v.At("port").Add("has to be defined")
	} else if _, err := evalPort(c.Port, sample("1")); err != nil {
		v.At("port").Add("does not work with every parameter set to \"1\": %v", err)
	}
}
