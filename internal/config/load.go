package config

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"weft/internal/config/loader"
	"weft/internal/mesh/model"
)

// prefix of all variables.
const prefix = "KUMA_"

// envAliases are names that stand in published samples although 2.10 never read them.
var envAliases = map[string]string{
	"KUMA_STORE_POSTGRES_TLS_ROOT_CERT_PATH":     "KUMA_STORE_POSTGRES_TLS_CA_PATH",
	"KUMA_API_SERVER_HTTPS_CLIENT_CERTS_CA_FILE": "KUMA_API_SERVER_HTTPS_TLS_CA_FILE",
	"KUMA_DNS_SERVICE_SERVICE_VIP_PORT":          "KUMA_DNS_SERVER_SERVICE_VIP_PORT",
	"KUMA_DNS_SERVICE_VIP_PORT":                  "KUMA_DNS_SERVER_SERVICE_VIP_PORT",
}

// Load reads settings: the defaults, overlaid with the file (YAML or JSON; "" =
// none), overlaid with the variables in environ (as os.Environ returns them). The
// warnings are sentences for the log: keys and variables that nothing reads,
// deprecated settings, settings that give up safety. The error lists everything
// that is wrong with the settings at once.
func Load(file string, environ []string) (c *Config, warnings []string, err error) {
	text, err := readFile(file)
	if err != nil {
		return nil, nil, err
	}
	c = Default()
	res, err := loader.Load(c, loader.Options{
		File: text, Environ: environ, Prefix: prefix, EnvAliases: envAliases, Foreign: foreign(environ),
	})
	bad := &model.Violations{}
	if invalid := (*model.Invalid)(nil); errors.As(err, &invalid) {
		for _, v := range invalid.Violations {
			bad.At(v.Field).Add("%s", v.Message)
		}
	} else if err != nil {
		return nil, nil, fmt.Errorf("configuration file %s: %w", file, err)
	}
	if res != nil {
		c.set, warnings = res.Set, res.Warnings
	}
	warnings = append(warnings, c.adopt()...)
	c.validate(bad)
	if !bad.Empty() {
		return nil, warnings, &Invalid{Violations: distinct(bad.List())}
	}
	return c, append(warnings, c.risks()...), nil
}

func readFile(name string) ([]byte, error) {
	if name == "" {
		return nil, nil
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("read configuration file: %w", err)
	}
	return text, nil
}

// distinct keeps the first violation of each field: a value that cannot be read
// must not be reported again because its default is wrong, too.
func distinct(list []model.Violation) []model.Violation {
	seen := map[string]bool{}
	return slices.DeleteFunc(list, func(v model.Violation) bool {
		twice := seen[v.Field]
		seen[v.Field] = true
		return twice
	})
}

// Invalid is the error for settings that cannot be used.
type Invalid struct{ Violations []model.Violation }

// Error lists all violations, each with the key and the variable.
func (e *Invalid) Error() string {
	vars := map[string]string{}
	for _, f := range loader.Fields(new(Config), prefix) {
		vars[f.Path] = f.Env
	}
	var b strings.Builder
	b.WriteString("the configuration cannot be used:")
	for _, v := range e.Violations {
		fmt.Fprintf(&b, "\n  %s", v.Field)
		if env := vars[v.Field]; env != "" && !strings.Contains(v.Message, env) {
			fmt.Fprintf(&b, " (%s)", env)
		}
		fmt.Fprintf(&b, ": %s", v.Message)
	}
	return b.String()
}

// foreign returns a function that recognises KUMA_* variables which are not
// meant for kuma-cp, so that they are not reported as mistakes.
func foreign(environ []string) func(string) bool {
	var services []string // Kubernetes puts KUMA_CONTROL_PLANE_SERVICE_HOST and the like into every pod
	for _, e := range environ {
		name, _, _ := strings.Cut(e, "=")
		if s, ok := strings.CutSuffix(name, "_SERVICE_HOST"); ok {
			services = append(services, s)
		}
	}
	return func(name string) bool {
		for _, s := range services {
			if strings.HasPrefix(name, s+"_SERVICE_") || name == s+"_PORT" || strings.HasPrefix(name, s+"_PORT_") {
				return true
			}
		}
		return slices.ContainsFunc(foreignPrefixes, func(p string) bool { return strings.HasPrefix(name, p) })
	}
}

// foreignPrefixes of variables for kuma-dp, the transparent proxy and kuma-cp's
// own flags, which may well be set on the same machine.
var foreignPrefixes = []string{
	"KUMA_DATAPLANE_", "KUMA_CONTROL_PLANE_", "KUMA_TRANSPARENT_PROXY_", "KUMA_LOG_",
	"KUMA_DNS_ENABLE", "KUMA_DNS_CORE_DNS_", "KUMA_DNS_ENVOY_DNS_", "KUMA_DNS_CONFIG_DIR", "KUMA_DNS_PROXY_PORT", "KUMA_DNS_PROMETHEUS_PORT",
	"KUMA_READINESS_PORT", "KUMA_APPLICATION_PROBE_PROXY_PORT",
}
