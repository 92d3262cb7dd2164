// Package accesslog carries access logs from Envoy to TCP collectors. Envoy
// writes lines into a named pipe; each says where it belongs. The streamer has
// one reader and one sender for each collector, so a slow or dead collector
// delays neither Envoy nor the others: its lines are dropped and counted.
package accesslog

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
)

// maxLine bounds one line; longer ones are dropped.
const maxLine = 1 << 20

// Entry is one line of an access log and where it goes.
type Entry struct {
	// Address of the collector, host:port.
	Address string
	// Text to send, with a newline at its end.
	Text []byte
}

// ParseLine reads one line from the pipe: a JSON object
// {"address": "host:port", "message": text or object}, or the older form
// "host:port;text".
func ParseLine(line []byte) (Entry, error) {
	if bytes.HasPrefix(line, []byte("{")) {
		return parseJSON(line)
	}
	address, text, ok := bytes.Cut(line, []byte(";"))
	if !ok {
		return Entry{}, errors.New("neither JSON nor address;text")
	}
	return entry(string(address), text)
}

func parseJSON(line []byte) (Entry, error) {
	var raw struct {
		Address string          `json:"address"`
		Message json.RawMessage `json:"message"`
	}
	if err := json.Unmarshal(line, &raw); err != nil {
		return Entry{}, fmt.Errorf("read as JSON: %w", err)
	}
	if len(raw.Message) == 0 {
		return Entry{}, errors.New("it has no message")
	}
	var text string
	if json.Unmarshal(raw.Message, &text) == nil {
		return entry(raw.Address, []byte(text))
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, raw.Message); err != nil {
		return Entry{}, fmt.Errorf("read message: %w", err)
	}
	return entry(raw.Address, compact.Bytes())
}

func entry(address string, text []byte) (Entry, error) {
	host, port, err := net.SplitHostPort(strings.TrimSpace(address))
	if err != nil || host == "" || port == "" {
		return Entry{}, fmt.Errorf("address %q is not host:port", address)
	}
	return Entry{Address: net.JoinHostPort(host, port), Text: append(bytes.Clone(text), '\n')}, nil
}

// dialer opens connections to collectors.
type dialer interface {
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
}
