package version

import "github.com/Masterminds/semver/v3"

// Envoy is the Envoy release that this build is tested with and that `make
// envoy` fetches.
const Envoy = "1.40.0"

// envoyRange covers the Envoy that 2.10 shipped (1.33) up to every patch of
// the one above. Older ones lack fields that control planes send; newer minor
// releases may have removed some.
const envoyRange = ">= 1.33.0, < 1.41.0"

// EnvoyCompatible reports whether an Envoy of this version is expected to
// accept every configuration that a control plane of release 2.10 sends.
// Text that is no version is not compatible.
func EnvoyCompatible(v string) bool { return in(envoyRange, v) }

// modernRange are the releases with which the newer parts of bootstrap documents
// were tried.
const modernRange = ">= 1.36.0, < 1.41.0"

// EnvoyModern reports whether an Envoy of this version starts with the newer parts
// of bootstrap documents.
func EnvoyModern(v string) bool { return in(modernRange, v) }

// adminPathsRange are the releases whose administration can be narrowed to paths.
const adminPathsRange = ">= 1.37.0, < 1.41.0"

// EnvoyAdminPaths reports whether an Envoy of this version can be told which pages
// of its administration to serve.
func EnvoyAdminPaths(v string) bool { return in(adminPathsRange, v) }

func in(releases, v string) bool {
	got, err := semver.NewVersion(v)
	if err != nil {
		return false
	}
	want, err := semver.NewConstraint(releases)
	return err == nil && want.Check(got)
}
