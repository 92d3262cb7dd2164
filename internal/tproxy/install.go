package tproxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os/exec"
	"slices"
	"strings"
	"time"

	"weft/internal/tproxy/backend"
	"weft/internal/tproxy/probe"
	"weft/internal/tproxy/rules"
	"weft/internal/tproxy/watchdog"
)

// Installer installs and removes. It is used once.
type Installer struct {
	Config *Config
	Host   *Host
	// Out gets rules and what was done, as comments; Err gets warnings.
	Out, Err io.Writer
	// ConfirmWithin is how long the operator has to confirm; 0 = for ever.
	ConfirmWithin time.Duration
	// Watchdog returns the command of the process that calls watchdog.Serve with
	// UndoState.
	Watchdog func() (*exec.Cmd, error)
}

func (i *Installer) note(format string, args ...any) {
	fmt.Fprintf(i.Out, "# "+format+"\n", args...)
}

func (i *Installer) warn(format string, args ...any) {
	fmt.Fprintf(i.Err, "# [WARNING] "+format+"\n", args...)
}

// prepared is all that is known before anything is changed.
type prepared struct {
	facts  *Facts
	sets   []*rules.Set
	choice *backend.Choice
	// chosen is nil if a dry run finds none.
	chosen backend.Backend
}

// Install installs the transparent proxy, or with Config.DryRun tells what it
// would do.
func (i *Installer) Install(ctx context.Context) error {
	if err := i.Config.Check(); err != nil {
		return err
	}
	if err := i.allowed(); err != nil {
		return err
	}
	p, err := i.prepare(ctx)
	if err != nil {
		return err
	}
	if i.Config.DryRun {
		return i.dryRun(ctx, p)
	}
	return i.install(ctx, p)
}

// allowed tells whether we may change the host at all.
func (i *Installer) allowed() error {
	switch {
	case !i.Host.Linux && !i.Config.DryRun:
		return errors.New("the transparent proxy needs Linux; elsewhere only --dry-run works")
	case !i.Host.Root && !i.Config.DryRun:
		return errors.New("root privileges are needed to change the rules of the kernel: run it with sudo, or see with --dry-run what would be done")
	case !i.Host.Root:
		i.warn("[dry-run]: without root privileges the rules that are installed cannot be read, so there is no comparison with them")
	}
	return nil
}

func (i *Installer) choose() *backend.Choice {
	c := i.Config
	name := string(c.Backend)
	if c.Backend == BackendAuto {
		name = ""
		if c.StoreFirewalld {
			name = "iptables" // firewalld's direct rules are such
		}
	}
	return &backend.Choice{
		Name: name, Warn: i.warn,
		Executables: func(f rules.Family) (string, string, string, bool) {
			if f == rules.IPv6 {
				return c.IptablesExecutables.Family("ip6tables")
			}
			return c.IptablesExecutables.Family("iptables")
		},
		IptablesOptions: backend.IptablesOptions{
			Options: backend.Options{Run: i.Host.Run, Retries: c.Retry.MaxRetries, Pause: c.Retry.SleepBetweenRetries, Tell: i.warn},
			Style:   rules.IptablesStyle{Verbose: c.Verbose, NoComments: c.Comments.Disabled},
			Wait:    c.Wait, WaitInterval: c.WaitInterval,
		},
	}
}

// prepare finds the backend and makes the rules.
func (i *Installer) prepare(ctx context.Context) (*prepared, error) {
	p := &prepared{choice: i.choose()}
	for _, name := range []string{"iptables", "ip6tables"} {
		if _, _, _, all := i.Config.IptablesExecutables.Family(name); !all && i.Config.IptablesExecutables[name]+i.Config.IptablesExecutables[name+"-save"]+i.Config.IptablesExecutables[name+"-restore"] != "" {
			i.warn("the executables given for %s have no effect, because all three are needed: %s, %[1]s-save and %[1]s-restore", name, name)
		}
	}
	var warnings []string
	var err error
	if p.facts, warnings, err = i.Config.facts(ctx, i.Host); err != nil {
		return nil, err
	}
	p.chosen, err = backend.Choose(ctx, p.choice)
	switch {
	case err != nil && !i.Config.DryRun:
		return nil, err
	case err != nil && i.Host.Root:
		i.warn("[dry-run]: an installation would fail here: %v", err)
	case err == nil:
		warnings = append(warnings, i.limits(ctx, p)...)
	}
	sets, more, err := i.Config.Plan(p.facts)
	if err != nil {
		return nil, err
	}
	for _, w := range append(warnings, more...) {
		i.warn("%s", w)
	}
	p.sets = sets
	return p, nil
}

// limits asks the backend what it can do. IPv6 is left out where it cannot be had.
func (i *Installer) limits(ctx context.Context, p *prepared) (warnings []string) {
	p.facts.Families = slices.DeleteFunc(p.facts.Families, func(f rules.Family) bool {
		l, err := p.chosen.Limits(ctx, f)
		if err != nil {
			warnings = append(warnings, fmt.Sprintf("%s is left out: %v", f, err))
			return true
		}
		p.facts.Limits[f] = Limits{NoZones: l.NoZones, NoMangle: l.NoMangle, NoComments: l.NoComments, DockerOutput: l.DockerOutput}
		return false
	})
	return warnings
}

// sourceFact, followed by the name of the loopback interface, is remembered with
// the rules when we gave it the address ::6, so that uninstalling takes it away.
const sourceFact = "source-"

