package admit

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"weft/internal/cp/store"
	"weft/internal/cp/store/memory"
	"weft/internal/mesh/catalog"
	"weft/internal/mesh/model"
)

// corpusDir holds recorded exchanges with 2.10's HTTP API.
const corpusDir = "../../../../shared/compat/rest"

// deliberate lists the recorded answers that ours differ from, with the reason.
var deliberate = map[string]string{
	"mesh-constraints/04":  "a refused membership is a violation, not an internal error",
	"mesh-constraints/05":  "a refused membership is a violation, not an internal error",
	"mesh-constraints/06":  "a refused membership is a violation, not an internal error",
	"secret-in-use/05":     "the signing key is made by package auth, which does not take part in this test",
	"mesh-refused/02":      "a mesh may have several certificate authorities, as in Kong Mesh",
	"mesh-refused/03":      "likewise; the name that is used twice is refused all the same",
	"mesh-ca-switch/04":    "the certificate authority may be exchanged while mutual TLS is on",
	"identity-mismatch/06": "spec kinds without a mesh are taken into the URL's mesh by package rest",
}

// crudPath takes the path of one object apart; other paths are not for this test.
func crudPath(path string) (kind *model.Kind, key model.Key, ok bool) {
	u, err := url.Parse(path)
	if err != nil || u.RawQuery != "" || strings.Contains(u.Path, "/_") {
		return nil, model.Key{}, false
	}
	parts := strings.Split(strings.Trim(u.Path, "/"), "/")
	mesh := ""
	if len(parts) == 4 && parts[0] == "meshes" {
		mesh, parts = parts[1], parts[2:]
	}
	if len(parts) != 2 {
		return nil, model.Key{}, false
	}
	kind = catalog.ByPlural(parts[0])
	if kind == nil || (kind.Scope == model.InMesh) != (mesh != "") {
		return nil, model.Key{}, false
	}
	return kind, kind.Key(mesh, parts[1]), true
}

type corpusStep struct {
	Method, Path, Body string
	Expect             struct {
		Status int
		Body   string
	}
}

// TestCorpus plays the recorded writes against the gate and a memory store, and
// compares the fields of violations and the stored form.
func TestCorpus(t *testing.T) {
	if _, err := os.Stat(corpusDir); err != nil {
		t.Skipf("SKIPPED: the recorded corpus is not at %s", corpusDir)
	}
	for _, name := range []string{
		"crud-mesh", "crud-dataplane", "crud-zoneingress", "dataplane-refused", "mesh-refused",
		"zone-proxies-refused", "identity-mismatch", "mesh-constraints", "mesh-ca-switch",
		"secret-in-use", "external-service-rate-limit", "zone-switch", "crud-meshgateway",
		"crud-hostnamegenerator", "crud-virtualoutbound", "crud-proxytemplate",
		"crud-trafficpermission", "crud-circuitbreaker", "read-only-zone", "mesh-initial-policies",
		"crud-meshretry", "crud-meshtimeout", "crud-meshmultizoneservice", "services-hostnames",
	} {
		t.Run(name, func(t *testing.T) {
			env := map[string]string{}
			readYAML(t, filepath.Join(corpusDir, name, "case.yaml"), &struct {
				Env *map[string]string
			}{&env})
			p := newPlayer(t, env)
			var steps []corpusStep
			readYAML(t, filepath.Join(corpusDir, name, "steps.yaml"), &steps)
			for i, s := range steps {
				no := name + "/" + stepNumber(i)
				if why, ok := deliberate[no]; ok {
					t.Logf("%s differs: %s", no, why)
				}
				p.play(t, name, no, s)
			}
		})
	}
}

func stepNumber(i int) string { return string([]byte{byte('0' + (i+1)/10), byte('0' + (i+1)%10)}) }

func readYAML(t *testing.T, path string, to any) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(b, to); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

type player struct {
	store *memory.Store
	gate  *Gate
}

func newPlayer(t *testing.T, env map[string]string) *player {
	s := memory.New()
	zone := env["KUMA_MULTIZONE_ZONE_NAME"]
	if zone == "" {
		zone = "default"
	}
	g := &Gate{Reader: s, Zone: zone, Federated: env["KUMA_MULTIZONE_ZONE_GLOBAL_ADDRESS"] != "", UnsafeDelete: env["KUMA_STORE_UNSAFE_DELETE"] == "true"}
	if !g.Federated {
		create(t, s, catalog.ByName("Mesh").Make("", "default"))
	}
	create(t, s, catalog.ByName("Zone").Make("", zone))
	return &player{store: s, gate: g}
}

func create(t *testing.T, s store.Store, o *model.Object) {
	t.Helper()
	if _, err := s.Create(context.Background(), o); err != nil {
		t.Fatal(err)
	}
}

// answer is what the API would say, as far as this package decides it.
type answer struct {
	Status int
	Fields []string
}

func (p *player) play(t *testing.T, dir, no string, s corpusStep) {
	kind, key, ok := crudPath(s.Path)
	if !ok {
		return
	}
	var got answer
	switch s.Method {
	case "PUT":
		before, err := p.store.Get(context.Background(), key)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			t.Fatal(err)
		}
		body, err := os.ReadFile(filepath.Join(corpusDir, dir, s.Body))
		if err != nil {
			t.Fatal(err)
		}
		got = p.put(t, kind, key, body)
		if _, ok := deliberate[no]; ok && got.Status < 300 && s.Expect.Status >= 400 {
			p.takeBack(t, key, before) // so that what follows finds what was recorded
		}
	case "DELETE":
		got = p.delete(kind, key)
	case "GET":
		p.get(t, dir, no, key, s)
		return
	default:
		return
	}
	if _, ok := deliberate[no]; ok {
		return
	}
	want := answer{Status: s.Expect.Status, Fields: recordedFields(t, dir, s.Expect.Body)}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s %s %s (-recorded +ours):\n%s", no, s.Method, s.Path, diff)
	}
}

