package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"weft/internal/tproxy"
	"weft/internal/tproxy/rules"
	"weft/internal/tproxy/watchdog"
)

// installCommand installs parts of the mesh.
func (a *App) installCommand() *cobra.Command {
	return group("install", "Install parts of the mesh", a.installTransparentProxy(), a.transparentProxyValidator(), a.transparentProxyWatchdog())
}

// maxTransparentProxyConfig bounds the size of a configuration file.
const maxTransparentProxyConfig = 1 << 20

// transparentProxyFlags are the flags that do not only set a setting.
type transparentProxyFlags struct {
	config, configFile, writeConfig string
	confirm                         bool
	confirmWithin                   time.Duration
}

func (a *App) installTransparentProxy() *cobra.Command {
	var f transparentProxyFlags
	settings := newSettingFlags()
	cmd := &cobra.Command{
		Use: "transparent-proxy", Short: "Redirect the connections of this host through its proxy",
		Long: `Changes the rules of the kernel so that connections of and to the applications of this
host go through its sidecar, while the applications are unchanged. What the user of
kuma-dp sends is not redirected.

It may be repeated, with the same or other settings: the rules are replaced at once.
See first with --dry-run what would be done. Port 22 and the ports of the control plane
are left alone by default (--keep-reachable), a self-test undoes what does not work, and
with --confirm-within everything is undone unless you confirm in time.

Settings come from --config-file (or --config), then from variables KUMA_TRANSPARENT_PROXY_*,
then from flags; later ones win.`,
		Example: `  kumactl install transparent-proxy --kuma-dp-user kuma-dp --redirect-dns --dry-run
  kumactl install transparent-proxy --kuma-dp-user kuma-dp --redirect-dns --confirm-within 1m
  kumactl install transparent-proxy --confirm`,
		Args: cobra.NoArgs, Annotations: map[string]string{isOffline: "true"},
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runInstallTransparentProxy(cmd, &f, settings) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.config, "config", "", "settings as YAML or JSON")
	fl.StringVar(&f.configFile, "config-file", "", "file with settings, YAML or JSON; - = standard input")
	fl.StringVar(&f.writeConfig, "write-config", "", "after a successful installation, write the settings to this file, for the systemd unit that applies them at boot")
	fl.BoolVar(&f.confirm, "confirm", false, "confirm the installation that --confirm-within has started; nothing else is done")
	fl.DurationVar(&f.confirmWithin, "confirm-within", 0, "undo the installation unless it is confirmed in this time, so that nobody locks himself out; 0 = keep it")
	settings.add(fl)
	deprecate(cmd, "kuma-dp-uid", "use --kuma-dp-user instead")
	hideGlobalFlags(cmd)
	return cmd
}

// hideGlobalFlags leaves kumactl's common flags out of a help page, because one of
// them means something else there.
func hideGlobalFlags(cmd *cobra.Command) {
	hide := func(c *cobra.Command) {
		for _, name := range []string{"api-timeout", "log-level", "no-config", "config-file"} {
			if f := c.InheritedFlags().Lookup(name); f != nil {
				f.Hidden = true
			}
		}
	}
	cmd.SetHelpFunc(func(c *cobra.Command, args []string) {
		hide(c)
		c.Parent().HelpFunc()(c, args)
	})
	cmd.SetUsageFunc(func(c *cobra.Command) error {
		hide(c)
		return c.Parent().UsageFunc()(c)
	})
}

func (a *App) runInstallTransparentProxy(cmd *cobra.Command, f *transparentProxyFlags, settings *settingFlags) error {
	if f.confirm {
		if err := watchdog.Confirm(); err != nil {
			return fmt.Errorf("confirm the installation of the transparent proxy: %w", err)
		}
		fmt.Fprintln(a.Out, "# confirmed: the transparent proxy stays installed")
		return nil
	}
	if cmd.Flags().Changed("redirect-dns") && cmd.Flags().Changed("redirect-all-dns-traffic") {
		return errors.New("only one of --redirect-dns and --redirect-all-dns-traffic can be given: the latter includes the former")
	}
	if f.confirmWithin < 0 {
		return errors.New("--confirm-within must not be negative")
	}
	c, err := a.transparentProxyConfig(f)
	if err != nil {
		return err
	}
	settings.apply(cmd.Flags(), c)
	i := a.installer(c)
	i.ConfirmWithin = f.confirmWithin
	if err := i.Install(cmd.Context()); err != nil {
		return fmt.Errorf("install the transparent proxy: %w", err)
	}
	if f.writeConfig == "" || c.DryRun {
		return nil
	}
	return a.writeTransparentProxyConfig(f.writeConfig, c)
}

