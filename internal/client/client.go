// Package client talks to the control plane's REST API. kumactl and tests use
// it. A Client is safe for concurrent use.
package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"weft/internal/mesh/model"
)

// maxAnswer bounds an answer; the largest is a configuration dump.
const maxAnswer = 256 << 20

// Options say which control plane to talk to and how.
type Options struct {
	// URL is the API's base, for example http://localhost:5681.
	URL string
	// Headers are added to every request; a token is one of them.
	Headers http.Header
	// CAPEM verifies the server; nil = the host's roots.
	CAPEM []byte
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
}

// New returns a client, or an error that says which option is wrong.
func New(o Options) (*Client, error) {
	base, err := url.Parse(o.URL)
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return nil, fmt.Errorf("address of the control plane %q: give an http:// or https:// URL, for example http://localhost:5681", o.URL)
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: o.SkipVerify} //nolint:gosec // because only an explicit choice of the user sets it
	if o.CAPEM != nil {
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(o.CAPEM) {
			return nil, errors.New("the CA certificate holds no PEM certificate")
		}
	}
	if o.CertPEM != nil || o.KeyPEM != nil {
		cert, err := tls.X509KeyPair(o.CertPEM, o.KeyPEM)
		if err != nil {
			return nil, fmt.Errorf("client certificate: %w", err)
		}
		conf.Certificates = []tls.Certificate{cert}
	}
	return &Client{
		base:    base,
		headers: o.Headers,
		http:    &http.Client{Timeout: o.Timeout, Transport: &http.Transport{TLSClientConfig: conf, Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true}},
	}, nil
}

// Param is one wrong input of a request.
type Param struct {
	Field  string `json:"field"`
	Reason string `json:"reason"`
}

// Error is the API's answer to a request that failed.
type Error struct {
	Status int     `json:"status"`
	Title  string  `json:"title"`
	Detail string  `json:"detail"`
	Params []Param `json:"invalid_parameters"`
}

// Error returns "title (detail)" with a line for each wrong parameter.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s (%s)", e.Title, e.Detail)
	for _, p := range e.Params {
		fmt.Fprintf(&b, "\n* %s: %s", p.Field, p.Reason)
	}
	return b.String()
}

// NotFound tells whether an error is the API's 404.
func NotFound(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Status == http.StatusNotFound
}

// Do sends a request and returns the body of a 2xx answer. Other answers give an
// *Error. query may be nil.
func (c *Client) Do(ctx context.Context, method, path string, query url.Values, body []byte) ([]byte, error) {
	u := *c.base
	u.Path = strings.TrimSuffix(u.Path, "/") + path
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
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the control plane: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("read the control plane's answer: %w", err)
	}
	if resp.StatusCode/100 != 2 {
		return nil, failure(resp, answer)
	}
	return answer, nil
}

func failure(resp *http.Response, body []byte) error {
	e := &Error{Status: resp.StatusCode}
	if json.Unmarshal(body, e) != nil || e.Title == "" {
		text := strings.TrimSpace(string(body[:min(len(body), 500)]))
		return &Error{Status: resp.StatusCode, Title: "the control plane answered " + resp.Status, Detail: text}
	}
	e.Status = resp.StatusCode
	return e
}

// Path returns the REST path of an object, or of the kind's list when name is "".
// A list in mesh "" spans all meshes.
func Path(k *model.Kind, mesh, name string) string {
	p := "/" + k.Plural
	if k.Scope == model.InMesh && mesh != "" {
		p = "/meshes/" + url.PathEscape(mesh) + p
	}
	if name != "" {
		p += "/" + url.PathEscape(name)
	}
	return p
}

// Get returns an object.
func (c *Client) Get(ctx context.Context, k *model.Kind, mesh, name string) (*model.Object, error) {
	b, err := c.Do(ctx, http.MethodGet, Path(k, mesh, name), nil, nil)
	if err != nil {
		return nil, err
	}
	return decode(k, b)
}

func decode(k *model.Kind, b []byte) (*model.Object, error) {
	o, err := k.Decode(b)
	if err != nil {
		return nil, fmt.Errorf("understand the control plane's answer: %w", err)
	}
	return o, nil
}

// Page is a part of a list.
type Page struct {
	Objects []*model.Object
	Total   int
	// Next is the offset of the next page, "" at the end.
	Next string
	// Raw is the answer as it came.
	Raw json.RawMessage
}

// List returns a page of a kind's objects. size 0 = the server's default.
func (c *Client) List(ctx context.Context, k *model.Kind, mesh string, size int, offset string, more url.Values) (*Page, error) {
	q := url.Values{}
	for key, vs := range more {
		q[key] = vs
	}
	if size > 0 {
		q.Set("size", strconv.Itoa(size))
	}
	if offset != "" {
		q.Set("offset", offset)
	}
	b, err := c.Do(ctx, http.MethodGet, Path(k, mesh, ""), q, nil)
	if err != nil {
		return nil, err
	}
	var raw struct {
		Total int               `json:"total"`
		Items []json.RawMessage `json:"items"`
		Next  *string           `json:"next"`
	}
	if err := json.Unmarshal(b, &raw); err != nil {
		return nil, fmt.Errorf("understand the control plane's answer: %w", err)
	}
	p := &Page{Total: raw.Total, Raw: b}
	for _, item := range raw.Items {
		o, err := decode(k, item)
		if err != nil {
			return nil, err
		}
		p.Objects = append(p.Objects, o)
	}
	if raw.Next != nil {
		if u, err := url.Parse(*raw.Next); err == nil {
			p.Next = u.Query().Get("offset")
		}
	}
	return p, nil
}

// Put writes an object and returns the server's warnings.
func (c *Client) Put(ctx context.Context, o *model.Object) ([]string, error) {
	body, err := model.Encode(o)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", o.Key(), err)
	}
	answer, err := c.Do(ctx, http.MethodPut, Path(o.Kind, o.Meta.Mesh, o.Meta.Name), nil, body)
	if err != nil {
		return nil, err
	}
	var w struct {
		Warnings []string `json:"warnings"`
	}
	if len(answer) > 0 {
		if err := json.Unmarshal(answer, &w); err != nil {
			return nil, fmt.Errorf("understand the control plane's answer: %w", err)
		}
	}
	return w.Warnings, nil
}

// Delete deletes an object.
func (c *Client) Delete(ctx context.Context, k *model.Kind, mesh, name string) error {
	_, err := c.Do(ctx, http.MethodDelete, Path(k, mesh, name), nil, nil)
	return err
}
