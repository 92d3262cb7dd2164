package cli

import (
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const threeControlPlanes = `contexts:
- {controlPlane: one, name: one}
- {controlPlane: two, name: two}
- {controlPlane: three, name: three}
controlPlanes:
- {name: one, coordinates: {apiServer: {url: "http://one.test:5681"}}}
- {name: two, coordinates: {apiServer: {url: "http://two.test:5681"}}}
- {name: three, coordinates: {apiServer: {url: "http://three.test:5681"}}}
currentContext: two
`

func (k *kumactl) config(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(k.home, ".kumactl", "config"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestSwitchAndRemove(t *testing.T) {
	k := newUser(t)
	k.configure(t, threeControlPlanes)
	cps := func(args ...string) result { return k.run(t, append([]string{"config", "control-planes"}, args...)...) }

	cps("switch", "--name=four").want(t, 1, "", `"four"`)
	cps("switch", "--name=three").want(t, 0, "switched active Control Plane to \"three\"\n", "")
	cps("list").want(t, 0, "*        three   http://three.test:5681", "")
	cps("remove", "--name=four").want(t, 1, "", `"four"`)
	if r := cps("remove", "--name=two"); r.out != "removed Control Plane \"two\"\n" {
		t.Errorf("removing one that is not active says %q", r.out)
	}
	cps("remove", "--name=three").want(t, 0, "removed Control Plane \"three\"\nswitched active Control Plane to \"one\"\n", "")
	cps("remove", "--name=one").want(t, 0, "no active Control Plane left", "")
	if got := k.config(t); got != "{}\n" {
		t.Errorf("configuration %q", got)
	}
	k.run(t, "get", "meshes").want(t, 1, "", "control-planes add")
}

func TestAddChecksItsFlags(t *testing.T) {
	k := newUser(t)
	k.configure(t, threeControlPlanes)
	for _, c := range []struct{ args, err string }{
		{"--name=one --address=http://x.test --skip-check", "--overwrite"},
		{"--name= --address=http://x.test --skip-check", "--name must not be empty"},
		{"--name=n --address=http://x.test --client-cert-file=a", "--client-key-file"},
		{"--name=n --address=http://x.test --client-key-file=a", "--client-cert-file"},
		{"--name=n --address=x.test:5681", "no URL"},
		{"--name=n --address=ftp://x.test", "no URL"},
		{"--name=n --address=https://x.test --ca-cert-file=a --skip-verify", "--skip-verify"},
		{"--name=n --address=http://x.test --auth-type=tokens", "token=YOUR_TOKEN"},
		{"--name=n --address=http://x.test --auth-type=moon", `"moon"`},
		{"--name=n --address=http://127.0.0.1:1", "--skip-check"},
		{"--name=n --address=https://127.0.0.1:1 --ca-cert-file=none.pem", "none.pem"},
	} {
		k.run(t, append([]string{"config", "control-planes", "add"}, strings.Fields(c.args)...)...).want(t, 1, "", c.err)
	}
	if got := k.config(t); got != threeControlPlanes {
		t.Errorf("the configuration changed:\n%s", got)
	}
}

func TestTokensInTheClearAreWarnedAbout(t *testing.T) {
	k := newUser(t)
	add := func(address string) result {
		return k.run(t, "config", "control-planes", "add", "--name=x", "--overwrite", "--skip-check", "--address="+address, "--auth-type=tokens", "--auth-conf=token=secret")
	}
	add("http://mesh.test:5681").want(t, 0, "added", "Warning: ")
	add("https://mesh.test:5682").want(t, 0, "added", "")
	add("http://127.0.0.1:5681").want(t, 0, "added", "")
}

func TestTokensAreInNoMessage(t *testing.T) {
	k := newUser(t)
	for _, args := range []string{
		"--auth-conf canary", "--headers canary", "--auth-type=canary --auth-conf=token=canary2", "--address=http://canary:canary@x.test",
		"--address=http://127.0.0.1:1 --auth-type=tokens --auth-conf=token=canary --log-level=debug",
	} {
		r := k.run(t, append([]string{"config", "control-planes", "add", "--name=x", "--address=http://127.0.0.1:1"}, strings.Fields(args)...)...)
		if r.code != 1 || strings.Contains(strings.ReplaceAll(r.err+r.out, `type "canary"`, ""), "canary") {
			t.Errorf("%s: %d %s", args, r.code, r.err)
		}
	}
}

func TestAddVerifiesTheCertificate(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, `{"product":"Kuma","version":"2.10.1"}`)
	}))
	t.Cleanup(s.Close)
	k := newUser(t)
	add := []string{"config", "control-planes", "add", "--name=tls", "--address=" + s.URL}
	r := k.run(t, add...)
	r.want(t, 1, "", "--ca-cert-file")
	if !strings.Contains(r.err, "--skip-verify") {
		t.Errorf("the other way out is not named: %s", r.err)
	}
	k.run(t, append(add, "--skip-verify")...).want(t, 0, "added", "")
	if !strings.Contains(k.config(t), "skipVerify: true") {
		t.Errorf("skipVerify is not kept:\n%s", k.config(t))
	}
	k.run(t, "version").want(t, 0, "Server: Kuma 2.10.1", "")

	// Files are found from every folder.
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := os.WriteFile(filepath.Join(k.dir, "ca.pem"), ca, 0o600); err != nil {
		t.Fatal(err)
	}
	k.run(t, append(add, "--overwrite", "--ca-cert-file=ca.pem")...).want(t, 0, "added", "")
	k.dir = t.TempDir()
	k.run(t, "version").want(t, 0, "Server: Kuma 2.10.1", "")
}

