package meshfaultinjection

import (
	"regexp"
	"testing"

	"weft/internal/mesh/ir"
	"weft/internal/mesh/policy"
)

func TestKbps(t *testing.T) {
	for in, want := range map[string]uint64{
		"100kbps": 100, "5Mbps": 5000, "2 Gbps": 2_000_000, "0kbps": 0, "kbps": 0, "5": 0, "5 MBps": 0, "-1kbps": 0, "99999999999999999999kbps": 0, "9223372036854775807Gbps": 0,
	} {
		got, err := kbps(in)
		if got != want || (err == nil) != (want > 0) {
			t.Errorf("%q is %d kbps (%v), want %d", in, got, err, want)
		}
	}
}

// TestTagsRegex: the expression finds tags in what clients send.
func TestTagsRegex(t *testing.T) {
	const client = "&kuma.io/service=web,web-admin&&version=v1.2&&zone=east&"
	for _, c := range []struct {
		tags map[string]string
		want bool
	}{
		{map[string]string{"kuma.io/service": "web"}, true},
		{map[string]string{"kuma.io/service": "web-admin"}, true},
		{map[string]string{"kuma.io/service": "db"}, false},
		{map[string]string{"kuma.io/service": "web", "zone": "east"}, true},
		{map[string]string{"kuma.io/service": "web", "zone": "west"}, false},
		{map[string]string{"version": "v1.2"}, true},
		{map[string]string{"version": "v1x2"}, false},
		{map[string]string{"version": "*", "zone": "east"}, true},
		{map[string]string{"nope": "*"}, false},
	} {
		m := policy.TagsRegex(c.tags)
		if got := regexp.MustCompile("^(" + m.Value + ")$").MatchString(client); got != c.want {
			t.Errorf("%v as %s finds %v, want %v", c.tags, m.Value, got, c.want)
		}
	}
}

// TestStrongestOnly: a client gets the faults of the strongest item about it.
func TestStrongestOnly(t *testing.T) {
	abort := func(status int32) *Conf {
		return &Conf{HTTP: []Fault{{Abort: &Abort{HTTPStatus: status, Percentage: policy.NumberOf(100)}}}}
	}
	in := &ir.Inbound{Listener: ir.Listener{HTTP: &ir.HTTP{}}}
	clients([]policy.ClientItem[Conf]{
		{Tags: map[string]string{}, Conf: abort(500)},
		{Tags: map[string]string{"v": "1"}, Conf: abort(501)},
		{Tags: map[string]string{"v": "2"}, Conf: &Conf{HTTP: []Fault{}}},
		{Tags: map[string]string{"v": "3"}, Conf: &Conf{}}, // says nothing
	}, in, &policy.Context{Proxy: &ir.Proxy{}})
	for tags, want := range map[string]uint32{"&v=0&": 500, "&v=1&": 501, "&v=2&": 0, "&v=3&": 500} {
		var got uint32
		for _, f := range in.HTTP.Faults {
			if fits(f, tags) {
				if got != 0 {
					t.Errorf("client %s gets two faults", tags)
				}
				got = f.AbortStatus
			}
		}
		if got != want {
			t.Errorf("client %s is aborted with %d, want %d", tags, got, want)
		}
	}
}

func fits(f ir.Fault, tags string) bool {
	for _, m := range f.Clients {
		if !regexp.MustCompile("^(" + m.Value + ")$").MatchString(tags) {
			return false
		}
	}
	for _, m := range f.NotClients {
		if regexp.MustCompile("^(" + m.Value + ")$").MatchString(tags) {
			return false
		}
	}
	return true
}

func TestOlderFaultsStay(t *testing.T) {
	in := &ir.Inbound{Listener: ir.Listener{HTTP: &ir.HTTP{Faults: []ir.Fault{{AbortStatus: 418}}}}}
	clients([]policy.ClientItem[Conf]{{Conf: &Conf{HTTP: []Fault{{}}}}}, in, &policy.Context{Proxy: &ir.Proxy{}})
	if len(in.HTTP.Faults) != 1 || in.HTTP.Faults[0].AbortStatus != 418 {
		t.Errorf("faults: %+v", in.HTTP.Faults)
	}
}
