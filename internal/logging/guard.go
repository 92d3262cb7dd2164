package logging

import (
	"context"
	"log/slog"
)

// guard scrubs messages (attributes are the business of redact). For JSON it also
// joins the names of nested loggers, which would else be written as equal keys.
type guard struct {
	slog.Handler
	joinNames bool
	name      string
}

// Handle passes the record on without secrets in its message.
func (g *guard) Handle(ctx context.Context, r slog.Record) error {
	r.Message = scrub(r.Message)
	return g.named().Handle(ctx, r)
}

func (g *guard) named() slog.Handler {
	if g.name == "" {
		return g.Handler
	}
	return g.Handler.WithAttrs([]slog.Attr{slog.String(NameKey, g.name)})
}

// WithAttrs keeps the guard.
func (g *guard) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *g
	var rest []slog.Attr
	for _, a := range attrs {
		if !g.joinNames || a.Key != NameKey {
			rest = append(rest, a)
			continue
		}
		if c.name != "" {
			c.name += "."
		}
		c.name += a.Value.String()
	}
	c.Handler = g.Handler.WithAttrs(rest)
	return &c
}

// WithGroup keeps the guard. The name so far stays outside of the group.
func (g *guard) WithGroup(name string) slog.Handler {
	return &guard{Handler: g.named().WithGroup(name)}
}