func TestHeadersAndTokensAreSent(t *testing.T) {
	var got http.Header
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Header
		fmt.Fprint(w, `{"product":"Kong Mesh","version":"2.10.1","total":0,"items":[]}`)
	}))
	t.Cleanup(s.Close)
	k := newUser(t)
	k.run(t, "config", "control-planes", "add", "--name=x", "--address="+s.URL, "--headers", "x-b=2,x-a=1",
		"--auth-type=tokens", "--auth-conf", "token=secret").want(t, 0, "added", "")
	k.run(t, "get", "meshes").want(t, 0, "NAME", "")
	if got.Get("X-A") != "1" || got.Get("X-B") != "2" || got.Get("Authorization") != "Bearer secret" {
		t.Errorf("sent %v", got)
	}
}

func TestTheConfigurationIsReplacedSafely(t *testing.T) {
	t.Run("a link stays a link", func(t *testing.T) {
		k := newUser(t)
		real := filepath.Join(k.dir, "real")
		if err := os.WriteFile(real, []byte(threeControlPlanes), 0o644); err != nil {
			t.Fatal(err)
		}
		link := filepath.Join(k.dir, "link")
		if err := os.Symlink(real, link); err != nil {
			t.Fatal(err)
		}
		k.run(t, "config", "control-planes", "switch", "--name=one", "--config-file", link).want(t, 0, "one", "")
		if st, err := os.Lstat(link); err != nil || st.Mode()&os.ModeSymlink == 0 {
			t.Errorf("the link is %v, %v", st.Mode(), err)
		}
		if b, _ := os.ReadFile(real); !strings.Contains(string(b), "currentContext: one") {
			t.Errorf("the file holds\n%s", b)
		}
		if entries, _ := os.ReadDir(k.dir); len(entries) != 2 {
			t.Errorf("files are left: %v", entries)
		}
	})
	t.Run("a device stays a device", func(t *testing.T) {
		if err := replaceFile(os.DevNull, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		if st, err := os.Stat(os.DevNull); err != nil || st.Mode().IsRegular() {
			t.Fatalf("%s is now %v, %v", os.DevNull, st.Mode(), err)
		}
	})
	t.Run("a file that is not understood is not touched", func(t *testing.T) {
		k := newUser(t)
		k.configure(t, "contexts: 7\n")
		k.run(t, "config", "control-planes", "add", "--name=x", "--address=http://x.test", "--skip-check").want(t, 1, "", "cannot be understood")
		if got := k.config(t); got != "contexts: 7\n" {
			t.Errorf("the file holds %q", got)
		}
	})
}
