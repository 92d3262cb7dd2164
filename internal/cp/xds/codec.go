package xds

import (
	"fmt"

	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
)

// Codec is gRPC's protobuf codec, which besides protobuf messages takes a
// *Response. The bytes of a resource are never copied into a message: a response
// is a short head of its own, then for each resource its shared head and body.
type Codec struct{ base encoding.CodecV2 }

// NewCodec returns the codec, to be given to grpc.ForceServerCodecV2.
func NewCodec() Codec { return Codec{base: encoding.GetCodecV2(proto.Name)} }

// Name returns the name of the protobuf codec.
func (c Codec) Name() string { return proto.Name }

// Marshal encodes a *Response or a protobuf message.
func (c Codec) Marshal(v any) (mem.BufferSlice, error) {
	if r, ok := v.(*Response); ok {
		return r.buffers(), nil
	}
	b, err := c.base.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", v, err)
	}
	return b, nil
}

// Unmarshal decodes a protobuf message.
func (c Codec) Unmarshal(data mem.BufferSlice, v any) error {
	if err := c.base.Unmarshal(data, v); err != nil {
		return fmt.Errorf("decode %T: %w", v, err)
	}
	return nil
}

// Field numbers of DiscoveryResponse, DeltaDiscoveryResponse, Resource, Any and
// ControlPlane in envoy/service/discovery/v3 and google/protobuf/any.proto.
const (
	fieldSotwVersion      = 1
	fieldResources        = 2 // both forms
	fieldTypeURL          = 4 // both forms
	fieldNonce            = 5 // both forms
	fieldSotwControlPlane = 6

	fieldDeltaRemoved      = 6
	fieldDeltaControlPlane = 7

	fieldResourceVersion = 1
	fieldResourceAny     = 2
	fieldResourceName    = 3

	fieldAnyTypeURL = 1
	fieldAnyValue   = 2

	fieldIdentifier = 1
)

// buffers returns the response's encoding in pieces.
func (r *Response) buffers() mem.BufferSlice {
	out := make(mem.BufferSlice, 0, 1+2*len(r.Resources))
	out = append(out, mem.SliceBuffer(r.head()))
	for _, res := range r.Resources {
		head := &res.sotwHead
		if r.Delta {
			head = &res.deltaHead
		}
		b := head.Load()
		if b == nil {
			made := res.encodeHead(r.Delta)
			b = &made
			head.Store(b)
		}
		out = append(out, mem.SliceBuffer(*b), mem.SliceBuffer(res.Body))
	}
	return out
}

// Size returns the length of the encoding.
func (r *Response) Size() int { return r.buffers().Len() }

// head encodes everything but the resources.
func (r *Response) head() []byte {
	n := 64 + len(r.Type.URL()) + len(r.Nonce) + len(r.Version) + len(r.Identifier)
	for _, name := range r.Removed {
		n += 4 + len(name)
	}
	b := make([]byte, 0, n)
	control := protowire.Number(fieldSotwControlPlane)
	if r.Delta {
		control = fieldDeltaControlPlane
	} else {
		b = appendString(b, fieldSotwVersion, r.Version)
	}
	b = appendString(b, fieldTypeURL, r.Type.URL())
	b = appendString(b, fieldNonce, r.Nonce)
	for _, name := range r.Removed {
		b = appendString(b, fieldDeltaRemoved, name)
	}
	if r.Identifier != "" {
		b = protowire.AppendTag(b, control, protowire.BytesType)
		b = protowire.AppendVarint(b, uint64(sizeString(fieldIdentifier, r.Identifier)))
		b = appendString(b, fieldIdentifier, r.Identifier)
	}
	return b
}

// encodeHead returns what stands before the body in a list of resources. Fields
// may come in any order, so the body is put last.
func (r *Resource) encodeHead(delta bool) []byte {
	anySize := sizeString(fieldAnyTypeURL, r.Type.URL()) + protowire.SizeTag(fieldAnyValue) + protowire.SizeBytes(len(r.Body))
	b := make([]byte, 0, 64+len(r.Name)+len(r.Type.URL()))
	b = protowire.AppendTag(b, fieldResources, protowire.BytesType)
	if delta {
		version := VersionString(r.Version)
		size := sizeString(fieldResourceVersion, version) + sizeString(fieldResourceName, r.Name) +
			protowire.SizeTag(fieldResourceAny) + protowire.SizeBytes(anySize)
		b = protowire.AppendVarint(b, uint64(size))
		b = appendString(b, fieldResourceName, r.Name)
		b = appendString(b, fieldResourceVersion, version)
		b = protowire.AppendTag(b, fieldResourceAny, protowire.BytesType)
	}
	b = protowire.AppendVarint(b, uint64(anySize))
	b = appendString(b, fieldAnyTypeURL, r.Type.URL())
	b = protowire.AppendTag(b, fieldAnyValue, protowire.BytesType)
	return protowire.AppendVarint(b, uint64(len(r.Body)))
}

func appendString(b []byte, field protowire.Number, s string) []byte {
	b = protowire.AppendTag(b, field, protowire.BytesType)
	return protowire.AppendString(b, s)
}

func sizeString(field protowire.Number, s string) int {
	return protowire.SizeTag(field) + protowire.SizeBytes(len(s))
}
