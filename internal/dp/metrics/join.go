package metrics

import (
	"bytes"
	"mime"
	"net/http"

	"github.com/prometheus/common/expfmt"
)

// rank orders the formats: the answer has the best one that any target used.
func rank(f expfmt.Format) int {
	switch f {
	case formatOpenMetrics100:
		return 3
	case formatOpenMetrics001:
		return 2
	case formatText:
		return 1
	default:
		return 0
	}
}

const (
	formatOpenMetrics100 = expfmt.Format("application/openmetrics-text; version=1.0.0; charset=utf-8")
	formatOpenMetrics001 = expfmt.Format("application/openmetrics-text; version=0.0.1; charset=utf-8")
	formatText           = expfmt.Format("text/plain; version=0.0.4; charset=utf-8")
)

// formatOf reads the content type of an answer; "" if it is none that we know.
func formatOf(h http.Header) expfmt.Format {
	kind, params, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil {
		return ""
	}
	switch {
	case kind == "application/openmetrics-text" && params["version"] == "1.0.0":
		return formatOpenMetrics100
	case kind == "application/openmetrics-text":
		return formatOpenMetrics001
	case kind == "text/plain":
		return formatText
	default:
		return ""
	}
}

// join puts the answers one after the other; ok is false when there is none.
func join(parts []*part, asked expfmt.Format) (body []byte, format expfmt.Format, ok bool) {
	var b bytes.Buffer
	for _, p := range parts {
		if p == nil {
			continue
		}
		ok = true
		if rank(p.format) > rank(format) {
			format = p.format
		}
		appendLines(&b, p.body)
	}
	if format == "" {
		format = asked
	}
	if rank(format) >= 2 {
		b.WriteString("# EOF\n")
	}
	return b.Bytes(), format, ok
}

// appendLines copies lines, without empty ones and without the mark that ends
// a whole OpenMetrics document.
func appendLines(b *bytes.Buffer, body []byte) {
	for line := range bytes.Lines(body) {
		line = bytes.TrimRight(line, "\r\n")
		if len(bytes.TrimSpace(line)) == 0 || bytes.Equal(line, []byte("# EOF")) {
			continue
		}
		b.Write(line)
		b.WriteByte('\n')
	}
}
