// Package version says which build is running.
//
// All three binaries print it, kuma-dp reports it to the control plane, and
// kuma-cp publishes it on its index page. It is pure data: the linker fills it
// in (see Makefile), nothing changes it afterwards.
package version

import "cmp"

// Product is the name under which the binaries present themselves.
const Product = "Weft"

// WireProduct is the name under which the control plane presents itself to
// clients: kumactl of 2.10 refuses a control plane of any other product.
const WireProduct = "Kuma"

// Compatible is the release whose formats and interfaces this build speaks.
// Control planes and proxies compare versions with it, so it stays a plain
// semantic version.
const Compatible = "2.10.11"

// Filled in by the linker: -ldflags "-X weft/internal/version.release=…".
var (
	release   string
	gitTag    string
	gitCommit string
	buildDate string
)

// Build describes one build; its JSON form is the one used on the wire.
type Build struct {
	// Version is a semantic version that compares as a 2.10 release. What is
	// ours stands in the build metadata behind "+", which comparisons of
	// versions ignore. A pre-release suffix ("-weft") would not do: version
	// ranges exclude pre-releases.
	Version string `json:"version"`
	// GitTag is the tag of the commit, if it has one.
	GitTag string `json:"gitTag"`
	// GitCommit is the commit that was built.
	GitCommit string `json:"gitCommit"`
	// BuildDate is the time of the build, RFC 3339.
	BuildDate string `json:"buildDate"`
}

// Current returns the description of the running binary.
func Current() Build {
	return Build{
		Version:   cmp.Or(release, Compatible+"+weft"),
		GitTag:    cmp.Or(gitTag, "unknown"),
		GitCommit: cmp.Or(gitCommit, "unknown"),
		BuildDate: cmp.Or(buildDate, "unknown"),
	}
}
