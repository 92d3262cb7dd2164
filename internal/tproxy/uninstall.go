package tproxy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"weft/internal/tproxy/backend"
	"weft/internal/tproxy/rules"
	"weft/internal/tproxy/watchdog"
)

// Uninstall removes what Install, or kumactl of 2.10, installed, from all
// backends that the host has.
func (i *Installer) Uninstall(ctx context.Context) error {
	if err := i.Config.Check(); err != nil {
		return err
	}
	if err := i.allowed(); err != nil {
		return err
	}
	i.note("looking for rules of the transparent proxy: the table inet %s of nft, chains of iptables named %s..., comments that start with %s",
		rules.NFTTable, rules.ChainPrefix, rules.CommentPrefix)
	all := backend.Others(ctx, i.choose(), nil)
	if len(all) == 0 {
		if !i.Config.DryRun {
			return errors.New("nothing on this host can list the rules of the kernel: neither nft nor iptables works")
		}
		i.warn("[dry-run]: nothing on this host can list the rules of the kernel: neither nft nor iptables works")
	}
	if !i.Config.DryRun && watchdog.Confirm() == nil {
		i.note("the installation that waited for confirmation will not be put back to what was there before it")
	}
	found := false
	for _, b := range all {
		was, err := i.remove(ctx, b)
		if err != nil {
			return fmt.Errorf("remove the rules of %s: %w", b.Name(), err)
		}
		found = found || was
	}
	if !found {
		i.note("no rules of the transparent proxy are installed; nothing to do")
	}
	if err := i.cleanFirewalld(); err != nil {
		return err
	}
	return i.restoreResolvConf()
}

func (i *Installer) remove(ctx context.Context, b backend.Backend) (found bool, err error) {
	installed, err := b.Installed(ctx)
	if err != nil || installed == "" {
		return false, err
	}
	if i.Config.DryRun {
		i.note("[%s] would be removed:", b.Name())
		for line := range strings.Lines(installed) {
			i.note("- %s", strings.TrimRight(line, "\n"))
		}
		return true, nil
	}
	facts := b.Facts(installed)
	if err := b.Restore(ctx, ""); err != nil {
		return true, err
	}
	for _, f := range facts {
		if name, ok := strings.CutPrefix(f, sourceFact); ok {
			if err := i.Host.RemoveSource(name); err != nil {
				i.warn("the address ::6 stays at interface %s: %v", name, err)
			}
		}
	}
	i.note("[%s] rules are removed", b.Name())
	return true, nil
}

// Files of 1.x, which replaced resolv.conf.
const (
	resolvConf       = "/etc/resolv.conf"
	resolvConfBackup = "/etc/resolv.conf.kuma-backup"
)

func (i *Installer) restoreResolvConf() error {
	text, err := i.Host.ReadFile(resolvConfBackup)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read what %s was: %w", resolvConf, err)
	}
	if i.Config.DryRun {
		i.note("%s would become what it was:", resolvConf)
	} else {
		if err := i.Host.WriteFile(resolvConf, text, 0o644); err != nil {
			return fmt.Errorf("restore %s: %w", resolvConf, err)
		}
		if err := i.Host.RemoveFile(resolvConfBackup); err != nil {
			i.warn("%s stays: %v", resolvConfBackup, err)
		}
		i.note("%s is what it was:", resolvConf)
	}
	for line := range strings.Lines(string(text)) {
		i.note("%s", strings.TrimRight(line, "\n"))
	}
	return nil
}
