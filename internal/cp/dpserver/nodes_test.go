package dpserver

import (
	"context"
	"crypto/tls"
	"net"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/types/known/structpb"
)

type proxyNode struct{ *core.Node }

func named(name, resource string) func() *proxyNode {
	return func() *proxyNode { return &proxyNode{node(name, resource)} }
}

func with(name, field, value string) func() *proxyNode {
	return func() *proxyNode {
		n := node(name, "")
		n.Metadata.Fields[field] = structpb.NewStringValue(value)
		return &proxyNode{n}
	}
}

func id(id string) func() *proxyNode {
	return func() *proxyNode {
		n := node("x", "")
		n.Id = id
		return &proxyNode{n}
	}
}

// bothProtocols makes a gRPC client that offers HTTP/1.1 besides HTTP/2.
type bothProtocols struct {
	credentials.TransportCredentials
	w *world
}

func (c bothProtocols) ClientHandshake(ctx context.Context, _ string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn := tls.Client(raw, &tls.Config{RootCAs: c.w.pool(), ServerName: "localhost", NextProtos: []string{"h2", "http/1.1"}, MinVersion: tls.VersionTLS12})
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, nil, err
	}
	return conn, credentials.TLSInfo{State: conn.ConnectionState(), CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}}, nil
}

func (c bothProtocols) Clone() credentials.TransportCredentials { return c }
