package otlp

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

// success encodes ExportMetricsServiceResponse.
func success(rejected int64, reason string) []byte {
	var inner []byte
	inner = protowire.AppendTag(inner, fieldRejected, protowire.VarintType)
	inner = protowire.AppendVarint(inner, uint64(rejected))
	inner = protowire.AppendTag(inner, fieldReason, protowire.BytesType)
	inner = protowire.AppendString(inner, reason)
	var out []byte
	out = protowire.AppendTag(out, 9, protowire.VarintType) // a field of a later release
	out = protowire.AppendVarint(out, 1)
	out = protowire.AppendTag(out, fieldPartialSuccess, protowire.BytesType)
	return protowire.AppendBytes(out, inner)
}

func TestPartialSuccess(t *testing.T) {
	for name, tc := range map[string]struct {
		raw      []byte
		rejected int64
		reason   string
	}{
		"all taken":   {nil, 0, ""},
		"some":        {success(7, "too old"), 7, "too old"},
		"long reason": {success(1, strings.Repeat("x", 1000)), 1, strings.Repeat("x", 500)},
		"truncated":   {success(7, "too old")[:5], 0, ""},
		"garbage":     {[]byte{0xff, 0xff, 0xff}, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if rejected, reason := partialSuccess(tc.raw); rejected != tc.rejected || reason != tc.reason {
				t.Errorf("got %d %q", rejected, reason)
			}
		})
	}
}

func FuzzPartialSuccess(f *testing.F) {
	f.Add(success(7, "too old"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if _, reason := partialSuccess(raw); len(reason) > 500 {
			t.Error("the reason is not bounded")
		}
	})
}
