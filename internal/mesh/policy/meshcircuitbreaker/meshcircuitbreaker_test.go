package meshcircuitbreaker

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"weft/internal/mesh/ir"
	"weft/internal/mesh/model"
	"weft/internal/mesh/policy"
)

func conf(t *testing.T, doc string) *Conf {
	t.Helper()
	c := &Conf{}
	if err := json.Unmarshal([]byte(doc), c); err != nil {
		t.Fatal(err)
	}
	return c
}

func num(n uint32) *uint32 { return &n }

func TestApply(t *testing.T) {
	cl := &ir.Cluster{}
	conf(t, `{"connectionLimits":{"maxRequests":2},"outlierDetection":{"interval":"4s","healthyPanicThreshold":"22.5",
		"detectors":{"totalFailures":{"consecutive":6},"gatewayFailures":{},"successRate":{"standardDeviationFactor":"1.5"}}}}`).apply(cl)
	interval, factor, panicAt := 4*time.Second, 1.5, ir.Percent(22.5)
	want := &ir.Cluster{
		Limits:         &ir.ConnectionLimits{MaxRequests: num(2)},
		Outlier:        &ir.Outlier{Interval: &interval, TotalFailures: num(6), SuccessRate: &ir.SuccessRate{StdevFactor: &factor}},
		PanicThreshold: &panicAt,
	}
	if d := cmp.Diff(want, cl); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestDisabled(t *testing.T) {
	cl := &ir.Cluster{}
	conf(t, `{"outlierDetection":{"disabled":true,"healthyPanicThreshold":5,"detectors":{"totalFailures":{"consecutive":1}}}}`).apply(cl)
	if cl.Outlier != nil || cl.PanicThreshold != nil {
		t.Errorf("detection that is switched off: %+v", cl)
	}
}

func TestValidate(t *testing.T) {
	for doc, want := range map[string]string{
		`{}`: "", `{"connectionLimits":{"maxRetries":0}}`: "connectionLimits.maxRetries", `{"connectionLimits":{"maxRetries":1}}`: "-",
		`{"outlierDetection":{"detectors":{"failurePercentage":{"threshold":101}}}}`:               "outlierDetection.detectors.failurePercentage.threshold",
		`{"outlierDetection":{"maxEjectionPercent":101,"detectors":{"totalFailures":{}}}}`:         "outlierDetection.maxEjectionPercent",
		`{"outlierDetection":{"detectors":{"successRate":{"standardDeviationFactor":"5000000"}}}}`: "outlierDetection.detectors.successRate.standardDeviationFactor",
	} {
		var v model.Violations
		validate(conf(t, doc), &v, policy.Where{})
		got := "-"
		if l := v.List(); len(l) == 1 {
			got = l[0].Field
		} else if len(l) > 1 {
			t.Errorf("%s: violations %+v", doc, l)
		}
		if got != want {
			t.Errorf("%s: violation at %q, want %q", doc, got, want)
		}
	}
}