// takeBack undoes a write.
func (p *player) takeBack(t *testing.T, key model.Key, before *model.Object) {
	t.Helper()
	ctx := context.Background()
	now, err := p.store.Get(ctx, key)
	if err == nil && before == nil {
		err = p.store.Delete(ctx, key)
	} else if err == nil {
		old := before.Clone()
		old.Meta.Version = now.Meta.Version
		_, err = p.store.Update(ctx, old)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (p *player) put(t *testing.T, kind *model.Kind, key model.Key, body []byte) answer {
	ctx := context.Background()
	if err := p.gate.Writable(kind); err != nil {
		return answerOf(err)
	}
	if kind.Scope == model.InMesh {
		if _, err := p.store.Get(ctx, model.Key{Kind: "Mesh", Name: key.Mesh}); err != nil {
			return answerOf(err)
		}
	}
	o, err := kind.Decode(body)
	if err != nil {
		return answerOf(err)
	}
	head, err := model.PeekHead(body)
	if err != nil {
		return answerOf(err)
	}
	var v model.Violations
	CheckIdentity(kind, key, head, &v)
	prior, err := p.store.Get(ctx, key)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		t.Fatal(err)
	}
	out, _, err := p.gate.Admit(ctx, o, prior)
	if !v.Empty() {
		var late *Clash
		var invalid *model.Invalid
		if errors.As(err, &invalid) && !errors.As(err, &late) {
			err = &model.Invalid{Violations: append(v.List(), invalid.Violations...)}
		} else {
			err = v.Err()
		}
	}
	if err != nil {
		return answerOf(err)
	}
	if prior == nil {
		_, err = p.store.Create(ctx, out)
		if err == nil && kind.Name == "Mesh" {
			p.builtinSecrets(t, out)
			p.initialPolicies(t, out)
		}
		return created(err)
	}
	_, err = p.store.Update(ctx, out)
	return answerOf(err)
}

// builtinSecrets stands in for package identity.
func (p *player) builtinSecrets(t *testing.T, mesh *model.Object) {
	for _, part := range []string{"cert", "key"} {
		secret := catalog.ByName("Secret").Make(mesh.Meta.Name, mesh.Meta.Name+".ca-builtin-"+part+"-own")
		create(t, p.store, secret)
	}
}

func (p *player) initialPolicies(t *testing.T, mesh *model.Object) {
	objects, err := Initial{Kind: catalog.ByName}.Policies(mesh)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		create(t, p.store, o)
	}
}

func (p *player) delete(kind *model.Kind, key model.Key) answer {
	if err := p.gate.Writable(kind); err != nil {
		return answerOf(err)
	}
	o, err := p.store.Get(context.Background(), key)
	if err != nil {
		return answerOf(err)
	}
	if err := p.gate.AdmitDelete(context.Background(), o); err != nil {
		return answerOf(err)
	}
	return answerOf(p.store.Delete(context.Background(), key))
}

func (p *player) get(t *testing.T, dir, no string, key model.Key, s corpusStep) {
	o, err := p.store.Get(context.Background(), key)
	if err != nil {
		if got := answerOf(err); got.Status != s.Expect.Status {
			t.Errorf("%s GET %s: status %d, want %d", no, s.Path, got.Status, s.Expect.Status)
		}
		return
	}
	b, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	var got, want map[string]any
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	readJSON(t, dir, s.Expect.Body, &want)
	for _, k := range []string{"creationTime", "modificationTime", "status"} {
		delete(got, k)
		delete(want, k)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s GET %s (-recorded +ours):\n%s", no, s.Path, diff)
	}
}

func readJSON(t *testing.T, dir, name string, to any) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(corpusDir, dir, name))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, to); err != nil {
		t.Fatalf("%s/%s: %v", dir, name, err)
	}
}

func recordedFields(t *testing.T, dir, name string) []string {
	if !strings.HasSuffix(name, ".json") {
		return nil
	}
	var body struct {
		Parameters []struct{ Field string } `json:"invalid_parameters"`
	}
	readJSON(t, dir, name, &body)
	var out []string
	for _, p := range body.Parameters {
		out = append(out, p.Field)
	}
	return out
}

func created(err error) answer {
	if err == nil {
		return answer{Status: 201}
	}
	return answerOf(err)
}

func answerOf(err error) answer {
	var invalid *model.Invalid
	var malformed *model.Malformed
	var readOnly *ReadOnly
	switch {
	case err == nil:
		return answer{Status: 200}
	case errors.As(err, &invalid):
		a := answer{Status: 400}
		for _, v := range invalid.Violations {
			a.Fields = append(a.Fields, v.Field)
		}
		return a
	case errors.As(err, &malformed):
		return answer{Status: 400}
	case errors.As(err, &readOnly):
		return answer{Status: 405}
	case errors.Is(err, store.ErrNotFound):
		return answer{Status: 404}
	}
	return answer{Status: 500, Fields: []string{err.Error()}}
}
