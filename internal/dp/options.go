package dp

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"
)

// Option is one setting: its flag, its variable, or both.
type Option struct {
	// Flag is the long name; empty if there is none.
	Flag string
	// Short is the one-letter name of the flag.
	Short string
	// Env is the variable; empty if there is none.
	Env string

	flag *pflag.Flag
}

// Options lists all settings of c and binds them to it. The list is the only
// place that knows the names.
func Options(c *Config) []Option {
	b := binder{fs: pflag.NewFlagSet("kuma-dp", pflag.ContinueOnError)}
	cp, dp, rt, dns := &c.ControlPlane, &c.Dataplane, &c.Runtime, &c.DNS

	b.add("cp-address", "KUMA_CONTROL_PLANE_URL", "URL of the data plane server of the control plane").string(&cp.URL)
	b.add("ca-cert-file", "KUMA_CONTROL_PLANE_CA_CERT_FILE", "PEM file with the CA that signed the control plane's certificate; without it the host's trusted CAs are used").string(&cp.CACertFile)
	b.add("", "KUMA_CONTROL_PLANE_CA_CERT", "the same as PEM text; wins over the file").string(&cp.CACert)
	b.add("ca-cert-pin-file", "KUMA_CONTROL_PLANE_CA_CERT_PIN_FILE", "trust the certificate that the control plane shows at first contact, keep it in this file, and from then on accept no other").string(&cp.CACertPinFile)
	b.add("skip-verify", "KUMA_CONTROL_PLANE_TLS_SKIP_VERIFY", "INSECURE: talk to whoever answers at the address of the control plane, without verifying its certificate").bool(&cp.SkipVerify)
	b.add("", "KUMA_CONTROL_PLANE_RETRY_BACKOFF", "pause between two attempts to reach the control plane").duration(&cp.Retry.Backoff)
	b.add("", "KUMA_CONTROL_PLANE_RETRY_MAX_DURATION", "time after which the attempts end").duration(&cp.Retry.MaxDuration)

	b.add("mesh", "KUMA_DATAPLANE_MESH", "mesh that the proxy belongs to").string(&dp.Mesh)
	b.add("name", "KUMA_DATAPLANE_NAME", "name of the proxy").string(&dp.Name)
	b.add("proxy-type", "KUMA_DATAPLANE_PROXY_TYPE", "kind of proxy: dataplane, ingress or egress").string(&dp.ProxyType)
	b.add("drain-time", "KUMA_DATAPLANE_DRAIN_TIME", "how long clients get to leave at shutdown").duration(&dp.DrainTime)
	b.add("drain-idle-time", "KUMA_DATAPLANE_DRAIN_IDLE_TIME", "end draining early once no connection was open for so long, at the earliest after half the drain time; 0 always waits for the whole drain time").duration(&dp.DrainIdleTime)
	b.add("", "KUMA_READINESS_PORT", "loopback port of /ready; 0 turns it off").uint16(&dp.ReadinessPort)

	b.add("binary-path", "KUMA_DATAPLANE_RUNTIME_BINARY_PATH", "Envoy to run").string(&rt.BinaryPath)
	b.add("config-dir", "KUMA_DATAPLANE_RUNTIME_CONFIG_DIR", "directory for generated configuration; default is a temporary one").string(&rt.ConfigDir)
	b.add("", "KUMA_DATAPLANE_RUNTIME_SOCKET_DIR", "directory for sockets shared with Envoy; default is a temporary one").string(&rt.SocketDir)
	b.add("concurrency", "KUMA_DATAPLANE_RUNTIME_CONCURRENCY", "number of Envoy's worker threads; 0 follows the CPUs that may be used").uint32(&rt.Concurrency)
	b.add("", "KUMA_DATAPLANE_RUNTIME_ENVOY_XDS_TRANSPORT_PROTOCOL_VARIANT", "how Envoy asks for its configuration: DELTA_GRPC, which sends only what changed, or GRPC; control planes that do not know the first use the second").string(&rt.XDSVariant)
	b.add("dataplane-token-file", "KUMA_DATAPLANE_RUNTIME_TOKEN_PATH", "file with the token of the proxy").string(&rt.TokenPath)
	b.add("dataplane-token", "KUMA_DATAPLANE_RUNTIME_TOKEN", "token of the proxy; a file is safer, as other users of the host can see arguments").string((*string)(&rt.Token))
	b.add("dataplane", "KUMA_DATAPLANE_RUNTIME_RESOURCE", "definition of the proxy, YAML or JSON").string(&rt.Resource)
	b.add("dataplane-file", "KUMA_DATAPLANE_RUNTIME_RESOURCE_PATH", "file with the definition of the proxy, - for standard input").short("d").string(&rt.ResourcePath)
	b.add("dataplane-var", "", "value for a {{ variable }} of the definition, key=value; may be repeated").short("v").stringMap(&rt.ResourceVars)
	b.add("envoy-log-level", "KUMA_DATAPLANE_RUNTIME_ENVOY_LOG_LEVEL", "log level of Envoy: trace, debug, info, warning, error, critical or off; default is that of kuma-dp").string(&rt.EnvoyLogLevel)
	b.add("envoy-component-log-level", "KUMA_DATAPLANE_RUNTIME_ENVOY_COMPONENT_LOG_LEVEL", "log levels of Envoy's components, such as upstream:debug,http:trace").string(&rt.EnvoyComponentLogLevel)
	b.add("", "KUMA_DATAPLANE_RESOURCES_MAX_MEMORY_BYTES", "memory that the proxy may use; 0 asks the cgroup").uint64(&rt.Resources.MaxMemoryBytes)
	b.add("metrics-cert-path", "KUMA_DATAPLANE_RUNTIME_METRICS_CERT_PATH", "certificate of the metrics listener").string(&rt.Metrics.CertPath)
	b.add("metrics-key-path", "KUMA_DATAPLANE_RUNTIME_METRICS_KEY_PATH", "key of the metrics listener").string(&rt.Metrics.KeyPath)
	b.add("", "KUMA_DATAPLANE_RUNTIME_DYNAMIC_CONFIGURATION_REFRESH_INTERVAL", "time between two looks at the settings that change at run time").duration(&rt.DynamicConfiguration.RefreshInterval)
	b.add("", "KUMA_DATAPLANE_RUNTIME_DYNAMIC_SYSTEM_CA_PATH", "bundle of the host's trusted CAs; default is to look at the usual places").string(&rt.SystemCAPath)
	b.add("", "KUMA_DATAPLANE_RUNTIME_IPV6_ENABLED", "use IPv6 if the host has it").bool(&rt.IPv6Enabled)

	b.add("dns-enabled", "KUMA_DNS_ENABLED", "resolve names of the mesh").bool(&dns.Enabled)
	b.add("dns-coredns-port", "KUMA_DNS_CORE_DNS_PORT", "port for DNS queries of applications").uint16(&dns.CoreDNSPort)
	b.add("dns-envoy-port", "KUMA_DNS_ENVOY_DNS_PORT", "port on which Envoy answers names of the mesh").uint16(&dns.EnvoyDNSPort)
	b.add("dns-coredns-path", "KUMA_DNS_CORE_DNS_BINARY_PATH", "external CoreDNS to run; the default \"coredns\" is the one inside kuma-dp").string(&dns.CoreDNSBinaryPath)
	b.add("dns-coredns-config-template-path", "KUMA_DNS_CORE_DNS_CONFIG_TEMPLATE_PATH", "template of the Corefile").string(&dns.CoreDNSConfigTemplatePath)
	b.add("dns-server-config-dir", "KUMA_DNS_CONFIG_DIR", "directory for the Corefile; default is a temporary one").string(&dns.ConfigDir)
	b.add("dns-prometheus-port", "KUMA_DNS_PROMETHEUS_PORT", "loopback port of the DNS server's metrics").uint16(&dns.PrometheusPort)
	b.add("dns-enable-logging", "KUMA_DNS_ENABLE_LOGGING", "log every DNS query").bool(&dns.CoreDNSLogging)

	b.add("", "KUMA_APPLICATION_PROBE_PROXY_PORT", "port for probes of a kubelet; 0 turns it off").uint16(&c.ProbeProxy.Port)

	b.add("application-stop-time", "KUMA_DATAPLANE_APPLICATION_STOP_TIME", "how long the program of COMMAND may take to end before it is killed").duration(&c.Application.StopTime)
	b.add("application-user", "KUMA_DATAPLANE_APPLICATION_USER", "user that COMMAND runs as; with transparent proxying it must not be the user of kuma-dp, whose traffic is not redirected").string(&c.Application.User)
	return b.options
}

