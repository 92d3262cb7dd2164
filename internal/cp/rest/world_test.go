package rest_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"weft/internal/config"
	"weft/internal/cp/admit"
	"weft/internal/cp/auth"
	"weft/internal/cp/defaults"
	"weft/internal/cp/engine"
	"weft/internal/cp/envoyadmin"
	"weft/internal/cp/rest"
	"weft/internal/cp/state"
	"weft/internal/cp/store"
	"weft/internal/cp/store/memory"
	"weft/internal/cp/view"
	"weft/internal/mesh/catalog"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
	"weft/internal/mesh/token"
)

// world is a control plane without proxies: the API with everything behind it
// on a memory store.
type world struct {
	config *config.Config
	store  *memory.Store
	state  *state.State
	tokens *auth.Tokens
	api    *rest.Server
	url    string // of the API for callers on this machine
}

const hostname = "weft-test"

// newWorld starts a control plane with the variables given.
func newWorld(t testing.TB, env map[string]string, change ...func(*rest.Deps)) *world {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	c := settings(t, env)
	log := slog.New(slog.DiscardHandler)
	if os.Getenv("WEFT_TEST_LOG") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	w := &world{config: c, store: memory.New()}
	w.state = state.New(w.store, log, time.Now)
	zone := c.Multizone.Zone.Name
	if c.IsGlobal() {
		zone = ""
	}
	eng := engine.New(engine.Deps{State: w.state, Kinds: catalog.ByName, Log: log, Now: time.Now, Settings: view.Settings{
		Zone: zone, InternalCIDRs: c.IPAM.KnownInternalCIDRs, DNSDomain: c.DNSServer.Domain,
		ServiceVIPPort: uint32(c.DNSServer.ServiceVIPPort), ServiceVIPs: c.DNSServer.ServiceVIPEnabled, Policies: catalog.Policies,
	}})
	var running sync.WaitGroup
	running.Go(func() { _ = w.state.Run(ctx) })
	running.Go(func() { _ = eng.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	var err error
	if w.tokens, err = auth.NewTokens(auth.OptionsOf(c), w.store, log, time.Now); err != nil {
		t.Fatal(err)
	}
	maker := defaults.New(defaults.Deps{
		Store: w.store, Keys: sharedKeys{w.tokens, w.store}, Log: log, Zone: zone, Federated: c.IsFederatedZone(),
		Policies: func(mesh *model.Object) []*model.Object {
			ps, err := admit.Initial{Kind: catalog.ByName, Routing: c.Defaults.CreateMeshRoutingResources}.Policies(mesh)
			if err != nil {
				t.Error(err)
			}
			return ps
		},
		SkipMesh: c.Defaults.SkipMeshCreation, SkipGenerators: c.Defaults.SkipHostnameGenerators, SkipAll: c.Defaults.SkipTenantResources,
	})
	if err := maker.Ensure(ctx); err != nil {
		t.Fatal(err)
	}
	d := rest.Deps{
		Config: c, Store: w.store, Kinds: catalog.Kinds, Tables: func() model.Tables { return w.state.Current() }, Now: time.Now,
		Gate: &admit.Gate{
			Reader: w.store, Global: c.IsGlobal(), Federated: c.IsFederatedZone(), Zone: zone, ReadOnly: c.APIServer.ReadOnly,
			AnyOrigin: c.Multizone.Zone.DisableOriginLabelValidation, UnsafeDelete: c.Store.UnsafeDelete, ReadFile: os.ReadFile,
		},
		MeshCreated: maker.MeshCreated, Authn: auth.NewAuthn(c.APIServer.Authn, w.tokens, hostname), Access: auth.NewAccess(c.Access.Static),
		Tokens: w.tokens, Engine: eng, Admin: envoyadmin.NewClient(envoyadmin.NewAuthority(w.store, log, time.Now), ""), Log: log,
		Instance: func() rest.Index {
			return rest.Index{Hostname: hostname, Product: "Kuma", Version: "2.10.11", InstanceID: hostname + "-0000", ClusterID: "8e4b3a3c-0000-4000-8000-000000000000"}
		},
	}
	for _, f := range change {
		f(&d)
	}
	w.api = rest.New(d)
	w.url = w.serve(t, "").URL
	return w
}

func settings(t testing.TB, env map[string]string) *config.Config {
	t.Helper()
	dir := t.TempDir()
	all := map[string]string{"KUMA_GENERAL_WORK_DIR": dir, "KUMA_STORE_TYPE": "memory"}
	for k, v := range env {
		all[k] = v
	}
	var environ []string
	for k, v := range all {
		environ = append(environ, k+"="+v)
	}
	c, warnings, err := config.Load("", environ)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range warnings {
		t.Log("settings: ", w)
	}
	if err := c.ResolveWorkDir(dir); err != nil {
		t.Fatal(err)
	}
	c.Complete(config.Machine{CertFile: filepath.Join(dir, "kuma-cp.crt"), KeyFile: filepath.Join(dir, "kuma-cp.key"), Address: externalIP})
	return c
}

// externalIP is where callers from elsewhere seem to come from.
const externalIP = "192.0.2.7"

// serve serves the API; remote is the address that callers seem to have, "" =
// their own, which is loopback.
func (w *world) serve(t testing.TB, remote string) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(from(w.api.Handler(), remote))
	s.Start()
	t.Cleanup(s.Close)
	return s
}

func from(h http.Handler, remote string) http.Handler {
	if remote == "" {
		return h
	}
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		r.RemoteAddr = net.JoinHostPort(remote, "40000")
		local := &net.TCPAddr{IP: net.ParseIP(remote), Port: 5681}
		h.ServeHTTP(rw, r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, net.Addr(local))))
	})
}

// sharedKeys puts one signing key, which all tests share, where auth would make
// new ones: making keys is slow.
type sharedKeys struct {
	*auth.Tokens
	store *memory.Store
}

var signingKey = sync.OnceValues(token.NewKey)

func (k sharedKeys) EnsureMeshKey(ctx context.Context, mesh string) error {
	return k.put(ctx, kinds.Secret.Make(mesh, "dataplane-token-signing-key-"+mesh+"-1"))
}

func (k sharedKeys) EnsureGlobalKeys(ctx context.Context) error {
	for _, name := range []string{"user-token-signing-key-1", "zone-token-signing-key-1"} {
		if name[0] == 'z' && k.Federated || name[0] == 'u' && !k.UserTokens {
			continue
		}
		if err := k.put(ctx, kinds.GlobalSecret.Make("", name)); err != nil {
			return err
		}
	}
	return k.Tokens.EnsureGlobalKeys(ctx)
}

func (k sharedKeys) put(ctx context.Context, o *model.Object) error {
	text, err := signingKey()
	if err != nil {
		return err
	}
	o.Spec = &kinds.SecretSpec{Data: text}
	if _, err := k.store.Create(ctx, o); err != nil && !errors.Is(err, store.ErrExists) {
		return err
	}
	return nil
}
