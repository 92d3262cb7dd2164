package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

func parseYAML(data []byte) ([]Document, error) {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	budget := MaxNodes
	var docs []Document
	for {
		number := len(docs) + 1
		var root yaml.Node
		err := dec.Decode(&root)
		if errors.Is(err, io.EOF) {
			return docs, nil
		}
		if err != nil {
			return nil, yamlError(number, err)
		}
		c := converter{document: number, budget: &budget, lines: map[string]int{}}
		value, err := c.value(&root, "", 0)
		if err != nil {
			return nil, err
		}
		if value == nil {
			continue
		}
		d, err := newDocument(number, value, c.lines)
		if err != nil {
			return nil, err
		}
		docs = append(docs, *d)
	}
}

var yamlLine = regexp.MustCompile(`(?s)^yaml: (?:line (\d+): )?(.*)$`)

// yamlError takes the line out of an error of the parser.
func yamlError(number int, err error) *Error {
	e := &Error{Document: number, Message: "is not YAML: " + err.Error()}
	if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
		e.Line, _ = strconv.Atoi(m[1])
		e.Message = "is not YAML: " + m[2]
	}
	return e
}

// converter turns the nodes of one document into plain values and notes where
// they are.
type converter struct {
	document int
	budget   *int
	lines    map[string]int
}

func (c *converter) fail(n *yaml.Node, format string, args ...any) error {
	return &Error{Document: c.document, Line: n.Line, Message: fmt.Sprintf(format, args...)}
}

func (c *converter) value(n *yaml.Node, path string, depth int) (any, error) {
	if *c.budget--; *c.budget < 0 {
		return nil, c.fail(n, "the file has more than %d values; split it, and look at its aliases", MaxNodes)
	}
	if depth > MaxDepth {
		return nil, c.fail(n, "values are nested more than %d deep", MaxDepth)
	}
	switch n.Kind {
	case yaml.DocumentNode:
		if len(n.Content) == 0 {
			return nil, nil
		}
		return c.value(n.Content[0], path, depth)
	case yaml.AliasNode:
		return c.value(n.Alias, path, depth+1)
	case yaml.MappingNode:
		c.note(path, n)
		return c.mapping(n, path, depth)
	case yaml.SequenceNode:
		c.note(path, n)
		return c.sequence(n, path, depth)
	case yaml.ScalarNode:
		c.note(path, n)
		return c.scalar(n)
	}
	return nil, nil // an empty document
}

// note keeps the first line that a path was seen at; a key's own line was noted
// before its value's.
func (c *converter) note(path string, n *yaml.Node) {
	if _, ok := c.lines[path]; !ok {
		c.lines[path] = n.Line
	}
}

func (c *converter) sequence(n *yaml.Node, path string, depth int) (any, error) {
	out := make([]any, len(n.Content))
	for i, e := range n.Content {
		v, err := c.value(e, itemPath(path, i), depth+1)
		if err != nil {
			return nil, err
		}
		out[i] = v
	}
	return out, nil
}

func (c *converter) mapping(n *yaml.Node, path string, depth int) (any, error) {
	out := make(map[string]any, len(n.Content)/2)
	own := make(map[string]int, len(n.Content)/2)
	var merged []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if k.ShortTag() == "!!merge" {
			merged = append(merged, v)
			continue
		}
		key, err := c.key(k)
		if err != nil {
			return nil, err
		}
		if line, ok := own[key]; ok {
			return nil, c.fail(k, "the key %q is there twice, the first time in line %d", key, line)
		}
		own[key] = k.Line
		sub := keyPath(path, key)
		c.note(sub, k)
		if out[key], err = c.value(v, sub, depth+1); err != nil {
			return nil, err
		}
	}
	for _, m := range merged {
		if err := c.merge(m, path, depth+1, out); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// merge adds what a merge key (<<) refers to, where it is not there yet.
func (c *converter) merge(n *yaml.Node, path string, depth int, out map[string]any) error {
	target := n
	if n.Kind == yaml.AliasNode {
		target = n.Alias
	}
	if target.Kind == yaml.SequenceNode {
		for _, e := range target.Content {
			if err := c.merge(e, path, depth+1, out); err != nil {
				return err
			}
		}
		return nil
	}
	if target.Kind != yaml.MappingNode {
		return c.fail(n, "only objects can be merged with <<")
	}
	v, err := c.value(target, path, depth+1)
	if err != nil {
		return err
	}
	for k, e := range v.(map[string]any) {
		if _, ok := out[k]; !ok {
			out[k] = e
		}
	}
	return nil
}

// key returns a key as text; keys of labels may look like numbers.
func (c *converter) key(n *yaml.Node) (string, error) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Kind != yaml.ScalarNode {
		return "", c.fail(n, "a key must be text, not a list or an object")
	}
	return n.Value, nil
}

func (c *converter) scalar(n *yaml.Node) (any, error) {
	switch n.ShortTag() {
	case "!!null":
		return nil, nil
	case "!!str", "!!timestamp", "!!binary":
		return n.Value, nil
	case "!!bool", "!!int", "!!float":
		var v any
		if err := n.Decode(&v); err != nil {
			return nil, c.fail(n, "%q cannot be read: %s", n.Value, strings.TrimPrefix(err.Error(), "yaml: "))
		}
		if f, ok := v.(float64); ok && (math.IsNaN(f) || math.IsInf(f, 0)) {
			return nil, c.fail(n, "%q is no number that JSON has; put it in quotes if text is meant", n.Value)
		}
		return v, nil
	}
	return nil, c.fail(n, "the tag %s is not possible here", n.Tag)
}