// AddFlags adds the options that have a flag to a command's flags.
func AddFlags(fs *pflag.FlagSet, options []Option) {
	for _, o := range options {
		if o.Flag != "" {
			fs.AddFlag(o.flag)
		}
	}
}

// ApplyEnv writes the variables that are set over what flags wrote before. An
// empty value clears a text; for numbers, times and switches, which have no
// empty value, it counts as not set.
func ApplyEnv(options []Option, env map[string]string) error {
	var bad []string
	for _, o := range options {
		text, set := env[o.Env]
		if o.Env == "" || !set || (text == "" && o.flag.Value.Type() != "string") {
			continue
		}
		if err := o.flag.Value.Set(text); err != nil {
			bad = append(bad, fmt.Sprintf("%s=%q is not a %s", o.Env, text, kindOf(o.flag)))
		}
	}
	if len(bad) > 0 {
		return fmt.Errorf("read environment: %s", strings.Join(bad, "; "))
	}
	return nil
}

// kindOf names the type of a flag as a person would.
func kindOf(f *pflag.Flag) string {
	switch f.Value.Type() {
	case "bool":
		return "switch (write true or false)"
	case "duration":
		return "duration (write it like 30s or 5m)"
	case "uint16":
		return "number between 0 and 65535"
	default:
		return "whole number"
	}
}

