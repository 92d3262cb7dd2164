package meshmetric

import (
	"bufio"
	"bytes"
	"io"
	"math"
	"mime"
	"strconv"
)

// textOf returns the body in the text format. Some applications answer with
// OpenMetrics whatever they are asked for; the two differ in how counters are
// named, in the unit of timestamps, and in exemplars.
func textOf(body io.Reader, contentType string) io.Reader {
	if kind, _, err := mime.ParseMediaType(contentType); err != nil || kind != "application/openmetrics-text" {
		return body
	}
	lines := bufio.NewScanner(body)
	lines.Buffer(make([]byte, 0, 64<<10), maxLine)
	return &openMetrics{lines: lines}
}

// openMetrics translates line by line.
type openMetrics struct {
	lines *bufio.Scanner
	out   bytes.Buffer
	// family and kind of the last TYPE line.
	family, kind string
}

// Read implements io.Reader.
func (o *openMetrics) Read(p []byte) (int, error) {
	for o.out.Len() == 0 {
		if !o.lines.Scan() {
			if err := o.lines.Err(); err != nil {
				return 0, err
			}
			return 0, io.EOF
		}
		o.translate(o.lines.Bytes())
	}
	return o.out.Read(p)
}

func (o *openMetrics) translate(line []byte) {
	if len(line) == 0 {
		return
	}
	if line[0] != '#' {
		o.sample(line)
		return
	}
	fields := bytes.Fields(line)
	if len(fields) < 4 || string(fields[1]) != "TYPE" {
		return // HELP comes before or after TYPE, under another name for counters; EOF and UNIT say nothing
	}
	o.family, o.kind = string(fields[2]), string(fields[3])
	name, kind := o.family, o.kind
	switch kind {
	case "counter":
		name += "_total"
	case "unknown":
		kind = "untyped"
	case "info":
		name, kind = name+"_info", "gauge"
	case "stateset":
		kind = "gauge"
	case "gaugehistogram":
		return // the text format has nothing like it; its samples are dropped below
	}
	o.out.WriteString("# TYPE " + name + " " + kind + "\n")
}

func (o *openMetrics) sample(line []byte) {
	name := line
	if i := bytes.IndexAny(line, "{ "); i >= 0 {
		name = line[:i]
	}
	if o.kind == "gaugehistogram" || o.family != "" && bytes.Equal(name, []byte(o.family+"_created")) {
		return
	}
	end := labelsEnd(line)
	rest := line[end:]
	if i := bytes.Index(rest, []byte(" # ")); i >= 0 {
		rest = rest[:i] // the exemplar
	}
	fields := bytes.Fields(rest)
	if len(fields) == 0 {
		return
	}
	o.out.Write(line[:end])
	o.out.WriteByte(' ')
	o.out.Write(fields[0])
	if len(fields) > 1 {
		if seconds, err := strconv.ParseFloat(string(fields[1]), 64); err == nil && math.Abs(seconds) < math.MaxInt64/1000 {
			o.out.WriteByte(' ')
			o.out.WriteString(strconv.FormatInt(int64(seconds*1000), 10))
		}
	}
	o.out.WriteByte('\n')
}

// labelsEnd returns where the value of a sample begins; quoted label values may
// hold braces.
func labelsEnd(line []byte) int {
	quoted := false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case c == '}' && !quoted:
			return i + 1
		case c == ' ' && !quoted && bytes.IndexByte(line[:i], '{') < 0:
			return i
		}
	}
	return len(line)
}
