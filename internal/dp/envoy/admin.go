package envoy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Document is the little that kuma-dp itself reads from a bootstrap document.
type Document struct {
	// AdminAddress is where to reach the admin interface; loopback.
	AdminAddress string
	// AdminPort is zero when there is no admin interface.
	AdminPort uint16
	// NodeID is <mesh>.<name>.
	NodeID string
	// Cluster is the service that the proxy belongs to.
	Cluster string
	// HealthDiscovery reports whether Envoy checks workloads for the control
	// plane.
	HealthDiscovery bool
}

// ReadDocument reads a bootstrap document, in YAML or JSON and in either
// spelling of field names.
func ReadDocument(text []byte) (Document, error) {
	type socket struct {
		Address    string `yaml:"address"`
		PortValue  uint16 `yaml:"portValue"`
		PortValue2 uint16 `yaml:"port_value"`
	}
	var raw struct {
		Node struct {
			ID      string `yaml:"id"`
			Cluster string `yaml:"cluster"`
		} `yaml:"node"`
		Admin struct {
			Address struct {
				Socket  socket `yaml:"socketAddress"`
				Socket2 socket `yaml:"socket_address"`
			} `yaml:"address"`
		} `yaml:"admin"`
		HDS  map[string]any `yaml:"hdsConfig"`
		HDS2 map[string]any `yaml:"hds_config"`
	}
	if err := yaml.NewDecoder(bytes.NewReader(text)).Decode(&raw); err != nil && !errors.Is(err, io.EOF) {
		return Document{}, fmt.Errorf("read bootstrap document: %w", err)
	}
	s := raw.Admin.Address.Socket
	if s == (socket{}) {
		s = raw.Admin.Address.Socket2
	}
	return Document{
		AdminAddress: reachable(s.Address),
		AdminPort:    max(s.PortValue, s.PortValue2),
		NodeID:       raw.Node.ID,
		Cluster:      raw.Node.Cluster,

		HealthDiscovery: raw.HDS != nil || raw.HDS2 != nil,
	}, nil
}

// reachable turns an address to listen on into one to connect to.
func reachable(address string) string {
	switch address {
	case "", "0.0.0.0":
		return "127.0.0.1"
	case "::":
		return "::1"
	default:
		return address
	}
}

// Admin asks the admin interface of the Envoy of this host.
type Admin struct {
	base string
	http *http.Client
}

// NewAdmin returns a client of the admin interface that d describes; nil if
// there is none.
func NewAdmin(d Document) *Admin {
	if d.AdminPort == 0 {
		return nil
	}
	return &Admin{
		base: "http://" + net.JoinHostPort(d.AdminAddress, strconv.Itoa(int(d.AdminPort))),
		http: &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 1, IdleConnTimeout: 10 * time.Second}},
	}
}

// Ready reports whether Envoy has its first configuration and serves.
func (a *Admin) Ready(ctx context.Context) bool {
	_, err := a.do(ctx, http.MethodGet, "/ready")
	return err == nil
}

// FailHealthCheck makes Envoy ask its clients to leave: it answers with
// "connection: close" or GOAWAY and reports itself as unhealthy.
func (a *Admin) FailHealthCheck(ctx context.Context) error {
	_, err := a.do(ctx, http.MethodPost, "/healthcheck/fail")
	return err
}

// DrainInbound closes the inbound listeners gracefully; Envoy keeps running.
func (a *Admin) DrainInbound(ctx context.Context) error {
	_, err := a.do(ctx, http.MethodPost, "/drain_listeners?inboundonly&graceful&skip_exit")
	return err
}

// Activity counts connections from clients, without those of the admin
// interface and of kuma-dp's own checks.
type Activity struct {
	// Active connections now.
	Active uint64
	// Total connections since the start.
	Total uint64
}

// Activity asks for the connections of all listeners.
func (a *Admin) Activity(ctx context.Context) (Activity, error) {
	filter := url.QueryEscape(`^listener\..*\.downstream_cx_(active|total)$`)
	body, err := a.do(ctx, http.MethodGet, "/stats?format=json&filter="+filter)
	if err != nil {
		return Activity{}, err
	}
	var answer struct {
		Stats []struct {
			Name  string `json:"name"`
			Value uint64 `json:"value"`
		} `json:"stats"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return Activity{}, fmt.Errorf("read Envoy's statistics: %w", err)
	}
	var sum Activity
	for _, s := range answer.Stats {
		if !countsAsClient(s.Name) {
			continue
		}
		if strings.HasSuffix(s.Name, "_active") {
			sum.Active += s.Value
		} else {
			sum.Total += s.Value
		}
	}
	return sum, nil
}

// countsAsClient leaves out listeners that health checks and scrapers use, and
// the counters of single workers, which are part of the others.
func countsAsClient(stat string) bool {
	for _, own := range []string{"listener.admin.", "listener.kuma_envoy_admin.", "listener.kuma_metrics_prometheus.", "listener._kuma"} {
		if strings.HasPrefix(stat, own) {
			return false
		}
	}
	return !strings.Contains(stat, ".worker_")
}

func (a *Admin) do(ctx context.Context, method, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, a.base+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask Envoy's admin interface: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err != nil {
		return nil, fmt.Errorf("read from Envoy's admin interface: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("ask Envoy's admin interface for %s: status %d", path, resp.StatusCode)
	}
	return body, nil
}
