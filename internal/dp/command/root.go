// Package command is the command line of kuma-dp: flags, variables, logging
// and signals. It ends in calls of package dp.
package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"weft/internal/dp/process"
	"weft/internal/logging"
	"weft/internal/version"
)

// Environment is what the program takes from the outside.
type Environment struct {
	// Args without the name of the program.
	Args []string
	// Env holds KEY=value pairs.
	Env []string
	// Stdin, Stdout and Stderr of the program.
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Signals are SIGINT, SIGTERM and SIGUSR2.
	Signals chan os.Signal
	// Notify adds further signals to Signals.
	Notify func(...os.Signal)
	// Exit ends the process at once.
	Exit func(code int)
}

// Main runs the command line and returns the exit code.
func Main(ctx context.Context, e Environment) int {
	root := newRoot(&e)
	root.SetArgs(e.Args)
	root.SetIn(e.Stdin)
	root.SetOut(e.Stdout)
	root.SetErr(e.Stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	var exit *process.Exit
	if errors.As(err, &exit) && exit.Failure == nil {
		return exit.Code // the application's own affair
	}
	fmt.Fprintf(e.Stderr, "kuma-dp: %v\n", err)
	if exit != nil {
		return exit.Code
	}
	// A wrapper or systemd may tell from the code how Envoy ended.
	var ended *process.ExitError
	if errors.As(err, &ended) && ended.Code > 0 && ended.Code < 256 {
		return ended.Code
	}
	return 1
}

func newRoot(e *Environment) *cobra.Command {
	var logs logging.Options
	env := environ(e.Env)
	root := &cobra.Command{
		Use:   "kuma-dp",
		Short: "Run a proxy of the mesh",
		Long: `kuma-dp (` + version.Product + `) runs one proxy of the mesh: it fetches the proxy's configuration from
the control plane, runs Envoy with it, and resolves the names of the mesh.

Every flag of "kuma-dp run" has an environment variable, which wins over the flag.`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	logs.AddFlags(root.PersistentFlags(), func(name string) string { return env[name] })
	root.AddCommand(newRun(e, &logs), newWait(e, &logs), newVersion())
	return root
}

// environ turns KEY=value pairs into a map.
func environ(pairs []string) map[string]string {
	m := make(map[string]string, len(pairs))
	for _, p := range pairs {
		if k, v, ok := strings.Cut(p, "="); ok {
			m[k] = v
		}
	}
	return m
}

// stdLog passes on what libraries print with package log (CoreDNS does), with
// the level that they put in front.
type stdLog struct{ log *slog.Logger }

// Write takes one line.
func (s stdLog) Write(line []byte) (int, error) {
	text := strings.TrimSpace(string(line))
	level := slog.LevelInfo
	for prefix, l := range map[string]slog.Level{
		"[DEBUG] ": slog.LevelDebug, "[INFO] ": slog.LevelInfo, "[WARNING] ": slog.LevelWarn,
		"[ERROR] ": slog.LevelError, "[PANIC] ": slog.LevelError, "[FATAL] ": slog.LevelError,
	} {
		if rest, ok := strings.CutPrefix(text, prefix); ok {
			level, text = l, rest
			break
		}
	}
	s.log.Log(context.Background(), level, "library message", "text", text)
	return len(line), nil
}
