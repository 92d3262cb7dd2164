package engine

import "weft/internal/cp/xds"

// intern makes proxies with equal resources share one copy.
type intern struct{ seen *xds.Weak[resourceID] }

// resourceID identifies a resource: the name is part of the body, so type and
// version do.
type resourceID struct {
	t xds.Type
	v xds.Version
}

func newIntern() *intern { return &intern{xds.NewWeak[resourceID]()} }

// of returns the shared copy of a resource.
func (in *intern) of(r *xds.Resource) *xds.Resource {
	return in.seen.Keep(resourceID{r.Type, r.Version}, r)
}
