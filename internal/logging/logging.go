// Package logging sets up the logs of the binaries: text for people or JSON for
// machines, to stderr or to a file that is rotated, at the levels that 2.10 has.
// Known kinds of secrets are kept out of every line (see redact). The loggers it
// returns are handed down; nothing here is global.
package logging

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"path/filepath"

	"gopkg.in/natefinch/lumberjack.v2"
)

// NameKey is the attribute that names the part of the program which logs. In
// text it becomes a column of its own.
const NameKey = "logger"

// Named returns a logger for a part of the program: Named(log, "xds-server").
func Named(log *slog.Logger, name string) *slog.Logger { return log.With(NameKey, name) }

// Formats of Options.Format.
const (
	Text = "text"
	JSON = "json"
)

// Options are the --log-* flags.
type Options struct {
	// Level is off, info or debug.
	Level string
	// Format is text or json.
	Format string
	// OutputPath is a file; empty = stderr.
	OutputPath string
	// MaxRetainedFiles, MaxSize (in MB) and MaxAge (in days) bound a rotated file.
	MaxRetainedFiles int
	MaxSize          int
	MaxAge           int
}

// FlagSet is what AddFlags needs of a flag set.
type FlagSet interface {
	StringVar(p *string, name, value, usage string)
	IntVar(p *int, name string, value int, usage string)
}

// AddFlags defines the flags with their defaults. getenv gives the default of
// --log-format, KUMA_LOG_FORMAT, because images are rather configured by variables.
func (o *Options) AddFlags(f FlagSet, getenv func(string) string) {
	format := getenv("KUMA_LOG_FORMAT")
	if format == "" {
		format = Text
	}
	f.StringVar(&o.Level, "log-level", "info", "log level: off, info or debug")
	f.StringVar(&o.Format, "log-format", format, "log format: text or json (variable KUMA_LOG_FORMAT)")
	f.StringVar(&o.OutputPath, "log-output-path", "", "file for the log (default: standard error)")
	f.IntVar(&o.MaxRetainedFiles, "log-max-retained-files", 1000, "how many rotated log files are kept")
	f.IntVar(&o.MaxSize, "log-max-size", 100, "size in megabytes at which the log file is rotated")
	f.IntVar(&o.MaxAge, "log-max-age", 30, "days after which rotated log files are removed")
}

// off is above every level that is in use.
const off = slog.Level(math.MaxInt)

func parseLevel(s string) (slog.Level, error) {
	switch s {
	case "off":
		return off, nil
	case "info":
		return slog.LevelInfo, nil
	case "debug":
		return slog.LevelDebug, nil
	}
	return 0, fmt.Errorf("unknown log level %q; use off, info or debug", s)
}

// New returns a logger and what to close at the end. program is the name in the
// line on stdout that tells where the log is, which 2.10 prints, too.
func New(o Options, program string, stdout, stderr io.Writer) (*slog.Logger, io.Closer, error) {
	level, err := parseLevel(o.Level)
	if err != nil {
		return nil, nil, err
	}
	if o.Format != Text && o.Format != JSON {
		return nil, nil, fmt.Errorf("unknown log format %q; use text or json", o.Format)
	}
	if o.OutputPath == "" {
		return slog.New(newHandler(o.Format, level, stderr)), io.NopCloser(nil), nil
	}
	file, err := openFile(o)
	if err != nil {
		return nil, nil, err
	}
	if _, err := fmt.Fprintf(stdout, "%s: logs will be stored in %q\n", program, file.Filename); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("tell where the log is: %w", err), file.Close())
	}
	return slog.New(newHandler(o.Format, level, file)), file, nil
}

// openFile makes sure now that the file can be written: the rotating writer
// would find out at the first line only.
func openFile(o Options) (*lumberjack.Logger, error) {
	for flag, n := range map[string]int{"log-max-retained-files": o.MaxRetainedFiles, "log-max-size": o.MaxSize, "log-max-age": o.MaxAge} {
		if n < 0 {
			return nil, fmt.Errorf("--%s must not be negative", flag)
		}
	}
	path, err := filepath.Abs(o.OutputPath)
	if err != nil {
		return nil, fmt.Errorf("log file: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("make the folder of the log file: %w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log file: %w", err)
	}
	if err := f.Close(); err != nil {
		return nil, fmt.Errorf("open the log file: %w", err)
	}
	return &lumberjack.Logger{Filename: path, MaxSize: o.MaxSize, MaxBackups: o.MaxRetainedFiles, MaxAge: o.MaxAge}, nil
}

func newHandler(format string, level slog.Level, w io.Writer) slog.Handler {
	if format == JSON {
		return &guard{Handler: slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: redact}), joinNames: true}
	}
	return &guard{Handler: newText(w, level)}
}
