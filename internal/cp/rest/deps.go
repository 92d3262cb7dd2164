package rest

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"weft/internal/config"
	"weft/internal/cp/auth"
	"weft/internal/cp/diagnostics"
	"weft/internal/cp/preview"
	"weft/internal/cp/store"
	"weft/internal/cp/view"
	"weft/internal/mesh/model"
)

// User is who makes a request.
type User = auth.User

// Authenticator finds out who makes a request; an error means that a credential
// was given and is wrong. *auth.Authn is one.
type Authenticator interface {
	Authenticate(r *http.Request) (User, error)
}

// Access decides what a user may do. Errors carry what is answered. *auth.Access
// is one.
type Access interface {
	// Read and Write are asked for every object of a kind.
	Read(u User, kind *model.Kind) error
	Write(u User, kind *model.Kind) error
	// Action is asked for what is no object; see the constants of package auth.
	Action(u User, action string) error
}

// Gate is the admission gate that every written object passes. *admit.Gate is one.
type Gate interface {
	// Writable refuses kinds that may not be written here.
	Writable(kind *model.Kind) error
	// Admit returns the object as it shall be stored, with warnings. prior is
	// nil when the object is new.
	Admit(ctx context.Context, o, prior *model.Object) (*model.Object, []string, error)
	// AdmitDelete refuses to delete what is in use.
	AdmitDelete(ctx context.Context, o *model.Object) error
}

// Previewer says how a proxy would be configured. *engine.Engine is one.
type Previewer interface {
	Preview(t model.Tables, key model.Key, md view.Metadata) (*preview.Preview, bool, error)
	// View returns the view of a mesh for the tables given.
	View(t model.Tables, mesh string) *view.Mesh
}

// Admin asks the administration of Envoys. *envoyadmin.Client is one.
type Admin interface {
	Get(ctx context.Context, proxy *model.Object, port uint32, page string, query url.Values) ([]byte, error)
}

// Deps is what the API needs. Everything has to be given unless it says otherwise.
type Deps struct {
	// Config are the settings of the control plane, completed. The API uses
	// apiServer, dnsServer and the role, and shows all at /config.
	Config *config.Config
	Store  store.Store
	Gate   Gate
	Kinds  []*model.Kind
	// Tables are those of now, for what is counted and previewed.
	Tables func() model.Tables
	Now    func() time.Time
	// MeshCreated gives a new mesh what it starts with (defaults.Maker).
	MeshCreated func(ctx context.Context, mesh *model.Object) error
	// MeshUpdated gives a changed mesh what it needs; nil = nothing.
	MeshUpdated func(ctx context.Context, mesh *model.Object) error
	Authn       Authenticator
	Access      Access
	// Tokens issues tokens.
	Tokens *auth.Tokens
	// Engine previews configurations; nil on a global control plane.
	Engine Previewer
	// Admin asks Envoys; nil on a global control plane. *envoyadmin.Client is one.
	Admin Admin
	// Instance says which control plane answers; its GUI is filled in.
	Instance func() Index
	// Metrics counts requests; may be nil.
	Metrics *diagnostics.HTTP
	Log     *slog.Logger
}

// Index is the answer of GET /: which control plane this is.
type Index struct {
	Hostname   string `json:"hostname"`
	Product    string `json:"product"`
	Version    string `json:"version"`
	InstanceID string `json:"instanceId"`
	ClusterID  string `json:"clusterId"`
	GUI        string `json:"gui"`
}
