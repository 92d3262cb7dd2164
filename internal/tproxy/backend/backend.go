// Package backend puts sets of rules into the kernel and takes them out, with nft
// or with iptables. It leaves everything alone that is not the transparent
// proxy's. A backend is used by one goroutine at a time.
package backend

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"weft/internal/tproxy/rules"
)

// Backend is one way to change the kernel's rules.
type Backend interface {
	// Name is the word for it in settings.
	Name() string
	// Limits tells what it cannot do for a family; an error says that it cannot
	// do the family at all.
	Limits(ctx context.Context, f rules.Family) (Limits, error)
	// Render returns the exact rules as the tool of the backend takes them where
	// nothing is installed.
	Render(sets []*rules.Set) string
	// Installed lists what it has installed, in the tool's own words; "" = nothing.
	Installed(ctx context.Context) (string, error)
	// Listing tells how the sets would be listed once they are installed. It tries
	// them in an empty network namespace; ErrNoNamespace = not possible here.
	Listing(ctx context.Context, sets []*rules.Set, facts []string) (string, error)
	// Apply replaces what is installed, all or nothing per family.
	Apply(ctx context.Context, sets []*rules.Set, facts []string) error
	// Restore replaces what is installed by what Snapshot returned; "" = by nothing.
	Restore(ctx context.Context, snapshot string) error
	// Snapshot is Installed in a form that Restore takes.
	Snapshot(ctx context.Context) (string, error)
	// Facts returns what was remembered with the rules, from Installed or Snapshot.
	// A fact is a short word of letters, digits and hyphens.
	Facts(installed string) []string
}

// Limits are what a backend cannot do for a family, as reasons, and what it found.
type Limits struct {
	NoZones, NoMangle string
	NoComments        bool
	DockerOutput      bool
}

// ErrNoNamespace tells that rules cannot be tried in a namespace of their own.
var ErrNoNamespace = errors.New("a network namespace to try the rules in cannot be made here")

// Options are what all backends need.
type Options struct {
	Run Runner
	// Retries is how often a command that changes rules is tried again, with Pause
	// in between.
	Retries uint
	Pause   time.Duration
	// Tell gets a sentence about an attempt that failed.
	Tell func(format string, args ...any)
}

// retry runs what changes rules until it works.
func (o *Options) retry(ctx context.Context, what string, f func() error) error {
	for try := uint(0); ; try++ {
		err := f()
		if err == nil || errors.Is(err, ErrUnidentifiable) {
			return err
		}
		if try == o.Retries {
			return fmt.Errorf("%s (%d attempts): %w", what, try+1, err)
		}
		o.Tell("%s: attempt %d of %d: %v", what, try+1, o.Retries+1, err)
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what, errors.Join(err, ctx.Err()))
		case <-time.After(o.Pause):
		}
	}
}

// Runner runs a command and returns what it printed. The error holds what it said
// on standard error.
type Runner func(ctx context.Context, stdin, name string, args ...string) (string, error)

// commandTimeout bounds one command; the tools answer in milliseconds unless they
// wait for a lock, for which they have an option of their own.
const commandTimeout = 30 * time.Second

// Exec is the Runner that really runs commands.
func Exec(ctx context.Context, stdin, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	var out, errOut bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errOut
	cmd.Env = append(cmd.Environ(), "LC_ALL=C")
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w%s", name, strings.Join(args, " "), err, said(errOut.String()))
	}
	return out.String(), nil
}

// maxSaid is how much of a tool's complaint is shown.
const maxSaid = 500

func said(stderr string) string {
	s := strings.Join(strings.Fields(stderr), " ")
	if len(s) > maxSaid {
		s = s[:maxSaid] + "..."
	}
	if s == "" {
		return ""
	}
	return ": " + s
}
