package cli

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"weft/internal/client"
	"weft/internal/config"
	"weft/internal/tlsutil"
	"weft/internal/version"
)

// connect returns a client of the current control plane after it compared
// versions. Every command that talks to the control plane begins with it.
func (a *App) connect(ctx context.Context) (*client.Client, error) {
	c, err := a.client()
	if err != nil {
		return nil, err
	}
	a.checkVersion(ctx, c)
	return c, nil
}

// client returns a client of the current control plane.
func (a *App) client() (*client.Client, error) {
	cp, err := a.settings.current()
	if err != nil {
		return nil, err
	}
	return a.clientOf(cp)
}

func (a *App) clientOf(cp *controlPlane) (*client.Client, error) {
	api := cp.Coordinates.APIServer
	o := client.Options{URL: api.URL, Headers: http.Header{}, Timeout: a.apiTimeout, SkipVerify: api.SkipVerify}
	for _, h := range api.Headers {
		o.Headers.Set(h.Key, h.Value)
	}
	var err error
	if o.CAPEM, err = readOptional(api.CACertFile, "CA certificate"); err != nil {
		return nil, err
	}
	if o.CertPEM, err = readOptional(api.ClientCertFile, "client certificate"); err != nil {
		return nil, err
	}
	if o.KeyPEM, err = readOptional(api.ClientKeyFile, "client key"); err != nil {
		return nil, err
	}
	local := isLoopback(api.URL)
	switch {
	case api.AuthType == "tokens":
		o.Headers.Set("Authorization", "Bearer "+api.AuthConf["token"])
	case api.AuthType != "":
		return nil, fmt.Errorf("authentication type %q of control plane %q is not known; use tokens", api.AuthType, cp.Name)
	case local && o.Headers.Get("Authorization") == "":
		o.FoundToken = a.localToken()
	}
	if local && o.CAPEM == nil && !o.SkipVerify {
		o.MoreCAPEM = a.localAuthority()
	}
	a.log().Debug("talking to the control plane", "name", cp.Name, "url", api.URL, "token_found", o.FoundToken != "")
	return client.New(o)
}

func readOptional(path, what string) ([]byte, error) {
	if path == "" {
		return nil, nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the %s: %w", what, err)
	}
	return b, nil
}

// isLoopback tells whether a URL leads to this host.
func isLoopback(rawURL string) bool {
	u, err := url.Parse(rawURL)
	if err != nil {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return strings.EqualFold(u.Hostname(), "localhost") || ip != nil && ip.IsLoopback()
}

// workDir is where a control plane of the same user on this host keeps its files.
func (a *App) workDir() string {
	if dir := a.Env("KUMA_GENERAL_WORK_DIR"); dir != "" {
		return dir
	}
	if a.Home == "" {
		return ""
	}
	return config.DefaultWorkDir(a.Home)
}

// localToken returns the first admin's token that a control plane on this host
// left for its own user, so that kumactl there needs no set-up. It is only sent
// to loopback addresses.
func (a *App) localToken() string {
	dir := a.workDir()
	if dir == "" {
		return ""
	}
	b, err := os.ReadFile(config.AdminTokenFile(dir))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// localAuthority returns the certificates that a control plane on this host made
// for itself; they join the host's roots for loopback addresses only.
func (a *App) localAuthority() []byte {
	dir := a.workDir()
	if dir == "" {
		return nil
	}
	b, err := os.ReadFile(filepath.Join(dir, tlsutil.OwnCertFile))
	if err != nil {
		return nil
	}
	return b
}

// checkVersion warns when kumactl and the control plane are of different
// releases; it never fails.
func (a *App) checkVersion(ctx context.Context, c *client.Client) {
	i, _, err := c.Index(ctx)
	switch {
	case err != nil:
		fmt.Fprintf(a.Err, "WARNING: Failed to retrieve server version, can't check compatibility: %v\n", err)
	case !sameRelease(i.Version):
		fmt.Fprintf(a.Err, "WARNING: You are using kumactl version %s for %s, but the server returned version: %s %s\n",
			version.Current().Version, version.WireProduct, clean(i.Product), clean(i.Version))
	}
}

// sameRelease tells whether a control plane is of the release that this build
// speaks: same major and minor number. Previews are not compared.
func sameRelease(server string) bool {
	if strings.Contains(server, "preview") {
		return true
	}
	cut := func(v string) string {
		parts := strings.SplitN(strings.TrimPrefix(v, "v"), ".", 3)
		return strings.Join(parts[:min(2, len(parts))], ".")
	}
	return cut(server) == cut(version.Compatible)
}
