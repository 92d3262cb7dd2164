package xds

import (
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

type deaf struct{}

func (deaf) Changed(*Live) {}

// FuzzRequests lets a hostile client say anything, in any order. The machine must
// not panic, go on sending for ever, or remember more than its limits.
func FuzzRequests(f *testing.F) {
	message := func(m proto.Message) []byte {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		return b
	}
	join := func(ms ...proto.Message) []byte {
		var out []byte
		for _, m := range ms {
			out = protowire.AppendBytes(out, message(m))
		}
		return out
	}
	node := &corev3.Node{Id: "default.web"}
	nack := &statuspb.Status{Code: 13, Message: "no"}
	f.Add(true, join(
		&discovery.DeltaDiscoveryRequest{Node: node, TypeUrl: Cluster.URL(), InitialResourceVersions: map[string]string{"old": "1"}},
		&discovery.DeltaDiscoveryRequest{TypeUrl: Endpoints.URL(), ResourceNamesSubscribe: []string{"c1", "x"}},
		&discovery.DeltaDiscoveryRequest{TypeUrl: Cluster.URL(), ResponseNonce: "1", ErrorDetail: nack},
		&discovery.DeltaDiscoveryRequest{TypeUrl: Listener.URL(), ResourceNamesSubscribe: []string{"*", "l1"}},
		&discovery.DeltaDiscoveryRequest{TypeUrl: Endpoints.URL(), ResourceNamesUnsubscribe: []string{"c1", "*"}},
		&discovery.DeltaDiscoveryRequest{TypeUrl: Listener.URL(), ResourceNamesUnsubscribe: []string{"*"}},
	))
	f.Add(false, join(
		&discovery.DiscoveryRequest{Node: node, TypeUrl: Cluster.URL(), VersionInfo: "0123456789abcdef"},
		&discovery.DiscoveryRequest{TypeUrl: Endpoints.URL(), ResourceNames: []string{"c1", "c2"}},
		&discovery.DiscoveryRequest{TypeUrl: Cluster.URL(), ResponseNonce: "1", ErrorDetail: nack},
		&discovery.DiscoveryRequest{TypeUrl: Listener.URL()},
		&discovery.DiscoveryRequest{TypeUrl: Listener.URL(), ResponseNonce: "3", ResourceNames: []string{"l1"}},
		&discovery.DiscoveryRequest{TypeUrl: Route.URL(), ResourceNames: []string{"*", "r1"}},
	))
	f.Fuzz(func(t *testing.T, delta bool, input []byte) {
		m := NewMachine(delta, deaf{}, Options{MaxNames: 20, MaxNameBytes: 500, ChunkBytes: 40})
		defer m.Close()
		now := time.Unix(0, 0)
		for n := 0; len(input) > 0 && n < 200; n++ {
			b, size := protowire.ConsumeBytes(input)
			if size < 0 {
				return
			}
			input = input[size:]
			r, ok := decodeRequest(delta, b)
			if !ok {
				continue
			}
			if n%3 == 0 {
				m.SetTarget(fuzzSet(n))
			}
			if m.Request(r, now) != nil {
				return
			}
			for k := 0; ; k++ {
				if _, ok := m.Next(now); !ok {
					break
				}
				if k > 200 {
					t.Fatal("it sends for ever")
				}
			}
			now = now.Add(time.Duration(n) * time.Second)
		}
		for typ := range NumTypes {
			st := &m.types[typ]
			if len(st.names) > 20 || len(st.flights) > maxFlights || len(st.rejected) > 40 || st.bytes > 500 {
				t.Errorf("%s: %d names of %d bytes, %d responses under way, %d rejected", typ, len(st.names), st.bytes, len(st.flights), len(st.rejected))
			}
		}
	})
}

func decodeRequest(delta bool, b []byte) (*Request, bool) {
	if delta {
		d := new(discovery.DeltaDiscoveryRequest)
		if proto.Unmarshal(b, d) != nil {
			return nil, false
		}
		return FromDelta(d)
	}
	d := new(discovery.DiscoveryRequest)
	if proto.Unmarshal(b, d) != nil {
		return nil, false
	}
	return FromSotW(d)
}

// fuzzSet returns one of a few sets.
func fuzzSet(n int) *Set {
	version := string(rune('a' + n%5))
	live := map[string]*Live{}
	rs := []*Resource{
		NewResource(Listener, "l1", []byte("l1"+version)), NewResource(Listener, "l2", []byte("l2")),
		NewResource(Route, "r1", []byte("r1"+version)), NewResource(Secret, "s1", []byte("s1")),
	}
	for i := range 2 + n%4 {
		name := "c" + string(rune('0'+i))
		rs = append(rs, NewResource(Cluster, name, []byte(name+version)))
		live[name] = NewLive(NewResource(Endpoints, name, []byte(name)))
	}
	return NewSet(rs, live)
}
