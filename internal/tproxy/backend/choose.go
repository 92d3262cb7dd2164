package backend

import (
	"context"
	"errors"
	"fmt"

	"weft/internal/tproxy/rules"
)

// Choice says which backend is wanted.
type Choice struct {
	IptablesOptions
	// Name is that of a backend; empty = the best there is.
	Name string
	// Executables returns the programs of iptables that the user named for a
	// family, or ok = false.
	Executables func(f rules.Family) (program, save, restore string, ok bool)
	// Warn gets sentences about what was decided in a doubtful case.
	Warn func(format string, args ...any)
}

// Choose returns the backend: nft where it works, else iptables of the mode that
// the host uses.
func Choose(ctx context.Context, c *Choice) (Backend, error) {
	if _, _, _, given := c.Executables(rules.IPv4); given {
		return c.given(ctx)
	}
	switch c.Name {
	case "nft":
		return NFT(ctx, c.Options)
	case "iptables-nft":
		return c.iptables(ctx, ModeNFT)
	case "iptables-legacy":
		return c.iptables(ctx, ModeLegacy)
	case "iptables":
		return c.anyIptables(ctx)
	}
	b, err := NFT(ctx, c.Options)
	if err == nil {
		return b, nil
	}
	b, other := c.anyIptables(ctx)
	if other != nil {
		return nil, fmt.Errorf("nothing on this host can change the rules of the kernel: nft: %w; %w", err, other)
	}
	c.Warn("nft cannot be used, so %s is: %v", b.Name(), err)
	return b, nil
}

func (c *Choice) given(ctx context.Context) (Backend, error) {
	tools := map[rules.Family]*Tools{}
	var mode Mode
	for _, f := range families {
		program, save, restore, ok := c.Executables(f)
		if !ok {
			continue
		}
		t, err := Given(ctx, c.Run, program, save, restore)
		if err != nil {
			return nil, err
		}
		if f == rules.IPv4 {
			mode = t.Mode
		}
		tools[f] = t
	}
	if tools[rules.IPv6] == nil {
		if t, err := Find(ctx, c.Run, rules.IPv6, mode); err == nil {
			tools[rules.IPv6] = t
		}
	}
	return Iptables(ctx, mode, c.IptablesOptions, tools)
}

func (c *Choice) iptables(ctx context.Context, mode Mode) (Backend, error) {
	tools := map[rules.Family]*Tools{}
	var missing error
	for _, f := range families {
		t, err := Find(ctx, c.Run, f, mode)
		if f == rules.IPv4 {
			missing = err
		}
		if err == nil {
			tools[f] = t
		}
	}
	if missing != nil {
		return nil, missing
	}
	return Iptables(ctx, mode, c.IptablesOptions, tools)
}

// anyIptables returns the mode that works. Where both do, rules of others and
// Docker's chain tell which one the host uses.
func (c *Choice) anyIptables(ctx context.Context) (Backend, error) {
	viaNFT, err := c.iptables(ctx, ModeNFT)
	legacy, other := c.iptables(ctx, ModeLegacy)
	switch {
	case err != nil && other != nil:
		return nil, fmt.Errorf("neither mode of iptables works: %w", errors.Join(err, other))
	case err != nil:
		return legacy, nil //nolint:nilerr // because one mode that works is enough
	case other != nil:
		return viaNFT, nil //nolint:nilerr // because one mode that works is enough
	}
	n, l := viaNFT.(*iptables).can[rules.IPv4], legacy.(*iptables).can[rules.IPv4]
	switch {
	case n.used && l.used && l.docker && !n.docker:
		return legacy, nil
	case n.used && l.used:
		c.Warn("both modes of iptables hold rules; iptables-nft is used (choose with --backend)")
	case l.used:
		return legacy, nil
	}
	return viaNFT, nil
}

// Others returns backends that may hold rules of an earlier installation besides
// the chosen one. Backends that this host does not have are left out.
func Others(ctx context.Context, c *Choice, chosen Backend) []Backend {
	var out []Backend
	if chosen == nil || chosen.Name() != "nft" {
		if b, err := NFT(ctx, c.Options); err == nil {
			out = append(out, b)
		}
	}
	for _, mode := range []Mode{ModeNFT, ModeLegacy} {
		if chosen != nil && chosen.Name() == "iptables-"+string(mode) {
			continue
		}
		b := &iptables{IptablesOptions: c.IptablesOptions, mode: mode, tools: map[rules.Family]*Tools{}}
		for _, f := range families {
			t, err := Find(ctx, c.Run, f, mode)
			if err != nil {
				continue
			}
			// Listing without naming a table makes the kernel load nothing.
			if _, err := c.Run(ctx, "", t.Save); err != nil {
				c.Warn("rules of %s cannot be listed, so they are not looked at: %v", t.Program, err)
				continue
			}
			b.tools[f] = t
		}
		if len(b.tools) > 0 {
			out = append(out, b)
		}
	}
	return out
}
