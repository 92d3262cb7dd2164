package dpserver

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"weft/internal/cp/auth"
	"weft/internal/cp/store"
	"weft/internal/mesh/model"
	"weft/internal/mesh/token"
)

// Authenticator finds out whether clients of the port may be the proxies that they
// claim to be. It is shared by all gRPC services of the port.
type Authenticator struct {
	Store    store.Store
	Verifier Verifier
}

// Authenticate returns nil if the client of a stream may be the proxy that its
// node names, else a gRPC status.
func (a Authenticator) Authenticate(ctx context.Context, n *Node) error {
	if _, _, err := a.admit(ctx, n); err != nil {
		return statusOf(err)
	}
	return nil
}

// Expires returns when the credential of a stream ends; false if it has no end.
func (a Authenticator) Expires(ctx context.Context) (time.Time, bool) {
	credential, err := credentialOf(ctx)
	if err != nil {
		return time.Time{}, false
	}
	return token.Expires(credential)
}

// admit is Authenticate with what it found: the stream's identity, and the object
// that the client brought along, or nil.
func (a Authenticator) admit(ctx context.Context, node *Node) (*stream, *model.Object, error) {
	st := &stream{key: node.Key}
	if p, ok := peer.FromContext(ctx); ok {
		st.peer = host(p.Addr)
	}
	credential, err := credentialOf(ctx)
	if err != nil {
		return st, nil, err
	}
	st.credential = credential
	object, err := objectOf(node)
	if err != nil {
		return st, nil, err
	}
	known := object
	if known == nil {
		if known, err = a.Store.Get(ctx, node.Key); err != nil {
			return st, nil, notThere(node.Key, err)
		}
	}
	if st.proxy, err = auth.ProxyOf(known); err != nil {
		return st, nil, err
	}
	if err := a.Verifier.Verify(ctx, credential, st.proxy); err != nil {
		return st, nil, &refusal{fmt.Errorf("authentication failed: %w", err)}
	}
	return st, object, nil
}

// objectOf returns the object that the proxy brought along, or nil.
func objectOf(n *Node) (*model.Object, error) {
	if n.Resource == "" {
		return nil, nil //nolint:nilnil // because most proxies on Kubernetes bring none
	}
	o, err := parseObject(n.Kind, []byte(n.Resource))
	if err != nil {
		return nil, &mistake{fmt.Errorf("dataplane.resource in the node's metadata: %w", err)}
	}
	if o.Key() != n.Key {
		return nil, &mistake{fmt.Errorf("the node's id says %s, the object that it brings along is %s", n.Key, o.Key())}
	}
	return o, nil
}

// credentialOf returns what the client sent to prove who it is; "" = nothing.
func credentialOf(ctx context.Context) (string, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	values := md.Get("authorization")
	switch len(values) {
	case 0:
		return "", nil
	case 1:
		return strings.TrimSpace(values[0]), nil
	}
	return "", &refusal{fmt.Errorf("a request must have at most one authorization header; this one has %d", len(values))}
}

func notThere(key model.Key, err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return &absent{fmt.Errorf("there is no %s; create it at the control plane, or let kuma-dp bring it along with --dataplane-file", key)}
	}
	return fmt.Errorf("look up %s: %w", key, err)
}
