package catalog_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"weft/internal/mesh/catalog"
	"weft/internal/mesh/model"
)

// The corpus holds what version 2.10 accepted, refused and answered. It lies
// beside the checkout; see the README of each of its areas.
const corpus = "../../../../shared/compat"

func needCorpus(t *testing.T) {
	t.Helper()
	if _, err := os.Stat(corpus); err != nil {
		t.Skipf("SKIPPED: no recorded corpus at %s: %v", corpus, err)
	}
}

// elsewhere lists what the kind alone does not decide, by folder and kind, with
// the place that does, and what differs on purpose.
var elsewhere = map[string]string{
	"config/mtls-two-backends-refused Mesh":    "a mesh may have several authorities, so that they can be changed without a failed request",
	"config/mtls-provided-missing-secret Mesh": "the gate looks the secrets up",
	"rest/crud-dataplane Dataplane":            "the gate writes the tag kuma.io/zone",
}

// admit does what the gate does with an object, as far as the kind is concerned.
func admit(k *model.Kind, doc any) (*model.Object, []string, error) {
	data, err := json.Marshal(doc)
	if err != nil {
		return nil, nil, err
	}
	o, err := k.Decode(data)
	if err == nil {
		if k.Default != nil {
			k.Default(o)
		}
		var v model.Violations
		if k.Validate != nil {
			k.Validate(o, &v)
		}
		err = v.Err()
	}
	var invalid *model.Invalid
	if errors.As(err, &invalid) {
		fields := make([]string, len(invalid.Violations))
		for i, x := range invalid.Violations {
			fields[i] = x.Field
			if x.Message == "" || strings.Contains(x.Message, "%!") {
				return o, nil, errors.New("broken message: " + x.Message)
			}
		}
		slices.Sort(fields)
		return o, fields, nil
	}
	return o, nil, err
}

// problems is the body of a recorded refusal.
type problems struct {
	Status  int `json:"status"`
	Invalid []struct {
		Field  string `json:"field"`
		Reason string `json:"reason"`
	} `json:"invalid_parameters"`
}

func (p problems) fields() []string {
	out := make([]string, len(p.Invalid))
	for i, x := range p.Invalid {
		out[i] = x.Field
	}
	slices.Sort(out)
	return out
}

func documents(t *testing.T, path string) []map[string]any {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var docs []map[string]any
	d := yaml.NewDecoder(f)
	for {
		var doc map[string]any
		err := d.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return docs
		}
		if err != nil {
			t.Skipf("not meant as a list of objects: %v", err)
		}
		docs = append(docs, doc)
	}
}

func readJSON(t *testing.T, path string, to any) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(b, to)
	}
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// TestCorpusValidate plays the inputs that were recorded for validation.
func TestCorpusValidate(t *testing.T) {
	needCorpus(t)
	dirs, _ := filepath.Glob(corpus + "/policies*/validate/*/input.yaml")
	if len(dirs) == 0 {
		t.Fatal("the corpus has no validation cases")
	}
	differences := knownDifferences(t)
	for _, in := range dirs {
		dir := filepath.Dir(in)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			doc := documents(t, in)[0]
			k := catalog.ByName(doc["type"].(string))
			if k == nil {
				t.Skipf("the kind %v does not exist yet", doc["type"])
			}
			var want struct {
				Status int      `json:"status"`
				Body   problems `json:"body"`
			}
			readJSON(t, dir+"/response.json", &want)
			diff := refusalDiff(k, doc, want.Status, want.Body)
			reason, known := differences[filepath.Base(dir)]
			switch {
			case known && diff == "":
				t.Errorf("does not differ any more; take it off testdata/differences.yaml: %s", reason)
			case !known && diff != "":
				t.Error(diff)
			}
		})
	}
}

