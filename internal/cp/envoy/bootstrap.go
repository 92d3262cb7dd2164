package envoy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	accesslog "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	bootstrap "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	metrics "github.com/envoyproxy/go-control-plane/envoy/config/metrics/v3"
	filelog "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	re2 "github.com/envoyproxy/go-control-plane/envoy/extensions/regex_engines/v3"
	matcher "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"

	"weft/internal/mesh/ir"
)

// BootstrapParams are what a proxy's bootstrap document depends on.
type BootstrapParams struct {
	Mesh, Name string // Mesh is empty for zone proxies
	ProxyType  ir.ProxyType
	// Service becomes the node's cluster: the identifying service, or the proxy
	// type of zone proxies.
	Service string
	// BuiltinGateway adds runtime discovery and overload protection.
	BuiltinGateway bool

	AdminAddress   string
	AdminPort      uint32 // 0 = no admin endpoint
	AdminAccessLog string
	DNSPort        uint32
	ReadinessPort  uint32
	AppProbeProxy  bool
	// Resource is the proxy's own object, if it registers itself.
	Resource        string
	DynamicMetadata map[string]string
	KumaDP          DPVersion
	Envoy           ProxyVersion
	Features        []string
	WorkDir         string
	MetricsCert     string
	MetricsKey      string
	SystemCAPath    string
	IPv6            bool

	Control ControlPlane
	// HDS makes the proxy report the health of its workload.
	HDS bool
	// MaxHeapBytes and MaxConnections protect builtin gateways; 0 = no memory
	// limit, and the default number of connections.
	MaxHeapBytes, MaxConnections uint64
}

// DPVersion is the version of kuma-dp.
type DPVersion struct {
	Version   string `json:"version,omitempty"`
	GitTag    string `json:"gitTag,omitempty"`
	GitCommit string `json:"gitCommit,omitempty"`
	BuildDate string `json:"buildDate,omitempty"`
}

// ProxyVersion is the version of Envoy.
type ProxyVersion struct {
	Version    string `json:"version,omitempty"`
	Build      string `json:"build,omitempty"`
	Compatible bool   `json:"kumaDpCompatible,omitempty"`
}

// Bootstrap returns the document that Envoy starts with, in YAML.
func Bootstrap(p BootstrapParams) ([]byte, error) {
	b, err := bootstrapOf(p)
	if err != nil {
		return nil, fmt.Errorf("make bootstrap of %s: %w", nodeID(p), err)
	}
	if err := b.Validate(); err != nil {
		return nil, fmt.Errorf("make bootstrap of %s: %w", nodeID(p), err)
	}
	doc, err := toYAML(b)
	if err != nil {
		return nil, fmt.Errorf("print bootstrap of %s: %w", nodeID(p), err)
	}
	return doc, nil
}

// toYAML prints a message in the names of its JSON form.
func toYAML(m message) ([]byte, error) {
	raw, err := protojson.Marshal(m)
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var tree any
	if err := d.Decode(&tree); err != nil {
		return nil, err
	}
	return yaml.Marshal(exactNumbers(tree))
}

// exactNumbers turns numbers into Go's, whole ones into integers, so that YAML
// does not write them with an exponent.
func exactNumbers(tree any) any {
	switch v := tree.(type) {
	case map[string]any:
		for k, e := range v {
			v[k] = exactNumbers(e)
		}
	case []any:
		for i, e := range v {
			v[i] = exactNumbers(e)
		}
	case json.Number:
		f, err := v.Float64()
		if err != nil {
			return v.String()
		}
		if f == math.Trunc(f) && math.Abs(f) < 1<<53 {
			return int64(f)
		}
		return f
	}
	return tree
}

func nodeID(p BootstrapParams) string { return p.Mesh + "." + p.Name }

// FeatureDelta is what a kuma-dp says that lets its Envoy ask for differences
// (delta xDS) instead of whole lists; the name is that of later 2.x releases.
const FeatureDelta = "feature-delta-grpc"

