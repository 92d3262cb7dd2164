package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"weft/internal/tproxy"
)

// uninstallCommand removes parts of the mesh.
func (a *App) uninstallCommand() *cobra.Command {
	return group("uninstall", "Remove parts of the mesh", a.uninstallTransparentProxy())
}

func (a *App) uninstallTransparentProxy() *cobra.Command {
	c := tproxy.Default(false)
	cmd := &cobra.Command{
		Use: "transparent-proxy", Short: "Stop redirecting the connections of this host",
		Long: `Removes the rules that "kumactl install transparent-proxy" has installed, also that of
version 2.10, from nft and both kinds of iptables. Rules of others stay as they are.
Connections that are open may break, because they lead through the proxy.`,
		Args: cobra.NoArgs, Annotations: map[string]string{isOffline: "true"},
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.installer(c).Uninstall(cmd.Context()); err != nil {
				return fmt.Errorf("uninstall the transparent proxy: %w", err)
			}
			return nil
		},
	}
	fl := cmd.Flags()
	fl.BoolVar(&c.DryRun, "dry-run", false, "only tell what would be removed")
	fl.BoolVar(&c.Verbose, "verbose", false, "tell more")
	fl.BoolVar(&c.EBPF.Enabled, "ebpf-enabled", false, "not supported")
	fl.StringVar(&c.EBPF.BPFFSPath, "ebpf-bpffs-path", c.EBPF.BPFFSPath, "not supported")
	return cmd
}
