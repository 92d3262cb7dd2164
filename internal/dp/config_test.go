package dp

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
)

// parse does what the command does with flags and variables.
func parse(t *testing.T, env map[string]string, args ...string) (Config, error) {
	t.Helper()
	c := DefaultConfig()
	options := Options(&c)
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	AddFlags(fs, options)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	if err := ApplyEnv(options, env); err != nil {
		return c, err
	}
	c.Complete(env)
	return c, c.Check()
}

func TestDefaults(t *testing.T) {
	c, err := parse(t, nil, "--name=a", "--mesh=m")
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(c.Redacted()), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"controlPlane": map[string]any{"url": "https://localhost:5678", "caCertFile": "", "retry": map[string]any{"backoff": "3s", "maxDuration": "5m0s"}},
		"application":  map[string]any{"stopTime": "10s", "user": ""},
		"dataplane":    map[string]any{"mesh": "m", "name": "a", "proxyType": "dataplane", "drainTime": "30s", "drainIdleTime": "0s", "readinessPort": 9902.0},
		"dataplaneRuntime": map[string]any{
			"binaryPath": "envoy", "configDir": "", "socketDir": "", "concurrency": 0.0, "dataplaneTokenPath": "", "dataplaneToken": "",
			"resource": "", "resourcePath": "", "resourceVars": map[string]any{}, "envoyLogLevel": "", "envoyComponentLogLevel": "", "envoyXdsTransportProtocolVariant": "DELTA_GRPC",
			"resources": map[string]any{"maxMemoryBytes": 0.0}, "metrics": map[string]any{"metricsCertPath": "", "metricsKeyPath": ""},
			"dynamicConfiguration": map[string]any{"refreshInterval": "10s"}, "systemCaPath": "", "IPv6Enabled": true,
		},
		"dns": map[string]any{
			"enabled": true, "coreDnsPort": 15053.0, "envoyDnsPort": 15054.0, "coreDnsBinaryPath": "coredns", "coreDnsConfigTemplatePath": "",
			"configDir": "", "prometheusPort": 19153.0, "coreDNSLogging": false,
		},
		"applicationProbeProxyServer": map[string]any{"port": 0.0},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestVariablesBeatFlags(t *testing.T) {
	c, err := parse(t, map[string]string{
		"KUMA_DATAPLANE_NAME": "env", "KUMA_DATAPLANE_DRAIN_TIME": "7s", "KUMA_DNS_ENABLED": "false", "KUMA_READINESS_PORT": "0",
		"KUMA_DATAPLANE_RUNTIME_CONCURRENCY": "", "KUMA_DATAPLANE_RUNTIME_CONFIG_DIR": "",
	}, "--name=flag", "--mesh=m", "--drain-time=1s", "--concurrency=3", "--config-dir=/x", "-v", "a=1,b=2", "-v", "c.d=3")
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprint(c.Dataplane.Name, " ", c.Dataplane.DrainTime, c.DNS.Enabled, c.Dataplane.ReadinessPort, c.Runtime.Concurrency, c.Runtime.ConfigDir == "", c.Runtime.ResourceVars)
	if want := "env 7s false 0 3 true map[a:1 b:2 c.d:3]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestEveryVariableIsReadable(t *testing.T) {
	c := DefaultConfig()
	for _, o := range Options(&c) {
		if o.Env == "" {
			continue
		}
		text := map[string]string{"string": "x", "bool": "true", "duration": "1s"}[o.flag.Value.Type()]
		if text == "" {
			text = "1"
		}
		if err := ApplyEnv([]Option{o}, map[string]string{o.Env: text}); err != nil {
			t.Errorf("%s: %v", o.Env, err)
		}
		if got := o.flag.Value.String(); got != text {
			t.Errorf("%s: %s, want %s", o.Env, got, text)
		}
		if o.flag.Value.Type() != "string" {
			if err := ApplyEnv([]Option{o}, map[string]string{o.Env: "what"}); err == nil || !strings.Contains(err.Error(), o.Env) {
				t.Errorf("%s accepts nonsense: %v", o.Env, err)
			}
		}
	}
}

func TestNameFromPod(t *testing.T) {
	pod := map[string]string{"POD_NAME": "web-0", "POD_NAMESPACE": "shop"}
	for name, want := range map[string]string{"": "web-0.shop", "$(POD_NAME).$(POD_NAMESPACE)": "web-0.shop", "own": "own"} {
		c, err := parse(t, pod, "--mesh=m", "--name="+name)
		if err != nil || c.Dataplane.Name != want {
			t.Errorf("%q: %q, %v", name, c.Dataplane.Name, err)
		}
	}
	if _, err := parse(t, map[string]string{"POD_NAME": "web-0"}, "--mesh=m"); err == nil {
		t.Error("a name was made up without a namespace")
	}
}

func TestCheckNamesEverything(t *testing.T) {
	for name, tc := range map[string]struct {
		env  map[string]string
		args []string
		want []string
	}{
		"nothing":         {nil, nil, []string{"--name", "--mesh"}},
		"zone proxy":      {nil, []string{"--proxy-type=egress"}, []string{"--name"}},
		"definition":      {nil, []string{"--dataplane=x", "--name=a"}, []string{"must be empty"}},
		"drain time":      {nil, []string{"--name=a", "--mesh=m", "--drain-time=0s", "--drain-idle-time=-1s"}, []string{"--drain-time", "--drain-idle-time"}},
		"retry":           {map[string]string{"KUMA_CONTROL_PLANE_RETRY_BACKOFF": "0s", "KUMA_CONTROL_PLANE_RETRY_MAX_DURATION": "-1s"}, []string{"--name=a", "--mesh=m"}, []string{"RETRY_BACKOFF", "RETRY_MAX_DURATION"}},
		"URL":             {nil, []string{"--name=a", "--mesh=m", "--cp-address=localhost:5678"}, []string{"--cp-address"}},
		"scheme":          {nil, []string{"--name=a", "--mesh=m", "--cp-address=grpc://localhost:5678"}, []string{"https://"}},
		"pin and CA":      {nil, []string{"--name=a", "--mesh=m", "--ca-cert-file=x", "--ca-cert-pin-file=y"}, []string{"--ca-cert-pin-file"}},
		"pin and skip":    {nil, []string{"--name=a", "--mesh=m", "--skip-verify", "--ca-cert-pin-file=y"}, []string{"--skip-verify"}},
		"binary":          {nil, []string{"--name=a", "--mesh=m", "--binary-path=", "--dns-coredns-path="}, []string{"--binary-path", "--dns-coredns-path"}},
		"type":            {nil, []string{"--name=a", "--mesh=m", "--proxy-type=x"}, []string{"--proxy-type"}},
		"path in name":    {nil, []string{"--name=../a", "--mesh=m"}, []string{"--name"}},
		"refresh":         {map[string]string{"KUMA_DATAPLANE_RUNTIME_DYNAMIC_CONFIGURATION_REFRESH_INTERVAL": "0s"}, []string{"--name=a", "--mesh=m"}, []string{"REFRESH_INTERVAL"}},
		"user in URL":     {nil, []string{"--name=a", "--mesh=m", "--cp-address=https://user:hunter2@cp:5678"}, []string{"user or password"}},
		"password in URL": {nil, []string{"--name=a", "--mesh=m", "--cp-address=user:hunter2@cp:5678"}, []string{"--cp-address"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parse(t, tc.env, tc.args...)
			if err == nil {
				t.Fatal("accepted")
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Error("the password is shown")
			}
		})
	}
}

func TestSecretsAreNotPrinted(t *testing.T) {
	c, err := parse(t, nil, "--name=a", "--mesh=m", "--dataplane-token=hunter2")
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{c.Redacted(), fmt.Sprint(c), fmt.Sprintf("%+v", c.Runtime), fmt.Sprintf("%#v", c.Runtime)} {
		if strings.Contains(text, "hunter2") {
			t.Errorf("secret in %s", text)
		}
	}
	if !strings.Contains(c.Redacted(), `"dataplaneToken":"[redacted]"`) {
		t.Error("it is not told that there is a token")
	}
}

func TestMisspelt(t *testing.T) {
	c := DefaultConfig()
	got := Misspelt(Options(&c), map[string]string{
		"KUMA_DATAPLANE_NAME":               "",
		"KUMA_DATAPLAN_NAME":                "",
		"KUMA_DATAPLANE_RUNTIME_TOKN":       "",
		"KUMA_DNS_COREDNS_PORT":             "",
		"kuma_dataplane_mesh":               "",
		"KUMA_RUNTIME_DATAPLANE_TOKEN_PATH": "",
		// of Kubernetes, of another program, of nobody
		"KUMA_CONTROL_PLANE_PORT":               "tcp://10.0.0.1:5678",
		"KUMA_CONTROL_PLANE_PORT_5678_TCP":      "",
		"KUMA_CONTROL_PLANE_PORT_5678_TCP_ADDR": "",
		"KUMA_CONTROL_PLANE_SERVICE_HOST":       "",
		"KUMA_CONTROL_PLANE_SERVICE_PORT_HTTP":  "",
		"KUMA_STORE_TYPE":                       "",
		"HOME":                                  "",
	})
	want := map[string]string{
		"KUMA_DATAPLAN_NAME":                "KUMA_DATAPLANE_NAME",
		"KUMA_DATAPLANE_RUNTIME_TOKN":       "KUMA_DATAPLANE_RUNTIME_TOKEN",
		"KUMA_DNS_COREDNS_PORT":             "KUMA_DNS_CORE_DNS_PORT",
		"kuma_dataplane_mesh":               "KUMA_DATAPLANE_MESH",
		"KUMA_RUNTIME_DATAPLANE_TOKEN_PATH": "KUMA_DATAPLANE_RUNTIME_TOKEN_PATH",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
