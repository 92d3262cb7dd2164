// Package otlp speaks the one call of the OpenTelemetry protocol that kuma-dp
// needs. The messages are those of go.opentelemetry.io/proto/otlp; its package
// with the generated client is not used, as that brings a REST gateway along.
// Export may be called from several goroutines.
package otlp

import (
	"context"

	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/emptypb"
)

// Method is the full name of the call.
const Method = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"

// Export sends metrics. On the wire the request has the form of MetricsData,
// which the protocol guarantees. It returns how many points the collector
// rejected although it took the message, and what it said.
func Export(ctx context.Context, conn grpc.ClientConnInterface, m *metricspb.MetricsData) (rejected int64, reason string, err error) {
	var answer emptypb.Empty // keeps all fields as unknown ones
	if err := conn.Invoke(ctx, Method, m, &answer); err != nil {
		return 0, "", err
	}
	rejected, reason = partialSuccess(answer.ProtoReflect().GetUnknown())
	return rejected, reason, nil
}

// Fields of ExportMetricsServiceResponse and its ExportMetricsPartialSuccess.
const (
	fieldPartialSuccess = 1
	fieldRejected       = 1
	fieldReason         = 2
)

func partialSuccess(raw []byte) (rejected int64, reason string) {
	each(raw, func(number protowire.Number, kind protowire.Type, field []byte) {
		if number != fieldPartialSuccess || kind != protowire.BytesType {
			return
		}
		inner, _ := protowire.ConsumeBytes(field)
		each(inner, func(number protowire.Number, kind protowire.Type, field []byte) {
			switch {
			case number == fieldRejected && kind == protowire.VarintType:
				n, _ := protowire.ConsumeVarint(field)
				rejected = int64(n) //nolint:gosec // because int64 travels as its two's complement.
			case number == fieldReason && kind == protowire.BytesType:
				text, _ := protowire.ConsumeBytes(field)
				reason = string(text[:min(len(text), 500)])
			}
		})
	})
	return rejected, reason
}

// each walks over the fields of a message and stops at what is no field.
func each(raw []byte, f func(protowire.Number, protowire.Type, []byte)) {
	for len(raw) > 0 {
		number, kind, n := protowire.ConsumeTag(raw)
		if n < 0 {
			return
		}
		size := protowire.ConsumeFieldValue(number, kind, raw[n:])
		if size < 0 {
			return
		}
		f(number, kind, raw[n:n+size])
		raw = raw[n+size:]
	}
}
