// Package xds speaks the xDS transport protocol: which resources a stream
// holds, what it acknowledged, and what to send next. It knows bytes, names and
// versions, not what they mean.
//
// The pieces, from the inside out: Set and Live are what a proxy should hold;
// Machine is one client's state and decides, without clocks or goroutines of
// its own, which response is next; Stream runs a machine on a connection. The
// incremental protocol (delta) and the older state-of-the-world form share the
// machine; they differ in how requests are read and responses are filled.
package xds

import (
	"encoding/binary"
	"strconv"
	"sync/atomic"

	"weft/internal/mesh/model"
)

// Type is a resource type, in a fixed small set so that it indexes arrays.
type Type uint8

// The types, in the order in which additions are sent (make before break).
const (
	Cluster Type = iota
	Endpoints
	Secret
	Listener
	Route
	Runtime
	NumTypes
)

// typeURLs by Type.
var typeURLs = [NumTypes]string{
	"type.googleapis.com/envoy.config.cluster.v3.Cluster",
	"type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
	"type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
	"type.googleapis.com/envoy.config.listener.v3.Listener",
	"type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
	"type.googleapis.com/envoy.service.runtime.v3.Runtime",
}

// typeNames by Type.
var typeNames = [NumTypes]string{"cluster", "endpoint", "secret", "listener", "route", "runtime"}

// String returns a word for the type.
func (t Type) String() string { return typeNames[t] }

// URL returns the type URL.
func (t Type) URL() string { return typeURLs[t] }

// TypeOf returns the Type of a URL.
func TypeOf(url string) (Type, bool) {
	for i, u := range typeURLs {
		if u == url {
			return Type(i), true
		}
	}
	return 0, false
}

// wildcard tells whether clients may ask for all resources of the type.
func (t Type) wildcard() bool { return t == Cluster || t == Listener }

// Version is the content hash of a resource. Because it depends on nothing but
// the content, a proxy that reconnects to another or a restarted control plane
// is sent only what really differs; bodies must be encoded deterministically.
type Version = model.Hash

// VersionString is the version on the wire.
func VersionString(v Version) string { return formatVersion(short(v)) }

// short is the part of a version that goes over the wire; 0 means unknown.
func short(v Version) uint64 { return binary.BigEndian.Uint64(v[:8]) | 1 }

func formatVersion(v uint64) string {
	const digits = "0123456789abcdef"
	var b [16]byte
	for i := range b {
		b[i] = digits[v>>(60-4*i)&0xf]
	}
	return string(b[:])
}

// parseVersion reads a version as the client returns it; what another kind of
// control plane wrote is unknown.
func parseVersion(s string) uint64 {
	if len(s) != 16 {
		return 0
	}
	v, err := strconv.ParseUint(s, 16, 64)
	if err != nil {
		return 0
	}
	return v
}

// Resource is one encoded resource, shared by all streams that hold it. It is
// immutable and must not be copied.
type Resource struct {
	Type    Type
	Name    string
	Version Version
	// Body is the protobuf encoding of the resource (the value of the Any).
	Body []byte

	// What stands before Body in a response, made at first use.
	deltaHead, sotwHead atomic.Pointer[[]byte]
}

// NewResource returns a resource whose version is the hash of its body.
func NewResource(t Type, name string, body []byte) *Resource {
	return &Resource{Type: t, Name: name, Version: model.HashOf(body), Body: body}
}
