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

// maxWordBody bounds the body of a word.
const maxWordBody = 64 << 10

// word is the body of POST /leave, with which kuma-dp says that its proxy is about
// to stop, and of POST /serving, with which it says that the applications of all
// inbounds listen. 2.10 has no such endpoints; there health discovery tells, at
// its next report, and the end of the stream after a delay.
type word struct {
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
	s.serveWord(w, r, s.leave)
}

// serveServing answers POST /serving: from now on clients may be sent to the
// proxy; they need not wait for the next report of health discovery.
func (s *Server) serveServing(w http.ResponseWriter, r *http.Request) {
	s.serveWord(w, r, s.serving)
}

// act does what a word asks for to the object of the proxy that spoke it.
type act func(ctx context.Context, o *model.Object, said word) error

func (s *Server) serveWord(w http.ResponseWriter, r *http.Request, do act) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "use POST", http.StatusMethodNotAllowed)
		return
	}
	err := s.hear(r.Context(), http.MaxBytesReader(w, r.Body, maxWordBody), do)
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
		s.log.Error("a proxy said something that could not be done", "path", r.URL.Path, "error", err)
		http.Error(w, "internal error", http.StatusInternalServerError)
	}
}

func (s *Server) hear(ctx context.Context, body io.Reader, do act) error {
	var said word
	if err := json.NewDecoder(body).Decode(&said); err != nil {
		return wrong(http.StatusBadRequest, "the body is not the JSON of such a request: %v", err)
	}
	kind, known := kindOf(said.ProxyType)
	if !known {
		return wrong(http.StatusBadRequest, "proxyType %.40q is not known; use dataplane, ingress or egress", said.ProxyType)
	}
	key := kind.Key(said.Mesh, said.Name)
	for n := 1; ; n++ {
		err := s.hearOnce(ctx, key, said, do)
		if !errors.Is(err, store.ErrConflict) || n == registerTries {
			return err
		}
	}
}

func (s *Server) hearOnce(ctx context.Context, key model.Key, said word, do act) error {
	o, err := s.d.Store.Get(ctx, key)
	if err != nil {
		return fmt.Errorf("look up %s: %w", key, err)
	}
	who, err := auth.ProxyOf(o)
	if err != nil {
		return err
	}
	if err := s.d.Verifier.Verify(ctx, said.Token, who); err != nil {
		return &refusal{fmt.Errorf("authentication failed: %w", err)}
	}
	return do(ctx, o, said)
}

func (s *Server) leave(ctx context.Context, o *model.Object, said word) error {
	key := o.Key()
	if said.Registered {
		if err := s.d.Store.Delete(ctx, key); err != nil {
			return fmt.Errorf("delete %s: %w", key, err)
		}
		s.log.Info("proxy leaves; its object is deleted", "proxy", key.String())
		return nil
	}
	next := withStates(o, false)
	if next == nil {
		return nil
	}
	if _, err := s.d.Store.Update(ctx, next); err != nil {
		return fmt.Errorf("update %s: %w", key, err)
	}
	s.log.Info("proxy leaves; its inbounds are not ready any more", "proxy", key.String())
	return nil
}

func (s *Server) serving(ctx context.Context, o *model.Object, _ word) error {
	next := withStates(o, true)
	if next == nil {
		return nil
	}
	if _, err := s.d.Store.Update(ctx, next); err != nil {
		return fmt.Errorf("update %s: %w", o.Key(), err)
	}
	s.log.Debug("applications of a proxy listen", "proxy", o.Key().String())
	return nil
}

// withStates returns the object with all inbounds ready or not; nil if they are
// so already, or if there are none. What is ignored stays so.
func withStates(o *model.Object, ready bool) *model.Object {
	return kinds.ChangeStates(o, func(in *kinds.Inbound) bool {
		if in.Ignored() || in.NotReady() != ready {
			return false
		}
		in.SetReady(ready)
		return true
	})
}
