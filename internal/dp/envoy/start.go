package envoy

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"weft/internal/dp/process"
)

// Options say how Envoy is started.
type Options struct {
	// Path of the binary.
	Path string
	// ConfigDir receives bootstrap.yaml.
	ConfigDir string
	// Bootstrap is the document.
	Bootstrap []byte
	// Token of the proxy, if the document may hold it and shall not. It needs an
	// Envoy that can add headers to what goes to a cluster.
	Token string
	// DrainTime is how long Envoy lets connections of removed listeners live.
	DrainTime time.Duration
	// LogLevel of Envoy.
	LogLevel string
	// ComponentLogLevel of Envoy's components.
	ComponentLogLevel string
	// Concurrency is the number of workers; zero leaves it to Envoy.
	Concurrency uint32
	// Stdout and Stderr receive Envoy's log unmodified.
	Stdout, Stderr io.Writer
}

// Prepare writes the bootstrap document and returns Envoy as a component.
func Prepare(o Options, log *slog.Logger) (*process.Process, error) {
	if err := os.MkdirAll(o.ConfigDir, 0o755); err != nil {
		return nil, fmt.Errorf("make directory for Envoy's configuration: %w", err)
	}
	document, variable, err := hideToken(o.Bootstrap, o.Token)
	if err != nil {
		// Of another kind of control plane: it works, as it would in 2.10.
		log.Warn("Envoy's admin interface will show the token of this proxy to everybody on this host", "error", err)
		document = o.Bootstrap
	}
	p := &process.Process{Name: "Envoy", Path: o.Path, Stdout: o.Stdout, Stderr: o.Stderr, Log: log}
	if variable != "" {
		p.Env = append(os.Environ(), variable+"="+o.Token)
	}
	config := filepath.Join(o.ConfigDir, "bootstrap.yaml")
	// It may hold secrets, so an old file with a looser mode must not be reused.
	if err := os.Remove(config); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("replace Envoy's configuration: %w", err)
	}
	if err := os.WriteFile(config, document, 0o600); err != nil {
		return nil, fmt.Errorf("write Envoy's configuration: %w", err)
	}
	p.Args = arguments(o, config)
	return p, nil
}

// arguments is the command line of Envoy, in the order that 2.10 uses.
func arguments(o Options, config string) []string {
	args := []string{
		"--config-path", config,
		"--drain-time-s", strconv.Itoa(max(1, int(math.Ceil(o.DrainTime.Seconds())))),
		"--drain-strategy", "immediate",
		"--disable-hot-restart",
		"--log-level", o.LogLevel,
	}
	if o.ComponentLogLevel != "" {
		args = append(args, "--component-log-level", o.ComponentLogLevel)
	}
	switch {
	case o.Concurrency > 0:
		args = append(args, "--concurrency", strconv.FormatUint(uint64(o.Concurrency), 10))
	case runtime.GOOS == "linux":
		args = append(args, "--cpuset-threads")
	}
	return args
}
