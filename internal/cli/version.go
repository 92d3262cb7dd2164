package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"weft/internal/client"
	"weft/internal/version"
)

// serverIndex is what GET / tells.
type serverIndex struct {
	Product string `json:"product"`
	Version string `json:"version"`
}

func index(ctx context.Context, c *client.Client) (serverIndex, []byte, error) {
	var i serverIndex
	b, err := c.Do(ctx, http.MethodGet, "/", nil, nil)
	if err != nil {
		return i, nil, err
	}
	if err := json.Unmarshal(b, &i); err != nil {
		return i, nil, fmt.Errorf("understand the control plane's answer: %w", err)
	}
	return i, b, nil
}

// checkVersion warns when kumactl and the control plane are of different
// releases; it never fails.
func (a *App) checkVersion(ctx context.Context, c *client.Client) {
	i, _, err := index(ctx, c)
	switch {
	case err != nil:
		fmt.Fprintf(a.Err, "WARNING: Failed to retrieve server version, can't check compatibility: %v\n", err)
	case !sameRelease(i.Version):
		fmt.Fprintf(a.Err, "WARNING: You are using kumactl version %s for %s, but the server returned version: %s %s\n",
			version.Current().Version, version.WireProduct, i.Product, i.Version)
	}
}

func (a *App) versionCommand() *cobra.Command {
	var detailed bool
	cmd := &cobra.Command{
		Use: "version", Short: "Show the versions of kumactl and of the control plane", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			b := version.Current()
			if detailed {
				fmt.Fprintf(a.Out, "Client: \nProduct:       %s\nVersion:       %s\nGit Tag:       %s\nGit Commit:    %s\nBuild Date:    %s\n",
					version.WireProduct, b.Version, b.GitTag, b.GitCommit, b.BuildDate)
			} else {
				fmt.Fprintf(a.Out, "Client: %s %s\n", version.WireProduct, b.Version)
			}
			c, err := a.client()
			var i serverIndex
			var raw []byte
			if err == nil {
				i, raw, err = index(cmd.Context(), c)
			}
			switch {
			case err != nil:
				fmt.Fprintf(a.Err, "Unable to connect to control plane: %v\n", err)
			case detailed:
				fmt.Fprintf(a.Out, "Server: %s\n", raw)
			default:
				fmt.Fprintf(a.Out, "Server: %s %s\n", i.Product, i.Version)
			}
			return nil
		},
	}
	cmd.Flags().BoolVarP(&detailed, "detailed", "a", false, "print detailed version")
	return cmd
}

// sameRelease tells whether a control plane is of the release that this build
// speaks: same major and minor number. Previews are not compared.
func sameRelease(server string) bool {
	if strings.Contains(server, "preview") {
		return true
	}
	cut := func(v string) string {
		parts := strings.SplitN(strings.TrimPrefix(v, "v"), ".", 3)
		return strings.Join(parts[:min(2, len(parts))], ".")
	}
	return cut(server) == cut(version.Compatible)
}
