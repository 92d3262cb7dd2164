package configdoc

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the page")

const root = "../../.."

func TestPageIsCurrent(t *testing.T) {
	want, err := Page(root)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(root, filepath.FromSlash(Path))
	if *update {
		if err := os.WriteFile(file, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not up to date: run go test ./internal/config/configdoc -update", Path)
	}
}

func TestRows(t *testing.T) {
	page, err := Page(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []string{
		"| `access.static.generateDpToken.users` | `KUMA_ACCESS_STATIC_GENERATE_DP_TOKEN_USERS` | `mesh-system:admin` | Who may issue dataplane tokens. Names of users. |",
		"| `dpServer.authn.dpProxy.dpToken.validator.publicKeys` | – | (empty) |",
		"| `defaults.skipHostnameGenerators` | `KUMA_DEFAULTS_SKIP_HOSTNAME_GENERATORS` | `false` |",
		"| `store.postgres.maxConnectionIdleTime` | `KUMA_STORE_POSTGRES_MAX_CONNECTION_IDLE_TIME` | `30m0s` |",
		"`openshift.io/build.name:*,openshift.io/deployer-pod-for.name:*`",
	} {
		if !strings.Contains(string(page), row) {
			t.Errorf("missing: %s", row)
		}
	}
}

func TestSettingsWithoutACommentAreReported(t *testing.T) {
	if _, err := Page(t.TempDir()); err == nil || !strings.Contains(err.Error(), "has no comment") {
		t.Errorf("got %v", err)
	}
}
