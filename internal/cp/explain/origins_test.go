package explain_test

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"testing"

	"weft/internal/cp/explain"
	"weft/internal/cp/view"
	"weft/internal/mesh/ir"
	"weft/internal/mesh/policy"
	"weft/internal/testkit/corpus"
)

// TestCitationsAgreeWithOrigins compares who is said to have set something at a
// place of a proxy with who was noted there when it was built, for all proxies of
// the recorded cases.
func TestCitationsAgreeWithOrigins(t *testing.T) {
	root := corpus.Root(t, "policies")
	places := 0
	for _, name := range corpus.Cases(t, root) {
		t.Run(name, func(t *testing.T) {
			var c struct {
				Mesh    string
				Proxies []string
			}
			corpus.ReadYAML(t, root+"/"+name+"/case.yaml", &c)
			v := view.NewMesh(c.Mesh, settings()).Next(corpus.NewTables(corpus.Led(t, corpus.Inputs(t, root+"/"+name+"/input.yaml"))...))
			for _, p := range c.Proxies {
				s, ok := subject(t, v, p)
				if !ok {
					continue
				}
				x := explain.Of(s)
				for i, in := range s.Proxy.Inbounds {
					places += agree(t, "inbound "+x.Inbounds[i].Name, x.Inbounds[i].Policies, in.Origins)
				}
				for i, o := range s.Proxy.Outbounds {
					for kind, origins := range o.Origins {
						for _, c := range s.Proxy.Clusters {
							if c.Destination == o.Destination && len(c.Origins[kind]) > 0 && !slices.Equal(c.Origins[kind], origins) {
								t.Errorf("%s: cluster %s has other origins than its outbound", kind, c.Name)
							}
						}
					}
					places += agree(t, "outbound to "+o.Destination.Name, x.Outbounds[i].Policies, o.Origins)
				}
				places += agree(t, "the proxy", x.Policies, s.Proxy.Origins)
			}
		})
	}
	if places < 150 {
		t.Errorf("only %d places were compared", places)
	}
}

var index = regexp.MustCompile(`\[(\d+)\]`)

// agree compares what is said at a place with the origins there, and returns how
// many kinds it compared.
func agree(t *testing.T, place string, verdicts []policy.Verdict, origins ir.Origins) int {
	t.Helper()
	n := 0
	for _, v := range verdicts {
		noted := origins[v.Kind]
		if len(noted) == 0 {
			continue // it acts on parts of the place
		}
		n++
		said := map[ir.Origin]bool{}
		add := func(c policy.Cited) {
			rule := 0
			if m := index.FindStringSubmatch(c.Path); m != nil {
				rule, _ = strconv.Atoi(m[1])
			}
			said[ir.Origin{Kind: c.Kind, Mesh: c.Mesh, Name: c.Name, Rule: rule}] = true
		}
		for _, value := range v.Values {
			for _, c := range value.From {
				add(c)
			}
			for _, l := range value.Over {
				add(l.Cited)
			}
		}
		for o := range said {
			if !slices.Contains(noted, o) {
				t.Errorf("%s: %v is cited, but only %v acted", place, o, noted)
			}
		}
		for _, o := range noted {
			if !said[o] {
				t.Errorf("%s: %v acted, but only %v are cited", place, o, fmt.Sprint(said))
			}
		}
	}
	return n
}
