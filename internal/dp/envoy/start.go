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
	// DrainTime is how long Envoy lets connections of removed listeners live.
	DrainTime time.Duration
	// LogLevel of Envoy.
	LogLevel string
	// ComponentLogLevel of Envoy's components.
	ComponentLogLevel string
	// Concurrency is the number of workers; zero leaves it to Envoy.
	Concurrency uint32
	// Env of Envoy. Access logs and filters can read it, so that no secrets must be there.
	Env []string
	// Stdout and Stderr receive Envoy's log unmodified.
	Stdout, Stderr io.Writer
}

// Prepare writes the bootstrap document and returns Envoy as a component.
func Prepare(o Options, log *slog.Logger) (*process.Process, error) {
	if err := os.MkdirAll(o.ConfigDir, 0o755); err != nil {
		return nil, fmt.Errorf("make directory for Envoy's configuration: %w", err)
	}
	config := filepath.Join(o.ConfigDir, "bootstrap.yaml")
	// It may hold the token of the proxy, so an old file with a looser mode
	// must not be reused.
	if err := os.Remove(config); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("replace Envoy's configuration: %w", err)
	}
	if err := os.WriteFile(config, o.Bootstrap, 0o600); err != nil {
		return nil, fmt.Errorf("write Envoy's configuration: %w", err)
	}
	return &process.Process{
		Name: "Envoy", Path: o.Path, Args: arguments(o, config), Env: o.Env, Stdout: o.Stdout, Stderr: o.Stderr, Log: log,
	}, nil
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
