package envoy

import (
	"fmt"
	"slices"
	"strings"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	omithosts "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/omit_host_metadata/v3"
	previoushosts "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"
	previouspriorities "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/priority/previous_priorities/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	"weft/internal/mesh/ir"
)

// onStatusCodes must be among the conditions for status codes to count.
const onStatusCodes = "retriable-status-codes"

func retryPolicy(r *ir.Retry) (*route.RetryPolicy, error) {
	if r == nil {
		return nil, nil
	}
	on := slices.Clone(r.On)
	if len(r.StatusCodes) > 0 && !slices.Contains(on, onStatusCodes) {
		on = append(on, onStatusCodes)
	}
	out := &route.RetryPolicy{
		RetryOn:                       strings.Join(on, ","),
		NumRetries:                    uint32Value(r.Attempts),
		PerTryTimeout:                 duration(r.PerTryTimeout),
		RetriableStatusCodes:          r.StatusCodes,
		HostSelectionRetryMaxAttempts: r.HostAttempts,
		RateLimitedRetryBackOff:       rateLimitedBackOff(r.RateLimitedBackOff),
	}
	if r.BackOffBase != nil {
		out.RetryBackOff = &route.RetryPolicy_RetryBackOff{BaseInterval: duration(r.BackOffBase), MaxInterval: duration(r.BackOffMax)}
	}
	for _, m := range r.Methods {
		h, err := headerMatch(ir.ValueMatch{Type: ir.MatchExact, Name: ":method", Value: m})
		if err != nil {
			return nil, err
		}
		out.RetriableRequestHeaders = append(out.RetriableRequestHeaders, h)
	}
	for _, v := range r.RequestHeaders {
		h, err := headerMatch(v)
		if err != nil {
			return nil, err
		}
		out.RetriableRequestHeaders = append(out.RetriableRequestHeaders, h)
	}
	for _, v := range r.ResponseHeaders {
		h, err := headerMatch(v)
		if err != nil {
			return nil, err
		}
		out.RetriableHeaders = append(out.RetriableHeaders, h)
	}
	for _, s := range r.HostSelection {
		if err := selectHosts(out, s); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func rateLimitedBackOff(b *ir.RateLimitedBackOff) *route.RetryPolicy_RateLimitedRetryBackOff {
	if b == nil {
		return nil
	}
	out := &route.RetryPolicy_RateLimitedRetryBackOff{MaxInterval: duration(b.Max)}
	for _, h := range b.Resets {
		format := route.RetryPolicy_SECONDS
		if h.Format == "UnixTimestamp" {
			format = route.RetryPolicy_UNIX_TIMESTAMP
		}
		out.ResetHeaders = append(out.ResetHeaders, &route.RetryPolicy_ResetHeader{Name: h.Name, Format: format})
	}
	return out
}

func selectHosts(out *route.RetryPolicy, s ir.HostSelection) error {
	predicate := func(name string, m message) error {
		packed, err := pack(m)
		if err != nil {
			return err
		}
		out.RetryHostPredicate = append(out.RetryHostPredicate, &route.RetryPolicy_RetryHostPredicate{
			Name:       name,
			ConfigType: &route.RetryPolicy_RetryHostPredicate_TypedConfig{TypedConfig: packed},
		})
		return nil
	}
	switch s.Predicate {
	case "OmitPreviousHosts":
		return predicate("envoy.retry_host_predicates.previous_hosts", &previoushosts.PreviousHostsPredicate{})
	case "OmitHostsWithTags":
		return predicate("envoy.retry_host_predicates.omit_host_metadata", &omithosts.OmitHostMetadataConfig{
			MetadataMatch: &core.Metadata{FilterMetadata: map[string]*structpb.Struct{"envoy.lb": tagStruct(s.Tags)}},
		})
	case "OmitPreviousPriorities":
		packed, err := pack(&previouspriorities.PreviousPrioritiesConfig{UpdateFrequency: s.UpdateFrequency})
		if err != nil {
			return err
		}
		out.RetryPriority = &route.RetryPolicy_RetryPriority{
			Name:       "envoy.retry_priorities.previous_priorities",
			ConfigType: priorityConfig(packed),
		}
		return nil
	}
	return fmt.Errorf("unknown host selection %q", s.Predicate)
}

func priorityConfig(a *anypb.Any) *route.RetryPolicy_RetryPriority_TypedConfig {
	return &route.RetryPolicy_RetryPriority_TypedConfig{TypedConfig: a}
}
