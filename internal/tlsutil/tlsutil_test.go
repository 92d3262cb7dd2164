package tlsutil

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var start = time.Now()

type logged struct {
	*slog.Logger
	buf bytes.Buffer
}

func newLog() *logged {
	l := &logged{}
	l.Logger = slog.New(slog.NewTextHandler(&l.buf, nil))
	return l
}

var hosts = []string{"10.9.8.7", "127.0.0.1", "::1", "box", "localhost"}

func keep(t *testing.T, dir string, w Wish, now time.Time) *x509.Certificate {
	t.Helper()
	cert, key, err := KeepOwn(dir, w, newLog().Logger, now)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	return pair.Leaf
}

func TestOwnCertificate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "work")
	c := keep(t, dir, Wish{Hosts: hosts}, start)
	want := slices.Clone(hosts)
	slices.Sort(want)
	got := SANs(c)
	slices.Sort(got)
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if c.BasicConstraintsValid {
		t.Error("control planes of 2.10 refuse a CA text whose first certificate says that it is none")
	}
	if c.PublicKeyAlgorithm != x509.ECDSA || c.NotAfter.Before(start.AddDate(9, 0, 0)) || c.NotBefore.After(start) {
		t.Errorf("key %s, valid from %s to %s", c.PublicKeyAlgorithm, c.NotBefore, c.NotAfter)
	}
	for name, mode := range map[string]fs.FileMode{"": 0o700, OwnCertFile: 0o600, OwnKeyFile: 0o600, ownCAFile: 0o600, ownCAKeyFile: 0o600} {
		fi, err := os.Stat(filepath.Join(dir, name))
		if err != nil || fi.Mode().Perm() != mode {
			t.Errorf("%s: mode %v, %v", name, fi.Mode(), err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*.tmp")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestOwnCertificateIsUsedAgain(t *testing.T) {
	dir := t.TempDir()
	first := keep(t, dir, Wish{Hosts: hosts}, start)
	again := keep(t, dir, Wish{Hosts: hosts[1:]}, start.AddDate(1, 0, 0))
	if !again.Equal(first) {
		t.Error("a certificate that fits was replaced")
	}
}

// Who was given an old certificate as CA goes on trusting the server.
func TestRenewedCertificateIsTrustedByOldClients(t *testing.T) {
	for name, c := range map[string]struct {
		hosts []string
		now   time.Time
	}{
		"another address": {append(slices.Clone(hosts), "10.0.0.99"), start.Add(time.Hour)},
		"expires soon":    {hosts, start.Add(serverValidity - 24*time.Hour)},
		"has expired":     {hosts, start.Add(serverValidity + 24*time.Hour)},
		"clock jumped":    {hosts, start.AddDate(0, 0, -1)},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			first := keep(t, dir, Wish{Hosts: hosts}, start)
			trusted, err := os.ReadFile(filepath.Join(dir, OwnCertFile))
			if err != nil {
				t.Fatal(err)
			}
			second := keep(t, dir, Wish{Hosts: c.hosts}, c.now)
			if second.Equal(first) || len(missing(second, c.hosts)) > 0 {
				t.Fatal("the certificate was not renewed")
			}
			pool, err := Pool(trusted)
			if err != nil {
				t.Fatal(err)
			}
			at := c.now
			if at.Before(start) {
				at = start // before that the authority is not valid either, and a new one was made
			}
			_, err = second.Verify(x509.VerifyOptions{Roots: pool, DNSName: "localhost", CurrentTime: at})
			if name == "clock jumped" {
				if err == nil {
					t.Error("a certificate of an authority that was not valid yet is trusted")
				}
				return
			}
			if err != nil {
				t.Errorf("not trusted by who trusts the first one: %v", err)
			}
		})
	}
}

