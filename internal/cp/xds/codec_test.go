package xds

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/google/go-cmp/cmp"
)

// What the codec writes is what protobuf would, read back by protobuf.
func TestCodec(t *testing.T) {
	c := NewCodec()
	rs := []*Resource{
		NewResource(Listener, "a", []byte("body of a")),
		NewResource(Listener, strings.Repeat("long", 100), bytes.Repeat([]byte{7}, 5000)),
		NewResource(Listener, "empty", nil),
	}
	for _, r := range []*Response{
		{Type: Listener, Nonce: "12", Version: "v", Resources: rs, Identifier: "cp-1"},
		{Type: Cluster, Nonce: "1", Version: "0000000000000000"},
		{Delta: true, Type: Listener, Nonce: "7", Resources: rs, Removed: []string{"x", "y"}, Identifier: "cp-1"},
		{Delta: true, Type: Endpoints, Nonce: "8", Removed: []string{"gone"}},
	} {
		t.Run(fmt.Sprintf("%s,delta=%v", r.Type, r.Delta), func(t *testing.T) {
			buffers, err := c.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			want, got := expected(r)
			if err := c.Unmarshal(buffers, got); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want, got, protocmp.Transform()); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
			if n := buffers.Len(); n != r.Size() {
				t.Errorf("%d bytes, Size says %d", n, r.Size())
			}
		})
	}
}

// expected returns the message for a response and an empty one of its type.
func expected(r *Response) (want, empty proto.Message) {
	var control *corev3.ControlPlane
	if r.Identifier != "" {
		control = &corev3.ControlPlane{Identifier: r.Identifier}
	}
	if !r.Delta {
		m := &discovery.DiscoveryResponse{TypeUrl: r.Type.URL(), Nonce: r.Nonce, VersionInfo: r.Version, ControlPlane: control}
		for _, res := range r.Resources {
			m.Resources = append(m.Resources, &anypb.Any{TypeUrl: r.Type.URL(), Value: res.Body})
		}
		return m, new(discovery.DiscoveryResponse)
	}
	m := &discovery.DeltaDiscoveryResponse{TypeUrl: r.Type.URL(), Nonce: r.Nonce, RemovedResources: r.Removed, ControlPlane: control}
	for _, res := range r.Resources {
		m.Resources = append(m.Resources, &discovery.Resource{
			Name: res.Name, Version: VersionString(res.Version), Resource: &anypb.Any{TypeUrl: r.Type.URL(), Value: res.Body},
		})
	}
	return m, new(discovery.DeltaDiscoveryResponse)
}

func TestCodecPassesMessagesThrough(t *testing.T) {
	c := NewCodec()
	in := &discovery.DeltaDiscoveryRequest{TypeUrl: Cluster.URL(), ResourceNamesSubscribe: []string{"*"}}
	b, err := c.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	out := new(discovery.DeltaDiscoveryRequest)
	if err := c.Unmarshal(b, out); err != nil || !proto.Equal(in, out) {
		t.Errorf("got %v, %v", out, err)
	}
	if _, err := c.Marshal("text"); err == nil {
		t.Error("text was encoded")
	}
	if err := c.Unmarshal(mem.BufferSlice{mem.SliceBuffer("\xff\xff")}, out); err == nil {
		t.Error("garbage was decoded")
	}
}

func TestVersions(t *testing.T) {
	r := NewResource(Cluster, "a", []byte("x"))
	s := VersionString(r.Version)
	if len(s) != 16 || parseVersion(s) != short(r.Version) || short(r.Version) == 0 {
		t.Errorf("version %q", s)
	}
	for _, foreign := range []string{"", "1", "b6b2a2c6-3f0c-4d7e-9d51-4e9a2f7f7a3e", "zzzzzzzzzzzzzzzz", "0000000000000000"} {
		if v := parseVersion(foreign); v != 0 {
			t.Errorf("%q counts as version %x", foreign, v)
		}
	}
}
