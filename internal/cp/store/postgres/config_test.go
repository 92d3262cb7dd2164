package postgres_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"weft/internal/cp/store/postgres"
	"weft/internal/cp/store/storetest"
	"weft/internal/testkit/pgtest"
)

func TestValidate(t *testing.T) {
	good := postgres.Config{Host: "h", Port: 1, User: "u", Password: "p", DBName: "d"}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	there := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(there, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		change func(*postgres.Config)
		want   string
	}{
		{"empty", func(c *postgres.Config) { *c = postgres.Config{Port: 1} },
			"host: must not be empty\nuser: must not be empty\ndbName: must not be empty\npassword: must not be empty, unless a client certificate is given"},
		{"port", func(c *postgres.Config) { c.Port = 65536 }, "port: must be between 1 and 65535, not 65536"},
		{"two hosts", func(c *postgres.Config) { c.Host = "a,b" }, "host: must be one host"},
		{"negative pool", func(c *postgres.Config) { c.MaxOpenConnections = -1 }, "maxOpenConnections: must be between 0 and 2147483647, not -1\nminOpenConnections: must not be greater than maxOpenConnections, which is -1"},
		{"min over max", func(c *postgres.Config) { c.MinOpenConnections, c.MaxOpenConnections = 9, 8 }, "minOpenConnections: must not be greater than maxOpenConnections, which is 8"},
		{"min over default", func(c *postgres.Config) { c.MinOpenConnections = 51 }, "minOpenConnections: must not be greater than maxOpenConnections, which is 50"},
		{"negative time", func(c *postgres.Config) { c.ConnectionTimeout = -1 }, "connectionTimeout: must not be negative"},
		{"replica", func(c *postgres.Config) { c.ReadReplica = postgres.ReadReplica{Host: "r", Ratio: 101} },
			"readReplica.port: must be between 1 and 65535, not 0\nreadReplica.ratio: must be between 0 and 100, not 101"},
		{"mode", func(c *postgres.Config) { c.TLS.Mode = "require" }, `tls.mode: must be one of disable, verifyNone, verifyCa, verifyFull, not "require"`},
		{"ca missing", func(c *postgres.Config) { c.TLS.Mode = postgres.VerifyCA }, "tls.caPath: must be given in mode verifyCa"},
		{"key missing", func(c *postgres.Config) { c.TLS = postgres.TLS{Mode: postgres.VerifyNone, CertPath: there} }, "tls.keyPath: must be given together with tls.certPath"},
		{"cert missing", func(c *postgres.Config) { c.TLS = postgres.TLS{Mode: postgres.VerifyNone, KeyPath: there} }, "tls.certPath: must be given together with tls.keyPath"},
		{"no such file", func(c *postgres.Config) { c.TLS = postgres.TLS{Mode: postgres.VerifyFull, CAPath: there + "x"} }, "tls.caPath: stat " + there + "x: no such file or directory"},
		{"unused files", func(c *postgres.Config) { c.TLS = postgres.TLS{CAPath: there + "x"} }, ""},
		{"client certificate instead of password", func(c *postgres.Config) {
			c.Password, c.TLS = "", postgres.TLS{Mode: postgres.VerifyNone, CertPath: there, KeyPath: there}
		}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			bad := good
			c.change(&bad)
			got := ""
			if err := bad.Validate(); err != nil {
				got = err.Error()
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func TestPasswordIsNeverShown(t *testing.T) {
	c := migrated(t)
	c.Password = "s3cr3t with ' and : and @"
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		if s := fmt.Sprintf(format, c); strings.Contains(s, "s3cr3t") {
			t.Errorf("%s shows the password: %s", format, s)
		}
	}
	for name, change := range map[string]func(*postgres.Config){
		"wrong password": func(*postgres.Config) {},
		"nobody there":   func(c *postgres.Config) { c.Port = 1 },
		"bad config":     func(c *postgres.Config) { c.Host = "" },
		"bad host":       func(c *postgres.Config) { c.Host = "in valid" },
		"no database":    func(c *postgres.Config) { c.DBName = "none" },
	} {
		c := c
		change(&c)
		_, err := postgres.Open(t.Context(), postgres.Options{Config: c, Kinds: storetest.Kinds})
		_, err2 := postgres.Migrate(t.Context(), c)
		for _, err := range []error{err, err2} {
			if err == nil || strings.Contains(err.Error(), "s3cr3t") {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// authority makes certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	a := authority{key: newKey(t)}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (a authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

// issue returns certificate and key in PEM form.
func (a authority) issue(t *testing.T, name string) (cert, key []byte) {
	t.Helper()
	k := newKey(t)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &k.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER})
}

func TestTLS(t *testing.T) {
	s := pgtest.StartServer(t, "fsync=off")
	ca, other := newAuthority(t), newAuthority(t)
	cert, key := ca.issue(t, "localhost")
	s.Restart(t, "ssl=on", "ssl_cert_file="+s.WriteFile(t, "crt", cert), "ssl_key_file="+s.WriteFile(t, "key", key),
		"ssl_ca_file="+s.WriteFile(t, "ca", ca.pem()), "hba_file="+s.WriteFile(t, "hba", []byte(
			"hostssl all byname all cert\nhostssl all all all scram-sha-256\nhostnossl postgres all all scram-sha-256\n")))
	d := s.Database(t) // made through database postgres, the only one without TLS
	admin := d
	admin.Name = "postgres"
	admin.Exec(t, "CREATE ROLE byname LOGIN SUPERUSER")

	dir := t.TempDir()
	file := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	caPath, otherPath := file("ca", ca.pem()), file("other", other.pem())
	clientCert, clientKey := ca.issue(t, "byname")
	certPath, keyPath := file("crt", clientCert), file("key", clientKey)
	// None of these may change what the configuration says.
	t.Setenv("PGSSLROOTCERT", otherPath)
	t.Setenv("PGSSLMODE", "disable")

	for _, c := range []struct {
		name string
		host string
		tls  postgres.TLS
		want string // part of the error, "" = works
	}{
		{"full", "localhost", postgres.TLS{Mode: postgres.VerifyFull, CAPath: caPath}, ""},
		{"full without sni", "localhost", postgres.TLS{Mode: postgres.VerifyFull, CAPath: caPath, DisableSNI: true}, ""},
		{"full, other name", "127.0.0.1", postgres.TLS{Mode: postgres.VerifyFull, CAPath: caPath}, "127.0.0.1"},
		{"full, other name, without sni", "127.0.0.1", postgres.TLS{Mode: postgres.VerifyFull, CAPath: caPath, DisableSNI: true}, "127.0.0.1"},
		{"full, other ca", "localhost", postgres.TLS{Mode: postgres.VerifyFull, CAPath: otherPath}, "unknown authority"},
		{"ca", "127.0.0.1", postgres.TLS{Mode: postgres.VerifyCA, CAPath: caPath}, ""},
		{"ca, other ca", "127.0.0.1", postgres.TLS{Mode: postgres.VerifyCA, CAPath: otherPath}, "unknown authority"},
		{"none", "127.0.0.1", postgres.TLS{Mode: postgres.VerifyNone}, ""},
		{"none, other ca", "127.0.0.1", postgres.TLS{Mode: postgres.VerifyNone, CAPath: otherPath}, ""},
		{"disable", "127.0.0.1", postgres.TLS{Mode: postgres.Disable}, "no encryption"},
		{"ca is no certificate", "127.0.0.1", postgres.TLS{Mode: postgres.VerifyCA, CAPath: keyPath}, "no certificate in PEM form"},
		{"client certificate", "localhost", postgres.TLS{Mode: postgres.VerifyFull, CAPath: caPath, CertPath: certPath, KeyPath: keyPath}, ""},
		{"client certificate and key swapped", "localhost", postgres.TLS{Mode: postgres.VerifyFull, CAPath: caPath, CertPath: keyPath, KeyPath: certPath}, "load client certificate"},
	} {
		t.Run(c.name, func(t *testing.T) {
			conf := config(d)
			conf.Host, conf.TLS = c.host, c.tls
			if c.tls.CertPath != "" {
				conf.User, conf.Password = "byname", ""
			}
			_, err := postgres.Migrate(t.Context(), conf)
			switch {
			case c.want == "" && err != nil:
				t.Fatal(err)
			case c.want == "":
				open(t, conf)
			case err == nil || !strings.Contains(err.Error(), c.want):
				t.Fatalf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}
