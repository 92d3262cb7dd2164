package policy

import (
	"encoding/json"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"weft/internal/mesh/model"
)

func mergeJSON(t *testing.T, docs ...string) string {
	t.Helper()
	var cs []Contribution[testConf]
	for _, d := range docs {
		c := new(testConf)
		if err := json.Unmarshal([]byte(d), c); err != nil {
			t.Fatal(err)
		}
		cs = append(cs, Contribution[testConf]{Conf: c})
	}
	b, err := json.Marshal(MergeConfs(cs))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestMergeConfs(t *testing.T) {
	for name, c := range map[string]struct {
		in   []string
		want string
	}{
		"one":                         {[]string{`{"a":1}`}, `{"a":1}`},
		"later wins":                  {[]string{`{"a":1}`, `{"a":2}`}, `{"a":2}`},
		"absent keeps":                {[]string{`{"a":1,"b":2}`, `{"a":3}`}, `{"a":3,"b":2}`},
		"objects field by field":      {[]string{`{"deep":{"a":1,"b":2}}`, `{"deep":{"b":3}}`}, `{"deep":{"a":1,"b":3}}`},
		"lists as a whole":            {[]string{`{"list":["x","y"]}`, `{"list":["z"]}`}, `{"list":["z"]}`},
		"an empty list replaces":      {[]string{`{"list":["x"]}`, `{"list":[]}`}, `{"list":[]}`},
		"append lists":                {[]string{`{"appendList":["x"]}`, `{"appendList":["y","x"]}`}, `{"appendList":["x","y","x"]}`},
		"append lists below":          {[]string{`{"deep":{"appendList":["x"]}}`, `{"deep":{"appendList":["y"]}}`}, `{"deep":{"appendList":["x","y"]}}`},
		"an empty append list":        {[]string{`{"appendList":["x"]}`, `{"appendList":[]}`}, `{"appendList":["x"]}`},
		"durations survive":           {[]string{`{"timeout":"1h"}`, `{"a":1}`}, `{"a":1,"timeout":"1h0m0s"}`},
		"zero is a value":             {[]string{`{"a":1}`, `{"a":0}`}, `{"a":0}`},
		"three, in order of strength": {[]string{`{"a":1}`, `{"a":2,"b":2}`, `{"a":3}`}, `{"a":3,"b":2}`},
	} {
		t.Run(name, func(t *testing.T) {
			if d := cmp.Diff(c.want, mergeJSON(t, c.in...)); d != "" {
				t.Error(d)
			}
		})
	}
}

// randomConf makes confs with every field set or not.
func randomConf(r *rand.Rand, depth int) testConf {
	var c testConf
	if r.IntN(2) == 0 {
		c.A = num(r.IntN(3))
	}
	if r.IntN(2) == 0 {
		c.B = num(r.IntN(3))
	}
	if r.IntN(3) == 0 {
		c.List = []string{"x", "y", "z"}[:r.IntN(4)]
	}
	if r.IntN(3) == 0 {
		c.AppendList = []string{"p", "q"}[:r.IntN(3)]
	}
	if r.IntN(3) == 0 {
		d := model.Duration(time.Duration(r.IntN(5)) * time.Second)
		c.Timeout = &d
	}
	if depth > 0 && r.IntN(2) == 0 {
		d := randomConf(r, depth-1)
		c.Deep = &d
	}
	return c
}

// TestMergeAssociative: merging in two steps gives the same as in one, so that
// only the order of confs counts.
func TestMergeAssociative(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	for range 2000 {
		a, b, c := randomConf(r, 2), randomConf(r, 2), randomConf(r, 2)
		cs := []Contribution[testConf]{{Conf: &a}, {Conf: &b}, {Conf: &c}}
		all := MergeConfs(cs)
		left := MergeConfs([]Contribution[testConf]{{Conf: MergeConfs(cs[:2])}, cs[2]})
		right := MergeConfs([]Contribution[testConf]{cs[0], {Conf: MergeConfs(cs[1:])}})
		for _, other := range []*testConf{left, right} {
			x, _ := json.Marshal(all)
			y, _ := json.Marshal(other)
			if string(x) != string(y) {
				t.Fatalf("merge of %+v depends on grouping: %s, %s", cs, x, y)
			}
		}
	}
}

// TestMergeLeavesInputs: confs are shared by all proxies.
func TestMergeLeavesInputs(t *testing.T) {
	a := testConf{AppendList: []string{"x"}, Deep: &testConf{A: num(1)}}
	b := testConf{AppendList: []string{"y"}, Deep: &testConf{B: num(2)}}
	before, _ := json.Marshal([]testConf{a, b})
	out := MergeConfs([]Contribution[testConf]{{Conf: &a}, {Conf: &b}})
	*out.Deep.A = 9
	out.AppendList[0] = "z"
	after, _ := json.Marshal([]testConf{a, b})
	if string(before) != string(after) {
		t.Errorf("merging changed a conf: %s, then %s", before, after)
	}
}