// install changes the host, and changes it back if something goes wrong.
func (i *Installer) install(ctx context.Context, p *prepared) (err error) {
	if watchdog.Pending() {
		return errors.New("an earlier installation waits for confirmation: confirm it (kumactl install transparent-proxy --confirm) or remove it (kumactl uninstall transparent-proxy) first")
	}
	if err := i.reachable(ctx); err != nil {
		return fmt.Errorf("already before the installation: %w", err)
	}
	st, err := takeState(ctx, i, p)
	if err != nil {
		return err
	}
	guard, err := i.guard(st)
	if err != nil {
		return err
	}
	defer func() {
		if err == nil {
			return
		}
		// The context may be what ended us; undoing must work nevertheless.
		if undoErr := st.undo(context.WithoutCancel(ctx), i.Host, i.warn); undoErr != nil {
			err = fmt.Errorf("%w; and it could not be undone: %w", err, undoErr)
			return
		}
		err = fmt.Errorf("%w; everything is as it was before", err)
		if guard != nil {
			err = errors.Join(err, guard.Abandon())
		}
	}()
	if err := i.change(ctx, p, st); err != nil {
		return err
	}
	if err := i.selfTest(ctx, p); err != nil {
		return fmt.Errorf("the self-test failed: %w", err)
	}
	if guard != nil {
		if err := guard.Armed(); err != nil {
			return err
		}
		i.note("[%s] will be undone in %s unless you run, best from a new shell: kumactl install transparent-proxy --confirm", p.chosen.Name(), i.ConfirmWithin)
	}
	i.note("the transparent proxy is installed; kuma-dp can now be run with it, as user %d", p.facts.UID)
	return nil
}

// guard starts the process that undoes what nobody confirms.
func (i *Installer) guard(st *state) (*watchdog.Started, error) {
	if i.ConfirmWithin == 0 {
		return nil, nil
	}
	text, err := json.Marshal(st)
	if err != nil {
		return nil, fmt.Errorf("write down the state: %w", err)
	}
	cmd, err := i.Watchdog()
	if err != nil {
		return nil, err
	}
	return watchdog.Start(cmd, &watchdog.Order{Within: i.ConfirmWithin, State: text})
}

// change puts the rules into the kernel.
func (i *Installer) change(ctx context.Context, p *prepared, st *state) error {
	installed, err := p.chosen.Installed(ctx)
	if err != nil {
		return err
	}
	var facts []string
	for _, b := range st.backends {
		for _, f := range b.Facts(st.Snapshots[b.Name()]) {
			if !slices.Contains(facts, f) {
				facts = append(facts, f)
			}
		}
	}
	if slices.Contains(p.facts.Families, rules.IPv6) {
		added, err := i.Host.AddSource(p.facts.Loopback)
		switch {
		case err != nil:
			i.warn("IPv6 is left out: the address ::6, from which the proxy talks to the application, cannot be added: %v", err)
			p.leaveOut(rules.IPv6)
		case added:
			if f := sourceFact + p.facts.Loopback; !slices.Contains(facts, f) {
				facts = append(facts, f)
			}
		}
	}
	want, err := p.chosen.Listing(ctx, p.sets, facts)
	switch {
	case err == nil && want == installed:
		i.note("[%s] the rules are installed already", p.chosen.Name())
	case err != nil && !errors.Is(err, backend.ErrNoNamespace):
		return err
	default:
		if err := p.chosen.Apply(ctx, p.sets, facts); err != nil {
			return err
		}
		i.note("[%s] rules are installed for %s", p.chosen.Name(), familyNames(p.sets))
	}
	return i.replaceOthers(ctx, p, st)
}

func (p *prepared) leaveOut(f rules.Family) {
	p.facts.Families = slices.DeleteFunc(p.facts.Families, func(x rules.Family) bool { return x == f })
	p.sets = slices.DeleteFunc(p.sets, func(s *rules.Set) bool { return s.Family == f })
}

func familyNames(sets []*rules.Set) string {
	var out []string
	for _, s := range sets {
		out = append(out, s.Family.String())
	}
	return strings.Join(out, " and ")
}

// replaceOthers removes what an earlier installation left in other backends, and
// keeps firewalld in line.
func (i *Installer) replaceOthers(ctx context.Context, p *prepared, st *state) error {
	for _, b := range st.backends {
		if b == p.chosen || st.Snapshots[b.Name()] == "" {
			continue
		}
		if err := b.Restore(ctx, ""); err != nil {
			return fmt.Errorf("remove the rules of %s: %w", b.Name(), err)
		}
		i.note("[%s] rules of an earlier installation are removed", b.Name())
	}
	if i.Config.StoreFirewalld {
		return i.storeFirewalld(p)
	}
	return nil
}

// selfTest opens connections and looks where they arrive.
func (i *Installer) selfTest(ctx context.Context, p *prepared) error {
	if !i.Config.SelfTest.Enabled {
		return nil
	}
	tell := func(string, ...any) {}
	if i.Config.Verbose {
		tell = i.note
	}
	s := &probe.Settings{
		Sets: p.sets, ProxyUID: p.facts.UID, Loopback: p.facts.Loopback, Resolvers: p.facts.Resolvers,
		Timeout: i.Config.SelfTest.Timeout, Tell: tell, Port: func() uint16 { return 20000 + rand.N(uint16(10000)) },
	}
	if err := probe.Run(ctx, s); err != nil {
		return err
	}
	return i.reachable(ctx)
}

// reachable connects to what must be reachable.
func (i *Installer) reachable(ctx context.Context) error {
	for _, to := range i.Config.SelfTest.Connect.all() {
		d := net.Dialer{Timeout: i.Config.SelfTest.Timeout}
		c, err := d.DialContext(ctx, "tcp", to)
		if err != nil {
			return fmt.Errorf("%s, which must be reachable, is not: %w", to, err)
		}
		c.Close()
	}
	return nil
}
