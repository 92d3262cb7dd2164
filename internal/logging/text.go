package logging

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// textTime is ISO 8601 with milliseconds and zone, as in 2.10.
const textTime = "2006-01-02T15:04:05.000Z0700"

// text writes lines of columns with a tab between: time, level, dotted name of
// the logger, message, attributes as JSON (in their order, left out if there are
// none). 2.10 writes the same, and people have tools that read it.
type text struct {
	level slog.Level
	out   *output
	name  string
	// groups are the open groups; fields the attributes so far, each with the
	// number of groups around it.
	groups []string
	fields []field
}

type field struct {
	groups []string
	attr   slog.Attr
}

// output is shared by all handlers that come from one.
type output struct {
	mu sync.Mutex
	w  io.Writer
}

func newText(w io.Writer, level slog.Level) *text { return &text{level: level, out: &output{w: w}} }

// Enabled tells whether lines of that level are written.
func (h *text) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level }

// WithGroup opens a group.
func (h *text) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	c := *h
	c.groups = append(h.groups[:len(h.groups):len(h.groups)], name)
	return &c
}

// WithAttrs adds attributes; NameKey extends the name of the logger.
func (h *text) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *h
	c.fields = h.fields[:len(h.fields):len(h.fields)]
	for _, a := range attrs {
		c.add(a)
	}
	return &c
}

func (h *text) add(a slog.Attr) {
	if a.Key == NameKey && len(h.groups) == 0 {
		if h.name != "" {
			h.name += "."
		}
		h.name += a.Value.String()
		return
	}
	h.fields = append(h.fields, field{groups: h.groups, attr: a})
}

// Handle writes one line.
func (h *text) Handle(_ context.Context, r slog.Record) error {
	line := *h
	line.fields = h.fields[:len(h.fields):len(h.fields)]
	r.Attrs(func(a slog.Attr) bool {
		line.add(a)
		return true
	})
	var b bytes.Buffer
	if !r.Time.IsZero() {
		b.WriteString(r.Time.Format(textTime))
	}
	b.WriteByte('\t')
	b.WriteString(r.Level.String())
	b.WriteByte('\t')
	b.WriteString(line.name)
	b.WriteByte('\t')
	b.WriteString(oneLine.Replace(r.Message))
	if attrs := object(line.fields); len(attrs) > 0 {
		b.WriteByte('\t')
		attrs.write(&b)
	}
	b.WriteByte('\n')
	h.out.mu.Lock()
	defer h.out.mu.Unlock()
	_, err := h.out.w.Write(b.Bytes())
	return err
}

// oneLine keeps an event on its line: nobody can forge lines with a line break in a text.
var oneLine = strings.NewReplacer("\n", `\n`, "\r", `\r`, "\t", " ")

// pairs is a JSON object that keeps its order.
type pairs []pair

type pair struct {
	key   string
	value any // pairs for a group
}

// object arranges attributes in their groups.
func object(fields []field) pairs {
	var out pairs
	for _, f := range fields {
		out = out.put(f.groups, f.attr)
	}
	return out
}

func (p pairs) put(groups []string, a slog.Attr) pairs {
	if len(groups) > 0 {
		for i := range p {
			if sub, ok := p[i].value.(pairs); ok && p[i].key == groups[0] {
				p[i].value = sub.put(groups[1:], a)
				return p
			}
		}
		return append(p, pair{groups[0], pairs(nil).put(groups[1:], a)})
	}
	a.Value = a.Value.Resolve()
	if a.Value.Kind() != slog.KindGroup {
		if a.Equal(slog.Attr{}) {
			return p
		}
		a = redact(nil, a)
		return append(p, pair{a.Key, a.Value})
	}
	var inner []string
	if a.Key != "" {
		inner = []string{a.Key}
	}
	for _, g := range a.Value.Group() {
		p = p.put(inner, g)
	}
	return p
}

func (p pairs) write(b *bytes.Buffer) {
	b.WriteByte('{')
	for i, kv := range p {
		if i > 0 {
			b.WriteString(", ")
		}
		writeJSON(b, kv.key)
		b.WriteString(": ")
		switch v := kv.value.(type) {
		case pairs:
			v.write(b)
		case slog.Value:
			writeJSON(b, plain(v))
		}
	}
	b.WriteByte('}')
}

// plain returns what stands for a value in JSON.
func plain(v slog.Value) any {
	if v.Kind() == slog.KindTime {
		return v.Time().Format(time.RFC3339Nano)
	}
	return v.Any()
}

func writeJSON(b *bytes.Buffer, v any) {
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		_ = enc.Encode("!" + err.Error()) // a value without a JSON form must not cost the line
	}
	b.Truncate(b.Len() - 1) // the encoder ends with a line break
}
