package backend

import (
	"context"
	"fmt"
	"os/exec"
	"strings"

	"weft/internal/tproxy/rules"
)

// nft keeps everything in one table of its own.
type nft struct {
	Options
	program string
	limits  *Limits // once they are known; they are the same for both families
}

// NFT returns the backend of nft, or an error if the program or the kernel does
// not do what is needed.
func NFT(ctx context.Context, o Options) (Backend, error) {
	program, err := exec.LookPath("nft")
	if err != nil {
		if program = lookIn("nft"); program == "" {
			return nil, fmt.Errorf("the program nft is not installed (Debian package nftables)")
		}
	}
	b := &nft{Options: o, program: program}
	if _, err := b.Run(ctx, "", program, "list", "tables"); err != nil {
		return nil, fmt.Errorf("ask the kernel for tables: %w", err)
	}
	if err := b.check(ctx, "type nat hook output priority -110; policy accept;\n meta skuid 0 tcp flags & (fin | syn | rst | ack) == syn redirect to :1\n"); err != nil {
		return nil, fmt.Errorf("the kernel or nft is too old or lacks redirection in tables of both families (Linux 5.2 has it): %w", err)
	}
	return b, nil
}

// check asks the kernel whether it would take a chain.
func (b *nft) check(ctx context.Context, chain string) error {
	_, err := b.Run(ctx, "table inet "+rules.NFTTable+"_check {\n chain c {\n "+chain+" }\n}\n", b.program, "-c", "-f", "-")
	return err
}

func (b *nft) Name() string { return "nft" }

func (b *nft) Limits(ctx context.Context, _ rules.Family) (Limits, error) {
	if b.limits != nil {
		return *b.limits, nil
	}
	var l Limits
	if err := b.check(ctx, "type filter hook output priority -300; policy accept;\n meta skuid 0 ct zone set 1\n"); err != nil {
		l.NoZones = fmt.Sprintf("the kernel has no zones of connection tracking: %v", err)
	}
	if err := b.check(ctx, "type filter hook prerouting priority -150; policy accept;\n ct state invalid drop\n"); err != nil {
		l.NoMangle = fmt.Sprintf("the kernel does not tell which packets are invalid: %v", err)
	}
	l.DockerOutput = b.docker(ctx)
	b.limits = &l
	return l, nil
}

// docker tells whether Docker redirects to its resolver, with rules of either
// kind of iptables.
func (b *nft) docker(ctx context.Context) bool {
	if _, err := b.Run(ctx, "", b.program, "list", "chain", "ip", "nat", rules.DockerOutput); err == nil {
		return true
	}
	save := lookIn("iptables-legacy-save")
	if save == "" {
		return false
	}
	out, err := b.Run(ctx, "", save)
	return err == nil && hasDocker(out)
}

func (b *nft) Render(sets []*rules.Set) string { return rules.NFT(sets, nil) }

func (b *nft) Installed(ctx context.Context) (string, error) { return b.list(ctx, b.Run) }

func (b *nft) list(ctx context.Context, run Runner) (string, error) {
	tables, err := run(ctx, "", b.program, "list", "tables", "inet")
	if err != nil {
		return "", fmt.Errorf("list tables: %w", err)
	}
	if !strings.Contains(tables+"\n", "table inet "+rules.NFTTable+"\n") {
		return "", nil
	}
	out, err := run(ctx, "", b.program, "list", "table", "inet", rules.NFTTable)
	if err != nil {
		return "", fmt.Errorf("list table: %w", err)
	}
	return out, nil
}

func (b *nft) Listing(ctx context.Context, sets []*rules.Set, facts []string) (string, error) {
	var out string
	err := inNamespace(func() error {
		if _, err := b.Run(ctx, rules.NFT(sets, facts), b.program, "-f", "-"); err != nil {
			return fmt.Errorf("try the rules: %w", err)
		}
		var err error
		out, err = b.list(ctx, b.Run)
		return err
	})
	return out, err
}

func (b *nft) Apply(ctx context.Context, sets []*rules.Set, facts []string) error {
	return b.script(ctx, rules.NFT(sets, facts))
}

func (b *nft) script(ctx context.Context, text string) error {
	return b.retry(ctx, "change the rules with nft", func() error {
		_, err := b.Run(ctx, text, b.program, "-f", "-")
		return err
	})
}

func (b *nft) Snapshot(ctx context.Context) (string, error) { return b.Installed(ctx) }

func (b *nft) Restore(ctx context.Context, snapshot string) error {
	if snapshot == "" {
		if now, err := b.Installed(ctx); err != nil || now == "" {
			return err
		}
	}
	// Naming the table first makes it if it is not there, so that deleting works.
	return b.script(ctx, fmt.Sprintf("table inet %[1]s\ndelete table inet %[1]s\n%[2]s", rules.NFTTable, snapshot))
}

func (b *nft) Facts(installed string) []string { return rules.Facts(installed) }