// What our kuma-dp says about an Envoy that it knows; others do not get it, since
// an Envoy that does not know a field or a filter does not start.
const (
	// FeatureTokenSecret: it can read the proxy's token from a file and put it into
	// requests by itself (credential injector), so that no dump of its configuration
	// shows it.
	FeatureTokenSecret = "feature-token-secret"
	// FeatureReconnectBackoff: the pauses between attempts to connect can be bounded.
	FeatureReconnectBackoff = "feature-reconnect-backoff"
	// FeatureAdminPaths: its administration can be narrowed to paths.
	FeatureAdminPaths = "feature-admin-paths"
)

func bootstrapOf(p BootstrapParams) (*bootstrap.Bootstrap, error) {
	node, err := nodeOf(p)
	if err != nil {
		return nil, err
	}
	engine, err := pack(&re2.GoogleRE2{})
	if err != nil {
		return nil, err
	}
	ads, err := p.Control.apiSource()
	if err != nil {
		return nil, err
	}
	static, err := staticResources(p)
	if err != nil {
		return nil, err
	}
	b := &bootstrap.Bootstrap{
		Node:               node,
		LayeredRuntime:     runtimeLayers(p),
		StatsConfig:        &metrics.StatsConfig{StatsTags: statsTags()},
		DefaultRegexEngine: &core.TypedExtensionConfig{Name: "envoy.regex_engines.google_re2", TypedConfig: engine},
		StaticResources:    static,
		DynamicResources: &bootstrap.Bootstrap_DynamicResources{
			LdsConfig: adsAtStart(), CdsConfig: adsAtStart(), AdsConfig: ads,
		},
	}
	if p.HDS && p.ProxyType == ir.Sidecar {
		b.HdsConfig = ads
	}
	if slices.Contains(p.Features, FeatureDelta) {
		b.DynamicResources.AdsConfig = proto.CloneOf(ads)
		b.DynamicResources.AdsConfig.ApiType = core.ApiConfigSource_DELTA_GRPC
	}
	if p.AdminPort != 0 {
		if b.Admin, err = adminOf(p); err != nil {
			return nil, err
		}
	}
	if p.BuiltinGateway {
		if b.OverloadManager, err = overloadManager(p); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// adsAtStart waits for the control plane as long as it takes.
func adsAtStart() *core.ConfigSource {
	s := adsSource()
	s.InitialFetchTimeout = durationpb.New(0)
	return s
}

func adminOf(p BootstrapParams) (*bootstrap.Admin, error) {
	packed, err := pack(&filelog.FileAccessLog{Path: p.AdminAccessLog})
	if err != nil {
		return nil, fmt.Errorf("admin access log: %w", err)
	}
	admin := &bootstrap.Admin{
		Address: socketAddress(p.AdminAddress, p.AdminPort),
		AccessLog: []*accesslog.AccessLog{{
			Name: "envoy.access_loggers.file", ConfigType: &accesslog.AccessLog_TypedConfig{TypedConfig: packed},
		}},
	}
	if slices.Contains(p.Features, FeatureAdminPaths) {
		admin.AllowPaths = []*matcher.StringMatcher{{
			MatchPattern: &matcher.StringMatcher_SafeRegex{SafeRegex: &matcher.RegexMatcher{Regex: adminPaths}},
		}}
	}
	return admin, nil
}

// adminPaths are the pages of Envoy's administration that people, kuma-dp and the
// control plane use, with their queries. What changes the runtime, writes profiles
// to files or listens in on traffic is not among them.
const adminPaths = `/(|help|ready|server_info|config_dump|init_dump|clusters|listeners|certs|memory|runtime|hot_restart_version` +
	`|stats(/prometheus)?|logging|reset_counters|healthcheck/(ok|fail)|drain_listeners|quitquitquit)(\?.*)?`

// nodeOf is what the proxy tells about itself to the control plane. Ports are
// text there.
func nodeOf(p BootstrapParams) (*core.Node, error) {
	md := map[string]any{
		"dataplane.proxyType": string(p.ProxyType),
		"version":             map[string]any{"kumaDp": p.KumaDP, "envoy": p.Envoy},
		"features":            list0(p.Features),
		"workdir":             p.WorkDir,
		"metricsCertPath":     p.MetricsCert,
		"metricsKeyPath":      p.MetricsKey,
		"systemCaPath":        p.SystemCAPath,
		"ipv6Enabled":         p.IPv6,
	}
	port := func(key string, n uint32) {
		if n != 0 {
			md[key] = strconv.FormatUint(uint64(n), 10)
		}
	}
	port("dataplane.admin.port", p.AdminPort)
	if p.AdminPort != 0 {
		md["dataplane.admin.address"] = p.AdminAddress
	}
	port("dataplane.dns.port", p.DNSPort)
	port("dataplane.readinessReporter.port", p.ReadinessPort)
	if p.AppProbeProxy {
		md["dataplane.appProbeProxy.enabled"] = "true"
	}
	if p.Resource != "" {
		md["dataplane.resource"] = p.Resource
	}
	if len(p.DynamicMetadata) > 0 {
		md["dynamicMetadata"] = p.DynamicMetadata
	}
	raw, err := json.Marshal(md)
	if err != nil {
		return nil, fmt.Errorf("node metadata: %w", err)
	}
	s := &structpb.Struct{}
	if err := protojson.Unmarshal(raw, s); err != nil {
		return nil, fmt.Errorf("node metadata: %w", err)
	}
	return &core.Node{Id: nodeID(p), Cluster: p.Service, Metadata: s}, nil
}

// list0 is a list that prints as [] and not as null.
func list0(l []string) []string {
	if l == nil {
		return []string{}
	}
	return l
}

func runtimeLayers(p BootstrapParams) *bootstrap.LayeredRuntime {
	num := func(f float64) *structpb.Value { return structpb.NewNumberValue(f) }
	out := &bootstrap.LayeredRuntime{Layers: []*bootstrap.RuntimeLayer{{
		Name: "kuma",
		LayerSpecifier: &bootstrap.RuntimeLayer_StaticLayer{StaticLayer: &structpb.Struct{Fields: map[string]*structpb.Value{
			// Regular expressions of any size are accepted, large ones with a warning.
			"re2.max_program_size.error_level": num(math.MaxUint32),
			"re2.max_program_size.warn_level":  num(1000),
		}}},
	}}}
	if p.BuiltinGateway {
		const name = "gateway.listeners"
		out.Layers = append(out.Layers, &bootstrap.RuntimeLayer{
			Name: name,
			LayerSpecifier: &bootstrap.RuntimeLayer_RtdsLayer_{
				RtdsLayer: &bootstrap.RuntimeLayer_RtdsLayer{Name: name, RtdsConfig: adsSource()},
			},
		})
	}
	return out
}

// statsTags turn parts of statistics' names into labels.
func statsTags() []*metrics.TagSpecifier {
	var out []*metrics.TagSpecifier
	for _, t := range [][2]string{
		{"name", `^grpc\.((.+)\.)`},
		{"status", `^grpc.*streams_closed(_([0-9]+))`},
		{"kafka_name", `^kafka(\.(\S*[0-9]))\.`},
		{"kafka_type", `^kafka\..*\.(.*?(?=_duration|$))`},
		{"worker", `(worker_([0-9]+)\.)`},
		{"listener", `((.+?)\.)rbac\.`},
	} {
		out = append(out, &metrics.TagSpecifier{TagName: t[0], TagValue: &metrics.TagSpecifier_Regex{Regex: t[1]}})
	}
	return out
}

// keepaliveTime is how soon a dead control plane is noticed.
const keepaliveTime = 10 * time.Second
