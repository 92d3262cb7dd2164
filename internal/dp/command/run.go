package command

import (
	"context"
	"errors"
	"fmt"
	stdlog "log"
	"runtime/debug"
	"slices"

	"github.com/spf13/cobra"

	"weft/internal/dp"
	"weft/internal/logging"
)

func newRun(e *Environment, logs *logging.Options) *cobra.Command {
	config := dp.DefaultConfig()
	options := dp.Options(&config)
	cmd := &cobra.Command{
		Use:   "run [flags] [-- COMMAND [ARG...]]",
		Short: "Run Envoy and its helpers for one proxy, and the application beside it",
		Long: `Run Envoy and its helpers for one proxy.

The proxy is either known to the control plane already (--name, --mesh) or brings
its own definition (--dataplane-file), which may contain {{ variables }}.

The control plane is always verified. Give its CA with --ca-cert-file; without a
CA the CAs that this host trusts are used. Where there is no CA to give, trust
the certificate at first contact and keep it with --ca-cert-pin-file.

Signals: the first SIGTERM or SIGINT drains and then stops, the second cuts
draining short, the third ends at once. SIGUSR2 drains the inbound listeners.

With a COMMAND the application is started once the proxy is ready, and both end
together: on a signal to stop, clients leave while the application still answers,
then the application gets that signal, then Envoy stops. When the application
ends by itself, the proxy drains and stops. Its exit code is that of kuma-dp.
SIGHUP, SIGQUIT, SIGUSR1 and SIGWINCH are passed on to it.`,
		Example: `  kuma-dp run --cp-address=https://cp.example:5678 --ca-cert-file=ca.pem \
    --dataplane-file=web.yaml --dataplane-var=address=10.0.0.7 --dataplane-token-file=web.token
  kuma-dp run --dataplane-file=web.yaml --dataplane-token-file=web.token -- /usr/bin/web --port 9000`,
		Args: onlyAfterDash,
		RunE: func(cmd *cobra.Command, args []string) error {
			config.Application.Command = args
			return run(cmd.Context(), e, logs, &config, options)
		},
	}
	dp.AddFlags(cmd.Flags(), options)
	return cmd
}

// onlyAfterDash refuses a word that is not meant as part of a command.
func onlyAfterDash(cmd *cobra.Command, args []string) error {
	switch at := cmd.ArgsLenAtDash(); {
	case at < 0 && len(args) > 0, at > 0:
		return fmt.Errorf("unexpected argument %q: write -- before the command of an application", args[0])
	case at == 0 && len(args) == 0:
		return errors.New("the command of the application is missing after --")
	}
	return nil
}

func run(ctx context.Context, e *Environment, logs *logging.Options, config *dp.Config, options []dp.Option) (err error) {
	log, logFile, err := logging.New(*logs, "kuma-dp", e.Stdout, e.Stderr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, logFile.Close()) }()
	stdlog.SetFlags(0)
	stdlog.SetOutput(stdLog{logging.Named(log, "dns")}) // only CoreDNS uses it

	env := environ(e.Env)
	if env["GOGC"] == "" {
		// A sidecar is one of many on a host: memory counts more than the little
		// time that collecting more often takes.
		debug.SetGCPercent(50)
	}
	if err := dp.ApplyEnv(options, env); err != nil {
		return err
	}
	misspelt := dp.Misspelt(options, env)
	for _, name := range sortedKeys(misspelt) {
		log.Warn("unknown environment variable; is it misspelt?", "variable", name, "known", misspelt[name])
	}
	config.Complete(env)
	if err := config.Check(); err != nil {
		return err
	}
	if len(config.Application.Command) > 0 {
		e.Notify(dp.ForwardedSignals()...)
	}
	return dp.Run(ctx, *config, dp.Deps{
		Log: log, LogLevel: logs.Level, Env: e.Env,
		Stdin: e.Stdin, Stdout: e.Stdout, Stderr: e.Stderr,
		Signals: e.Signals, Abort: func() { e.Exit(1) },
	})
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
