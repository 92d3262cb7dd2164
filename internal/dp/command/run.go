package command

import (
	"context"
	"errors"
	stdlog "log"
	"slices"

	"github.com/spf13/cobra"

	"weft/internal/dp"
	"weft/internal/logging"
)

func newRun(e *Environment, logs *logging.Options) *cobra.Command {
	config := dp.DefaultConfig()
	options := dp.Options(&config)
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run Envoy and its helpers for one proxy",
		Long: `Run Envoy and its helpers for one proxy.

The proxy is either known to the control plane already (--name, --mesh) or brings
its own definition (--dataplane-file), which may contain {{ variables }}.

The control plane is always verified. Give its CA with --ca-cert-file; without a
CA the CAs that this host trusts are used. Where there is no CA to give, trust
the certificate at first contact and keep it with --ca-cert-pin-file.

Signals: the first SIGTERM or SIGINT drains and then stops, the second cuts
draining short, the third ends at once. SIGUSR2 drains the inbound listeners.`,
		Example: `  kuma-dp run --cp-address=https://cp.example:5678 --ca-cert-file=ca.pem \
    --dataplane-file=web.yaml --dataplane-var=address=10.0.0.7 --dataplane-token-file=web.token`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return run(cmd.Context(), e, logs, &config, options)
		},
	}
	dp.AddFlags(cmd.Flags(), options)
	return cmd
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
	return dp.Run(ctx, *config, dp.Deps{
		Log: log, LogLevel: logs.Level,
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
