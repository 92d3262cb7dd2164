package meshretry

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"weft/internal/mesh/ir"
	"weft/internal/mesh/model"
	"weft/internal/mesh/policy"
)

func num(n uint32) *uint32                { return &n }
func dur(d time.Duration) *model.Duration { m := model.Duration(d); return &m }
func std(d time.Duration) *time.Duration  { return &d }
func retryOf(c *Conf, p ir.Protocol) *ir.Retry {
	r := &ir.Route{}
	requests(c, r, &ir.Outbound{Listener: ir.Listener{Protocol: p}}, nil)
	return r.Retry
}

func TestRetry(t *testing.T) {
	http := &Conf{HTTP: &HTTP{NumRetries: num(3)}}
	grpc := &Conf{GRPC: &GRPC{NumRetries: num(4)}}
	for name, c := range map[string]struct {
		conf     *Conf
		protocol ir.Protocol
		want     *ir.Retry
	}{
		"http":               {http, ir.ProtocolHTTP, &ir.Retry{On: httpDefault, Attempts: num(3)}},
		"http2 is not http":  {http, ir.ProtocolHTTP2, nil},
		"grpc is not http":   {http, ir.ProtocolGRPC, nil},
		"grpc":               {grpc, ir.ProtocolGRPC, &ir.Retry{On: grpcDefault, Attempts: num(4)}},
		"0 switches off":     {&Conf{HTTP: &HTTP{NumRetries: num(0)}}, ir.ProtocolHTTP, nil},
		"conditions replace": {&Conf{HTTP: &HTTP{RetryOn: []string{"5xx", "Retriable4xx"}}}, ir.ProtocolHTTP, &ir.Retry{On: []string{"5xx", "retriable-4xx"}}},
		"methods and codes do not": {&Conf{HTTP: &HTTP{RetryOn: []string{"HttpMethodGet", "503"}}}, ir.ProtocolHTTP,
			&ir.Retry{On: httpDefault, Methods: []string{"GET"}, StatusCodes: []uint32{503}}},
		"cancelled calls":            {&Conf{GRPC: &GRPC{RetryOn: []string{"Canceled"}}}, ir.ProtocolGRPC, &ir.Retry{On: []string{"cancelled"}}},
		"http back-off without base": {&Conf{HTTP: &HTTP{BackOff: &BackOff{MaxInterval: dur(time.Second)}}}, ir.ProtocolHTTP, &ir.Retry{On: httpDefault}},
		"grpc back-off without base": {&Conf{GRPC: &GRPC{BackOff: &BackOff{MaxInterval: dur(time.Second)}}}, ir.ProtocolGRPC,
			&ir.Retry{On: grpcDefault, BackOffBase: std(25 * time.Millisecond), BackOffMax: std(time.Second)}},
		"a maximum below the base, of two policies": {&Conf{HTTP: &HTTP{BackOff: &BackOff{BaseInterval: dur(time.Second), MaxInterval: dur(time.Millisecond)}}}, ir.ProtocolHTTP,
			&ir.Retry{On: httpDefault, BackOffBase: std(time.Second), BackOffMax: std(time.Second)}},
		"a maximum below the default base": {&Conf{GRPC: &GRPC{BackOff: &BackOff{MaxInterval: dur(time.Millisecond)}}}, ir.ProtocolGRPC,
			&ir.Retry{On: grpcDefault, BackOffBase: std(time.Millisecond), BackOffMax: std(time.Millisecond)}},
		"hosts": {&Conf{HTTP: &HTTP{HostSelection: []Predicate{{Predicate: "OmitHostsWithTags", Tags: map[string]string{model.TagService: "a", "v": "1"}}}}}, ir.ProtocolHTTP,
			&ir.Retry{On: httpDefault, HostSelection: []ir.HostSelection{{Predicate: "OmitHostsWithTags", Tags: map[string]string{"v": "1"}}}}},
	} {
		t.Run(name, func(t *testing.T) {
			if d := cmp.Diff(c.want, retryOf(c.conf, c.protocol)); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func TestStatusOf(t *testing.T) {
	for in, want := range map[string]bool{"503": true, "099": false, "600": false, "5xx": false, "0503": false, "": false, "+50": false} {
		if _, ok := statusOf(in); ok != want {
			t.Errorf("%q is a status code: %v, want %v", in, ok, want)
		}
	}
}

func TestValidate(t *testing.T) {
	for name, c := range map[string]struct {
		conf  Conf
		field string
	}{
		"nothing":           {Conf{}, "conf"},
		"unknown condition": {Conf{HTTP: &HTTP{RetryOn: []string{"5XX"}}}, "conf.http.retryOn[0]"},
		"maximum below base": {Conf{HTTP: &HTTP{BackOff: &BackOff{BaseInterval: dur(time.Second), MaxInterval: dur(time.Millisecond)}}},
			"conf.http.backOff.maxInterval"},
		"no headers": {Conf{HTTP: &HTTP{RateLimitedBackOff: &RateLimitedBackOff{}}}, "conf.http.rateLimitedBackOff.resetHeaders"},
		"regular expressions": {Conf{HTTP: &HTTP{
			RetriableResponseHeaders: []policy.HeaderMatch{{Name: "a", Value: "("}, {Type: "RegularExpression", Name: "a", Value: "("}},
			RetriableRequestHeaders:  []policy.HeaderMatch{{Type: "RegularExpression", Name: "a", Value: ")"}},
		}}, "conf.http.retriableResponseHeaders[1].valueconf.http.retriableRequestHeaders[0].value"},
		"good": {Conf{TCP: &TCP{MaxConnectAttempt: num(1)}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var v model.Violations
			validate(&c.conf, &v, policy.Where{})
			got := ""
			for _, x := range v.List() {
				got += x.Field
			}
			if got != c.field {
				t.Errorf("violations at %q, want %q", got, c.field)
			}
		})
	}
}
