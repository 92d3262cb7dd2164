package bootstrap

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// tellTimeout bounds how long a word to the control plane may take; a goodbye
// must not hold up the end.
const tellTimeout = 2 * time.Second

// Speaker is the proxy that tells the control plane something.
type Speaker struct {
	Mesh      string `json:"mesh"`
	Name      string `json:"name"`
	ProxyType string `json:"proxyType"`
	Token     string `json:"dataplaneToken,omitempty"`
	// Registered says that the proxy brought its object along.
	Registered bool `json:"registered"`
}

// Leave says goodbye, so that nobody is sent to the proxy any more. Control planes
// of 2.10 do not know it and answer 404: they find out by health discovery and
// the end of the stream, so that is no error.
func (c *Client) Leave(ctx context.Context, who Speaker) error {
	return c.tell(ctx, "/leave", who)
}

// Serving says that the application listens, so that clients may be sent to the
// proxy at once. Control planes of 2.10 find out by health discovery.
func (c *Client) Serving(ctx context.Context, who Speaker) error {
	return c.tell(ctx, "/serving", who)
}

func (c *Client) tell(ctx context.Context, path string, who Speaker) error {
	ctx, cancel := context.WithTimeout(ctx, tellTimeout)
	defer cancel()
	u, err := url.Parse(c.URL)
	if err != nil {
		return fmt.Errorf("parse address of the control plane: %w", err)
	}
	u.Path, u.RawQuery, u.Fragment = path, "", ""
	v, err := newVerifier(c.Trust, u, c.Log)
	if err != nil {
		return err
	}
	if err := v.prepare(ctx, hostPort(u)); err != nil {
		return err
	}
	body, err := json.Marshal(who)
	if err != nil {
		return fmt.Errorf("encode %s: %w", path, err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("tell the control plane (%s): %w", path, err)
	}
	r.Header.Set("Content-Type", "application/json")
	a := attempt{url: u, verifier: v}
	resp, err := a.client().Do(r)
	if err != nil {
		return fmt.Errorf("tell the control plane (%s): %w", path, v.explain(err))
	}
	defer func() { _ = resp.Body.Close() }()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxReason))
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusNotFound {
		return fmt.Errorf("tell the control plane (%s): it answered %s: %s", path, resp.Status, text)
	}
	return nil
}
