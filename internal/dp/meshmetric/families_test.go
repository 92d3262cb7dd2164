package meshmetric

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
)

// render reads a text family by family and writes it again.
func render(t testing.TB, in io.Reader) (out string, broken int, first error) {
	t.Helper()
	var b strings.Builder
	broken, first, err := readFamilies(in, func(f *dto.MetricFamily) error {
		_, err := expfmt.MetricFamilyToText(&b, f)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String(), broken, first
}

const sampleText = `# HELP rq Requests.
# TYPE rq counter
rq{code="200"} 3
rq{code="500"} 1 1700000000000
# TYPE t histogram
t_bucket{le="1"} 1
t_bucket{le="+Inf"} 2
t_sum 5
t_count 2
# HELP q Quantiles.
# TYPE q summary
q{quantile="0.5"} 7
q_sum 9
q_count 3
`

func TestFamiliesSurvive(t *testing.T) {
	got, broken, _ := render(t, strings.NewReader(strings.ReplaceAll(sampleText, "\n", "\r\n")+"\n# EOF\n# a remark\n"))
	if diff := cmp.Diff(sampleText, got); diff != "" || broken != 0 {
		t.Errorf("%d broken: %s", broken, diff)
	}
}

func TestBrokenFamilyCostsOnlyItself(t *testing.T) {
	got, broken, first := render(t, strings.NewReader("# TYPE a gauge\na 1\n# TYPE b gauge\nb {{{\n# TYPE c gauge\nc 3\n"))
	if want := "# TYPE a gauge\na 1\n# TYPE c gauge\nc 3\n"; got != want {
		t.Errorf("got %q", got)
	}
	if broken != 1 || first == nil || !strings.Contains(first.Error(), `family "b"`) {
		t.Errorf("%d broken, first %v", broken, first)
	}
}

func TestUntypedSamplesAreRead(t *testing.T) {
	got, _, _ := render(t, strings.NewReader("b 2\na 1\n# TYPE c gauge\nc 3\nd 4\n"))
	if want := "# TYPE a untyped\na 1\n# TYPE b untyped\nb 2\n# TYPE c gauge\nc 3\n# TYPE d untyped\nd 4\n"; got != want {
		t.Errorf("got %q", got)
	}
}

// endless is a body of remarks that never ends.
type endless struct{ at int }

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '#'
		if e.at++; e.at%1000 == 0 {
			p[i] = '\n'
		}
	}
	return len(p), nil
}

func TestBodiesAreBounded(t *testing.T) {
	seen := 0
	each := func(*dto.MetricFamily) error { seen++; return nil }
	if _, _, err := readFamilies(&endless{}, each); !errors.Is(err, errTooLong) {
		t.Errorf("long body: %v", err)
	}
	if _, _, err := readFamilies(strings.NewReader(strings.Repeat("x", maxLine+1)), each); err == nil {
		t.Error("long line accepted")
	}
	stop := errors.New("stop")
	if _, _, err := readFamilies(strings.NewReader("a 1\n"), func(*dto.MetricFamily) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("got %v", err)
	}
}

func TestOpenMetrics(t *testing.T) {
	const in = `# HELP rq Requests.
# TYPE rq counter
rq_total{path="/a b}#{ # \" x"} 3 1700000000.5 # {trace_id="1 2"} 1 1700000000
rq_created{path="x"} 1700000000
# TYPE t histogram
# UNIT t seconds
t_bucket{le="1"} 1 # {trace_id="abc"} 0.5
t_bucket{le="+Inf"} 2
t_sum 5
t_count 2
t_created 1
# TYPE build info
build_info{version="1"} 1
# TYPE u unknown
u 4
# TYPE g gaugehistogram
g_bucket{le="+Inf"} 2
g_gcount 2
# TYPE s stateset
s{s="on"} 1
# TYPE plain gauge
plain 5 17.25
# EOF
`
	const want = `# TYPE rq_total counter
rq_total{path="/a b}#{ # \" x"} 3 1700000000500
# TYPE t histogram
t_bucket{le="1"} 1
t_bucket{le="+Inf"} 2
t_sum 5
t_count 2
# TYPE build_info gauge
build_info{version="1"} 1
# TYPE u untyped
u 4
# TYPE s gauge
s{s="on"} 1
# TYPE plain gauge
plain 5 17250
`
	got, broken, first := render(t, textOf(strings.NewReader(in), "application/openmetrics-text; version=1.0.0; charset=utf-8"))
	if diff := cmp.Diff(want, got); diff != "" || broken != 0 {
		t.Errorf("%d broken (%v): %s", broken, first, diff)
	}
	got, _, _ = render(t, textOf(strings.NewReader(sampleText), "text/plain; version=0.0.4"))
	if got != sampleText {
		t.Errorf("plain text changed: %s", got)
	}
}

func FuzzFamilies(f *testing.F) {
	f.Add(sampleText, true)
	f.Add("# TYPE a counter\na_total{b=\"c\"} 1 # {} 2\n", true)
	f.Add("# TYPE \na{ 1\n", false)
	f.Fuzz(func(t *testing.T, text string, open bool) {
		kind := "text/plain"
		if open {
			kind = "application/openmetrics-text"
		}
		b := newBatch(&Observer{}, []label{{"mesh", "default"}}, discard)
		_, _, _ = readFamilies(textOf(strings.NewReader(text), kind), func(f *dto.MetricFamily) error {
			_, err := expfmt.MetricFamilyToText(io.Discard, f)
			_ = err // what the writer refuses must not be fatal
			return b.add(f)
		})
		if err := b.flush(); err != nil {
			t.Error(err)
		}
	})
}

func BenchmarkFamilies(b *testing.B) {
	var text strings.Builder
	for i := range 100 {
		fmt.Fprintf(&text, "# TYPE envoy_cluster_metric_%d counter\n", i)
		for j := range 1000 {
			fmt.Fprintf(&text, "envoy_cluster_metric_%d{envoy_cluster_name=\"service-%d\"} %d\n", i, j, j)
		}
	}
	b.SetBytes(int64(text.Len()))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := readFamilies(strings.NewReader(text.String()), func(*dto.MetricFamily) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}
