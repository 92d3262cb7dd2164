package command

import (
	"fmt"
	"io"
	"log/slog"
	"path/filepath"

	"github.com/spf13/pflag"
	"gopkg.in/natefinch/lumberjack.v2"
)

// logOptions are the flags about logs, common to all commands.
type logOptions struct {
	level      string
	path       string
	retained   int
	maxSize    int
	maxAgeDays int
}

func (o *logOptions) addFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.level, "log-level", "info", "how much to log: off, info or debug")
	fs.StringVar(&o.path, "log-output-path", "", "file to log to instead of standard error; it is rotated")
	fs.IntVar(&o.retained, "log-max-retained-files", 1000, "how many rotated log files to keep")
	fs.IntVar(&o.maxSize, "log-max-size", 100, "size of a log file in megabytes before it is rotated")
	fs.IntVar(&o.maxAgeDays, "log-max-age", 30, "how many days to keep a rotated log file")
}

// open returns the logger that the flags ask for; close ends its file.
func (o *logOptions) open(stdout, stderr io.Writer) (log *slog.Logger, closeLog func() error, err error) {
	closeLog = func() error { return nil }
	var level slog.Level
	switch o.level {
	case "off":
		return slog.New(slog.DiscardHandler), closeLog, nil
	case "info":
		level = slog.LevelInfo
	case "debug":
		level = slog.LevelDebug
	default:
		return nil, nil, fmt.Errorf("--log-level %q is unknown: choose off, info or debug", o.level)
	}
	out := stderr
	if o.path != "" {
		abs, err := filepath.Abs(o.path)
		if err != nil {
			return nil, nil, fmt.Errorf("find log file: %w", err)
		}
		file := &lumberjack.Logger{Filename: abs, MaxSize: o.maxSize, MaxBackups: o.retained, MaxAge: o.maxAgeDays}
		// Opened now, so that an unusable path is told at start.
		if _, err := file.Write(nil); err != nil {
			return nil, nil, fmt.Errorf("open log file: %w", err)
		}
		fmt.Fprintf(stdout, "kuma-dp: logs will be stored in %q\n", abs)
		out, closeLog = file, file.Close
	}
	return slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: level})), closeLog, nil
}
