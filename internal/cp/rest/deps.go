package rest

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"time"

	"weft/internal/cp/store"
	"weft/internal/cp/summary"
	"weft/internal/mesh/model"
)

// User is who makes a request.
type User struct {
	Name   string   `json:"name"`
	Groups []string `json:"groups"`
}

// Authenticator finds out who makes a request; an error means that a credential
// was given and is wrong.
type Authenticator interface {
	Authenticate(r *http.Request) (User, error)
}

// Access decides what a user may do. Errors carry what is answered.
type Access interface {
	// Read and Write are asked for every object of a kind.
	Read(u User, kind *model.Kind) error
	Write(u User, kind *model.Kind) error
	// Action is asked for what is no object: "controlPlaneMetadata",
	// "viewConfigDump", "viewStats", "viewClusters", "generateDpToken" …
	Action(u User, action string) error
}

// Gate is the admission gate that every written object passes.
type Gate interface {
	// Writable refuses kinds that may not be written here.
	Writable(kind *model.Kind) error
	// Admit returns the object as it shall be stored, with warnings. prior is
	// nil when the object is new.
	Admit(ctx context.Context, o, prior *model.Object) (*model.Object, []string, error)
	// AdmitDelete refuses to delete what is in use.
	AdmitDelete(ctx context.Context, o *model.Object) error
}

// Deps is what the API needs.
type Deps struct {
	Store store.Store
	Gate  Gate
	Kinds []*model.Kind
	// Tables are those of now, for what is counted.
	Tables func() model.Tables
	Now    func() time.Time
	// Naming says how internal services are addressed.
	Naming summary.Naming
	// MeshCreated gives a new mesh what it starts with.
	MeshCreated func(ctx context.Context, mesh *model.Object) error
	Authn       Authenticator
	Access      Access
	Log         *slog.Logger
	// Observe counts a finished request.
	Observe func(pattern, method string, status, bytes int, took time.Duration)
	// BasePath is where the API begins, "/" usually; GUIPath where the GUI does.
	BasePath, GUIPath string
	// Index is the answer of GET /.
	Index func() Index
	// Config is the redacted configuration, JSON.
	Config json.RawMessage
	// ReadOnly kinds listing: whether everything is read-only here.
	ReadOnly bool
	// CORS holds the origins that web pages may come from; see cors.go.
	CORS []string
}

// Index says which control plane answers.
type Index struct {
	Hostname   string `json:"hostname"`
	Product    string `json:"product"`
	Version    string `json:"version"`
	InstanceID string `json:"instanceId"`
	ClusterID  string `json:"clusterId"`
	GUI        string `json:"gui"`
}

func (s *Server) observe(r *http.Request, pattern string, rec *recorder, took time.Duration) {
	if s.Observe != nil {
		s.Observe(pattern, r.Method, rec.status, rec.size, took)
	}
}
