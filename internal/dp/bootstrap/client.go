package bootstrap

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	requestTimeout = 10 * time.Second
	// maxResponse bounds the answer; real ones are some ten kilobytes.
	maxResponse = 16 << 20
	// maxReason bounds how much of a refusal is shown.
	maxReason = 8 << 10
)

// ErrNotFound means that the control plane does not know the proxy (yet).
var ErrNotFound = errors.New("the control plane knows no such proxy: on Universal create its Dataplane (ZoneIngress, ZoneEgress) first or start kuma-dp with --dataplane-file; on Kubernetes the control plane's log says why none was made for this pod")

// fatalError ends the attempts because another would fare no better.
type fatalError struct{ error }

// Unwrap gives access to the cause.
func (e *fatalError) Unwrap() error { return e.error }

// Client asks one control plane.
type Client struct {
	// URL of the data plane server; its path is not used.
	URL string
	// Trust says how the control plane proves who it is.
	Trust Trust
	// Backoff is the pause between two attempts.
	Backoff time.Duration
	// MaxDuration is the time after which no further attempt is made.
	MaxDuration time.Duration
	// Log receives what happens between attempts.
	Log *slog.Logger
}

// Fetch asks until there is an answer, a refusal that no further attempt can
// change, or MaxDuration has passed. It sets the CA in the request itself.
func (c *Client) Fetch(ctx context.Context, req Request) (*Response, error) {
	u, err := url.Parse(c.URL)
	if err != nil {
		return nil, fmt.Errorf("parse address of the control plane: %w", err)
	}
	u.Path, u.RawQuery, u.Fragment = "/bootstrap", "", ""
	v, err := newVerifier(c.Trust, u, c.Log)
	if err != nil {
		return nil, err
	}
	a := attempt{url: u, verifier: v, req: req}
	resp, err := c.retry(ctx, &a)
	if err != nil {
		return nil, fmt.Errorf("get the bootstrap document from %s: %w", u.Redacted(), err)
	}
	return resp, nil
}

func (c *Client) retry(ctx context.Context, a *attempt) (*Response, error) {
	deadline := time.Now().Add(c.MaxDuration)
	for n := 1; ; n++ {
		resp, err := a.do(ctx)
		if err == nil {
			return resp, nil
		}
		var fatal *fatalError
		if errors.As(err, &fatal) {
			return nil, fatal.error
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if !time.Now().Add(c.Backoff).Before(deadline) {
			return nil, fmt.Errorf("gave up after %d attempts in %s: %w", n, c.MaxDuration, err)
		}
		c.Log.Warn("no bootstrap document yet; trying again", "attempt", n, "pause", c.Backoff.String(), "error", err)
		if err := pause(ctx, c.Backoff); err != nil {
			return nil, err
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// attempt is what all attempts share.
type attempt struct {
	url      *url.URL
	verifier *verifier
	req      Request
}

// client makes one that trusts what the verifier has learnt by now.
func (a *attempt) client() *http.Client {
	return &http.Client{
		Timeout: requestTimeout,
		Transport: &http.Transport{
			TLSClientConfig:     a.verifier.tls,
			TLSHandshakeTimeout: requestTimeout,
			DisableKeepAlives:   true,
		},
		// A redirect would carry the token elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func (a *attempt) do(ctx context.Context) (*Response, error) {
	if err := a.verifier.prepare(ctx, hostPort(a.url)); err != nil {
		return nil, err
	}
	a.req.CACert = a.verifier.caCert
	body, err := json.Marshal(a.req)
	if err != nil {
		return nil, &fatalError{fmt.Errorf("encode request: %w", err)}
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, a.url.String(), bytes.NewReader(body))
	if err != nil {
		return nil, &fatalError{err}
	}
	r.Header.Set("Accept", "application/json")
	r.Header.Set("Content-Type", "application/json")
	resp, err := a.client().Do(r)
	if errors.Is(err, http.ErrSchemeMismatch) {
		return nil, fmt.Errorf("the address speaks HTTP without TLS, %w", errOtherPort)
	}
	if err != nil {
		return nil, a.verifier.explain(err)
	}
	defer resp.Body.Close()
	return answer(resp)
}

// hostPort adds the port that the scheme implies.
func hostPort(u *url.URL) string {
	if u.Port() != "" {
		return u.Host
	}
	return u.Host + ":443"
}

// errOtherPort ends the error for an address that is not the right one.
var errOtherPort = errors.New("but not as a data plane server: it is probably the API (port 5681 or 5682); the data plane server usually has port 5678")

// answer sorts answers into success, refusal (no retry) and "not now".
func answer(resp *http.Response) (*Response, error) {
	if resp.StatusCode == http.StatusOK {
		return decode(resp.Body)
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxReason))
	if err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	reason := strings.TrimSpace(string(text))
	switch {
	case resp.StatusCode == http.StatusNotFound && reason == "":
		return nil, ErrNotFound
	case resp.StatusCode == http.StatusNotFound && reason == "404: Page Not Found":
		return nil, fmt.Errorf("the address answers, %w", errOtherPort)
	case resp.StatusCode >= 400 && resp.StatusCode < 500:
		if reason == "" {
			reason = "no reason given"
		}
		return nil, &fatalError{fmt.Errorf("the control plane refuses the request (status %d): %s", resp.StatusCode, reason)}
	default:
		return nil, fmt.Errorf("the control plane answered with status %d; its log says why", resp.StatusCode)
	}
}

func decode(body io.Reader) (*Response, error) {
	text, err := io.ReadAll(io.LimitReader(body, maxResponse+1))
	if err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	if len(text) > maxResponse {
		return nil, &fatalError{fmt.Errorf("the answer is longer than %d bytes", maxResponse)}
	}
	var r Response
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, fmt.Errorf("the answer is not what a control plane of release 2.10 sends: %w", err)
	}
	if len(r.Bootstrap) == 0 {
		return nil, errors.New("the answer has no bootstrap document: is this the data plane server of a control plane?")
	}
	return &r, nil
}
