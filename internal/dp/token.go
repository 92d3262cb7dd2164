package dp

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// maxToken bounds a token file.
const maxToken = 64 << 10

// token is what proves to the control plane which proxy this is.
type token struct {
	text Secret
	path string
}

// loadToken reads the token. An Envoy that reads it by itself wants a file that
// holds nothing else: a literal token, and one with blanks around it, is written
// into dir. No token at all is fine here: the control plane says whether it wants
// one.
func loadToken(c *RuntimeConfig, dir, proxyName string) (token, error) {
	t, err := readToken(c, dir, proxyName)
	if err == nil && t.path != "" {
		err = checkToken(string(t.text))
	}
	if err != nil {
		return token{}, fmt.Errorf("read the token of the proxy: %w; on Universal make one with `kumactl generate dataplane-token`, on Kubernetes mount a service account token", err)
	}
	return t, nil
}

func readToken(c *RuntimeConfig, dir, proxyName string) (token, error) {
	own := filepath.Join(dir, filepath.Base(proxyName))
	if c.Token != "" {
		return writeToken(own, string(c.Token))
	}
	if c.TokenPath == "" {
		return token{}, nil
	}
	path, err := filepath.Abs(c.TokenPath)
	if err != nil {
		return token{}, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return token{}, err
	}
	if info.Size() > maxToken {
		return token{}, fmt.Errorf("%s is %d bytes long; that is no token", path, info.Size())
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return token{}, err
	}
	bare := strings.TrimSpace(string(text))
	switch bare {
	case "":
		return token{}, fmt.Errorf("%s is empty", path)
	case string(text):
		return token{text: Secret(bare), path: path}, nil
	}
	return writeToken(own, bare)
}

// writeToken puts a token into a file that only its owner can read.
func writeToken(path, text string) (token, error) {
	text = strings.TrimSpace(text)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return token{}, err
	}
	return token{text: Secret(text), path: path}, os.WriteFile(path, []byte(text), 0o600)
}

// checkToken finds mistakes of copying; whether the token is valid is for the
// control plane to say. No message quotes the token.
func checkToken(text string) error {
	if text == "" {
		return errors.New("it is empty")
	}
	if strings.ContainsAny(text, "\r\n") {
		return errors.New("it has line breaks inside; a token is one line")
	}
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return errors.New("it is no JWT: that has three parts with dots between")
	}
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[0], "="))
	if err != nil {
		return errors.New("it is no JWT: its first part is not Base64")
	}
	var header struct {
		Alg string `json:"alg"`
	}
	if err := json.Unmarshal(raw, &header); err != nil {
		return errors.New("it is no JWT: its first part is not JSON")
	}
	if header.Alg == "" {
		return errors.New("it is no JWT: its header names no algorithm (alg)")
	}
	return nil
}
