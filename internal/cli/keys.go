package cli

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"weft/internal/mesh/token"
)

// rsaBits is the size of generated RSA keys.
const rsaBits = 2048

func (a *App) signingKey() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use: "signing-key", Short: "Make a key that signs tokens", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			key, err := token.NewKey()
			if err != nil {
				return fmt.Errorf("generate a key: %w", err)
			}
			text := string(key)
			switch format {
			case "pem":
			case "pem-base64":
				text = base64.StdEncoding.EncodeToString([]byte(text))
			default:
				return fmt.Errorf("format %q is not known: use pem-base64 or pem", format)
			}
			return a.write([]byte(text))
		},
	}
	cmd.Flags().StringVar(&format, "format", "pem-base64", "format of the key: pem-base64 (as secrets hold it) or pem")
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{"pem-base64", "pem"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (a *App) publicKey() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use: "public-key", Short: "Print the public key of a signing key", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			key, err := readSigningKey(path)
			if err != nil {
				return err
			}
			return a.write(token.EncodePublicKey(&key.PublicKey))
		},
	}
	cmd.Flags().StringVar(&path, "signing-key-path", "", "path to the signing key (required)")
	_ = cmd.MarkFlagRequired("signing-key-path")
	return cmd
}

// certOptions are the flags of tls-certificate.
type certOptions struct {
	use, keyType, keyFile, certFile string
	hosts                           []string
}

func (a *App) tlsCertificate() *cobra.Command {
	var o certOptions
	cmd := &cobra.Command{
		Use: "tls-certificate", Short: "Make a self-signed certificate with its key", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return a.makeCertificate(o) },
	}
	f := cmd.Flags()
	f.StringVar(&o.use, "type", "", "what the certificate is for: server or client (required)")
	f.StringSliceVar(&o.hosts, "hostname", nil, "DNS names and IP addresses of the certificate; may be repeated (required)")
	f.StringVar(&o.keyType, "key-type", "rsa", "type of the key: rsa or ecdsa")
	f.StringVar(&o.keyFile, "key-file", "key.pem", "path to a file with the generated private key (- for standard output)")
	f.StringVar(&o.certFile, "cert-file", "cert.pem", "path to a file with the generated certificate (- for standard output)")
	_ = cmd.MarkFlagRequired("type")
	_ = cmd.MarkFlagRequired("hostname")
	return cmd
}

func (a *App) makeCertificate(o certOptions) error {
	key, keyDER, keyName, err := newKey(o.keyType)
	if err != nil {
		return err
	}
	tmpl, err := certificateTemplate(o, a.Now())
	if err != nil {
		return err
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return fmt.Errorf("sign the certificate: %w", err)
	}
	if err := a.savePEM(o.keyFile, "Private key", &pem.Block{Type: keyName, Bytes: keyDER}, 0o400); err != nil {
		return err
	}
	return a.savePEM(o.certFile, "Certificate", &pem.Block{Type: "CERTIFICATE", Bytes: der}, 0o600)
}

func newKey(kind string) (key crypto.Signer, der []byte, pemType string, err error) {
	switch kind {
	case "", "rsa":
		k, err := rsa.GenerateKey(rand.Reader, rsaBits)
		if err != nil {
			return nil, nil, "", fmt.Errorf("generate a key: %w", err)
		}
		return k, x509.MarshalPKCS1PrivateKey(k), "RSA PRIVATE KEY", nil
	case "ecdsa":
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, nil, "", fmt.Errorf("generate a key: %w", err)
		}
		der, err := x509.MarshalECPrivateKey(k)
		if err != nil {
			return nil, nil, "", fmt.Errorf("encode the key: %w", err)
		}
		return k, der, "EC PRIVATE KEY", nil
	}
	return nil, nil, "", fmt.Errorf("key type %q is not known: use rsa or ecdsa", kind)
}

// hostName is what peers can find in a certificate; names with an underscore occur.
var hostName = regexp.MustCompile(`^(\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?$`)

// certificateTemplate describes a certificate that is its own authority, so
// that peers can verify it by itself.
func certificateTemplate(o certOptions, now time.Time) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 128))
	if err != nil {
		return nil, fmt.Errorf("draw a serial number: %w", err)
	}
	const years = 10
	t := &x509.Certificate{
		SerialNumber: serial, // no subject: names are in the subject alternative names
		NotBefore:    now.Add(-time.Minute), NotAfter: now.AddDate(years, 0, 0),
		IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment | x509.KeyUsageCertSign,
	}
	switch o.use {
	case "server":
		t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	case "client":
		t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	default:
		return nil, fmt.Errorf("type %q is not known: use server or client", o.use)
	}
	if len(o.hosts) == 0 {
		return nil, errors.New("--hostname must name at least one host")
	}
	for _, h := range o.hosts {
		ip := net.ParseIP(h)
		switch {
		case ip != nil:
			t.IPAddresses = append(t.IPAddresses, ip)
		case hostName.MatchString(h):
			t.DNSNames = append(t.DNSNames, h)
		default:
			return nil, fmt.Errorf("--hostname: %q is neither a host name nor an IP address", h)
		}
	}
	return t, nil
}

// savePEM writes a PEM block to a file, or to standard output.
func (a *App) savePEM(path, what string, block *pem.Block, mode os.FileMode) error {
	text := pem.EncodeToMemory(block)
	if path == "-" {
		return a.write(text)
	}
	if err := replaceFile(path, text, mode); err != nil {
		return fmt.Errorf("save the %s: %w", strings.ToLower(what), err)
	}
	fmt.Fprintf(a.Out, "%s saved in %s\n", what, path)
	return nil
}
