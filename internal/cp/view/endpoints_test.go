package view

import "testing"

func TestHasTags(t *testing.T) {
	have := map[string]string{"version": "v1", "zone": "a"}
	for subset, want := range map[string]bool{
		"version=v1": true, "version=v1,zone=a": true, "version=v2": false, "version=v1,zone=b": false,
		"version=*": true, "version=*,zone=b": false, "rack=*": false,
	} {
		if got := hasTags(have, parseSubset(subset)); got != want {
			t.Errorf("%s: %v, want %v", subset, got, want)
		}
	}
}
