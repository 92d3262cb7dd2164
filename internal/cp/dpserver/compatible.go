package dpserver

import "github.com/Masterminds/semver/v3"

// compatible tells whether a kuma-dp of that version is known to work with this
// control plane: the same major version and at most two minor versions apart.
// Builds that do not tell their version are given the benefit of the doubt.
func compatible(dp, cp string) bool {
	d, err := semver.NewVersion(dp)
	if err != nil {
		return true
	}
	c, err := semver.NewVersion(cp)
	if err != nil {
		return true
	}
	if d.Major() != c.Major() {
		return d.Major() == 0 && d.Minor() == 0 // 0.0.0-preview
	}
	apart := max(d.Minor(), c.Minor()) - min(d.Minor(), c.Minor())
	return apart <= 2
}
