package xds

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// loop is a client in memory that accepts everything at once.
type loop struct {
	delta   bool
	codec   Codec
	in      chan *Request
	bytes   *atomic.Int64
	got     *atomic.Int64
	aborted chan struct{}
}

func (l *loop) Recv() (*Request, error) {
	select {
	case r := <-l.in:
		return r, nil
	case <-l.aborted:
		return nil, nil
	}
}

func (l *loop) Send(r *Response) error {
	b, err := l.codec.Marshal(r)
	if err != nil {
		return err
	}
	l.bytes.Add(int64(b.Len()))
	b.Free()
	ack := &Request{Type: r.Type, Nonce: r.Nonce}
	if !l.delta && r.Type == Endpoints {
		ack.Names = []string{"c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8", "c9"}
	}
	l.in <- ack
	if r.Type == Endpoints {
		l.got.Add(1)
	}
	return nil
}

func (l *loop) Abort() { close(l.aborted) }

// BenchmarkEndpointFanOut changes one endpoint list that 1,000 proxies watch; each
// proxy has 10 clusters. It counts until every proxy has it.
func BenchmarkEndpointFanOut(b *testing.B) {
	for _, delta := range []bool{true, false} {
		b.Run(fmt.Sprintf("delta=%v", delta), func(b *testing.B) { fanOut(b, delta, 1000) })
	}
}

func fanOut(b *testing.B, delta bool, proxies int) {
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	live := map[string]*Live{}
	var rs []*Resource
	names := []string{}
	for i := range 10 {
		name := fmt.Sprintf("c%d", i)
		names = append(names, name)
		rs = append(rs, NewResource(Cluster, name, make([]byte, 800)))
		live[name] = NewLive(NewResource(Endpoints, name, make([]byte, 1500)))
	}
	set := NewSet(rs, live)
	var bytes, got atomic.Int64
	codec := NewCodec()
	for range proxies {
		c := &loop{delta: delta, codec: codec, in: make(chan *Request, 16), bytes: &bytes, got: &got, aborted: make(chan struct{})}
		s := NewStream(c, delta, Options{Rate: 1 << 20, Burst: 1 << 20})
		s.Publish(set)
		go func() { _ = s.Run(ctx, &Request{Node: "n", Type: Endpoints, Subscribe: names, Names: names}) }()
		defer c.Abort()
	}
	await := func(n int64) {
		for got.Load() < n {
			time.Sleep(20 * time.Microsecond)
		}
	}
	await(int64(proxies))
	b.ReportAllocs()
	b.ResetTimer()
	bytes.Store(0)
	for i := range b.N {
		before := got.Load()
		body := make([]byte, 1500)
		copy(body, fmt.Sprint("version ", i))
		live["c3"].Store(NewResource(Endpoints, "c3", body))
		await(before + int64(proxies))
	}
	b.StopTimer()
	b.ReportMetric(float64(bytes.Load())/float64(b.N), "wire-B/op")
}

// BenchmarkEncode compares the codec with protobuf for one endpoint response.
func BenchmarkEncode(b *testing.B) {
	res := NewResource(Endpoints, "c3", make([]byte, 1500))
	r := &Response{Delta: true, Type: Endpoints, Nonce: "12", Resources: []*Resource{res}, Identifier: "cp-1"}
	c := NewCodec()
	encode := func(b *testing.B, v func() any) {
		b.ReportAllocs()
		for range b.N {
			var out mem.BufferSlice
			var err error
			if out, err = c.Marshal(v()); err != nil {
				b.Fatal(err)
			}
			out.Free()
		}
	}
	b.Run("ours", func(b *testing.B) { encode(b, func() any { return r }) })
	b.Run("protobuf", func(b *testing.B) {
		encode(b, func() any {
			return proto.Message(&discovery.DeltaDiscoveryResponse{
				TypeUrl: r.Type.URL(), Nonce: r.Nonce,
				Resources: []*discovery.Resource{{
					Name: res.Name, Version: VersionString(res.Version), Resource: &anypb.Any{TypeUrl: r.Type.URL(), Value: res.Body},
				}},
			})
		})
	})
}

// BenchmarkNewSet gives a machine a set of 400 resources in which one differs.
func BenchmarkNewSet(b *testing.B) {
	sets := make([]*Set, 2)
	for i := range sets {
		var rs []*Resource
		live := map[string]*Live{}
		for k := range 100 {
			name := fmt.Sprintf("c%d", k)
			rs = append(rs, NewResource(Cluster, name, []byte(name)), NewResource(Listener, name, []byte(name)))
			live[name] = NewLive(NewResource(Endpoints, name, []byte(name)))
		}
		rs = append(rs, NewResource(Listener, "changed", []byte(fmt.Sprint(i))))
		sets[i] = NewSet(rs, live)
	}
	m := NewMachine(true, deaf{}, Options{})
	now := time.Unix(0, 0)
	for _, t := range []Type{Cluster, Listener} {
		if err := m.Request(&Request{Type: t}, now); err != nil {
			b.Fatal(err)
		}
	}
	m.SetTarget(sets[0])
	pump := func() {
		for {
			r, ok := m.Next(now)
			if !ok {
				return
			}
			if err := m.Request(&Request{Type: r.Type, Nonce: r.Nonce}, now); err != nil {
				b.Fatal(err)
			}
		}
	}
	pump()
	b.ReportAllocs()
	for i := range b.N {
		m.SetTarget(sets[(i+1)%2])
		pump()
	}
}
