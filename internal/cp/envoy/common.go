package envoy

import (
	"fmt"
	"net/netip"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// utilityTimeout is how long connecting to helpers of the proxy may take.
const utilityTimeout = 5 * time.Second

// pack wraps a message. Messages inside are checked here, since the checks of
// the outer message stop at an Any.
func pack(m message) (*anypb.Any, error) {
	if err := m.Validate(); err != nil {
		return nil, err
	}
	b, err := deterministic.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", m.ProtoReflect().Descriptor().FullName(), err)
	}
	return &anypb.Any{TypeUrl: "type.googleapis.com/" + string(m.ProtoReflect().Descriptor().FullName()), Value: b}, nil
}

// statName is a name as statistics carry it.
func statName(name string) string {
	b := []byte(name)
	for i, c := range b {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_', c == '-':
		default:
			b[i] = '_'
		}
	}
	return string(b)
}

// altStatName is set only where the statistics' name differs from the name.
func altStatName(name string) string {
	if s := statName(name); s != name {
		return s
	}
	return ""
}

func socketAddress(address string, port uint32) *core.Address {
	return &core.Address{Address: &core.Address_SocketAddress{SocketAddress: socket(address, port)}}
}

func socket(address string, port uint32) *core.SocketAddress {
	return &core.SocketAddress{Address: address, PortSpecifier: &core.SocketAddress_PortValue{PortValue: port}}
}

func pipe(path string) *core.Address {
	return &core.Address{Address: &core.Address_Pipe{Pipe: &core.Pipe{Path: path}}}
}

// duration converts an optional duration; nil = the proxy's own default.
func duration(d *time.Duration) *durationpb.Duration {
	if d == nil {
		return nil
	}
	return durationpb.New(*d)
}

func uint32Value(n *uint32) *wrapperspb.UInt32Value {
	if n == nil {
		return nil
	}
	return wrapperspb.UInt32(*n)
}

func boolValue(b *bool) *wrapperspb.BoolValue {
	if b == nil {
		return nil
	}
	return wrapperspb.Bool(*b)
}

// tagStruct is tags as metadata; never nil.
func tagStruct(tags map[string]string) *structpb.Struct {
	s := &structpb.Struct{Fields: make(map[string]*structpb.Value, len(tags))}
	for k, v := range tags {
		s.Fields[k] = structpb.NewStringValue(v)
	}
	return s
}

// adsSource says that a resource comes over the stream that it is named on.
func adsSource() *core.ConfigSource {
	return &core.ConfigSource{
		ConfigSourceSpecifier: &core.ConfigSource_Ads{Ads: &core.AggregatedConfigSource{}},
		ResourceApiVersion:    core.ApiVersion_V3,
	}
}

// cidrRanges converts prefixes; only those of IPv4 with v4Only.
func cidrRanges(prefixes []string, v4Only bool) ([]*core.CidrRange, error) {
	out := make([]*core.CidrRange, 0, len(prefixes))
	for _, s := range prefixes {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, fmt.Errorf("address range %q: %w", s, err)
		}
		if v4Only && !p.Addr().Is4() {
			continue
		}
		out = append(out, &core.CidrRange{AddressPrefix: p.Addr().String(), PrefixLen: wrapperspb.UInt32(uint32(p.Bits()))})
	}
	return out, nil
}

// isIP tells whether the address needs no resolving.
func isIP(address string) bool {
	_, err := netip.ParseAddr(address)
	return err == nil
}
