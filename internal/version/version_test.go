package version

import (
	"testing"

	"github.com/Masterminds/semver/v3"
)

func TestCurrentCountsAsRelease210(t *testing.T) {
	v, err := semver.NewVersion(Current().Version)
	if err != nil {
		t.Fatalf("version %q: %v", Current().Version, err)
	}
	// The ranges that a 2.10 control plane may ask of a data plane; none may
	// fail because of the part that names the product.
	for _, rng := range []string{"~2.10.0", ">= 2.8.0, < 2.13.0", "2.10.x", "= " + Compatible} {
		c, err := semver.NewConstraint(rng)
		if err != nil {
			t.Fatal(err)
		}
		if !c.Check(v) {
			t.Errorf("%s does not satisfy %q", v, rng)
		}
	}
}

func TestEnvoyCompatible(t *testing.T) {
	for v, want := range map[string]bool{
		Envoy: true, "1.33.14": true, "1.36.2": true, "1.40.7": true,
		"1.32.9": false, "1.41.0": false, "2.0.0": false, "": false, "main": false,
	} {
		if got := EnvoyCompatible(v); got != want {
			t.Errorf("EnvoyCompatible(%q) = %v, want %v", v, got, want)
		}
	}
}
