package meshmetric

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

const (
	// maxAnswer bounds what one target may send.
	maxAnswer = 128 << 20
	// maxLine bounds one line of it.
	maxLine = 1 << 20
)

var errTooLong = fmt.Errorf("the answer is longer than %d bytes", maxAnswer)

// readFamilies reads the text format family by family, so that the metrics of
// a large proxy are never in memory as a whole. A family that cannot be read
// is passed over; what was wrong with the first of them is returned at the end,
// together with the number of them.
func readFamilies(r io.Reader, each func(*dto.MetricFamily) error) (broken int, first, err error) {
	c := chunker{parser: expfmt.NewTextParser(model.UTF8Validation), each: each}
	limited := &io.LimitedReader{R: r, N: maxAnswer + 1}
	lines := bufio.NewScanner(limited)
	lines.Buffer(make([]byte, 0, 64<<10), maxLine)
	for lines.Scan() {
		if err := c.line(lines.Bytes()); err != nil {
			return c.broken, c.first, err
		}
	}
	if err := lines.Err(); err != nil {
		return c.broken, c.first, fmt.Errorf("read metrics: %w", err)
	}
	if limited.N == 0 {
		return c.broken, c.first, errTooLong
	}
	return c.broken, c.first, c.flush()
}

// chunker cuts the text where another family begins.
type chunker struct {
	parser expfmt.TextParser
	each   func(*dto.MetricFamily) error
	family string
	text   bytes.Buffer
	broken int
	first  error
}

func (c *chunker) line(line []byte) error {
	line = bytes.TrimRight(line, "\r")
	if name, ok := describes(line); ok && name != c.family {
		if err := c.flush(); err != nil {
			return err
		}
		c.family = name
	} else if !ok && len(line) > 0 && line[0] == '#' {
		return nil // a remark
	}
	c.text.Write(line)
	c.text.WriteByte('\n')
	return nil
}

// describes returns the family that a HELP or TYPE line is about.
func describes(line []byte) (string, bool) {
	if len(line) == 0 || line[0] != '#' {
		return "", false
	}
	fields := bytes.Fields(line)
	if len(fields) < 3 || string(fields[0]) != "#" || string(fields[1]) != "TYPE" && string(fields[1]) != "HELP" {
		return "", false
	}
	return string(fields[2]), true
}

func (c *chunker) flush() error {
	defer c.text.Reset()
	if len(bytes.TrimSpace(c.text.Bytes())) == 0 {
		return nil
	}
	found, err := c.parser.TextToMetricFamilies(&c.text)
	if err != nil {
		if c.broken++; c.first == nil {
			c.first = fmt.Errorf("family %q: %w", c.family, plain(err))
		}
		return nil
	}
	names := make([]string, 0, len(found))
	for name := range found {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if err := c.each(found[name]); err != nil {
			return err
		}
	}
	return nil
}

// plain shortens an error of the parser, which may quote a whole line.
func plain(err error) error {
	text := err.Error()
	if len(text) <= 200 {
		return err
	}
	return errors.New(strings.ToValidUTF8(text[:200], "") + "…")
}
