// Package xds speaks the xDS transport protocol: which resources a stream
// holds, what it acknowledged, and what to send next. It knows bytes, names and
// versions, not what they mean.
package xds

import (
	"encoding/hex"

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

// Version is the content hash of a resource.
type Version = model.Hash

// VersionString is the version on the wire.
func VersionString(v Version) string { return hex.EncodeToString(v[:8]) }

// Resource is one encoded resource, shared by all streams that hold it.
type Resource struct {
	Type    Type
	Name    string
	Version Version
	// Body is the protobuf encoding of the resource (the value of the Any).
	Body []byte
}

// NewResource returns a resource whose version is the hash of its body.
func NewResource(t Type, name string, body []byte) *Resource {
	return &Resource{Type: t, Name: name, Version: model.HashOf(body), Body: body}
}
