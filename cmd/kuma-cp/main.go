// Command kuma-cp is the control plane.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"weft/internal/logging"
	"weft/internal/version"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := command().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	var logs logging.Options
	root := &cobra.Command{Use: "kuma-cp", Short: "Control plane of the mesh", SilenceErrors: true, SilenceUsage: true}
	logs.AddFlags(root.PersistentFlags(), os.Getenv)
	migrate := &cobra.Command{Use: "migrate", Short: "Change the schema of the database"}
	migrate.AddCommand(withConfig("up", "Bring the database to the schema of this version", &logs, up))
	root.AddCommand(withConfig("run", "Run the control plane", &logs, run), migrate, &cobra.Command{
		Use: "version", Short: "Show the version", Args: cobra.NoArgs,
		Run: func(c *cobra.Command, _ []string) {
			b := version.Current()
			fmt.Fprintf(c.OutOrStdout(), "%s %s, commit %s, built %s\n", version.Product, b.Version, b.GitCommit, b.BuildDate)
		},
	})
	return root
}
