package rest

import (
	"fmt"
	"net/http"
	"testing"

	"weft/internal/cp/store"
)

// TestMeshGone: a mesh that is deleted while something is put into it is told in
// one sentence, not as the way that the error took.
func TestMeshGone(t *testing.T) {
	f := failureOf(fmt.Errorf("create Secret m/x: create Secret m/x: %w: Mesh m", store.ErrOwnerMissing))
	want := param{"mesh", "the mesh does not exist any more; create it first"}
	if f.status != http.StatusBadRequest || f.detail != "Mesh is not found" || len(f.params) != 1 || f.params[0] != want {
		t.Errorf("%+v", f)
	}
}
