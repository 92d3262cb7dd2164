package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// speaks shakes hands with a port in exactly one version of TLS.
func speaks(address string, version uint16, ciphers ...uint16) (tls.ConnectionState, error) {
	dialer := &net.Dialer{Timeout: 5 * time.Second}
	c, err := tls.DialWithDialer(dialer, "tcp", address, &tls.Config{
		InsecureSkipVerify: true, MinVersion: version, MaxVersion: version, CipherSuites: ciphers,
	})
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer c.Close()
	return c.ConnectionState(), nil
}

// Every port of kuma-cp that speaks TLS keeps to its own settings: versions,
// ciphers, certificate. A certificate that is replaced is shown at once, without a
// restart.
func TestTLSOfPorts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	replace := func() string {
		cert, key := newAuthority(t)
		for file, text := range map[string][]byte{certFile: cert, keyFile: key} {
			write(t, file+".new", string(text))
			if err := os.Rename(file+".new", file); err != nil {
				t.Fatal(err)
			}
		}
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			t.Fatal(err)
		}
		return string(pair.Certificate[0])
	}
	shown := replace()
	p := ports(t, 2)
	env := []string{
		fmt.Sprintf("KUMA_API_SERVER_HTTPS_PORT=%d", p[0]), "KUMA_API_SERVER_HTTPS_TLS_MIN_VERSION=TLSv1_3",
		"KUMA_DP_SERVER_TLS_MAX_VERSION=TLSv1_2", "KUMA_DP_SERVER_TLS_CIPHER_SUITES=TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
		"KUMA_GENERAL_TLS_CERT_FILE=" + certFile, "KUMA_GENERAL_TLS_KEY_FILE=" + keyFile,
	}
	cp := startCP(t, t.TempDir(), env...)
	api, dp := fmt.Sprintf("127.0.0.1:%d", p[0]), fmt.Sprintf("127.0.0.1:%d", cp.xds)
	for _, c := range []struct {
		port    string
		version uint16
		ciphers []uint16
		ok      bool
	}{
		{api, tls.VersionTLS13, nil, true},
		{api, tls.VersionTLS12, nil, false},
		{dp, tls.VersionTLS13, nil, false},
		{dp, tls.VersionTLS12, nil, true},
		{dp, tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384}, true},
		{dp, tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}, false},
		{dp, tls.VersionTLS11, nil, false},
	} {
		state, err := speaks(c.port, c.version, c.ciphers...)
		if (err == nil) != c.ok {
			t.Errorf("%s with %s, %v: %v", c.port, tls.VersionName(c.version), c.ciphers, err)
		}
		if err == nil && string(state.PeerCertificates[0].Raw) != shown {
			t.Errorf("%s shows another certificate", c.port)
		}
	}
	shown = replace()
	for port, version := range map[string]uint16{api: tls.VersionTLS13, dp: tls.VersionTLS12} {
		eventually(t, 30*time.Second, port+" shows the new certificate", func() error {
			state, err := speaks(port, version)
			if err == nil && string(state.PeerCertificates[0].Raw) != shown {
				err = fmt.Errorf("it is the old one")
			}
			return err
		})
	}
	write(t, keyFile, "nonsense") // half of a replacement changes nothing
	time.Sleep(2 * time.Second)
	if state, err := speaks(api, tls.VersionTLS13); err != nil || string(state.PeerCertificates[0].Raw) != shown {
		t.Errorf("with a broken key: %v", err)
	}
}

// The diagnostics speak TLS when they are told to, from TLS 1.2 on and with safe
// ciphers only; so do the ports whose settings say nothing, with the certificate
// that kuma-cp made for itself.
func TestTLSOfPortsByDefault(t *testing.T) {
	t.Parallel()
	p := ports(t, 7)
	dir := t.TempDir()
	names := []string{
		"KUMA_API_SERVER_HTTP_PORT", "KUMA_API_SERVER_HTTPS_PORT", "KUMA_DP_SERVER_PORT", "KUMA_DIAGNOSTICS_SERVER_PORT",
		"KUMA_MONITORING_ASSIGNMENT_SERVER_PORT", "KUMA_INTER_CP_SERVER_PORT", "KUMA_MULTIZONE_GLOBAL_KDS_GRPC_PORT",
	}
	env := []string{"KUMA_GENERAL_WORK_DIR=" + dir, "KUMA_DIAGNOSTICS_TLS_ENABLED=true"}
	for i, name := range names {
		env = append(env, fmt.Sprintf("%s=%d", name, p[i]))
	}
	start(t, "kuma-cp", env, binary(t, "kuma-cp"), "run")
	var weak []uint16
	for _, c := range tls.InsecureCipherSuites() {
		weak = append(weak, c.ID)
	}
	for _, port := range p[1:4] {
		address := fmt.Sprintf("127.0.0.1:%d", port)
		eventually(t, 20*time.Second, address+" speaks TLS", func() error {
			_, err := speaks(address, tls.VersionTLS13)
			return err
		})
		state, err := speaks(address, tls.VersionTLS12)
		if err != nil {
			t.Errorf("%s with TLS 1.2: %v", address, err)
			continue
		}
		own, err := os.ReadFile(filepath.Join(dir, "kuma-cp.crt"))
		if err != nil {
			t.Fatal(err)
		}
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(own)
		if _, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: pool, DNSName: "localhost"}); err != nil {
			t.Errorf("%s: %v", address, err)
		}
		for _, v := range []uint16{tls.VersionTLS10, tls.VersionTLS11} {
			if _, err := speaks(address, v); err == nil {
				t.Errorf("%s accepts %s", address, tls.VersionName(v))
			}
		}
		if state, err := speaks(address, tls.VersionTLS12, weak...); err == nil {
			t.Errorf("%s accepts %s", address, tls.CipherSuiteName(state.CipherSuite))
		}
	}
	if info, err := os.Stat(filepath.Join(dir, "kuma-cp.key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key can be read by others: %v %v", info, err)
	}
}