// transparentProxyConfig reads the settings of the file and the variables.
func (a *App) transparentProxyConfig(f *transparentProxyFlags) (*tproxy.Config, error) {
	text := []byte(f.config)
	from := "--config"
	switch {
	case f.config == "-":
		return nil, errors.New(`--config takes the settings themselves; to read them from standard input use "--config-file -"`)
	case f.configFile == "-":
		from = "standard input"
		b, err := io.ReadAll(io.LimitReader(a.In, maxTransparentProxyConfig+1))
		if err != nil {
			return nil, fmt.Errorf("read the settings from standard input: %w", err)
		}
		text = b
	case f.configFile != "":
		from = f.configFile
		b, err := os.ReadFile(f.configFile)
		if err != nil {
			return nil, fmt.Errorf("read the settings of the transparent proxy: %w", err)
		}
		text = b
	}
	c := tproxy.Default(a.Env("KUBERNETES_SERVICE_HOST") != "")
	warnings, err := c.Load(text, a.transparentProxyEnviron())
	for _, w := range warnings {
		fmt.Fprintf(a.Err, "# [WARNING] %s\n", w)
	}
	if err != nil {
		return nil, fmt.Errorf("settings of the transparent proxy (%s and variables KUMA_TRANSPARENT_PROXY_*): %w", from, err)
	}
	return c, nil
}

// transparentProxyEnviron returns the variables that are set. They are asked for
// one by one, because commands know the environment only so.
func (a *App) transparentProxyEnviron() []string {
	var out []string
	for _, name := range tproxy.Variables() {
		if v := a.Env(name); v != "" {
			out = append(out, name+"="+v)
		}
	}
	return out
}

func (a *App) writeTransparentProxyConfig(path string, c *tproxy.Config) error {
	text, err := encodeYAML(c.Changed())
	if err != nil {
		return err
	}
	err = os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = os.WriteFile(path, text, 0o644)
	}
	if err != nil {
		return fmt.Errorf("the transparent proxy is installed, but its settings cannot be written down: %w", err)
	}
	fmt.Fprintf(a.Out, "# the settings are in %s\n", path)
	return nil
}

func (a *App) installer(c *tproxy.Config) *tproxy.Installer {
	host := a.host
	if host == nil {
		host = tproxy.ThisHost()
	}
	return &tproxy.Installer{Config: c, Host: host, Out: a.Out, Err: a.Err, Watchdog: watchdogProcess}
}

// watchdogProcess is kumactl itself.
func watchdogProcess() (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find kumactl's own program: %w", err)
	}
	return exec.Command(self, "install", watchdogName), nil
}

const watchdogName = "transparent-proxy-watchdog"

// transparentProxyWatchdog is the process that undoes what nobody confirms.
func (a *App) transparentProxyWatchdog() *cobra.Command {
	return &cobra.Command{
		Use: watchdogName, Short: "Undo an installation that nobody confirms", Hidden: true,
		Args: cobra.NoArgs, Annotations: map[string]string{isOffline: "true"},
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM)
			defer stop()
			tell := watchdog.SystemLog("kumactl")
			outcome, err := watchdog.Serve(ctx, a.In, a.Out, func(ctx context.Context, state json.RawMessage) error {
				return tproxy.UndoState(ctx, a.installer(nil).Host, state, tell)
			})
			if err != nil {
				tell("transparent proxy: %v", err)
				return err
			}
			tell("transparent proxy: installation %s", outcome)
			return nil
		},
	}
}

// Validator's patience.
const (
	validatorTries   = 11
	validatorPause   = time.Second
	validatorTimeout = 50 * time.Millisecond
)

func (a *App) transparentProxyValidator() *cobra.Command {
	mode, port := tproxy.DualStack, tproxy.Port(15006)
	cmd := &cobra.Command{
		Use: "transparent-proxy-validator", Short: "Check that connections of the proxy's user are redirected",
		Long: "Checks, run as the user of kuma-dp, that the rules of the transparent proxy are there. It ends with an error if they are not.",
		Args: cobra.NoArgs, Annotations: map[string]string{isOffline: "true"},
		RunE: func(cmd *cobra.Command, _ []string) error {
			v := &tproxy.Validator{
				Families: []rules.Family{rules.IPv4}, Port: uint16(port), Tries: validatorTries, Pause: validatorPause, Timeout: validatorTimeout,
				Tell: func(format string, args ...any) { fmt.Fprintf(a.Out, "# "+format+"\n", args...) },
			}
			if mode == tproxy.DualStack && a.installer(nil).Host.HasIPv6() {
				v.Families = append(v.Families, rules.IPv6)
			}
			if err := v.Run(cmd.Context()); err != nil {
				return fmt.Errorf("check the transparent proxy: %w", err)
			}
			return nil
		},
	}
	cmd.Flags().Var(textFlag(&mode, "string"), "ip-family-mode", "families that are checked: dualstack or ipv4")
	cmd.Flags().Var(textFlag(&port, "uint16"), "validation-server-port", "port of the proxy for incoming connections")
	return cmd
}
