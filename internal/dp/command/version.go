package command

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"weft/internal/dp/dns"
	"weft/internal/version"
)

func newVersion() *cobra.Command {
	var detailed bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			b := version.Current()
			out := cmd.OutOrStdout()
			if !detailed {
				_, err := fmt.Fprintf(out, "%s %s\n", version.Product, b.Version)
				return err
			}
			_, err := fmt.Fprintf(out, "Product:    %s\nVersion:    %s\nGit Tag:    %s\nGit Commit: %s\nBuild Date: %s\nGo:         %s\nCoreDNS:    %s (linked in)\nEnvoy:      %s (tested with)\n",
				version.Product, b.Version, b.GitTag, b.GitCommit, b.BuildDate, runtime.Version(), dns.LibraryVersion(), version.Envoy)
			return err
		},
	}
	cmd.Flags().BoolVarP(&detailed, "detailed", "a", false, "print all that is known about this build")
	return cmd
}
