package kinds

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"text/template"
	"text/template/parse"
)

// Bounds of templates that users write. They run inside the control plane, so
// neither their running time nor their output may grow beyond measure.
const (
	maxTemplate       = 4096
	maxTemplateOutput = 4096
)

// userTemplate is a text/template that ends soon and stays small: loops,
// includes and long intermediate texts are refused.
type userTemplate struct{ t *template.Template }

// parseUserTemplate parses a template. Names in funcs can be called; they are
// bound to functions when the template is evaluated.
func parseUserTemplate(text string, funcs template.FuncMap) (*userTemplate, error) {
	if len(text) > maxTemplate {
		return nil, fmt.Errorf("it is longer than %d bytes", maxTemplate)
	}
	t, err := template.New("").Option("missingkey=error").Funcs(boundedFuncs()).Funcs(funcs).Parse(text)
	if err != nil {
		return nil, templateProblem(err)
	}
	if len(t.Templates()) > 1 {
		return nil, errors.New("define and block are not possible here")
	}
	if t.Tree == nil { // only comments or definitions
		return &userTemplate{t}, nil
	}
	if err := checkNodes(t.Root); err != nil {
		return nil, err
	}
	return &userTemplate{t}, nil
}

// eval returns the template's text for data, with functions bound to funcs.
// Evaluations may run at the same time.
func (u *userTemplate) eval(data any, funcs template.FuncMap) (string, error) {
	t := u.t
	if len(funcs) > 0 {
		c, err := t.Clone()
		if err != nil {
			return "", err
		}
		t = c.Funcs(funcs)
	}
	out := &boundedText{}
	if err := t.Execute(out, data); err != nil {
		return "", templateProblem(err)
	}
	return out.b.String(), nil
}

// templateProblem returns an error of text/template without its preamble, the
// name of the template, which has none.
func templateProblem(err error) error {
	return errors.New(strings.Replace(err.Error(), "template: :", "line ", 1))
}

// checkNodes refuses what could run for long.
func checkNodes(n parse.Node) error {
	switch n := n.(type) {
	case *parse.ListNode:
		if n == nil {
			return nil
		}
		for _, c := range n.Nodes {
			if err := checkNodes(c); err != nil {
				return err
			}
		}
	case *parse.RangeNode:
		return errors.New("range is not possible here")
	case *parse.TemplateNode:
		return errors.New("template is not possible here")
	case *parse.IfNode:
		return errors.Join(checkNodes(n.List), checkNodes(n.ElseList))
	case *parse.WithNode:
		return errors.Join(checkNodes(n.List), checkNodes(n.ElseList))
	}
	return nil
}

// boundedText takes a bounded number of bytes.
type boundedText struct{ b strings.Builder }

var errTooLong = fmt.Errorf("the text is longer than %d bytes", maxTemplateOutput)

func (w *boundedText) Write(p []byte) (int, error) {
	if w.b.Len()+len(p) > maxTemplateOutput {
		return 0, errTooLong
	}
	return w.b.Write(p)
}

// wideVerb finds widths and precisions that make much out of little.
var wideVerb = regexp.MustCompile(`%[^%a-zA-Z]*([0-9]{4}|\*)`)

// boundedFuncs replaces the predefined functions that make texts.
func boundedFuncs() template.FuncMap {
	bound := func(s string) (string, error) {
		if len(s) > maxTemplateOutput {
			return "", errTooLong
		}
		return s, nil
	}
	return template.FuncMap{
		"print":   func(args ...any) (string, error) { return bound(fmt.Sprint(args...)) },
		"println": func(args ...any) (string, error) { return bound(fmt.Sprintln(args...)) },
		"printf": func(format string, args ...any) (string, error) {
			if wideVerb.MatchString(format) {
				return "", fmt.Errorf("the width in format %q is too large", format)
			}
			return bound(fmt.Sprintf(format, args...))
		},
		"html":     func(args ...any) (string, error) { return bound(template.HTMLEscaper(args...)) },
		"js":       func(args ...any) (string, error) { return bound(template.JSEscaper(args...)) },
		"urlquery": func(args ...any) (string, error) { return bound(template.URLQueryEscaper(args...)) },
	}
}
