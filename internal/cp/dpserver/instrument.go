package dpserver

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// httpMetrics are those of the HTTP half of the port.
type httpMetrics struct {
	duration *prometheus.HistogramVec
	size     *prometheus.HistogramVec
	inflight *prometheus.GaugeVec
}

func newHTTPMetrics(reg prometheus.Registerer) *httpMetrics {
	labels := []string{"service", "handler", "method", "code"}
	m := &httpMetrics{
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "dp_server_http_request_duration_seconds", Help: "Time to answer a request.", Buckets: prometheus.DefBuckets,
		}, labels),
		size: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "dp_server_http_response_size_bytes", Help: "Size of answers.", Buckets: prometheus.ExponentialBuckets(100, 10, 8),
		}, labels),
		inflight: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "dp_server_http_requests_inflight", Help: "Requests that are being answered.",
		}, []string{"service", "handler"}),
	}
	reg.MustRegister(m.duration, m.size, m.inflight)
	return m
}

// observed counts what a handler does under the name of its route.
func (m *httpMetrics) observed(route string, h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		in := m.inflight.WithLabelValues("", route)
		in.Inc()
		rec := &answer{ResponseWriter: w, status: http.StatusOK}
		defer func() {
			in.Dec()
			labels := []string{"", route, method(r.Method), strconv.Itoa(rec.status)}
			m.duration.WithLabelValues(labels...).Observe(time.Since(start).Seconds())
			m.size.WithLabelValues(labels...).Observe(float64(rec.bytes))
		}()
		h(rec, r)
	}
}

// method bounds the values of the label: clients may send any word.
func method(m string) string {
	switch m {
	case http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodHead, http.MethodOptions, http.MethodPatch:
		return m
	}
	return "other"
}

// answer remembers what was answered.
type answer struct {
	http.ResponseWriter
	status, bytes int
}

func (a *answer) WriteHeader(status int) {
	a.status = status
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(b []byte) (int, error) {
	n, err := a.ResponseWriter.Write(b)
	a.bytes += n
	return n, err //nolint:wrapcheck // because it stands in for the writer
}

// grpcMetrics are those of the gRPC half of the port.
type grpcMetrics struct {
	started, handled, received, sent *prometheus.CounterVec
	handling                         *prometheus.HistogramVec
}

func newGRPCMetrics(reg prometheus.Registerer) *grpcMetrics {
	labels := []string{"grpc_type", "grpc_service", "grpc_method"}
	counter := func(name, help string, more ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, append(labels[:len(labels):len(labels)], more...))
		reg.MustRegister(c)
		return c
	}
	m := &grpcMetrics{
		started:  counter("grpc_server_started_total", "Calls that began."),
		handled:  counter("grpc_server_handled_total", "Calls that ended, by status.", "grpc_code"),
		received: counter("grpc_server_msg_received_total", "Messages received from clients."),
		sent:     counter("grpc_server_msg_sent_total", "Messages sent to clients."),
		handling: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "grpc_server_handling_seconds", Help: "Duration of calls.", Buckets: prometheus.DefBuckets,
		}, labels),
	}
	reg.MustRegister(m.handling)
	return m
}

// initialise makes the series of all methods visible before they are called.
func (m *grpcMetrics) initialise(services map[string]grpc.ServiceInfo) {
	for name, info := range services {
		for _, method := range info.Methods {
			l := []string{callType(method.IsClientStream, method.IsServerStream), name, method.Name}
			m.started.WithLabelValues(l...)
			m.received.WithLabelValues(l...)
			m.sent.WithLabelValues(l...)
			m.handled.WithLabelValues(append(l, codes.OK.String())...)
		}
	}
}

func callType(client, server bool) string {
	switch {
	case client && server:
		return "bidi_stream"
	case client:
		return "client_stream"
	case server:
		return "server_stream"
	}
	return "unary"
}

// stream counts a call and its messages.
func (m *grpcMetrics) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	service, name := splitMethod(info.FullMethod)
	l := []string{callType(info.IsClientStream, info.IsServerStream), service, name}
	m.started.WithLabelValues(l...).Inc()
	start := time.Now()
	err := handler(srv, &counted{ServerStream: ss, in: m.received.WithLabelValues(l...), out: m.sent.WithLabelValues(l...)})
	m.handled.WithLabelValues(append(l, status.Code(err).String())...).Inc()
	m.handling.WithLabelValues(l...).Observe(time.Since(start).Seconds())
	return err
}

// splitMethod splits "/service/method".
func splitMethod(full string) (service, method string) {
	for i := len(full) - 1; i > 0; i-- {
		if full[i] == '/' {
			return full[1:i], full[i+1:]
		}
	}
	return "unknown", full
}

// counted counts the messages of a stream.
type counted struct {
	grpc.ServerStream
	in, out prometheus.Counter
}

func (c *counted) RecvMsg(m any) error {
	err := c.ServerStream.RecvMsg(m)
	if err == nil {
		c.in.Inc()
	}
	return err //nolint:wrapcheck // because it stands in for the stream
}

func (c *counted) SendMsg(m any) error {
	err := c.ServerStream.SendMsg(m)
	if err == nil {
		c.out.Inc()
	}
	return err //nolint:wrapcheck // because it stands in for the stream
}
