package xdsclient

import (
	"context"
	"fmt"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tls "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
)

// wire is a stream of either protocol.
type wire interface {
	send(request) error
	recv() (*response, error)
}

func (c *Client) open(ctx context.Context, conn grpc.ClientConnInterface) (wire, error) {
	ads := discovery.NewAggregatedDiscoveryServiceClient(conn)
	if c.o.Delta {
		s, err := ads.DeltaAggregatedResources(ctx)
		if err != nil {
			return nil, fmt.Errorf("open delta stream: %w", err)
		}
		return deltaWire{s}, nil
	}
	s, err := ads.StreamAggregatedResources(ctx)
	if err != nil {
		return nil, fmt.Errorf("open state-of-the-world stream: %w", err)
	}
	return sotwWire{s}, nil
}

func detail(reject string) *statuspb.Status {
	if reject == "" {
		return nil
	}
	return &statuspb.Status{Code: 13, Message: reject}
}

type deltaWire struct {
	s discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesClient
}

func (w deltaWire) send(r request) error {
	return w.s.Send(&discovery.DeltaDiscoveryRequest{
		Node: r.node, TypeUrl: r.typeURL, ResponseNonce: r.nonce, ErrorDetail: detail(r.reject),
		ResourceNamesSubscribe: r.add, ResourceNamesUnsubscribe: r.remove, InitialResourceVersions: r.have,
	})
}

func (w deltaWire) recv() (*response, error) {
	m, err := w.s.Recv()
	if err != nil {
		return nil, err
	}
	r := &response{
		typeURL: m.GetTypeUrl(), nonce: m.GetNonce(), gone: m.GetRemovedResources(),
		put: map[string]*anypb.Any{}, versions: map[string]string{}, size: proto.Size(m),
	}
	for _, res := range m.GetResources() {
		r.put[res.GetName()], r.versions[res.GetName()] = res.GetResource(), res.GetVersion()
	}
	return r, nil
}

type sotwWire struct {
	s discovery.AggregatedDiscoveryService_StreamAggregatedResourcesClient
}

func (w sotwWire) send(r request) error {
	return w.s.Send(&discovery.DiscoveryRequest{
		Node: r.node, TypeUrl: r.typeURL, ResponseNonce: r.nonce, ErrorDetail: detail(r.reject),
		ResourceNames: r.names, VersionInfo: r.version,
	})
}

func (w sotwWire) recv() (*response, error) {
	m, err := w.s.Recv()
	if err != nil {
		return nil, err
	}
	r := &response{
		typeURL: m.GetTypeUrl(), nonce: m.GetNonce(), version: m.GetVersionInfo(),
		put: map[string]*anypb.Any{}, size: proto.Size(m),
	}
	for _, a := range m.GetResources() {
		name, err := nameOf(a)
		if err != nil {
			return nil, err
		}
		r.put[name] = a
	}
	return r, nil
}

// nameOf returns the name that stands in a resource.
func nameOf(a *anypb.Any) (string, error) {
	var m proto.Message
	switch a.GetTypeUrl() {
	case Clusters:
		m = new(cluster.Cluster)
	case Endpoints:
		m = new(endpoint.ClusterLoadAssignment)
	case Secrets:
		m = new(tls.Secret)
	case Listeners:
		m = new(listener.Listener)
	case Routes:
		m = new(route.RouteConfiguration)
	default:
		return "", fmt.Errorf("resource of unknown type %q", a.GetTypeUrl())
	}
	if err := a.UnmarshalTo(m); err != nil {
		return "", fmt.Errorf("decode resource: %w", err)
	}
	if e, ok := m.(*endpoint.ClusterLoadAssignment); ok {
		return e.GetClusterName(), nil
	}
	named, ok := m.(interface{ GetName() string })
	if !ok {
		return "", fmt.Errorf("resource of type %q has no name", a.GetTypeUrl())
	}
	return named.GetName(), nil
}