// binder collects options; each goes through the private flag set once so that
// flags and variables share one parser for each type.
type binder struct {
	fs      *pflag.FlagSet
	options []Option
}

type binding struct {
	b      *binder
	option Option
	usage  string
}

func (b *binder) add(flag, env, usage string) *binding {
	if flag != "" && env != "" {
		usage += " (" + env + ")"
	}
	return &binding{b: b, option: Option{Flag: flag, Env: env}, usage: usage}
}

func (n *binding) short(s string) *binding {
	n.option.Short = s
	return n
}

// name is what the private flag set calls the option.
func (n *binding) name() string {
	if n.option.Flag != "" {
		return n.option.Flag
	}
	return n.option.Env
}

func (n *binding) done() {
	n.option.flag = n.b.fs.Lookup(n.name())
	n.option.flag.Shorthand = n.option.Short
	n.b.options = append(n.b.options, n.option)
}

func (n *binding) string(p *string) {
	n.b.fs.StringVar(p, n.name(), *p, n.usage)
	n.done()
}

func (n *binding) bool(p *bool) {
	n.b.fs.BoolVar(p, n.name(), *p, n.usage)
	n.done()
}

func (n *binding) uint16(p *uint16) {
	n.b.fs.Uint16Var(p, n.name(), *p, n.usage)
	n.done()
}

func (n *binding) uint32(p *uint32) {
	n.b.fs.Uint32Var(p, n.name(), *p, n.usage)
	n.done()
}

func (n *binding) uint64(p *uint64) {
	n.b.fs.Uint64Var(p, n.name(), *p, n.usage)
	n.done()
}

func (n *binding) stringMap(p *map[string]string) {
	n.b.fs.StringToStringVar(p, n.name(), *p, n.usage)
	n.done()
}

func (n *binding) duration(p *Duration) {
	n.b.fs.DurationVar(&p.Duration, n.name(), p.Duration, n.usage)
	n.done()
}
