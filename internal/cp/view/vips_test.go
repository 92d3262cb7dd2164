package view_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"weft/internal/cp/view"
)

func TestVIPsRoundTrip(t *testing.T) {
	want := view.VIPs{
		{Type: view.VIPService, Name: "backend"}: {Address: "240.0.0.0", Outbounds: []view.VIPOutbound{
			{TagSet: map[string]string{"kuma.io/service": "backend"}, Origin: "service"},
		}},
		{Type: view.VIPHost, Name: "a:b"}: {Address: "240.0.0.1", Outbounds: []view.VIPOutbound{
			{Port: 443, TagSet: map[string]string{"kuma.io/service": "x"}, Origin: "external-service:x"},
		}},
	}
	text, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := view.ParseVIPs(text)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// TestVIPsTagFirst reads the compressed form that 2.10 may have written.
func TestVIPsTagFirst(t *testing.T) {
	got, err := view.ParseVIPs(`{"v": {"backend": {"oe": [
		{"t": {}, "ap": [{"a": "240.0.0.0", "d": "backend", "p": 0, "o": "svc"}]},
		{"t": {"v": "1"}, "ap": [{"a": "240.0.0.1", "d": "backend-1.mesh", "p": 80, "o": "virtual-outbound:vo"}]}]}}}`)
	if err != nil {
		t.Fatal(err)
	}
	want := view.VIPs{
		{Type: view.VIPService, Name: "backend"}: {Address: "240.0.0.0", Outbounds: []view.VIPOutbound{
			{TagSet: map[string]string{"kuma.io/service": "backend"}, Origin: "service"},
		}},
		{Type: view.VIPDomain, Name: "backend-1.mesh"}: {Address: "240.0.0.1", Outbounds: []view.VIPOutbound{
			{Port: 80, TagSet: map[string]string{"kuma.io/service": "backend", "v": "1"}, Origin: "virtual-outbound:vo"},
		}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func FuzzParseVIPs(f *testing.F) {
	f.Add(`{"0:backend": {"address": "240.0.0.0", "outbounds": [{"Port": 0, "TagSet": {"kuma.io/service": "backend"}, "Origin": "service"}]}}`)
	f.Add(`{"v": {"backend": {"oe": [{"t": {}, "ap": [{"a": "240.0.0.0", "d": "backend"}]}]}}}`)
	f.Add(`{"x": 1}`)
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		v, err := view.ParseVIPs(text)
		if err != nil {
			return
		}
		if _, err := v.Encode(); err != nil {
			t.Errorf("what was read cannot be written: %v", err)
		}
	})
}
