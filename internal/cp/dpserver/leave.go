package dpserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"weft/internal/cp/auth"
	"weft/internal/cp/store"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// maxLeaveBody bounds the body of a request to leave.
const maxLeaveBody = 64 << 10

// leaveRequest is the body of POST /leave, with which kuma-dp says that its proxy
// is about to stop. 2.10 has no such endpoint; there health discovery tells, at
// its next report, and the end of the stream after a delay.
type leaveRequest struct {
	Mesh      string `json:"mesh"`
	Name      string `json:"name"`
	ProxyType string `json:"proxyType"`
	Token     string `json:"dataplaneToken"`
	// Registered says that the proxy brought its object along, so that it goes
	// with it.
	Registered bool `json:"registered"`
}

// serveLeave answers POST /leave: from now on nobody is sent to the proxy, which
// goes on serving whoever comes.
func (s *Server) serveLeave(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "use POST", http.StatusMethodNotAllowed)
		return
	}
	err := s.leave(r.Context(), http.MaxBytesReader(w, r.Body, maxLeaveBody))
	var (
		bad    *problem
		denied *refusal
	)
	switch {
	case err == nil, errors.Is(err, store.ErrNotFound):
		w.WriteHeader(http.StatusOK)
	case errors.As(err, &bad):
		http.Error(w, bad.text, bad.status)
	case errors.As(err, &denied):
		http.Error(w, err.Error(), http.StatusForbidden)
	case errors.Is(err, store.ErrUnavailable):
		http.Error(w, "the store cannot be reached at the moment", http.StatusServiceUnavailable)
	default:
		s.log.Error("a proxy could not leave", "error", err)
		http.Error(w, "internal error", http.StatusInternalServerError)
	}
}

func (s *Server) leave(ctx context.Context, body io.Reader) error {
	var req leaveRequest
	if err := json.NewDecoder(body).Decode(&req); err != nil {
		return wrong(http.StatusBadRequest, "the body is not the JSON of a request to leave: %v", err)
	}
	kind, known := kindOf(req.ProxyType)
	if !known {
		return wrong(http.StatusBadRequest, "proxyType %.40q is not known; use dataplane, ingress or egress", req.ProxyType)
	}
	key := kind.Key(req.Mesh, req.Name)
	for n := 1; ; n++ {
		err := s.leaveOnce(ctx, key, req)
		if !errors.Is(err, store.ErrConflict) || n == registerTries {
			return err
		}
	}
}

func (s *Server) leaveOnce(ctx context.Context, key model.Key, req leaveRequest) error {
	o, err := s.d.Store.Get(ctx, key)
	if err != nil {
		return fmt.Errorf("look up %s: %w", key, err)
	}
	who, err := auth.ProxyOf(o)
	if err != nil {
		return err
	}
	if err := s.d.Verifier.Verify(ctx, req.Token, who); err != nil {
		return &refusal{fmt.Errorf("authentication failed: %w", err)}
	}
	if req.Registered {
		if err := s.d.Store.Delete(ctx, key); err != nil {
			return fmt.Errorf("delete %s: %w", key, err)
		}
		s.log.Info("proxy leaves; its object is deleted", "proxy", key.String())
		return nil
	}
	d, ok := o.Spec.(*kinds.DataplaneSpec)
	if !ok || len(d.Inbounds()) == 0 {
		return nil
	}
	next := o.Clone()
	spec := model.CopyValue(d).(*kinds.DataplaneSpec)
	for i := range spec.Networking.Inbound {
		if in := &spec.Networking.Inbound[i]; !in.Ignored() {
			in.State, in.Health = kinds.InboundNotReady, &kinds.InboundHealth{}
		}
	}
	next.Spec = spec
	if _, err := s.d.Store.Update(ctx, next); err != nil {
		return fmt.Errorf("update %s: %w", key, err)
	}
	s.log.Info("proxy leaves; its inbounds are not ready any more", "proxy", key.String())
	return nil
}
