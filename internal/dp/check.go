package dp

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// Complete fills in what is derived from the environment rather than set.
func (c *Config) Complete(env map[string]string) {
	pod, namespace := env["POD_NAME"], env["POD_NAMESPACE"]
	// A name with one of these characters is a $(REFERENCE) to another
	// variable that Kubernetes did not expand.
	unusable := c.Dataplane.Name == "" || strings.ContainsAny(c.Dataplane.Name, "$(){}")
	if unusable && pod != "" && namespace != "" && !c.hasDefinition() {
		c.Dataplane.Name = pod + "." + namespace
	}
}

// Check returns one error that names every setting that cannot work.
func (c *Config) Check() error {
	var p problems
	c.checkControlPlane(&p)
	c.checkDataplane(&p)
	if c.Runtime.BinaryPath == "" {
		p.add("--binary-path", "KUMA_DATAPLANE_RUNTIME_BINARY_PATH", "must name the Envoy to run")
	}
	if v := c.Runtime.XDSVariant; v != XDSDelta && v != XDSFull {
		p.add("", "KUMA_DATAPLANE_RUNTIME_ENVOY_XDS_TRANSPORT_PROTOCOL_VARIANT", fmt.Sprintf("must be %s or %s, not %q", XDSDelta, XDSFull, v))
	}
	if c.DNS.Enabled && c.DNS.CoreDNSBinaryPath == "" {
		p.add("--dns-coredns-path", "KUMA_DNS_CORE_DNS_BINARY_PATH", `must not be empty: write "coredns" for the DNS server inside kuma-dp, or turn DNS off with --dns-enabled=false`)
	}
	if c.Runtime.DynamicConfiguration.RefreshInterval.Duration <= 0 {
		p.add("", "KUMA_DATAPLANE_RUNTIME_DYNAMIC_CONFIGURATION_REFRESH_INTERVAL", "must be longer than zero, such as 10s")
	}
	c.checkApplication(&p)
	return p.err()
}

func (c *Config) checkApplication(p *problems) {
	a := &c.Application
	if a.StopTime.Duration <= 0 {
		p.add("--application-stop-time", "KUMA_DATAPLANE_APPLICATION_STOP_TIME", "must be longer than zero, such as 10s")
	}
	if a.User != "" && len(a.Command) == 0 {
		p.add("--application-user", "KUMA_DATAPLANE_APPLICATION_USER", "needs a command: kuma-dp run … -- COMMAND")
	}
	if len(a.Command) > 0 && c.isZoneProxy() {
		p.add("COMMAND", "", "makes no sense for a zone proxy, which has no application")
	}
}

func (c *Config) checkControlPlane(p *problems) {
	cp := &c.ControlPlane
	if cp.Retry.Backoff.Duration <= 0 {
		p.add("", "KUMA_CONTROL_PLANE_RETRY_BACKOFF", "must be longer than zero, such as 3s")
	}
	if cp.Retry.MaxDuration.Duration <= 0 {
		p.add("", "KUMA_CONTROL_PLANE_RETRY_MAX_DURATION", "must be longer than zero, such as 5m")
	}
	u, err := url.Parse(cp.URL)
	switch {
	case err != nil || u.Host == "":
		p.add("--cp-address", "KUMA_CONTROL_PLANE_URL", fmt.Sprintf("%q is no URL: write it like https://control-plane.example:5678", redactURL(cp.URL)))
	case u.Scheme != "https" && u.Scheme != "http":
		p.add("--cp-address", "KUMA_CONTROL_PLANE_URL", fmt.Sprintf("must start with https://, not %s://", u.Scheme))
	case u.User != nil:
		p.add("--cp-address", "KUMA_CONTROL_PLANE_URL", "must not hold a user or password: a proxy proves itself with its token")
	}
	if cp.CACertPinFile != "" && (cp.CACert != "" || cp.CACertFile != "") {
		p.add("--ca-cert-pin-file", "KUMA_CONTROL_PLANE_CA_CERT_PIN_FILE", "cannot be combined with a CA: the CA already says whom to trust")
	}
	if cp.CACertPinFile != "" && cp.SkipVerify {
		p.add("--ca-cert-pin-file", "KUMA_CONTROL_PLANE_CA_CERT_PIN_FILE", "cannot be combined with --skip-verify, which would ignore it")
	}
}

// redactURL keeps a password in a mistyped URL out of the message.
func redactURL(raw string) string {
	if at := strings.LastIndex(raw, "@"); at >= 0 {
		return "…@" + raw[at+1:]
	}
	return raw
}

func (c *Config) checkDataplane(p *problems) {
	dp := &c.Dataplane
	if dp.DrainTime.Duration <= 0 {
		p.add("--drain-time", "KUMA_DATAPLANE_DRAIN_TIME", "must be longer than zero, such as 30s")
	}
	if dp.DrainIdleTime.Duration < 0 {
		p.add("--drain-idle-time", "KUMA_DATAPLANE_DRAIN_IDLE_TIME", "must not be negative; 0 turns it off")
	}
	if !slices.Contains([]string{typeDataplane, typeIngress, typeEgress}, dp.ProxyType) {
		p.add("--proxy-type", "KUMA_DATAPLANE_PROXY_TYPE", fmt.Sprintf("%q is no type of proxy: choose dataplane, ingress or egress%s", dp.ProxyType, gatewayHint(dp.ProxyType)))
	}
	if c.hasDefinition() {
		if dp.Name != "" || dp.Mesh != "" {
			p.add("--name and --mesh", "KUMA_DATAPLANE_NAME, KUMA_DATAPLANE_MESH", "must be empty when a definition is given, which already says both")
		}
		return
	}
	if dp.Name == "" {
		p.add("--name", "KUMA_DATAPLANE_NAME", "must not be empty: name the proxy, or give its definition with --dataplane-file")
	}
	if strings.ContainsRune(dp.Name, '/') {
		p.add("--name", "KUMA_DATAPLANE_NAME", "must not contain a slash")
	}
	if dp.Mesh == "" && !c.isZoneProxy() {
		p.add("--mesh", "KUMA_DATAPLANE_MESH", "must not be empty: name the mesh, or give the proxy's definition with --dataplane-file")
	}
}

func gatewayHint(proxyType string) string {
	if proxyType == "gateway" {
		return " (a gateway is a dataplane whose definition has networking.gateway)"
	}
	return ""
}

// problems collects what is wrong so that a person mends all of it at once.
type problems []string

func (p *problems) add(flag, env, text string) {
	where := flag
	switch {
	case flag == "":
		where = env
	case env != "":
		where = flag + " (" + env + ")"
	}
	*p = append(*p, where+" "+text)
}

func (p problems) err() error {
	if len(p) == 0 {
		return nil
	}
	return fmt.Errorf("check settings: %s", strings.Join(p, "; "))
}
