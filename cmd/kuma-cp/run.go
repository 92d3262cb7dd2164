package main

import (
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"

	"weft/internal/config"
	"weft/internal/cp"
	"weft/internal/logging"
	"weft/internal/version"
)

// action is what a command does with the loaded settings.
type action func(cmd *cobra.Command, c *config.Config, log *slog.Logger) error

// withConfig returns a command that needs the settings.
func withConfig(use, short string, logs *logging.Options, do action) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use: use, Short: short, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, closer, err := logging.New(*logs, "kuma-cp", cmd.OutOrStdout(), cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			defer func() { _ = closer.Close() }()
			c, warnings, err := config.Load(file, os.Environ())
			for _, w := range warnings {
				log.Warn("about the configuration", "warning", w)
			}
			if err != nil {
				return err
			}
			return do(cmd, c, log)
		},
	}
	cmd.Flags().StringVarP(&file, "config-file", "c", "", "configuration file (YAML or JSON)")
	return cmd
}

// gcPercent is how much the heap may grow between two collections. Most of what a
// control plane holds is there for long (connections and their resources), and a
// change in the mesh makes much garbage at once; a little less than Go's 100 costs
// some percent of the time of a change and saves a tenth of the memory.
const gcPercent = 75

func run(cmd *cobra.Command, c *config.Config, log *slog.Logger) error {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	name, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("find out the host's name: %w", err)
	}
	home, _ := os.UserHomeDir() // without one, general.workDir must be set
	return cp.Run(cmd.Context(), c, cp.Host{Name: name, Home: home, Now: time.Now}, log)
}

func up(cmd *cobra.Command, c *config.Config, _ *slog.Logger) error {
	done, err := cp.Migrate(cmd.Context(), c, version.Current().Version)
	if err != nil {
		return err
	}
	fmt.Fprintln(cmd.OutOrStdout(), done)
	return nil
}
