package bootstrap

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"os"
	"os/exec"
	"testing"
)

// runAgain runs the calling test alone in a new process with more variables.
func runAgain(t *testing.T, env ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.count=1")
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

type exported struct{ Cert, Key []byte }

func exportKey(t *testing.T, a *authority) string {
	t.Helper()
	key, err := x509.MarshalECPrivateKey(a.key)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(exported{Cert: a.cert.Raw, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(b)
}

func importAuthority(t *testing.T) *authority {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(os.Getenv("WEFT_TEST_ROOT_KEY"))
	if err != nil {
		t.Fatal(err)
	}
	var e exported
	if err := json.Unmarshal(b, &e); err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(e.Cert)
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.ParseECPrivateKey(e.Key)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert: cert, key: key, pem: encodeCert(e.Cert)}
}
