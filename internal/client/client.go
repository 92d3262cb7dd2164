// Package client talks to the control plane's REST API. kumactl and tests use
// it. It only uses what the API of 2.10 documents, so that it works with control
// planes of that release, too. A Client is safe for concurrent use.
package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

// maxAnswer bounds an answer; the largest is a configuration dump.
const maxAnswer = 256 << 20

// maxRedirects bounds how often an answer may lead elsewhere.
const maxRedirects = 5

// Options say which control plane to talk to and how.
type Options struct {
	// URL is the API's base, for example http://localhost:5681.
	URL string
	// Headers are added to every request; a token is one of them.
	Headers http.Header
	// FoundToken is a user token that nobody gave for this control plane but that
	// was found on this host. It is used as long as it is accepted: what listens
	// on a local port may be a tunnel to another control plane.
	FoundToken string
	// CAPEM verifies the server; nil = the host's roots.
	CAPEM []byte
	// MoreCAPEM is trusted beside the host's roots.
	MoreCAPEM []byte
	// CertPEM and KeyPEM identify the client.
	CertPEM, KeyPEM []byte
	// SkipVerify trusts any server. Never a default.
	SkipVerify bool
	// Timeout of a request; 0 = none.
	Timeout time.Duration
}

// Client is a connection to one control plane.
type Client struct {
	base    *url.URL
	headers http.Header
	http    *http.Client
	// found is the token that was found, nil when it turned out to be of no use.
	found atomic.Pointer[string]
	// inVain: it did so.
	inVain atomic.Bool
}

// New returns a client, or an error that says which option is wrong.
func New(o Options) (*Client, error) {
	base, err := url.Parse(o.URL)
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return nil, fmt.Errorf("address of the control plane %q: give an http:// or https:// URL, for example http://localhost:5681", redact(o.URL))
	}
	if base.User != nil {
		return nil, errors.New("the address of the control plane must not hold a user name or password; give a token with --auth-type=tokens")
	}
	conf, err := tlsConfig(o)
	if err != nil {
		return nil, err
	}
	t := &http.Transport{
		TLSClientConfig: conf, ForceAttemptHTTP2: true,
		MaxIdleConnsPerHost: 16, IdleConnTimeout: time.Minute,
	}
	if o.FoundToken == "" { // a token of this host stays on it, however its address is written
		t.Proxy = http.ProxyFromEnvironment
	}
	c := &Client{base: base, headers: o.Headers, http: &http.Client{Timeout: o.Timeout, Transport: t, CheckRedirect: sameServer}}
	if o.FoundToken != "" {
		c.found.Store(&o.FoundToken)
	}
	return c, nil
}

// redact leaves the credentials of a URL out.
func redact(raw string) string {
	if i := strings.LastIndexByte(raw, '@'); i >= 0 {
		return "…" + raw[i:]
	}
	return raw
}

func tlsConfig(o Options) (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: o.SkipVerify} //nolint:gosec // because only an explicit choice of the user sets it
	if o.CAPEM != nil {
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(o.CAPEM) {
			return nil, errors.New("the CA certificate holds no PEM certificate")
		}
	}
	if o.CAPEM == nil && o.MoreCAPEM != nil {
		roots, err := x509.SystemCertPool()
		if err != nil {
			roots = x509.NewCertPool() // a host without roots
		}
		if roots.AppendCertsFromPEM(o.MoreCAPEM) {
			conf.RootCAs = roots
		}
	}
	if o.CertPEM != nil || o.KeyPEM != nil {
		cert, err := tls.X509KeyPair(o.CertPEM, o.KeyPEM)
		if err != nil {
			return nil, fmt.Errorf("client certificate: %w", err)
		}
		conf.Certificates = []tls.Certificate{cert}
	}
	return conf, nil
}

// sameServer follows redirects only to where the request went, because it
// carries credentials in headers of any name.
func sameServer(r *http.Request, via []*http.Request) error {
	first := via[0].URL
	switch {
	case len(via) > maxRedirects:
		return fmt.Errorf("was redirected more than %d times", maxRedirects)
	case r.URL.Scheme != first.Scheme || r.URL.Host != first.Host:
		return fmt.Errorf("was redirected to %s://%s; use that address if you trust it", r.URL.Scheme, r.URL.Host)
	}
	return nil
}

// Get asks for a page and returns its body. query may be nil.
func (c *Client) Get(ctx context.Context, path string, query url.Values) ([]byte, error) {
	return c.do(ctx, http.MethodGet, path, query, nil)
}

// Post sends JSON and returns the answer's body.
func (c *Client) Post(ctx context.Context, path string, body []byte) ([]byte, error) {
	return c.do(ctx, http.MethodPost, path, nil, body)
}

// do sends a request and returns the body of a 2xx answer. Other answers give an
// *Error.
func (c *Client) do(ctx context.Context, method, path string, query url.Values, body []byte) ([]byte, error) {
	found := c.found.Load()
	answer, err := c.once(ctx, method, path, query, body, found)
	var e *Error
	if found != nil && errors.As(err, &e) && e.Status == http.StatusUnauthorized {
		c.found.Store(nil) // it belongs to another control plane, or was taken back
		c.inVain.Store(true)
		answer, err = c.once(ctx, method, path, query, body, nil)
	}
	if c.inVain.Load() && errors.As(err, &e) && e.Status == http.StatusForbidden {
		err = fmt.Errorf("%w; the administrator's token that was found on this host is not accepted there", err)
	}
	return answer, err
}

func (c *Client) once(ctx context.Context, method, path string, query url.Values, body []byte, token *string) ([]byte, error) {
	req, err := c.request(ctx, method, path, query, body)
	if err != nil {
		return nil, err
	}
	if token != nil && req.Header.Get("Authorization") == "" {
		req.Header.Set("Authorization", "Bearer "+*token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.explain(err)
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the control plane's answer: %w", err)
	case len(answer) > maxAnswer:
		return nil, fmt.Errorf("the control plane's answer to %s %s is larger than %d bytes", method, path, maxAnswer)
	case resp.StatusCode/100 != 2:
		return nil, ended(req, failure(resp, answer))
	}
	return answer, nil
}

func (c *Client) request(ctx context.Context, method, path string, query url.Values, body []byte) (*http.Request, error) {
	if p := strings.ToUpper(path); strings.Contains(p, "%2F") || strings.Contains(p, "%2E") {
		// Servers undo the escapes and go where dots and slashes lead.
		return nil, fmt.Errorf("%s %s: names of objects and meshes have no slashes, and are not dots alone", method, path)
	}
	u := c.base.JoinPath(path)
	u.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	for k, vs := range c.headers {
		req.Header[k] = vs
	}
	if req.Header.Get("Accept") == "" {
		req.Header.Set("Accept", "application/json")
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return req, nil
}
