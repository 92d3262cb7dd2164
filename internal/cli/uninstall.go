package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"weft/internal/tproxy"
)

// uninstallCommand removes parts of the mesh.
func (a *App) uninstallCommand() *cobra.Command {
	return group("uninstall", "Remove parts of the mesh", a.uninstallTransparentProxy(), uninstallEBPF())
}

func (a *App) uninstallTransparentProxy() *cobra.Command {
	c, ebpf := tproxy.Default(false), false
	cmd := &cobra.Command{
		Use: "transparent-proxy", Short: "Stop redirecting the connections of this host",
		Long: `Removes the rules that "kumactl install transparent-proxy" has installed, also that of
version 2.10, from nft and both kinds of iptables. Rules of others stay as they are.
Connections that are open may break, because they lead through the proxy.`,
		Args: cobra.NoArgs, Annotations: map[string]string{isOffline: "true"},
		RunE: func(cmd *cobra.Command, _ []string) error {
			if ebpf { // 2.10 installed rules of iptables all the same, so these are what is removed
				fmt.Fprintln(cmd.ErrOrStderr(), "warning: --ebpf-enabled has no effect; "+noEBPF)
			}
			if err := a.installer(c).Uninstall(cmd.Context()); err != nil {
				return fmt.Errorf("uninstall the transparent proxy: %w", err)
			}
			return nil
		},
	}
	fl := cmd.Flags()
	fl.BoolVar(&c.DryRun, "dry-run", false, "only tell what would be removed")
	fl.BoolVar(&c.Verbose, "verbose", false, "tell more")
	fl.BoolVar(&ebpf, "ebpf-enabled", false, "not supported; rules are removed all the same")
	fl.StringVar(&c.EBPF.BPFFSPath, "ebpf-bpffs-path", c.EBPF.BPFFSPath, "not supported")
	return cmd
}

// noEBPF is what there is to say about programs of eBPF.
const noEBPF = "neither this release nor 2.10 installs programs of eBPF, and those of older releases end with a reboot of the host"

// uninstallEBPF answers those who call the command of 2.10: what they want gone is
// not there, and they must not believe that this command did something.
func uninstallEBPF() *cobra.Command {
	return &cobra.Command{
		Use: "ebpf", Short: "Not supported: there are no programs of eBPF", Hidden: true,
		DisableFlagParsing: true, Annotations: map[string]string{isOffline: "true"},
		RunE: func(*cobra.Command, []string) error {
			return errors.New("uninstall ebpf: not supported: " + noEBPF + "; to remove rules, run: kumactl uninstall transparent-proxy")
		},
	}
}
