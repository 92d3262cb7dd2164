package view_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"weft/internal/cp/view"
	"weft/internal/mesh/kinds"
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

// A name of two entries leads to the ports of both.
func TestVIPsShareAName(t *testing.T) {
	w := newWorld(1)
	w.put(`{"type": "Mesh", "name": "m"}`)
	w.put(`{"type": "Dataplane", "mesh": "m", "name": "client", "networking": {"address": "10.0.0.1", "inbound": [{"port": 80, "tags": {"kuma.io/service": "a"}}],
		"transparentProxying": {"redirectPortInbound": 15006, "redirectPortOutbound": 15001}}}`)
	a := map[string]string{"kuma.io/service": "a"}
	text, err := view.VIPs{
		{Type: view.VIPService, Name: "a"}: {Address: "240.0.0.0", Outbounds: []view.VIPOutbound{{TagSet: a}}},
		{Type: view.VIPService, Name: "b"}: {Address: "240.0.0.1"}, // released
		{Type: view.VIPDomain, Name: "a.mesh"}: {Address: "240.0.0.2", Outbounds: []view.VIPOutbound{
			{Port: 80, TagSet: a}, {Port: 8080, TagSet: map[string]string{"kuma.io/service": "a", "version": "1"}},
		}},
		{Type: view.VIPService, Name: "x_y"}:   {Address: "240.0.0.9", Outbounds: []view.VIPOutbound{{TagSet: a}}},
		{Type: view.VIPService, Name: "x.y"}:   {Address: "240.0.0.10", Outbounds: []view.VIPOutbound{{TagSet: a}}}, // later
		{Type: view.VIPDomain, Name: "b.mesh"}: {Address: "240.0.0.3", Outbounds: []view.VIPOutbound{{Port: 90, TagSet: a}}},
	}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	config := kinds.Config.Make("", view.VIPConfigName("m"))
	config.Spec = &kinds.ConfigSpec{Config: text}
	w.objects[config.Key()] = config
	in, ok := view.NewMesh("m", settings()).Next(w.tables()).For(kinds.Dataplane, "client", view.Metadata{})
	if !ok {
		t.Fatal("there is no client")
	}
	var got []string
	for _, o := range in.Outbounds.List() {
		got = append(got, fmt.Sprintf("%v %s:%d %v", o.Names, o.Address, o.Port, o.Tags))
	}
	want := []string{
		"[a.mesh] 240.0.0.0:80 map[kuma.io/service:a]",
		"[x_y.mesh x.y.mesh] 240.0.0.9:80 map[kuma.io/service:a]",
		"[x.y.mesh] 240.0.0.10:80 map[kuma.io/service:a]",
		"[a.mesh] 240.0.0.2:80 map[kuma.io/service:a]",
		"[a.mesh] 240.0.0.2:8080 map[kuma.io/service:a version:1]",
		"[a.mesh] 240.0.0.0:8080 map[kuma.io/service:a version:1]",
		"[b.mesh] 240.0.0.3:90 map[kuma.io/service:a]",
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
