package meshmetric

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"time"
)

// Document is what the control plane says about metrics. Unknown fields are
// left to newer releases.
type Document struct {
	// Applications beside the proxy that have metrics.
	Applications []Application `json:"applications"`
	// Backends that get the metrics.
	Backends []Backend `json:"backends"`
	// Sidecar says which metrics of Envoy are wanted.
	Sidecar Sidecar `json:"sidecar"`
	// ExtraLabels are put on every sample.
	ExtraLabels map[string]string `json:"extraLabels"`
}

// Application is one endpoint with metrics.
type Application struct {
	// Name for messages; may be empty.
	Name string `json:"name"`
	// Address to ask; empty means that of the proxy.
	Address string `json:"address"`
	// Port to ask.
	Port uint32 `json:"port"`
	// Path to ask.
	Path string `json:"path"`
}

// Backend gets the metrics.
type Backend struct {
	// Type is Prometheus or OpenTelemetry.
	Type string `json:"type"`
	// Name tells collectors apart.
	Name string `json:"name"`
	// OpenTelemetry is set for that type.
	OpenTelemetry *OpenTelemetry `json:"openTelemetry"`
}

// OpenTelemetry is a collector behind a socket of Envoy.
type OpenTelemetry struct {
	// Endpoint is the path of the socket.
	Endpoint string `json:"endpoint"`
	// RefreshInterval is the time between two sendings.
	RefreshInterval string `json:"refreshInterval"`
}

// Sidecar says which metrics of Envoy are wanted.
type Sidecar struct {
	// IncludeUnused asks also for metrics that never changed.
	IncludeUnused bool `json:"includeUnused"`
	// Profiles choose among the families.
	Profiles Profiles `json:"profiles"`
}

// Profiles choose among the families of Envoy's metrics.
type Profiles struct {
	// AppendProfiles are united; none means Basic.
	AppendProfiles []Profile `json:"appendProfiles"`
	// Exclude takes families away.
	Exclude []Selector `json:"exclude"`
	// Include adds families and wins over Exclude.
	Include []Selector `json:"include"`
}

// Profile is a named choice: All, Basic or None.
type Profile struct {
	// Name of the profile.
	Name string `json:"name"`
}

// Selector selects families by name.
type Selector struct {
	// Type is Exact, Prefix, Regex or Contains.
	Type string `json:"type"`
	// Match is what the name is compared with.
	Match string `json:"match"`
}

// parse reads the text that Envoy serves. Empty text is an empty document.
func parse(text []byte) (Document, error) {
	var d struct {
		Observability struct {
			Metrics Document `json:"metrics"`
		} `json:"observability"`
	}
	if len(text) == 0 {
		return Document{}, nil
	}
	if err := json.Unmarshal(text, &d); err != nil {
		return Document{}, fmt.Errorf("read the metrics document of the control plane: %w", err)
	}
	return d.Observability.Metrics, nil
}

const (
	typePrometheus    = "Prometheus"
	typeOpenTelemetry = "OpenTelemetry"

	defaultInterval = time.Minute
	// minInterval keeps a slip of the pen from keeping a host busy.
	minInterval = time.Second
)

// collectors lists the OpenTelemetry backends. What cannot be used is told and
// left out, so that it does not cost the others.
func (d *Document) collectors() (list []collector, problems []error) {
	seen := map[string]bool{}
	for _, b := range d.Backends {
		switch {
		case b.Type == typePrometheus:
			continue // Envoy's listener comes to us
		case b.Type != typeOpenTelemetry || b.OpenTelemetry == nil:
			problems = append(problems, fmt.Errorf("backend %q: type %q is not known here; is this kuma-dp older than the control plane?", b.Name, b.Type))
			continue
		case !filepath.IsAbs(b.OpenTelemetry.Endpoint):
			problems = append(problems, fmt.Errorf("backend %q: %q is no absolute path of a socket", b.Name, b.OpenTelemetry.Endpoint))
			continue
		case seen[b.Name]:
			continue
		}
		seen[b.Name] = true
		c := collector{name: b.Name, socket: b.OpenTelemetry.Endpoint, interval: defaultInterval}
		if text := b.OpenTelemetry.RefreshInterval; text != "" {
			interval, err := time.ParseDuration(text)
			if err != nil || interval < minInterval {
				problems = append(problems, fmt.Errorf("backend %q: refreshInterval %q is no duration of at least %s; taking %s", b.Name, text, minInterval, defaultInterval))
			} else {
				c.interval = interval
			}
		}
		list = append(list, c)
	}
	return list, problems
}
