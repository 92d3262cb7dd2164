package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"weft/internal/client"
	"weft/internal/version"
)

func (a *App) versionCommand() *cobra.Command {
	var detailed bool
	cmd := &cobra.Command{
		Use: "version", Short: "Show the versions of kumactl and of the control plane", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			a.printOwnVersion(detailed)
			c, err := a.client()
			var (
				i   client.Index
				raw []byte
			)
			if err == nil {
				i, raw, err = c.Index(cmd.Context())
			}
			switch {
			case err != nil:
				fmt.Fprintf(a.Err, "Unable to connect to control plane: %v\n", err)
			case detailed:
				fmt.Fprintf(a.Out, "Server: %s\n", raw)
			default:
				fmt.Fprintf(a.Out, "Server: %s %s\n", clean(i.Product), clean(i.Version))
			}
			return nil
		},
	}
	cmd.Flags().BoolVarP(&detailed, "detailed", "a", false, "show everything about both builds")
	return cmd
}

func (a *App) printOwnVersion(detailed bool) {
	b := version.Current()
	if !detailed {
		fmt.Fprintf(a.Out, "Client: %s %s\n", version.WireProduct, b.Version)
		return
	}
	fmt.Fprintf(a.Out, "Client: \nProduct:       %s\nVersion:       %s\nGit Tag:       %s\nGit Commit:    %s\nBuild Date:    %s\n",
		version.WireProduct, b.Version, b.GitTag, b.GitCommit, b.BuildDate)
}
