// Package cli is kumactl: one file per command. Commands get everything they
// use through an App, so that tests run them in process. An App runs one command
// at a time.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"weft/internal/tproxy"
)

// App is what commands act on.
type App struct {
	In       io.Reader
	Out, Err io.Writer
	Home     string // the user's home folder; may be empty
	Env      func(string) string
	Now      func() time.Time

	configFile string
	noConfig   bool
	apiTimeout time.Duration
	logLevel   string
	settings   *settings
	host       *tproxy.Host // nil = this one
}

// Command returns the root command.
func Command(a *App) *cobra.Command {
	root := &cobra.Command{
		Use:   "kumactl",
		Short: "Management tool of the mesh",
		Long:  "kumactl reads and writes the objects of a control plane, makes tokens and certificates, and looks into proxies.",
		// What is wrong is said once, by Main; usage only helps with wrong flags.
		SilenceErrors:     true,
		Args:              cobra.ArbitraryArgs,
		RunE:              needsSubcommand,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return a.prepare(cmd) },
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	f := root.PersistentFlags()
	f.StringVar(&a.configFile, "config-file", "", "path to the configuration file to use")
	f.StringVar(&a.logLevel, "log-level", "off", "how much to tell on standard error: off, info or debug")
	f.BoolVar(&a.noConfig, "no-config", false, "neither read nor write a configuration file; use the control plane at "+localURL)
	f.DurationVar(&a.apiTimeout, "api-timeout", time.Minute, "how long a request may take, from the connection to the end of the answer; 0 = for ever")
	_ = root.RegisterFlagCompletionFunc("log-level", cobra.FixedCompletions([]string{"off", "info", "debug"}, cobra.ShellCompDirectiveNoFileComp))
	root.SuggestionsMinimumDistance = suggestWithin
	// A group does nothing by itself, so it has no usage line without a command.
	root.SetUsageTemplate(strings.Replace(root.UsageTemplate(), "{{if .Runnable}}", "{{if and .Runnable (not .HasAvailableSubCommands)}}", 1))
	root.SetFlagErrorFunc(hideSecrets)
	root.SetIn(a.In)
	root.SetOut(a.Out)
	root.SetErr(a.Err)
	root.AddCommand(a.configCommand(), a.getCommand(), a.applyCommand(), a.deleteCommand(), a.inspectCommand(), a.explainCommand(),
		a.exportCommand(), a.generateCommand(), a.completionCommand(), a.versionCommand(),
		a.installCommand(), a.uninstallCommand(), a.renderCommand(), a.analyzeCommand())
	return root
}

// hideSecrets leaves values of flags that may hold a token out of errors.
func hideSecrets(_ *cobra.Command, err error) error {
	var bad *pflag.InvalidValueError
	if errors.As(err, &bad) {
		if name := bad.GetFlag().Name; name == "auth-conf" || name == "headers" {
			return fmt.Errorf("invalid value of --%s: it must be formatted as key=value", name)
		}
	}
	return err
}

// suggestWithin is how many letters a command may be away from what was typed.
const suggestWithin = 2

// needsSubcommand is what a command does that only groups others.
func needsSubcommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	msg := fmt.Sprintf("unknown command %q for %q", args[0], cmd.CommandPath())
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		msg += "\n\nDid you mean this?\n\t" + strings.Join(near, "\n\t") + "\n"
	}
	return fmt.Errorf("%s\nRun '%s --help' for what there is", msg, cmd.CommandPath())
}

// group returns a command that only groups others.
func group(use, short string, subs ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{
		Use: use, Short: short, Args: cobra.ArbitraryArgs, RunE: needsSubcommand, SuggestionsMinimumDistance: suggestWithin,
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	c.AddCommand(subs...)
	return c
}

// Annotations of commands and flags.
const (
	isOffline     = "offline"    // command: needs no configuration file
	deprecatedFor = "deprecated" // flag: what to use instead
)

// Main runs kumactl and returns the exit code.
func Main(ctx context.Context, a *App, args []string) int {
	root := Command(a)
	root.SetArgs(args)
	_, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	text := strings.TrimRight(err.Error(), "\n")
	if text != "" {
		fmt.Fprintf(a.Err, "Error: %s\n", text)
	}
	var code *exitCode
	if errors.As(err, &code) {
		return code.code
	}
	return 1
}

// prepare runs before every command: after it, usage is no longer of help.
func (a *App) prepare(cmd *cobra.Command) error {
	switch a.logLevel {
	case "off", "info", "debug":
	default:
		return fmt.Errorf("log level %q is not known: use off, info or debug", a.logLevel)
	}
	cmd.SilenceUsage = true
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if instead := f.Annotations[deprecatedFor]; instead != nil {
			fmt.Fprintf(a.Err, "Flag --%s has been deprecated, %s\n", f.Name, instead[0])
		}
	})
	if cmd.Annotations[isOffline] != "" || strings.HasPrefix(cmd.Name(), cobra.ShellCompRequestCmd) {
		a.settings = defaultSettings()
		return nil
	}
	return a.load()
}

// deprecate hides a flag and warns on standard error when it is used; cobra
// would warn on standard output, in front of what the command prints.
func deprecate(cmd *cobra.Command, name, instead string) {
	f := cmd.Flags().Lookup(name)
	f.Hidden = true
	f.Annotations = map[string][]string{deprecatedFor: {instead}}
}

func (a *App) log() *slog.Logger {
	switch a.logLevel {
	case "debug":
		return slog.New(slog.NewTextHandler(a.Err, &slog.HandlerOptions{Level: slog.LevelDebug}))
	case "info":
		return slog.New(slog.NewTextHandler(a.Err, nil))
	}
	return slog.New(slog.DiscardHandler)
}

// configPath is where the configuration file lies; "" if nobody knows.
func (a *App) configPath() string {
	switch {
	case a.configFile != "":
		return a.configFile
	case a.Home == "":
		return ""
	}
	return filepath.Join(a.Home, ".kumactl", "config")
}

// load reads the configuration file, which is made at first use.
func (a *App) load() error {
	path := a.configPath()
	if a.noConfig || path == "" {
		a.settings = defaultSettings()
		return nil
	}
	s, err := readSettings(path)
	switch {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		a.settings = defaultSettings()
		if err := writeSettings(path, a.settings); err != nil {
			if a.configFile != "" {
				return err
			}
			// A home that cannot be written to (containers) is no reason to fail.
			a.log().Info("the configuration file cannot be made, going on without", "error", err)
		}
		return nil
	case err != nil:
		return err
	}
	a.settings = s
	return nil
}

// save writes the configuration file.
func (a *App) save() error {
	path := a.configPath()
	switch {
	case a.noConfig:
		return nil
	case path == "":
		return errors.New("there is no home folder for the configuration; name a file with --config-file")
	}
	return writeSettings(path, a.settings)
}
