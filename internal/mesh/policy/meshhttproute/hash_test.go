package meshhttproute

import (
	"testing"

	"weft/internal/mesh/policy"
)

func TestHashMatches(t *testing.T) {
	for want, ms := range map[string][]Match{
		"9Zuf5Tg79OuZcQITwBbQykxAk2u4fRKrwYn3//AL4Yo=": {{Path: &PathMatch{Value: "/", Type: pathPrefix}}},
		"bzv64o+joRk33jfDADgGv5ar4QyONO0NEVKnoBfJW/E=": {{Path: &PathMatch{Value: "/v1", Type: pathPrefix}}},
		"eIgW92wXHwW4jQW9ZASIi/jftgxb/u98hIBaTzIRSIw=": {{QueryParams: []QueryMatch{{Type: "Exact", Name: "v1", Value: "true"}}}},
		"0tSyFKHSDTrrsGG0cWqLky0eEKOGXTP6wIW2oK3uwbA=": {{Headers: []policy.HeaderMatch{{Type: "Prefix", Name: "x-f"}}}},
	} {
		if got := HashMatches(ms); got != want {
			t.Errorf("hash of %+v is %s, want %s", ms, got, want)
		}
	}
}
