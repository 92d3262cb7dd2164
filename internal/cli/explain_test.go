package cli

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"weft/internal/config"
)

// TestExplain does what docs/explain.md shows, and wants the outputs that it shows.
func TestExplain(t *testing.T) {
	page, err := os.ReadFile("../../docs/explain.md")
	if err != nil {
		t.Fatal(err)
	}
	cp := startCP(t)
	cp.awaitFile(t, config.AdminTokenFile(cp.dir))
	k := cp.user(t)
	example := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindSubmatch(page)
	if example == nil {
		t.Fatal("there is no example in the page")
	}
	k.stdin = string(example[1])
	// A warning that there is no MeshService orders yet comes or not: the control
	// plane may make it from the Dataplane before the policies are written.
	if r := k.run(t, "apply", "-f", "-"); r.code != 0 {
		t.Fatal(r.err)
	}
	k.stdin = ""
	cp.until(t, func() bool {
		return strings.Contains(k.run(t, "explain", "dataplane", "api-1", "--mesh", "shop").out, "api-from-web")
	}, "the control plane to follow")
	shown := regexp.MustCompile("(?s)```sh\nkumactl (.*?)\n```\n+```text\n(.*?)```").FindAllSubmatch(page, -1)
	if len(shown) < 3 {
		t.Errorf("only %d outputs are shown", len(shown))
	}
	for _, s := range shown {
		args := strings.Fields(strings.ReplaceAll(string(s[1]), "'x-canary: yes'", "x-canary:yes"))
		r := k.run(t, args...)
		if r.code != 0 || r.out != string(s[2]) {
			t.Errorf("kumactl %s: code %d\n%s\ngot:\n%s\nthe page shows:\n%s", s[1], r.code, r.err, r.out, s[2])
		}
	}
	k.run(t, "explain", "dataplane", "web-1", "--mesh", "shop", "-o", "yaml").want(t, 0, "because: a policy for Dataplanes by labels is stronger", "")
	k.run(t, "explain", "request", "--mesh", "shop", "--from", "web-1", "--to", "api", "-o", "json").want(t, 0, `"outcome": "forwarded"`, "")
	k.run(t, "explain", "dataplane", "none", "--mesh", "shop").want(t, 1, "", "Not found")
	k.run(t, "explain", "request", "--mesh", "shop", "--from", "web-1", "--to", "http://x:99999").want(t, 1, "", "no valid port")
	k.run(t, "explain", "request", "--from", "web-1").want(t, 1, "", `required flag(s) "to" not set`)
}