func TestNewAuthority(t *testing.T) {
	for name, change := range map[string]func(dir string) error{
		"gone":   func(dir string) error { return os.Remove(filepath.Join(dir, ownCAKeyFile)) },
		"broken": func(dir string) error { return os.WriteFile(filepath.Join(dir, ownCAFile), []byte("canary"), 0o600) },
		"swapped": func(dir string) error {
			return os.Rename(filepath.Join(dir, OwnKeyFile), filepath.Join(dir, ownCAKeyFile))
		},
	} {
		dir := t.TempDir()
		first := keep(t, dir, Wish{Hosts: hosts}, start)
		if err := change(dir); err != nil {
			t.Fatal(err)
		}
		if name != "swapped" && !keep(t, dir, Wish{Hosts: hosts}, start).Equal(first) {
			t.Errorf("%s: the certificate fits, so the authority is not needed", name)
		}
		second := keep(t, dir, Wish{Hosts: append([]string{"new"}, hosts...)}, start)
		text, err := os.ReadFile(filepath.Join(dir, OwnCertFile))
		if err != nil {
			t.Fatal(err)
		}
		pool, err := Pool(text)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := second.Verify(x509.VerifyOptions{Roots: pool, DNSName: "new"}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRSAOnWish(t *testing.T) {
	dir := t.TempDir()
	keep(t, dir, Wish{Hosts: hosts}, start)
	if c := keep(t, dir, Wish{Hosts: hosts, RSA: true}, start); c.PublicKeyAlgorithm != x509.RSA {
		t.Errorf("key %s", c.PublicKeyAlgorithm)
	}
	if c := keep(t, dir, Wish{Hosts: hosts}, start); c.PublicKeyAlgorithm != x509.RSA {
		t.Error("an RSA key that fits was replaced")
	}
}

func TestInterruptedAndBrokenFiles(t *testing.T) {
	try := func(t *testing.T, change func(cert, key string)) error {
		t.Helper()
		dir := t.TempDir()
		cert, key, err := KeepOwn(dir, Wish{Hosts: hosts}, newLog().Logger, start)
		if err != nil {
			t.Fatal(err)
		}
		change(cert, key)
		if _, _, err = KeepOwn(dir, Wish{Hosts: hosts}, newLog().Logger, start); err != nil {
			return err
		}
		_, err = tls.LoadX509KeyPair(cert, key)
		return err
	}
	write := func(name, text string) {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		change func(cert, key string)
		want   string // "" = repaired
	}{
		"killed before the certificate was written": {func(cert, _ string) { _ = os.Remove(cert) }, ""},
		"key is gone":           {func(_, key string) { _ = os.Remove(key) }, ""},
		"certificate is broken": {func(cert, _ string) { write(cert, "canary") }, "remove it and"},
		"key is broken":         {func(_, key string) { write(key, "canary") }, "put matching files there"},
		"only a foreign key": {func(cert, key string) {
			_ = os.Remove(cert)
			write(key, "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n")
		}, "remove the key"},
		"only something as key":  {func(cert, key string) { _ = os.Remove(cert); write(key, "canary") }, "not PEM"},
		"certificate is no file": {func(cert, _ string) { _ = os.Remove(cert); _ = os.Mkdir(cert, 0o700) }, "read the certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			err := try(t, c.change)
			switch {
			case c.want == "" && err != nil:
				t.Error(err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("got %v, want %q", err, c.want)
			case err != nil && strings.Contains(err.Error(), "canary"):
				t.Errorf("the content is shown: %v", err)
			}
		})
	}
	if _, _, err := KeepOwn("/proc/none", Wish{}, newLog().Logger, start); err == nil {
		t.Error("a folder that cannot be made")
	}
}

// foreign writes a certificate that kuma-cp did not make.
func foreign(t *testing.T, dir string, hosts ...string) (certFile, keyFile string) {
	t.Helper()
	key, err := newKey(false)
	if err != nil {
		t.Fatal(err)
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{Organization: []string{"somebody"}}, DNSNames: hosts,
		NotBefore: start.Add(-time.Hour), NotAfter: start.AddDate(1, 0, 0), IsCA: true, BasicConstraintsValid: true,
	}
	certFile, keyFile = filepath.Join(dir, OwnCertFile), filepath.Join(dir, OwnKeyFile)
	text, err := keyPEM(key)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(writeFile(keyFile, text), writeFile(certFile, sign(t, leaf, key))); err != nil {
		t.Fatal(err)
	}
	return certFile, keyFile
}

func TestForeignCertificateIsKept(t *testing.T) {
	dir := t.TempDir()
	cert, key := foreign(t, dir, "example.com")
	if err := os.Chmod(key, 0o640); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(cert)
	if err != nil {
		t.Fatal(err)
	}
	log := newLog()
	if _, _, err := KeepOwn(dir, Wish{Hosts: hosts}, log.Logger, start); err != nil {
		t.Fatal(err)
	}
	after, err := os.ReadFile(cert)
	if err != nil || !bytes.Equal(before, after) {
		t.Errorf("somebody's certificate was replaced: %v", err)
	}
	if fi, _ := os.Stat(key); fi.Mode().Perm() != 0o640 {
		t.Errorf("the mode of somebody's key was changed to %v", fi.Mode())
	}
	if !strings.Contains(log.buf.String(), "does not fit") || !strings.Contains(log.buf.String(), "10.9.8.7") {
		t.Errorf("no warning in %s", log.buf.String())
	}
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	if _, _, err := KeepOwn(dir, Wish{Hosts: hosts}, log.Logger, start); err == nil {
		t.Error("somebody's certificate without its key was accepted")
	}
}

func TestOwnKeyIsTightened(t *testing.T) {
	dir := t.TempDir()
	keep(t, dir, Wish{Hosts: hosts}, start)
	key := filepath.Join(dir, OwnKeyFile)
	if err := os.Chmod(key, 0o644); err != nil {
		t.Fatal(err)
	}
	keep(t, dir, Wish{Hosts: hosts}, start)
	if fi, _ := os.Stat(key); fi.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", fi.Mode())
	}
}

func TestReload(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	keep(t, dir, Wish{Hosts: []string{"a.example"}}, start)
	keep(t, other, Wish{Hosts: []string{"b.example"}}, start)
	now := start
	log := newLog()
	file := func(d, f string) string { return filepath.Join(d, f) }
	c, err := Open(file(dir, OwnCertFile), file(dir, OwnKeyFile), log.Logger, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	expect := func(name string) {
		t.Helper()
		pair, err := c.Get(nil)
		if err != nil || !slices.Equal(SANs(pair.Leaf), []string{name}) || !slices.Equal(c.SANs(), []string{name}) {
			t.Errorf("serves %v, %v, want %s", SANs(pair.Leaf), err, name)
		}
		if leaf, err := parseLeaf(c.PEM()); err != nil || !leaf.Equal(pair.Leaf) {
			t.Errorf("PEM is of another certificate: %v", err)
		}
	}
	expect("a.example")
	copyFile := func(f string) {
		t.Helper()
		b, err := os.ReadFile(file(other, f))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file(dir, f), b, 0o600); err != nil {
			t.Fatal(err)
		}
		// File systems may not tell two writes in a row apart by time.
		now = now.Add(time.Hour)
		if err := os.Chtimes(file(dir, f), now, now); err != nil {
			t.Fatal(err)
		}
	}
	copyFile(OwnCertFile) // half of the change: certificate and key do not match
	expect("a.example")
	now = now.Add(2 * recheckAfter)
	expect("a.example")
	if n := strings.Count(log.buf.String(), "level=ERROR"); n != 1 {
		t.Errorf("the problem was logged %d times", n)
	}
	copyFile(OwnKeyFile)
	expect("b.example")
	if !strings.Contains(log.buf.String(), "serve the new certificate") {
		t.Error("the change was not logged")
	}
	if err := os.Remove(file(dir, OwnKeyFile)); err != nil {
		t.Fatal(err)
	}
	now = now.Add(2 * recheckAfter)
	expect("b.example")
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	keep(t, dir, Wish{Hosts: hosts}, start)
	cert := filepath.Join(dir, OwnCertFile)
	for _, c := range [][2]string{{"/none", "/none"}, {cert, "/none"}, {cert, cert}, {dir, dir}} {
		if _, err := Open(c[0], c[1], newLog().Logger, time.Now); err == nil {
			t.Errorf("%v was opened", c)
		}
	}
	big := filepath.Join(dir, "big")
	if err := os.WriteFile(big, make([]byte, maxFile+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(big, big, newLog().Logger, time.Now); err == nil || !strings.Contains(err.Error(), "bytes") {
		t.Errorf("got %v", err)
	}
}

func TestSettings(t *testing.T) {
	for _, name := range []string{"TLSv1_1", "1.2", "tlsv1_2", "TLSv1.2"} {
		if _, err := ParseVersion(name); err == nil {
			t.Errorf("version %s was accepted", name)
		}
	}
	ids, err := ParseCiphers([]string{"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305"})
	if err != nil || !slices.Equal(ids, []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256}) {
		t.Errorf("got %v, %v", ids, err)
	}
	if !NeedsRSA(ids) || NeedsRSA(nil) || NeedsRSA([]uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}) {
		t.Error("NeedsRSA is wrong")
	}
	for name, want := range map[string]string{"TLS_RSA_WITH_RC4_128_SHA": "not safe", "MOON": "those that can be chosen are TLS_"} {
		if _, err := ParseCiphers([]string{name}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	dir := t.TempDir()
	keep(t, dir, Wish{Hosts: hosts}, start)
	c, err := Open(filepath.Join(dir, OwnCertFile), filepath.Join(dir, OwnKeyFile), newLog().Logger, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []Settings{{MinVersion: "x"}, {MaxVersion: "x"}, {CipherSuites: []string{"x"}}, {CipherSuites: []string{"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"}}} {
		if _, err := ServerConfig(s, c); err == nil {
			t.Errorf("%+v was accepted", s)
		}
	}
}

// handshake connects a client to a server and returns what was agreed on.
func handshake(t *testing.T, server, client *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		s := tls.Server(conn, server)
		if s.Handshake() == nil {
			_, _ = io.WriteString(s, "hello")
		}
	}()
	conn, err := net.DialTimeout("tcp", l.Addr().String(), time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	c := tls.Client(conn, client)
	// Under TLS 1.3 a refused client certificate shows with the first read.
	if _, err := io.ReadFull(c, make([]byte, 5)); err != nil {
		return tls.ConnectionState{}, err
	}
	return c.ConnectionState(), nil
}

func TestVersionsAndCiphersOnTheWire(t *testing.T) {
	dir := t.TempDir()
	keep(t, dir, Wish{Hosts: hosts}, start)
	c, err := Open(filepath.Join(dir, OwnCertFile), filepath.Join(dir, OwnKeyFile), newLog().Logger, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	roots, err := Pool(c.PEM())
	if err != nil {
		t.Fatal(err)
	}
	client := func(lo, hi uint16) *tls.Config {
		return &tls.Config{RootCAs: roots, ServerName: "localhost", MinVersion: lo, MaxVersion: hi}
	}
	const v11, v12, v13 = tls.VersionTLS11, tls.VersionTLS12, tls.VersionTLS13
	suite := "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"
	for name, x := range map[string]struct {
		s      Settings
		lo, hi uint16
		want   uint16 // 0 = no connection
	}{
		"newest":              {Settings{}, v12, v13, v13},
		"old clients":         {Settings{}, v11, v11, 0},
		"1.2 clients":         {Settings{MinVersion: "TLSv1_2"}, v12, v12, v12},
		"1.3 demanded":        {Settings{MinVersion: "TLSv1_3"}, v12, v12, 0},
		"1.2 at most":         {Settings{MaxVersion: "TLSv1_2"}, v12, v13, v12},
		"1.2 with a suite":    {Settings{CipherSuites: []string{suite}}, v12, v12, v12},
		"1.3 beside a suite":  {Settings{CipherSuites: []string{suite}}, v12, v13, v13},
		"empty means minimum": {Settings{MinVersion: ""}, v11, v11, 0},
	} {
		t.Run(name, func(t *testing.T) {
			server, err := ServerConfig(x.s, c)
			if err != nil {
				t.Fatal(err)
			}
			state, err := handshake(t, server, client(x.lo, x.hi))
			if (err == nil) != (x.want != 0) || state.Version != x.want {
				t.Errorf("version %x, %v", state.Version, err)
			}
			if err == nil && x.want == v12 && len(x.s.CipherSuites) > 0 && tls.CipherSuiteName(state.CipherSuite) != suite {
				t.Errorf("suite %s", tls.CipherSuiteName(state.CipherSuite))
			}
		})
	}
}

func TestClientCertificates(t *testing.T) {
	dir, anns, bobs := t.TempDir(), t.TempDir(), t.TempDir()
	keep(t, dir, Wish{Hosts: hosts}, start)
	c, err := Open(filepath.Join(dir, OwnCertFile), filepath.Join(dir, OwnKeyFile), newLog().Logger, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	roots, err := Pool(c.PEM())
	if err != nil {
		t.Fatal(err)
	}
	ann, bob := client(t, anns), client(t, bobs)
	trusted := t.TempDir()
	link := func(from, name string) {
		t.Helper()
		b, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(trusted, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	link(filepath.Join(anns, "c.crt"), "ann.PEM")
	link(filepath.Join(bobs, "c.crt"), "bob.txt") // neither .pem nor .crt: not read
	now := start
	a, err := OpenAuthorities("", trusted, newLog().Logger, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	try := func(require bool, certs ...tls.Certificate) error {
		t.Helper()
		server, err := ServerConfig(Settings{}, c)
		if err != nil {
			t.Fatal(err)
		}
		VerifyClients(server, a, require)
		_, err = handshake(t, server, &tls.Config{RootCAs: roots, ServerName: "localhost", Certificates: certs, MinVersion: tls.VersionTLS12})
		return err
	}
	if err := errors.Join(try(false), try(false, ann), try(true, ann)); err != nil {
		t.Error(err)
	}
	if try(true) == nil {
		t.Error("no certificate was accepted although one is required")
	}
	// A client picks no certificate that the server does not ask for, so force it.
	forced := func(cert tls.Certificate) error {
		server, err := ServerConfig(Settings{}, c)
		if err != nil {
			t.Fatal(err)
		}
		VerifyClients(server, a, false)
		_, err = handshake(t, server, &tls.Config{RootCAs: roots, ServerName: "localhost", MinVersion: tls.VersionTLS12,
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }})
		return err
	}
	if forced(bob) == nil {
		t.Error("an untrusted certificate was accepted")
	}
	link(filepath.Join(bobs, "c.crt"), "bob.crt")
	now = now.Add(2 * recheckAfter)
	if err := forced(bob); err != nil {
		t.Errorf("bob was added: %v", err)
	}
	if err := os.WriteFile(filepath.Join(trusted, "bob.crt"), []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	now = now.Add(2 * recheckAfter)
	if err := forced(bob); err != nil {
		t.Errorf("a broken file must leave the old ones in use: %v", err)
	}
	if err := os.Remove(filepath.Join(trusted, "bob.crt")); err != nil {
		t.Fatal(err)
	}
	now = now.Add(2 * recheckAfter)
	if forced(bob) == nil {
		t.Error("bob was taken away")
	}
	for _, bad := range []string{"/none", filepath.Join(anns, "c.key")} {
		if _, err := OpenAuthorities(bad, "", newLog().Logger, time.Now); err == nil {
			t.Errorf("%s was accepted", bad)
		}
	}
	if _, err := OpenAuthorities("", "/none", newLog().Logger, time.Now); err == nil {
		t.Error("an absent folder was accepted")
	}
}

func TestLocalHosts(t *testing.T) {
	addr := func(s string) net.Addr {
		ip, n, err := net.ParseCIDR(s)
		if err != nil {
			t.Fatal(err)
		}
		return &net.IPNet{IP: ip, Mask: n.Mask}
	}
	got := LocalHosts("box", []net.Addr{addr("127.0.0.1/8"), addr("10.0.0.5/24"), addr("::1/128"), addr("fe80::1/64"), addr("fd00::5/64"), &net.UnixAddr{Name: "x"}})
	want := []string{"10.0.0.5", "127.0.0.1", "::1", "box", "fd00::5", "localhost"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}