// knownDifferences returns the reasons for deliberate differences by case.
func knownDifferences(t *testing.T) map[string]string {
	t.Helper()
	b, err := os.ReadFile("testdata/differences.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var list []struct{ Case, Reason string }
	if err := yaml.Unmarshal(b, &list); err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, d := range list {
		out[d.Case] = d.Reason
	}
	return out
}

func compareRefusal(t *testing.T, k *model.Kind, doc map[string]any, status int, body problems) {
	t.Helper()
	if d := refusalDiff(k, doc, status, body); d != "" {
		t.Error(d)
	}
}

// refusalDiff says in what our answer to a document differs from the recorded one.
func refusalDiff(k *model.Kind, doc map[string]any, status int, body problems) string {
	_, fields, err := admit(k, doc)
	switch {
	case err != nil:
		return fmt.Sprintf("%s %v: %v", k.Name, doc["name"], err)
	case status < 300 && len(fields) > 0:
		return fmt.Sprintf("%s %v: accepted by 2.10, refused by us at %v", k.Name, doc["name"], fields)
	case status == 400:
		if d := cmp.Diff(body.fields(), fields); d != "" {
			return fmt.Sprintf("%s %v: fields of violations (-2.10 +ours):\n%s", k.Name, doc["name"], d)
		}
	}
	return ""
}

// TestCorpusApplied plays every object that was applied in the recorded cases:
// what was accepted must be accepted, what was refused must be refused at the
// same fields.
func TestCorpusApplied(t *testing.T) {
	needCorpus(t)
	inputs, _ := filepath.Glob(corpus + "/*/*/input.yaml")
	kinds := map[string]int{}
	for _, in := range inputs {
		dir := filepath.Dir(in)
		if strings.Contains(dir, "/kubernetes/") {
			continue
		}
		t.Run(strings.TrimPrefix(dir, corpus+"/"), func(t *testing.T) {
			var applied []struct {
				Document int      `json:"document"`
				Status   int      `json:"status"`
				Body     problems `json:"body"`
			}
			if _, err := os.Stat(dir + "/apply.json"); err == nil {
				readJSON(t, dir+"/apply.json", &applied)
			}
			for i, doc := range documents(t, in) {
				name, _ := doc["type"].(string)
				k := catalog.ByName(name)
				if k == nil || elsewhere[strings.TrimPrefix(dir, corpus+"/")+" "+name] != "" || refusedAsAWhole(dir) {
					continue
				}
				kinds[name]++
				status, body := 200, problems{}
				for _, a := range applied {
					if a.Document == i {
						status, body = a.Status, a.Body
					}
				}
				compareRefusal(t, k, doc, status, body)
			}
		})
	}
	if len(kinds) < 20 {
		t.Errorf("only these kinds were seen: %v", slices.Sorted(maps.Keys(kinds)))
	}
}

// refusedAsAWhole tells whether the case is about something that 2.10 refused,
// without a record of what.
func refusedAsAWhole(dir string) bool {
	b, err := os.ReadFile(dir + "/case.yaml")
	return err == nil && strings.Contains(string(b), "\nrefused: true\n")
}

// step is an exchange of the area rest.
type step struct {
	Method, Path, Body string
	Expect             struct {
		Status int
		Body   string
	}
}

// TestCorpusStored plays the objects that were written over HTTP and compares
// what was read back.
func TestCorpusStored(t *testing.T) {
	needCorpus(t)
	dirs, _ := filepath.Glob(corpus + "/rest/crud-*")
	if len(dirs) == 0 {
		t.Fatal("the corpus has no cases crud-*")
	}
	for _, dir := range dirs {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			b, err := os.ReadFile(dir + "/steps.yaml")
			if err != nil {
				t.Fatal(err)
			}
			var steps []step
			if err := yaml.Unmarshal(b, &steps); err != nil {
				t.Fatal(err)
			}
			var stored *model.Object
			for _, s := range steps {
				switch {
				case s.Method == http.MethodPut:
					stored = playPut(t, dir, s)
				case s.Method == http.MethodGet && s.Expect.Status == 200 && strings.Count(s.Path, "/") > 1 && stored != nil:
					compareStored(t, dir+"/"+s.Expect.Body, stored)
				}
			}
		})
	}
}

