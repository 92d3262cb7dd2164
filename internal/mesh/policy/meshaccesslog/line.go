package meshaccesslog

import "weft/internal/mesh/ir"

// Line is what the lines of an older policy are about.
type Line struct {
	// Destination and Direction of the traffic; its source is the proxy itself.
	Destination, Direction string
	// HTTP chooses the line where the user gives none.
	HTTP bool
}

// Text returns the format of lines with what the proxy itself does not know
// filled in; "" is the default format.
func (l Line) Text(format string, p *ir.Proxy) string {
	e := ends{source: serviceOf(p), destination: l.Destination, direction: l.Direction, http: l.HTTP}
	if format == "" {
		format = e.line()
	}
	return e.placeholders(p).Replace(format) + "\n"
}
