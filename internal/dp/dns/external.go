package dns

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"time"

	"weft/internal/dp/process"
)

var versionLine = regexp.MustCompile(`CoreDNS-(\S+)`)

// External is a CoreDNS binary that the user named.
type External struct {
	// Path of the binary.
	Path string
	// Version that it reports.
	Version string
}

// FindExternal looks for the binary and asks it for its version.
func FindExternal(ctx context.Context, configured string) (*External, error) {
	path, tried := process.Find(configured, "coredns")
	if path == "" {
		return nil, fmt.Errorf("find CoreDNS: looked at %s; name it with --dns-coredns-path (KUMA_DNS_CORE_DNS_BINARY_PATH), or leave that out to use the DNS server inside kuma-dp", strings.Join(tried, ", "))
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "--version").CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("ask %s for its version: %w: %s", path, err, process.FirstLine(out))
	}
	m := versionLine.FindSubmatch(out)
	if m == nil {
		return nil, fmt.Errorf("ask %s for its version: it does not answer like a CoreDNS (%q)", path, process.FirstLine(out))
	}
	return &External{Path: path, Version: string(m[1])}, nil
}

// Args is its command line for a Corefile.
func (e *External) Args(corefile string) []string {
	return []string{"-conf", corefile, "-quiet"}
}
