// Package cli is kumactl: one file per command. Commands get everything they
// use through an app value, so that tests run them in process.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"weft/internal/client"
)

// App is what commands act on. Zero fields are filled in by Command.
type App struct {
	In       io.Reader
	Out, Err io.Writer
	Home     string // the user's home folder
	Env      func(string) string
	Now      func() time.Time

	configFile string
	noConfig   bool
	apiTimeout time.Duration
	logLevel   string
	settings   *settings
}

// Command returns the root command.
func Command(a *App) *cobra.Command {
	root := &cobra.Command{
		Use:   "kumactl",
		Short: "Management tool of the mesh",
		Long:  "kumactl reads and writes the objects of a control plane, makes tokens and certificates, and installs what hosts need.",
		// What is wrong is said once, by main; usage only helps with wrong flags.
		SilenceErrors: true,
		Args:          cobra.ArbitraryArgs,
		RunE:          needsSubcommand,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			cmd.SilenceUsage = true
			return a.load()
		},
	}
	f := root.PersistentFlags()
	f.StringVar(&a.configFile, "config-file", "", "path to the configuration file to use")
	f.StringVar(&a.logLevel, "log-level", "off", "log level: one of off|info|debug")
	f.BoolVar(&a.noConfig, "no-config", false, "if set no config file and config directory will be created or read")
	f.DurationVar(&a.apiTimeout, "api-timeout", time.Minute, "the timeout for API calls, including connection, redirects and reading the answer; 0 means no timeout")
	root.SetIn(a.In)
	root.SetOut(a.Out)
	root.SetErr(a.Err)
	root.AddCommand(a.configCommand(), a.getCommand(), a.applyCommand(), a.deleteCommand(), a.generateCommand(), a.versionCommand())
	return root
}

// needsSubcommand is what a command does that only groups others.
func needsSubcommand(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("unknown command %q for %q; see %q", args[0], cmd.CommandPath(), cmd.CommandPath()+" --help")
	}
	return cmd.Help()
}

// group returns a command that only groups others.
func group(use, short string, subs ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Args: cobra.ArbitraryArgs, RunE: needsSubcommand}
	c.AddCommand(subs...)
	return c
}

// Main runs kumactl and returns the exit code.
func Main(ctx context.Context, a *App, args []string) int {
	root := Command(a)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintf(a.Err, "Error: %s\n", strings.TrimRight(err.Error(), "\n"))
	if !cmd.SilenceUsage {
		fmt.Fprintf(a.Err, "see %q\n", cmd.CommandPath()+" --help")
	}
	return 1
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

// configPath is where the configuration file lies.
func (a *App) configPath() string {
	if a.configFile != "" {
		return a.configFile
	}
	return filepath.Join(a.Home, ".kumactl", "config")
}

// load reads the configuration file, which is made at first use.
func (a *App) load() error {
	switch a.logLevel {
	case "off", "info", "debug":
	default:
		return fmt.Errorf("log level %q: use one of off, info, debug", a.logLevel)
	}
	if a.noConfig {
		a.settings = defaultSettings()
		return nil
	}
	s, err := readSettings(a.configPath())
	if errors.Is(err, os.ErrNotExist) {
		a.settings = defaultSettings()
		return a.save()
	}
	if err != nil {
		return err
	}
	a.settings = s
	return nil
}

func (a *App) save() error {
	if a.noConfig {
		return nil
	}
	return writeSettings(a.configPath(), a.settings)
}

// client returns a client of the current control plane.
func (a *App) client() (*client.Client, error) {
	cp, err := a.settings.current()
	if err != nil {
		return nil, err
	}
	return a.clientOf(cp)
}

func (a *App) clientOf(cp *controlPlane) (*client.Client, error) {
	api := cp.Coordinates.APIServer
	o := client.Options{URL: api.URL, Headers: http.Header{}, Timeout: a.apiTimeout, SkipVerify: api.SkipVerify}
	for _, h := range api.Headers {
		o.Headers.Set(h.Key, h.Value)
	}
	var err error
	if o.CAPEM, err = readOptional(api.CACertFile, "CA certificate"); err != nil {
		return nil, err
	}
	if o.CertPEM, err = readOptional(api.ClientCertFile, "client certificate"); err != nil {
		return nil, err
	}
	if o.KeyPEM, err = readOptional(api.ClientKeyFile, "client key"); err != nil {
		return nil, err
	}
	switch {
	case api.AuthType == "tokens":
		o.Headers.Set("Authorization", "Bearer "+api.AuthConf["token"])
	case api.AuthType != "":
		return nil, fmt.Errorf("authentication type %q of control plane %q is not known; use tokens", api.AuthType, cp.Name)
	case o.Headers.Get("Authorization") == "":
		if token := a.localToken(api.URL); token != "" {
			o.Headers.Set("Authorization", "Bearer "+token)
		}
	}
	a.log().Debug("talking to the control plane", "name", cp.Name, "url", api.URL)
	return client.New(o)
}

func readOptional(path, what string) ([]byte, error) {
	if path == "" {
		return nil, nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", what, err)
	}
	return b, nil
}
