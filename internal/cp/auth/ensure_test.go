package auth

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"weft/internal/cp/store"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

func TestEnsureMakesWhatIsMissingOnce(t *testing.T) {
	w := newWorld(t).ensure()
	names := func() []string {
		var out []string
		for _, k := range []*model.Kind{kinds.GlobalSecret, kinds.Secret} {
			list, err := w.st.List(t.Context(), k, "")
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range list {
				out = append(out, o.Key().String())
			}
		}
		return out
	}
	want := []string{
		"GlobalSecret admin-user-token", "GlobalSecret user-token-signing-key-1", "GlobalSecret zone-token-signing-key-1",
		"Secret default/dataplane-token-signing-key-default-1", "Secret other/dataplane-token-signing-key-other-1",
	}
	if d := cmp.Diff(want, names()); d != "" {
		t.Error(d)
	}
	before, _ := w.st.Store.Get(t.Context(), adminToken())
	w.ensure()
	after, _ := w.st.Store.Get(t.Context(), adminToken())
	if d := cmp.Diff(want, names()); d != "" || before.Meta.Version != after.Meta.Version {
		t.Errorf("the second time changed something: %s", d)
	}
	admin, err := w.VerifyUser(t.Context(), string(dataOf(after)))
	if err != nil || !cmp.Equal(admin, Admin()) {
		t.Errorf("the administrator's token is that of %+v, %v", admin, err)
	}
}

func TestEnsureRespectsTheSettings(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Federated, o.User.BootstrapAdminToken = true, false }).ensure()
	if _, err := w.st.Get(t.Context(), zoneKeys().key("1")); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a federated zone made a key of zone tokens: %v", err)
	}
	if _, err := w.st.Get(t.Context(), adminToken()); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a token of the administrator was made: %v", err)
	}
	w = newWorld(t, func(o *Options) { o.UserTokens = false }).ensure()
	if _, err := w.st.Get(t.Context(), userKeys().key("1")); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a key of user tokens was made although nobody reads them: %v", err)
	}
	// Issuing is off, but the first token is not issued by request.
	w = newWorld(t, func(o *Options) { o.User.EnableIssuer = false }).ensure()
	if _, err := w.st.Get(t.Context(), adminToken()); err != nil {
		t.Error(err)
	}
}

func TestEnsureKeepsForeignKeys(t *testing.T) {
	w := newWorld(t)
	w.secret("default", "dataplane-token-signing-key-default-5", []byte("mine"))
	if err := w.EnsureMeshKey(t.Context(), "default"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.st.Get(t.Context(), dataplaneKeys("default").key("1")); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a second key was made: %v", err)
	}
	if err := w.EnsureMeshKey(t.Context(), "absent"); !errors.Is(err, store.ErrOwnerMissing) {
		t.Errorf("absent mesh: %v", err)
	}
}