func playPut(t *testing.T, dir string, s step) *model.Object {
	t.Helper()
	var doc map[string]any
	readJSON(t, dir+"/"+s.Body, &doc)
	k := catalog.ByName(doc["type"].(string))
	if k == nil {
		t.Skipf("the kind %v does not exist yet", doc["type"])
	}
	var body problems
	if s.Expect.Status == 400 {
		readJSON(t, dir+"/"+s.Expect.Body, &body)
	}
	compareRefusal(t, k, doc, s.Expect.Status, body)
	o, _, _ := admit(k, doc)
	return o
}

// compareStored compares the spec that was answered with ours. Labels and status
// come from the control plane, not from the kind.
func compareStored(t *testing.T, path string, o *model.Object) {
	t.Helper()
	var want, got map[string]any
	readJSON(t, path, &want)
	if want["name"] != o.Meta.Name || want["type"] != o.Kind.Name || elsewhere["rest/"+filepath.Base(filepath.Dir(path))+" "+o.Kind.Name] != "" {
		return
	}
	b, err := model.Encode(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{"labels", "creationTime", "modificationTime", "status"} {
		delete(want, f)
		delete(got, f)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s: stored form (-2.10 +ours):\n%s", filepath.Base(path), d)
	}
}

// TestCorpusRead compares objects that were read back in the areas config and
// zones with what we make of the same input.
func TestCorpusRead(t *testing.T) {
	needCorpus(t)
	inputs, _ := filepath.Glob(corpus + "/*/*/input*.yaml")
	compared := map[string]int{}
	for _, in := range inputs {
		dir := filepath.Dir(in)
		// input.east.yaml was written at the control plane that get.east/ was read from.
		where := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(in), "input"), ".yaml")
		answers, _ := filepath.Glob(dir + "/get" + where + "/*.json")
		if len(answers) == 0 || strings.Contains(dir, "/kubernetes/") {
			continue
		}
		t.Run(strings.TrimPrefix(in, corpus+"/"), func(t *testing.T) {
			written := map[string]map[string]any{}
			for _, doc := range documents(t, in) {
				k := catalog.ByName(str(doc["type"]))
				if k == nil {
					continue
				}
				if o, fields, err := admit(k, doc); err == nil && len(fields) == 0 {
					written[o.Key().String()] = specOf(t, o)
				}
			}
			for _, path := range answers {
				var body any
				readJSON(t, path, &body)
				answer, _ := body.(map[string]any)
				items, _ := answer["items"].([]any)
				for _, item := range append(items, answer) {
					got, _ := item.(map[string]any)
					k := catalog.ByName(str(got["type"]))
					if k == nil || !strings.HasPrefix(k.Name, "Mesh") {
						continue
					}
					spec := written[k.Key(str(got["mesh"]), str(got["name"])).String()]
					if spec == nil {
						continue
					}
					compared[k.Name]++
					if d := cmp.Diff(foreign(got), spec); d != "" {
						t.Errorf("%s: %s %v: stored form (-2.10 +ours):\n%s", filepath.Base(path), k.Name, got["name"], d)
					}
				}
			}
		})
	}
	if compared["MeshService"] == 0 || compared["MeshExternalService"] == 0 {
		t.Errorf("too little was compared: %v", compared)
	}
}

func str(v any) string {
	s, _ := v.(string)
	return s
}

func specOf(t *testing.T, o *model.Object) map[string]any {
	t.Helper()
	b, err := model.Encode(o)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	return foreign(got)
}

// foreign leaves out what the control plane adds to an object.
func foreign(o map[string]any) map[string]any {
	for _, f := range []string{"labels", "creationTime", "modificationTime", "status"} {
		delete(o, f)
	}
	if spec, ok := o["spec"].(map[string]any); ok && o["type"] == "MeshService" {
		delete(spec, "state")
		delete(spec, "identities")
	}
	return o
}
