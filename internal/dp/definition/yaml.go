package definition

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

const (
	maxDepth = 64
	// maxNodes bounds what aliases may blow a small text up to.
	maxNodes = 200_000
)

// decodeYAML reads exactly one YAML (or JSON) document that is a map. Text
// without content gives nil. Errors name the line.
func decodeYAML(text []byte) (map[string]any, error) {
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var doc yaml.Node
	for {
		err := dec.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		if !isEmpty(&doc) {
			break
		}
		doc = yaml.Node{}
	}
	for {
		var next yaml.Node
		err := dec.Decode(&next)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if !isEmpty(&next) {
			return nil, fmt.Errorf("line %d: a second document starts; a proxy has one definition", next.Line)
		}
	}
	c := converter{left: maxNodes}
	v, err := c.value(&doc, 0)
	if err != nil {
		return nil, err
	}
	m, ok := v.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("line %d: expected a map with type, mesh and name, found %s", doc.Line, describe(v))
	}
	return m, nil
}

func isEmpty(doc *yaml.Node) bool {
	return len(doc.Content) == 0 || (len(doc.Content) == 1 && doc.Content[0].Tag == "!!null")
}

// converter turns YAML nodes into what encoding/json knows. It exists because
// decoding into `any` would turn dates into times and 1.10 into 1.1 for text
// that another decoder reads as it is written.
type converter struct{ left int }

func (c *converter) value(n *yaml.Node, depth int) (any, error) {
	if c.left--; c.left < 0 || depth > maxDepth {
		return nil, fmt.Errorf("line %d: the document is nested too deeply or too large", n.Line)
	}
	switch n.Kind {
	case yaml.DocumentNode:
		return c.value(n.Content[0], depth)
	case yaml.AliasNode:
		return c.value(n.Alias, depth+1)
	case yaml.MappingNode:
		return c.mapping(n, depth)
	case yaml.SequenceNode:
		list := make([]any, 0, len(n.Content))
		for _, item := range n.Content {
			v, err := c.value(item, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		return list, nil
	default:
		return scalar(n)
	}
}

func (c *converter) mapping(n *yaml.Node, depth int) (any, error) {
	m := make(map[string]any, len(n.Content)/2)
	lines := map[string]int{}
	var merges []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, val := n.Content[i], n.Content[i+1]
		if key.Tag == "!!merge" {
			merges = append(merges, val)
			continue
		}
		if key.Kind == yaml.AliasNode {
			key = key.Alias
		}
		if key.Kind != yaml.ScalarNode {
			return nil, fmt.Errorf("line %d: a key must be plain text", key.Line)
		}
		if first, ok := lines[key.Value]; ok {
			return nil, fmt.Errorf("line %d: %q is already set on line %d", key.Line, key.Value, first)
		}
		lines[key.Value] = key.Line
		v, err := c.value(val, depth+1)
		if err != nil {
			return nil, err
		}
		m[key.Value] = v
	}
	for _, merge := range merges {
		if err := c.merge(m, merge, depth+1); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// merge adds the keys of a "<<" value that are not set themselves.
func (c *converter) merge(into map[string]any, from *yaml.Node, depth int) error {
	v, err := c.value(from, depth)
	if err != nil {
		return err
	}
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	for _, item := range list {
		m, ok := item.(map[string]any)
		if !ok {
			return fmt.Errorf("line %d: << needs a map, not %s", from.Line, describe(item))
		}
		for k, v := range m {
			if _, set := into[k]; !set {
				into[k] = v
			}
		}
	}
	return nil
}

func scalar(n *yaml.Node) (any, error) {
	switch n.Tag {
	case "!!null":
		return nil, nil
	case "!!bool":
		return strings.EqualFold(n.Value, "true"), nil
	case "!!int":
		var i int64
		if err := n.Decode(&i); err != nil {
			return nil, fmt.Errorf("line %d: %s is no whole number in range", n.Line, n.Value)
		}
		return json.Number(strconv.FormatInt(i, 10)), nil
	case "!!float":
		var f float64
		if err := n.Decode(&f); err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
			return nil, fmt.Errorf("line %d: %s is no number that JSON can express", n.Line, n.Value)
		}
		return f, nil
	default:
		return n.Value, nil
	}
}
