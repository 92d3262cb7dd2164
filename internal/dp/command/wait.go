package command

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"weft/internal/logging"
)

// waitOptions are the flags of wait.
type waitOptions struct {
	url            string
	frequency      time.Duration
	timeout        time.Duration
	requestTimeout time.Duration
}

func newWait(e *Environment, logs *logging.Options) *cobra.Command {
	o := waitOptions{}
	cmd := &cobra.Command{
		Use:   "wait",
		Short: "Wait until the proxy is ready",
		Long:  "Wait until the proxy is ready: ask a URL again and again until it answers with status 200.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, logFile, err := logging.New(*logs, "kuma-dp", e.Stdout, e.Stderr)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithCancel(cmd.Context())
			defer cancel()
			go func() {
				select {
				case <-e.Signals:
					cancel()
				case <-ctx.Done():
				}
			}()
			log.Info("waiting for the proxy to be ready", "url", o.url, "timeout", o.timeout.String())
			err = o.wait(ctx)
			if err == nil {
				log.Info("the proxy is ready")
			}
			return errors.Join(err, logFile.Close())
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&o.url, "url", "http://localhost:9901/ready", "URL to ask")
	fs.DurationVar(&o.frequency, "check-frequency", time.Second, "pause between two questions")
	fs.DurationVar(&o.timeout, "timeout", 180*time.Second, "time after which waiting ends with an error")
	fs.DurationVar(&o.requestTimeout, "request-timeout", 500*time.Millisecond, "time for one answer")
	return cmd
}

func (o *waitOptions) check() error {
	for flag, d := range map[string]time.Duration{"--check-frequency": o.frequency, "--timeout": o.timeout, "--request-timeout": o.requestTimeout} {
		if d <= 0 {
			return fmt.Errorf("%s must be longer than zero", flag)
		}
	}
	return nil
}

func (o *waitOptions) wait(ctx context.Context) error {
	if err := o.check(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	client := &http.Client{Timeout: o.requestTimeout}
	tick := time.NewTicker(o.frequency)
	defer tick.Stop()
	last := errors.New("no answer yet")
	for {
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return errors.New("interrupted while waiting for the proxy")
			}
			return fmt.Errorf("the proxy was not ready within %s: %w", o.timeout, last)
		case <-tick.C:
			err := ask(ctx, client, o.url)
			if err == nil {
				return nil
			}
			if ctx.Err() == nil {
				last = err
			}
		}
	}
}

func ask(ctx context.Context, client *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("read --url: %w", err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", url, resp.Status)
	}
	return nil
}
