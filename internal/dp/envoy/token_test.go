package envoy

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

const plainDocument = `
node: {id: default.web, metadata: {number: 4294967295, share: 0.5}}
hdsConfig:
  grpcServices: [{envoyGrpc: {clusterName: ads_cluster}, initialMetadata: [{key: authorization, value: SECRET}]}]
dynamicResources:
  adsConfig:
    grpcServices: [{envoyGrpc: {clusterName: ads_cluster}, initialMetadata: [{key: other, value: x}, {key: authorization, value: SECRET}]}]
staticResources:
  clusters:
  - name: ads_cluster
    typedExtensionProtocolOptions:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {"@type": t, explicitHttpConfig: {http2ProtocolOptions: {}}}
  - {name: access_log_sink}
`

const hiddenDocument = `
node: {id: default.web, metadata: {number: 4294967295, share: 0.5}}
hdsConfig:
  grpcServices: [{envoyGrpc: {clusterName: ads_cluster}}]
dynamicResources:
  adsConfig:
    grpcServices: [{envoyGrpc: {clusterName: ads_cluster}, initialMetadata: [{key: other, value: x}]}]
staticResources:
  clusters:
  - name: ads_cluster
    typedExtensionProtocolOptions:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": t
        explicitHttpConfig: {http2ProtocolOptions: {}}
        httpFilters:
        - name: envoy.filters.http.header_mutation
          typedConfig:
            "@type": type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation
            mutations:
              requestMutations: [{append: {header: {key: authorization, value: "%ENVIRONMENT(VARIABLE)%"}, appendAction: OVERWRITE_IF_EXISTS_OR_ADD}}]
        - name: envoy.filters.http.upstream_codec
          typedConfig: {"@type": type.googleapis.com/envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec}
  - {name: access_log_sink}
`

func TestHideToken(t *testing.T) {
	snake := strings.NewReplacer("initialMetadata", "initial_metadata", "envoyGrpc", "envoy_grpc", "clusterName", "cluster_name",
		"staticResources", "static_resources", "typedExtensionProtocolOptions", "typed_extension_protocol_options")
	for name, change := range map[string]func(string) string{"camel": strings.Clone, "snake": snake.Replace} {
		t.Run(name, func(t *testing.T) {
			hidden, variable, err := hideToken([]byte(change(plainDocument)), "SECRET")
			if err != nil || !strings.HasPrefix(variable, tokenVariable) || len(variable) < len(tokenVariable)+20 {
				t.Fatalf("variable %q, %v", variable, err)
			}
			var got, want any
			if err := yaml.Unmarshal([]byte(strings.ReplaceAll(string(hidden), variable, "VARIABLE")), &got); err != nil {
				t.Fatal(err)
			}
			if err := yaml.Unmarshal([]byte(change(hiddenDocument)), &want); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	for name, document := range map[string]string{
		"no token":       strings.ReplaceAll(plainDocument, "SECRET", "other"),
		"token file":     "dynamicResources: {adsConfig: {grpcServices: [{googleGrpc: {}}]}}",
		"no document":    "",
		"token is empty": plainDocument,
	} {
		token := "SECRET"
		if name == "token is empty" {
			token = ""
		}
		if hidden, variable, err := hideToken([]byte(document), token); err != nil || variable != "" || string(hidden) != document {
			t.Errorf("%s: %q %q %v", name, hidden, variable, err)
		}
	}
}

// What cannot be hidden is started as it is, and told.
func TestHideTokenImpossible(t *testing.T) {
	for name, document := range map[string]string{
		"no cluster":   strings.ReplaceAll(plainDocument, "- name: ads_cluster", "- name: other"),
		"elsewhere":    plainDocument + "\nflagsPath: SECRET\n",
		"no document":  "[SECRET",
		"not a map":    "- SECRET",
		"no options":   strings.ReplaceAll(plainDocument, "envoy.extensions.upstreams.http.v3.HttpProtocolOptions", "x"),
		"google's way": strings.ReplaceAll(plainDocument, "envoyGrpc", "googleGrpc"),
	} {
		t.Run(name, func(t *testing.T) {
			if _, _, err := hideToken([]byte(document), "SECRET"); err == nil || strings.Contains(err.Error(), "SECRET") {
				t.Errorf("error %v", err)
			}
			var log strings.Builder
			p, err := Prepare(Options{ConfigDir: t.TempDir(), Bootstrap: []byte(document), Token: "SECRET"}, slog.New(slog.NewTextHandler(&log, nil)))
			if err != nil || p.Env != nil || !strings.Contains(log.String(), "will show the token") {
				t.Errorf("%v, log %s", err, &log)
			}
		})
	}
}

// The documents of a 2.10 control plane can be hidden from, too.
func TestHideTokenRecorded(t *testing.T) {
	files, _ := filepath.Glob("../../../../shared/compat/bootstrap/*/bootstrap.json")
	if len(files) == 0 {
		t.Skip("SKIPPED: no recorded answers beside the checkout")
	}
	found := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var d struct {
			DynamicResources struct {
				AdsConfig struct {
					GrpcServices []struct {
						InitialMetadata []struct{ Key, Value string } `yaml:"initialMetadata"`
					} `yaml:"grpcServices"`
				} `yaml:"adsConfig"`
			} `yaml:"dynamicResources"`
		}
		if err := yaml.Unmarshal(text, &d); err != nil {
			t.Fatal(err)
		}
		for _, s := range d.DynamicResources.AdsConfig.GrpcServices {
			for _, m := range s.InitialMetadata {
				found++
				if _, variable, err := hideToken(text, m.Value); err != nil || variable == "" {
					t.Errorf("%s: %q %v", file, variable, err)
				}
			}
		}
	}
	if found == 0 {
		t.Error("no document has a token")
	}
}

func FuzzHideToken(f *testing.F) {
	f.Add([]byte(plainDocument))
	f.Fuzz(func(t *testing.T, document []byte) {
		hidden, variable, err := hideToken(document, "SECRET")
		if err == nil && variable != "" && strings.Contains(string(hidden), "SECRET") {
			t.Errorf("the token is still there: %s", hidden)
		}
	})
}
