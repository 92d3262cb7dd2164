package admit

import (
	"context"
	"fmt"

	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
	"weft/internal/mesh/policy/legacy"
)

// checkRateLimits refuses an ExternalService that a stored RateLimit could not
// be applied to.
func (g *Gate) checkRateLimits(ctx context.Context, o *model.Object, spec *kinds.ExternalServiceSpec, v *model.Violations) error {
	limits, err := g.Reader.List(ctx, legacy.RateLimit, o.Meta.Mesh)
	if err != nil {
		return fmt.Errorf("list the rate limits of mesh %q: %w", o.Meta.Mesh, err)
	}
	for _, l := range limits {
		if !spec.CompatibleWithRateLimit(model.Spec[legacy.RateLimitSpec](l).Destinations) {
			v.At("externalservice").Add("RateLimit %q selects this service by more than the tag %s, which is not possible for external services; change it first",
				l.Meta.Name, model.TagService)
		}
	}
	return nil
}

// checkExternalServices refuses a RateLimit that selects a stored
// ExternalService by other tags.
func (g *Gate) checkExternalServices(ctx context.Context, o *model.Object, spec *legacy.RateLimitSpec, v *model.Violations) error {
	services, err := g.Reader.List(ctx, kinds.ExternalService, o.Meta.Mesh)
	if err != nil {
		return fmt.Errorf("list the external services of mesh %q: %w", o.Meta.Mesh, err)
	}
	for _, s := range services {
		if !model.Spec[kinds.ExternalServiceSpec](s).CompatibleWithRateLimit(spec.Destinations) {
			v.At("ratelimit").Add("selects the external service %q by more than the tag %s, which is not possible; use only that tag",
				s.Meta.Name, model.TagService)
			break
		}
	}
	return nil
}
