// Package definition reads the definition of a proxy that a person gave to
// kuma-dp: template variables, YAML, and the few rules that can be checked
// without the control plane. The rest of the definition is passed on as it is;
// the control plane validates it. Pure functions, no shared state.
package definition

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Definition is a checked definition of a proxy.
type Definition struct {
	// Type is Dataplane, ZoneIngress or ZoneEgress.
	Type string
	// Mesh is empty for zone proxies.
	Mesh string
	// Name of the proxy.
	Name string
	// JSON is the whole object in REST form.
	JSON string
}

// maxSize bounds what is read; real definitions are a few kilobytes.
const maxSize = 1 << 20

var (
	// namePattern is that of every object: an RFC 1123 subdomain.
	namePattern = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)
	// meshPattern is what a reference to a mesh may look like.
	meshPattern = regexp.MustCompile(`^[0-9a-z_.-]*$`)
)

// typeOf says which kind of object describes which kind of proxy.
func typeOf(proxyType string) string {
	switch proxyType {
	case "ingress":
		return "ZoneIngress"
	case "egress":
		return "ZoneEgress"
	default:
		return "Dataplane"
	}
}

// Parse turns the rendered text into a definition for a proxy of the given
// type (dataplane, ingress or egress). Text without any content gives nil.
func Parse(text, proxyType string) (*Definition, error) {
	if len(text) > maxSize {
		return nil, fmt.Errorf("read definition: it is %d bytes long, more than the %d that are accepted", len(text), maxSize)
	}
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	object, err := decodeYAML([]byte(text))
	if err != nil {
		return nil, fmt.Errorf("read definition: %w", err)
	}
	if object == nil {
		return nil, nil
	}
	if err := check(object, typeOf(proxyType), proxyType); err != nil {
		return nil, fmt.Errorf("check definition: %w", err)
	}
	d := &Definition{Type: textOf(object, "type"), Mesh: textOf(object, "mesh"), Name: textOf(object, "name")}
	if d.JSON, err = encode(object); err != nil {
		return nil, fmt.Errorf("encode definition: %w", err)
	}
	return d, nil
}

// check applies the rules for type, mesh, name and labels.
func check(o map[string]any, want, proxyType string) error {
	if _, ok := o["apiVersion"]; ok {
		return errors.New("it is written for Kubernetes (apiVersion, kind, metadata); write it with type, mesh and name at the top")
	}
	var problems []string
	add := func(field, format string, args ...any) {
		problems = append(problems, field+" "+fmt.Sprintf(format, args...))
	}
	for _, field := range []string{"type", "mesh", "name"} {
		if v, ok := o[field]; ok && v != nil {
			if _, ok := v.(string); !ok {
				add(field, "must be text, not %s", describe(v))
			}
		}
	}
	if len(problems) > 0 {
		return errors.New(strings.Join(problems, "; "))
	}
	switch got := textOf(o, "type"); got {
	case want:
	case "":
		add("type", "is missing: write type: %s", want)
	default:
		add("type", "is %s, but a proxy of type %s is described by a %s: change the definition or --proxy-type", got, proxyType, want)
	}
	checkName(textOf(o, "name"), add)
	checkMesh(textOf(o, "mesh"), want, add)
	checkLabels(o["labels"], add)
	if len(problems) > 0 {
		return errors.New(strings.Join(problems, "; "))
	}
	return nil
}

func checkName(name string, add func(field, format string, args ...any)) {
	switch {
	case name == "":
		add("name", "is missing")
	case len(name) > 253:
		add("name", "is %d characters long; 253 are allowed", len(name))
	case !namePattern.MatchString(name):
		add("name", "%q may only have lower case letters, digits, '-' and '.', with a letter or digit at both ends", name)
	}
}

func checkMesh(mesh, kind string, add func(field, format string, args ...any)) {
	switch {
	case kind != "Dataplane" && mesh != "":
		add("mesh", "must not be set: a %s belongs to the zone, not to a mesh", kind)
	case kind == "Dataplane" && mesh == "":
		add("mesh", "is missing")
	case len(mesh) > 253:
		add("mesh", "is %d characters long; 253 are allowed", len(mesh))
	case !meshPattern.MatchString(mesh):
		add("mesh", "%q may only have lower case letters, digits, '-', '_' and '.'", mesh)
	}
}

func checkLabels(v any, add func(field, format string, args ...any)) {
	if v == nil {
		return
	}
	labels, ok := v.(map[string]any)
	if !ok {
		add("labels", "must be a map, not %s", describe(v))
		return
	}
	for _, key := range sortedKeys(labels) {
		if _, ok := labels[key].(string); !ok {
			add(fmt.Sprintf("labels[%q]", key), "must be text: put %v in quotes", labels[key])
		}
	}
}

// zeroTime is how the REST form says that a time is not known.
const zeroTime = "0001-01-01T00:00:00Z"

// encode writes the object in REST form: metadata first, then the spec.
func encode(o map[string]any) (string, error) {
	meta := []string{"type", "mesh", "name", "creationTime", "modificationTime", "labels"}
	fields := map[string]any{"creationTime": zeroTime, "modificationTime": zeroTime}
	for k, v := range o {
		if v == nil && slices.Contains(meta, k) {
			continue
		}
		fields[k] = v
	}
	order := meta
	for _, k := range sortedKeys(fields) {
		if !slices.Contains(meta, k) {
			order = append(order, k)
		}
	}
	var b bytes.Buffer
	b.WriteByte('{')
	for _, k := range order {
		v, ok := fields[k]
		if !ok {
			continue
		}
		if b.Len() > 1 {
			b.WriteByte(',')
		}
		if err := writeField(&b, k, v); err != nil {
			return "", err
		}
	}
	b.WriteByte('}')
	return b.String(), nil
}

func writeField(b *bytes.Buffer, key string, value any) error {
	k, err := json.Marshal(key)
	if err != nil {
		return err
	}
	v, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	b.Write(k)
	b.WriteByte(':')
	b.Write(v)
	return nil
}

// textOf returns a field that is text, else "".
func textOf(o map[string]any, field string) string {
	s, _ := o[field].(string)
	return s
}

func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// describe names the JSON type of a value for messages.
func describe(v any) string {
	switch v.(type) {
	case map[string]any:
		return "a map"
	case []any:
		return "a list"
	case string:
		return "text"
	case bool:
		return "true or false"
	default:
		return "a number"
	}
}
