package meshmetric

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"weft/internal/testkit/lockedbuf"
)

func discard(*metricspb.MetricsData, int) error { return nil }

func parseText(t testing.TB, text string) map[string]*dto.MetricFamily {
	t.Helper()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	parsed, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return parsed
}

func sortedNames(m map[string]*dto.MetricFamily) []string { return slices.Sorted(maps.Keys(m)) }

func valueOf(m *dto.Metric, name string) string {
	for _, l := range m.GetLabel() {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}

// world is an Envoy as far as an Observer sees it: an admin interface and a
// socket with the document.
type world struct {
	*Observer
	dir   string
	log   *lockedbuf.Buffer
	admin *httptest.Server

	mu       sync.Mutex
	text     string
	adminURL string // what the admin interface was asked for last
	stats    string
	doc      *http.Server
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{dir: t.TempDir(), stats: families, log: &lockedbuf.Buffer{}}
	w.admin = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.adminURL = r.URL.String()
		_, _ = io.WriteString(rw, w.stats)
	}))
	t.Cleanup(w.admin.Close)
	host, port := hostPort(t, w.admin.URL)
	var err error
	w.Observer, err = New(Options{
		Node: Node{Mesh: "default", Name: "web-1", Service: "web"}, Version: "1.2.3",
		Socket: filepath.Join(w.dir, "doc.sock"), Refresh: 20 * time.Millisecond,
		AdminAddress: host, AdminPort: port, Address: "127.0.0.1",
		Dial: (&net.Dialer{}).DialContext, FlushTimeout: 5 * time.Second,
		Log: slog.New(slog.NewTextHandler(w.log, nil)),
	}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func hostPort(t testing.TB, raw string) (string, uint16) {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	return u.Hostname(), uint16(port)
}

// publish serves a document, or another one than before.
func (w *world) publish(t testing.TB, metrics string) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text = `{"observability":{"metrics":` + metrics + `}}`
	if w.doc != nil {
		return
	}
	_ = os.Remove(w.options.Socket)
	l, err := net.Listen("unix", w.options.Socket)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) // nor does Envoy
	w.doc = &http.Server{Handler: http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		w.mu.Lock()
		defer w.mu.Unlock()
		_, _ = io.WriteString(rw, w.text)
	})}
	go func(s *http.Server) { _ = s.Serve(l) }(w.doc)
	t.Cleanup(w.withdraw)
}

// withdraw takes the listener away and leaves its socket.
func (w *world) withdraw() {
	w.mu.Lock()
	s := w.doc
	w.doc = nil
	w.mu.Unlock()
	if s != nil {
		_ = s.Close()
	}
}

// run runs the Observer until the returned function is called.
func (w *world) run(t testing.TB) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// scrape asks as Prometheus does.
func (w *world) scrape(t testing.TB, header ...string) (*http.Response, string) {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, "/meshmetric", nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	rec := httptest.NewRecorder()
	w.ServeHTTP(rec, r)
	return rec.Result(), rec.Body.String()
}

func (w *world) asked() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.adminURL
}

func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !f() {
		if time.Now().After(deadline) {
			t.Fatalf("not %s in time", what)
		}
		time.Sleep(2 * time.Millisecond) // the pause of a poll with a deadline
	}
}

// application serves metrics.
func application(t testing.TB, text string) (server *httptest.Server, port uint16) {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery != "" {
			t.Errorf("query %q was sent", r.URL.RawQuery)
		}
		if r.URL.Path != "/metrics" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		_, _ = io.WriteString(w, text)
	}))
	t.Cleanup(s.Close)
	_, port = hostPort(t, s.URL)
	return s, port
}

// otlpServer is a collector: a gRPC server on a unix socket.
type otlpServer struct {
	socket string
	server *grpc.Server

	mu       sync.Mutex
	received []*metricspb.MetricsData
	calls    int
	fail     func(call int) error
	answer   []byte
}

func startCollector(t testing.TB, socket string) *otlpServer {
	t.Helper()
	c := &otlpServer{socket: socket}
	_ = os.Remove(socket)
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	c.server = grpc.NewServer()
	c.server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "opentelemetry.proto.collector.metrics.v1.MetricsService", HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "Export", Handler: c.export}},
	}, c)
	done := make(chan struct{})
	go func() { _ = c.server.Serve(l); close(done) }()
	t.Cleanup(func() { c.server.Stop(); <-done })
	return c
}

func (c *otlpServer) export(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
	m := &metricspb.MetricsData{}
	if err := decode(m); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls++
	if c.fail != nil {
		if err := c.fail(c.calls); err != nil {
			return nil, err
		}
	}
	c.received = append(c.received, m)
	answer := &emptypb.Empty{}
	answer.ProtoReflect().SetUnknown(c.answer)
	return answer, nil
}

// metric returns the last form of a metric with its scope; nil if none came.
func (c *otlpServer) metric(name string) (*metricspb.Metric, *metricspb.ScopeMetrics, *metricspb.ResourceMetrics) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, d := range slices.Backward(c.received) {
		for _, r := range d.GetResourceMetrics() {
			for _, s := range r.GetScopeMetrics() {
				for _, m := range s.GetMetrics() {
					if m.GetName() == name {
						return m, s, r
					}
				}
			}
		}
	}
	return nil, nil, nil
}

func (c *otlpServer) has(name string) bool {
	m, _, _ := c.metric(name)
	return m != nil
}

func (c *otlpServer) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.received)
}

func documentOf(t testing.TB, d Document) string {
	t.Helper()
	b, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func gunzip(t testing.TB, text string) string {
	t.Helper()
	z, err := gzip.NewReader(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
