package dp

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMemoryLimit(t *testing.T) {
	for name, tc := range map[string]struct {
		file, text string
		want       uint64
	}{
		"v2":        {"memory.max", "536870912\n", 536870912},
		"v2 none":   {"memory.max", "max\n", 0},
		"v1":        {"memory.limit_in_bytes", "1048576\n", 1048576},
		"v1 none":   {"memory.limit_in_bytes", "9223372036854771712\n", 0},
		"v1 folder": {"memory/memory.limit_in_bytes", "42", 42},
		"garbage":   {"memory.max", "many", 0},
		"other":     {"x", "1", 0},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			path := filepath.Join(root, tc.file)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(tc.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if got := memoryLimit(root); got != tc.want {
				t.Errorf("got %d, want %d", got, tc.want)
			}
		})
	}
}

func TestHasIPv6(t *testing.T) {
	for text, want := range map[string]bool{"127.0.0.1/8": false, "10.0.0.1/8": false, "::1/128": false, "fe80::1/64": true, "fd00::1/8": true} {
		ip, n, err := net.ParseCIDR(text)
		if err != nil {
			t.Fatal(err)
		}
		n.IP = ip
		if got := hasIPv6([]net.Addr{n}); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}

func TestIsForeign(t *testing.T) {
	for address, want := range map[string]bool{"127.0.0.1": false, "0.0.0.0": false, "": false, "no.such.host": false, "198.51.100.77": true} {
		if got := isForeign(address); got != want {
			t.Errorf("%s: %t", address, got)
		}
	}
}

func TestDirectories(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	for name, tc := range map[string]struct {
		config, sockets, dns     string
		tmp                      bool
		configTmp, socketsConfig bool
	}{
		"none given":      {tmp: true, configTmp: true, socketsConfig: true},
		"config given":    {config: "c", tmp: true},
		"both given":      {config: "c", dns: "d", socketsConfig: true},
		"all given":       {config: "c", dns: "d", sockets: "s"},
		"only DNS missed": {config: "c", sockets: "s", tmp: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			c := DefaultConfig()
			c.Runtime.ConfigDir, c.Runtime.SocketDir, c.DNS.ConfigDir = tc.config, tc.sockets, tc.dns
			d, err := makeDirectories(&c)
			if err != nil {
				t.Fatal(err)
			}
			for _, dir := range []string{d.config, d.sockets, d.dns} {
				if info, err := os.Stat(dir); err != nil || !info.IsDir() || !filepath.IsAbs(dir) {
					t.Errorf("%q: %v", dir, err)
				}
			}
			isTmp := func(dir string) bool { return strings.Contains(dir, "kuma-dp-") }
			if isTmp(d.config) != tc.configTmp || (isTmp(d.config) || isTmp(d.sockets) || isTmp(d.dns)) != tc.tmp {
				t.Errorf("got %+v", d)
			}
			if tc.socketsConfig && d.sockets != d.config {
				t.Errorf("sockets in %s, config in %s", d.sockets, d.config)
			}
			if err := d.remove(); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(d.sockets); isTmp(d.sockets) && err == nil {
				t.Error("the temporary directory is left")
			}
		})
	}
}

func TestSocketPath(t *testing.T) {
	if got := socketPath("/tmp/x", "kuma-al", "web-1", "default"); got != "/tmp/x/kuma-al-web-1-default.sock" {
		t.Error(got)
	}
	got := socketPath("/tmp/x", "kuma-al", strings.Repeat("a", 200), "default")
	if len(got) != 98+len(".sock") || !strings.HasSuffix(got, "aaa.sock") {
		t.Errorf("%d: %s", len(got), got)
	}
}

// jwt looks like a token: header {"alg":"RS256"}.
const jwt = "eyJhbGciOiJSUzI1NiJ9.e30.c2ln"

func TestToken(t *testing.T) {
	dir := t.TempDir()
	write := func(text string) string {
		path := filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	t.Run("literal beats file", func(t *testing.T) {
		got, err := loadToken(&RuntimeConfig{Token: "  " + jwt + "\n", TokenPath: "/no/such"}, dir, "web-1.ns")
		if err != nil {
			t.Fatal(err)
		}
		if string(got.text) != jwt || got.path != filepath.Join(dir, "web-1.ns") {
			t.Errorf("got %q at %s", string(got.text), got.path)
		}
		info, err := os.Stat(got.path)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v %v", info, err)
		}
	})
	t.Run("file", func(t *testing.T) {
		path := write(jwt)
		got, err := loadToken(&RuntimeConfig{TokenPath: path}, dir, "a")
		if err != nil || string(got.text) != jwt || got.path != path {
			t.Errorf("got %v, %v", got, err)
		}
	})
	t.Run("file with blanks", func(t *testing.T) {
		got, err := loadToken(&RuntimeConfig{TokenPath: write("\n" + jwt + "\r\n")}, dir, "a")
		if err != nil || string(got.text) != jwt {
			t.Fatalf("got %v, %v", got, err)
		}
		if text, err := os.ReadFile(got.path); err != nil || string(text) != jwt { // Envoy sends the file as it is
			t.Errorf("the file for Envoy holds %d bytes, %v", len(text), err)
		}
	})
	t.Run("none", func(t *testing.T) {
		if got, err := loadToken(&RuntimeConfig{}, dir, "a"); err != nil || got != (token{}) {
			t.Errorf("got %v, %v", got, err)
		}
	})
	for name, tc := range map[string]struct{ text, want string }{
		"empty":       {" \n", "is empty"},
		"line breaks": {"eyJ\nhbGci.e30.x", "line breaks"},
		"two parts":   {"hunter2.hunter2", "three parts"},
		"no base64":   {"%%%.e30.x", "Base64"},
		"no JSON":     {"aHVudGVyMg.e30.x", "JSON"},
		"no alg":      {"e30.e30.x", "alg"},
		"too large":   {strings.Repeat("x", maxToken+1), "bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := loadToken(&RuntimeConfig{TokenPath: write(tc.text)}, dir, "a")
			if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), "kumactl generate dataplane-token") {
				t.Errorf("got %v", err)
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Error("the token is in the error")
			}
		})
	}
}

func FuzzCheckToken(f *testing.F) {
	f.Add(jwt)
	f.Fuzz(func(t *testing.T, text string) {
		if err := checkToken(text); err == nil && strings.Count(text, ".") != 2 {
			t.Errorf("%q accepted", text)
		}
	})
}
