package tproxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"weft/internal/tproxy/backend"
	"weft/internal/tproxy/rules"
)

// state is what is needed to put everything back: into memory of the installing
// process, and as JSON to the watchdog.
type state struct {
	// Backend is the one that is used now, with what it needs.
	Backend      string            `json:"backend"`
	Executables  map[string]string `json:"executables,omitempty"`
	Retries      uint              `json:"retries"`
	Pause        time.Duration     `json:"pause"`
	Wait         uint              `json:"wait"`
	WaitInterval uint              `json:"waitInterval"`
	// Snapshots are the rules that were installed before, by backend.
	Snapshots map[string]string `json:"snapshots"`
	// Source is the interface to which the address ::6 may be added; empty = it is
	// there already, or not wanted.
	Source string `json:"source,omitempty"`
	// Firewalld is firewalld's file before, nil = there was none; TouchesFirewalld
	// tells whether it matters.
	Firewalld        []byte `json:"firewalld,omitempty"`
	TouchesFirewalld bool   `json:"touchesFirewalld"`

	// backends are those that the snapshots are of, while it is not handed over.
	backends []backend.Backend
}

// takeState looks at what is installed.
func takeState(ctx context.Context, i *Installer, p *prepared) (*state, error) {
	c := i.Config
	s := &state{
		Backend: p.chosen.Name(), Executables: c.IptablesExecutables, Retries: c.Retry.MaxRetries, Pause: c.Retry.SleepBetweenRetries,
		Wait: c.Wait, WaitInterval: c.WaitInterval, Snapshots: map[string]string{}, TouchesFirewalld: c.StoreFirewalld,
	}
	for _, b := range append([]backend.Backend{p.chosen}, backend.Others(ctx, p.choice, p.chosen)...) {
		text, err := b.Snapshot(ctx)
		if err != nil {
			return nil, fmt.Errorf("see what is installed: %w", err)
		}
		s.Snapshots[b.Name()] = text
		s.backends = append(s.backends, b)
	}
	if len(p.facts.Families) > 1 && !i.hasSource(p.facts.Loopback) {
		s.Source = p.facts.Loopback
	}
	if c.StoreFirewalld {
		text, err := i.Host.ReadFile(firewalldFile)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("read the direct rules of firewalld: %w", err)
		}
		s.Firewalld = text
	}
	return s, nil
}

// hasSource tells whether the loopback interface has the address ::6.
func (i *Installer) hasSource(loopback string) bool {
	list, err := i.Host.Interfaces()
	if err != nil {
		return false
	}
	for _, x := range list {
		for _, a := range x.Addrs {
			if x.Name == loopback && a.String() == "::6" {
				return true
			}
		}
	}
	return false
}

// undo puts everything back as it was. It goes on after errors.
func (s *state) undo(ctx context.Context, h *Host, warn func(format string, args ...any)) error {
	choice := &backend.Choice{
		Name: s.Backend, Warn: warn,
		Executables: func(f rules.Family) (string, string, string, bool) {
			e := Executables(s.Executables)
			if f == rules.IPv6 {
				return e.Family("ip6tables")
			}
			return e.Family("iptables")
		},
		IptablesOptions: backend.IptablesOptions{
			Options: backend.Options{Run: h.Run, Retries: s.Retries, Pause: s.Pause, Tell: warn},
			Wait:    s.Wait, WaitInterval: s.WaitInterval,
		},
	}
	chosen, err := backend.Choose(ctx, choice)
	if err != nil {
		return err
	}
	var errs []error
	for _, b := range append([]backend.Backend{chosen}, backend.Others(ctx, choice, chosen)...) {
		before, known := s.Snapshots[b.Name()]
		if !known {
			continue
		}
		if now, err := b.Snapshot(ctx); err == nil && now == before {
			continue
		}
		if err := b.Restore(ctx, before); err != nil {
			errs = append(errs, fmt.Errorf("put the rules of %s back: %w", b.Name(), err))
		}
	}
	if s.Source != "" {
		errs = append(errs, h.RemoveSource(s.Source))
	}
	if s.TouchesFirewalld {
		errs = append(errs, h.writeFirewalld(s.Firewalld))
	}
	return errors.Join(errs...)
}

// UndoState is what the watchdog calls with the state that it was given.
func UndoState(ctx context.Context, h *Host, text json.RawMessage, warn func(format string, args ...any)) error {
	var s state
	if err := json.Unmarshal(text, &s); err != nil {
		return fmt.Errorf("read the state before the installation: %w", err)
	}
	return s.undo(ctx, h, warn)
}
