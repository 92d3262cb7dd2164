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

// leaveTimeout bounds how long the goodbye may hold up the end.
const leaveTimeout = 2 * time.Second

// Goodbye tells the control plane that a proxy is about to stop.
type Goodbye struct {
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
func (c *Client) Leave(ctx context.Context, g Goodbye) error {
	ctx, cancel := context.WithTimeout(ctx, leaveTimeout)
	defer cancel()
	u, err := url.Parse(c.URL)
	if err != nil {
		return fmt.Errorf("parse address of the control plane: %w", err)
	}
	u.Path, u.RawQuery, u.Fragment = "/leave", "", ""
	v, err := newVerifier(c.Trust, u, c.Log)
	if err != nil {
		return err
	}
	if err := v.prepare(ctx, hostPort(u)); err != nil {
		return err
	}
	body, err := json.Marshal(g)
	if err != nil {
		return fmt.Errorf("encode goodbye: %w", err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("say goodbye: %w", err)
	}
	r.Header.Set("Content-Type", "application/json")
	a := attempt{url: u, verifier: v}
	resp, err := a.client().Do(r)
	if err != nil {
		return fmt.Errorf("say goodbye: %w", v.explain(err))
	}
	defer func() { _ = resp.Body.Close() }()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxReason))
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusNotFound {
		return fmt.Errorf("say goodbye: the control plane answered %s: %s", resp.Status, text)
	}
	return nil
}
