package meshmetric

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"

	dto "github.com/prometheus/client_model/go"

	"weft/internal/dp/metrics"
)

// target is one source of metrics.
type target struct {
	name string
	url  string
	// filter is set for Envoy only.
	filter *filter
}

// envoyTarget is the admin interface. Envoy takes the mere presence of usedonly
// as a yes, so the key is left out when unused metrics are wanted.
func envoyTarget(address string, port uint16, includeUnused bool, f *filter) target {
	query := url.Values{"format": {"prometheus"}, "text_readouts": {""}}
	if !includeUnused {
		query.Set("usedonly", "")
	}
	return target{name: "envoy", filter: f, url: metrics.EnvoyTarget(address, port).URL + "?" + query.Encode()}
}

func applicationTarget(a Application, fallback string) target {
	address := a.Address
	if address == "" {
		address = fallback
	}
	name := a.Name
	if name == "" {
		name = "application " + net.JoinHostPort(address, strconv.FormatUint(uint64(a.Port), 10))
	}
	return target{name: name, url: metrics.ApplicationTarget(name, address, a.Port, a.Path).URL}
}

// scraper asks targets.
type scraper struct {
	client *http.Client
	log    *slog.Logger
}

// accept asks for the text format, which is what is read here.
const accept = "text/plain;version=0.0.4;q=1,*/*;q=0.1"

// scrape passes on the families of one target that are wanted, one after the
// other.
func (s *scraper) scrape(ctx context.Context, t target, each func(*dto.MetricFamily) error) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, t.url, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", accept)
	req.Header.Set("User-Agent", "kuma-dp")
	resp, err := s.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("it answers with status %d", resp.StatusCode)
	}
	body := textOf(resp.Body, resp.Header.Get("Content-Type"))
	broken, first, err := readFamilies(body, func(f *dto.MetricFamily) error {
		if t.filter != nil && !t.filter.apply(f) {
			return nil
		}
		return each(f)
	})
	if broken > 0 {
		s.log.Warn("metrics that cannot be read are left out", "target", t.name, "families", broken, "error", first)
	}
	return err
}

// apply takes away the series that are not wanted and reports whether any is
// left.
func (f *filter) apply(family *dto.MetricFamily) bool {
	if !f.keeps(family.GetName()) {
		return false
	}
	kept := family.Metric[:0]
	for _, m := range family.GetMetric() {
		if f.keepsSeries(m) {
			markTraffic(m)
			kept = append(kept, m)
		}
	}
	family.Metric = kept
	return len(kept) > 0
}
