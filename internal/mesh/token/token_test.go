package token

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"
)

var now = time.Date(2026, 5, 1, 12, 0, 0, 500, time.UTC)

// keys are made once; making them is the slow part.
var keys = sync.OnceValue(func() [2]*rsa.PrivateKey {
	var out [2]*rsa.PrivateKey
	for i := range out {
		text, err := NewKey()
		if err != nil {
			panic(err)
		}
		if out[i], err = ParsePrivateKey(text); err != nil {
			panic(err)
		}
	}
	return out
})

func lookup(kid string, key *rsa.PrivateKey) func(string) (*rsa.PublicKey, error) {
	return func(k string) (*rsa.PublicKey, error) {
		if k != kid {
			return nil, errors.New("no key " + k)
		}
		return &key.PublicKey, nil
	}
}

func part(t *testing.T, token string, i int) map[string]any {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[i])
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// The exact claims of 2.10 (recorded in compat/rest/tokens-*).
func TestClaimsOnTheWire(t *testing.T) {
	for name, c := range map[string]struct {
		claims Claims
		want   map[string]any
	}{
		"dataplane": {
			&Dataplane{Name: "fig-1", Mesh: "default", Tags: map[string][]string{"kuma.io/service": {"fig", "pear"}, "v": {}}},
			map[string]any{"Name": "fig-1", "Mesh": "default", "Type": "", "Tags": map[string]any{"kuma.io/service": []any{"fig", "pear"}}},
		},
		"dataplane without anything": {&Dataplane{}, map[string]any{"Name": "", "Mesh": "", "Type": "", "Tags": map[string]any{}}},
		"zone":                       {&Zone{Zone: "a", Scope: []string{"ingress"}}, map[string]any{"Zone": "a", "Scope": []any{"ingress"}}},
		"user":                       {&User{Name: "jo"}, map[string]any{"Name": "jo", "Groups": nil}},
		"user with no groups":        {&User{Name: "jo", Groups: []string{}}, map[string]any{"Name": "jo", "Groups": []any{}}},
	} {
		t.Run(name, func(t *testing.T) {
			signed, err := Issue(c.claims, Key{"7", keys()[0]}, now, time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(map[string]any{"alg": "RS256", "typ": "JWT", "kid": "7"}, part(t, signed, 0)); d != "" {
				t.Error(d)
			}
			got := part(t, signed, 1)
			if id, _ := got["jti"].(string); len(id) != 36 {
				t.Errorf("jti %v is no UUID", got["jti"])
			}
			delete(got, "jti")
			iat := float64(now.Unix())
			c.want["iat"], c.want["nbf"], c.want["exp"] = iat, iat-300, iat+3600
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestRoundTrip(t *testing.T) {
	in := &Dataplane{Name: "n", Mesh: "m", Tags: map[string][]string{"a": {"b", "c"}}, Type: TypeDataplane}
	signed, err := Issue(in, Key{"1", keys()[0]}, now, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	var out Dataplane
	if err := Parse(signed, &out, now, lookup("1", keys()[0])); err != nil {
		t.Fatal(err)
	}
	if out.ID != in.ID || out.Name != "n" || out.Mesh != "m" || out.Type != TypeDataplane || !cmp.Equal(out.Tags, in.Tags) {
		t.Errorf("got %+v", out)
	}
}

// sign makes a token with any header and claims, valid or not.
func sign(t *testing.T, m jwt.SigningMethod, key any, header, claims map[string]any) string {
	t.Helper()
	tok := jwt.NewWithClaims(m, jwt.MapClaims(claims))
	for k, v := range header {
		tok.Header[k] = v
	}
	s, err := tok.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestRefusals(t *testing.T) {
	good, other := keys()[0], keys()[1]
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	claims := func(change ...any) map[string]any {
		c := map[string]any{"jti": "id", "Name": "canary", "iat": now.Unix(), "nbf": now.Unix(), "exp": now.Unix() + 60}
		for i := 0; i < len(change); i += 2 {
			c[change[i].(string)] = change[i+1]
		}
		return c
	}
	kid := map[string]any{"kid": "1"}
	rs := jwt.SigningMethodRS256
	valid := sign(t, rs, good, kid, claims())
	publicPEM := EncodePublicKey(&good.PublicKey)
	parts := strings.Split(valid, ".")
	for name, c := range map[string]struct {
		token string
		want  error
	}{
		"valid":                   {valid, nil},
		"empty":                   {"", ErrMalformed},
		"text":                    {"x", ErrMalformed},
		"two parts":               {parts[0] + "." + parts[1], ErrMalformed},
		"four parts":              {valid + ".x", ErrMalformed},
		"space in front":          {" " + valid, ErrMalformed},
		"one letter more":         {valid + "x", ErrMalformed},
		"padding":                 {valid + "==", ErrMalformed},
		"too long":                {valid + strings.Repeat("x", MaxLength), ErrTooLong},
		"no JSON header":          {"eyJ." + parts[1] + "." + parts[2], ErrMalformed},
		"claims of wrong type":    {sign(t, rs, good, kid, claims("Name", 7)), ErrMalformed},
		"time of wrong type":      {sign(t, rs, good, kid, claims("exp", "soon")), ErrMalformed},
		"wrong key":               {sign(t, rs, other, kid, claims()), ErrSignature},
		"no signature":            {parts[0] + "." + parts[1] + ".", ErrSignature},
		"alg none":                {sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, kid, claims()), ErrAlgorithm},
		"HS256 with public key":   {sign(t, jwt.SigningMethodHS256, publicPEM, kid, claims()), ErrAlgorithm},
		"ES256":                   {sign(t, jwt.SigningMethodES256, ec, kid, claims()), ErrAlgorithm},
		"RS512":                   {sign(t, jwt.SigningMethodRS512, good, kid, claims()), ErrAlgorithm},
		"PS256":                   {sign(t, jwt.SigningMethodPS256, good, kid, claims()), ErrAlgorithm},
		"unknown algorithm":       {base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"moon","kid":"1"}`)) + "." + parts[1] + "." + parts[2], ErrAlgorithm},
		"algorithm of wrong type": {base64.RawURLEncoding.EncodeToString([]byte(`{"alg":7,"kid":"1"}`)) + "." + parts[1] + "." + parts[2], ErrAlgorithm},
		"no kid":                  {sign(t, rs, good, nil, claims()), ErrNoKID},
		"empty kid":               {sign(t, rs, good, map[string]any{"kid": ""}, claims()), ErrNoKID},
		"number as kid":           {sign(t, rs, good, map[string]any{"kid": 1}, claims()), ErrNoKID},
		"list as kid":             {sign(t, rs, good, map[string]any{"kid": []string{"1"}}, claims()), ErrNoKID},
		"long kid":                {sign(t, rs, good, map[string]any{"kid": strings.Repeat("1", MaxKID+1)}, claims()), ErrBadKID},
		"line break in kid":       {sign(t, rs, good, map[string]any{"kid": "1\n"}, claims()), ErrBadKID},
		"critical extension":      {sign(t, rs, good, map[string]any{"kid": "1", "crit": []string{"b64"}}, claims()), ErrCritical},
		"expired":                 {sign(t, rs, good, kid, claims("exp", now.Unix()-1)), ErrExpired},
		"expires now":             {sign(t, rs, good, kid, claims("exp", now.Unix())), ErrExpired},
		"not valid yet":           {sign(t, rs, good, kid, claims("nbf", now.Unix()+60)), ErrNotYet},
		"no end":                  {sign(t, rs, good, kid, claims("exp", nil)), ErrUnlimited},
		"no id":                   {sign(t, rs, good, kid, claims("jti", "")), ErrIncomplete},
		"enormous time":           {sign(t, rs, good, kid, claims("nbf", 1e300, "exp", 1e300)), ErrExpired},
	} {
		t.Run(name, func(t *testing.T) {
			err := Parse(c.token, &User{}, now, lookup("1", good))
			if !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			if err != nil && (strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), "eyJ")) {
				t.Errorf("the error quotes the token: %v", err)
			}
		})
	}
	if end, ok := Expires(valid); !ok || !end.Equal(time.Unix(now.Unix()+60, 0)) {
		t.Errorf("it ends at %v, %v", end, ok)
	}
	for _, text := range []string{"", "x", "a.b.c", strings.Repeat("x", MaxLength+1), sign(t, rs, good, kid, claims("exp", nil)), sign(t, rs, good, kid, claims("exp", "soon"))} {
		if end, ok := Expires(text); ok {
			t.Errorf("%.20q ends at %v", text, end)
		}
	}
	if err := Parse(sign(t, rs, good, map[string]any{"kid": "2"}, claims()), &User{}, now, lookup("1", good)); err == nil || err.Error() != "no key 2" {
		t.Errorf("the error of the look-up is lost: %v", err)
	}
}

func TestKeys(t *testing.T) {
	key := keys()[0]
	pkcs1 := x509.MarshalPKCS1PrivateKey(key)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	pkix, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, der []byte) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	}
	for name, text := range map[string][]byte{
		"PKCS1": block("RSA PRIVATE KEY", pkcs1), "PKCS8": block("PRIVATE KEY", pkcs8), "DER": pkcs1,
		"text before": append([]byte("my key\n"), block("RSA PRIVATE KEY", pkcs1)...),
	} {
		got, err := ParsePrivateKey(text)
		if err != nil || !got.Equal(key) {
			t.Errorf("private, %s: %v", name, err)
		}
		public, err := ParsePublicKey(text)
		if err != nil || !public.Equal(&key.PublicKey) {
			t.Errorf("public from private, %s: %v", name, err)
		}
	}
	for name, text := range map[string][]byte{"PKCS1": EncodePublicKey(&key.PublicKey), "PKIX": block("PUBLIC KEY", pkix)} {
		got, err := ParsePublicKey(text)
		if err != nil || !got.Equal(&key.PublicKey) {
			t.Errorf("public, %s: %v", name, err)
		}
		if _, err := ParsePrivateKey(text); err == nil || !strings.Contains(err.Error(), "public key") {
			t.Errorf("a public key as private key, %s: %v", name, err)
		}
	}
}

func TestBadKeys(t *testing.T) {
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	small.N.Rsh(small.N, 300)
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ec8, err := x509.MarshalPKCS8PrivateKey(ec)
	if err != nil {
		t.Fatal(err)
	}
	ecPub, err := x509.MarshalPKIXPublicKey(&ec.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"empty":         "",
		"text":          "canary",
		"long":          strings.Repeat("x", MaxKeyLength+1),
		"broken PEM":    string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: []byte("canary")})),
		"other PEM":     string(pem.EncodeToMemory(&pem.Block{Type: "EC PARAMETERS", Bytes: []byte("canary")})),
		"EC":            string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: ec8})),
		"EC public":     string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: ecPub})),
		"short":         string(EncodePublicKey(&small.PublicKey)),
		"broken public": string(pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: []byte("canary")})),
		"certificate":   string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("canary")})),
	} {
		_, err := ParsePublicKey([]byte(text))
		_, err2 := ParsePrivateKey([]byte(text))
		if err == nil || err2 == nil || strings.Contains(err.Error()+err2.Error(), "canary") {
			t.Errorf("%s: %v, %v", name, err, err2)
		}
	}
}

func FuzzParse(f *testing.F) {
	key := keys()[0]
	signed, err := Issue(&Dataplane{Name: "a", Tags: map[string][]string{"t": {"v"}}}, Key{"1", key}, now, time.Hour)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(signed)
	f.Add(signed[:40])
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Fuzz(func(t *testing.T, text string) {
		if end, ok := Expires(text); ok && end.IsZero() {
			t.Errorf("%q ends never", text)
		}
		for _, c := range []Claims{&Dataplane{}, &Zone{}, &User{}} {
			if err := Parse(text, c, now, lookup("1", key)); err == nil && text != signed {
				t.Errorf("accepted %q, which nobody signed", text)
			}
		}
	})
}

func FuzzKey(f *testing.F) {
	f.Add([]byte("-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n"))
	f.Add([]byte{0x30, 0x03, 2, 1, 0})
	f.Fuzz(func(_ *testing.T, text []byte) {
		_, _ = ParsePublicKey(text)
		_, _ = ParsePrivateKey(text)
	})
}
