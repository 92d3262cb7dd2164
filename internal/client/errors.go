package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"

	"weft/internal/mesh/token"
)

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
	return printable(b.String())
}

// printable leaves out what could steer a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// NotFound tells whether an error is the API's 404.
func NotFound(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Status == http.StatusNotFound
}

// maxText bounds what is shown of an answer that is no error body.
const maxText = 500

func failure(resp *http.Response, body []byte) error {
	e := &Error{}
	if json.Unmarshal(body, e) != nil || e.Title == "" {
		text := strings.TrimSpace(string(body[:min(len(body), maxText)]))
		if text == "" || strings.HasPrefix(text, "<") { // a page of something in between
			text = "no reason was given"
		}
		return &Error{Status: resp.StatusCode, Title: "the control plane answered " + resp.Status, Detail: text}
	}
	e.Status = resp.StatusCode
	e.Detail = strings.TrimSpace(e.Detail)
	return e
}

// ended says so if a request was refused whose token is over. The control plane
// does not tell, because it does not know who asks.
func ended(req *http.Request, err error) error {
	text, isToken := strings.CutPrefix(req.Header.Get("Authorization"), "Bearer ")
	var e *Error
	if !isToken || !errors.As(err, &e) || e.Status != http.StatusUnauthorized {
		return err
	}
	if end, limited := token.Expires(text); limited && end.Before(time.Now()) {
		return fmt.Errorf("%w: the token ended at %s; get a new one", err, end.UTC().Format(time.RFC3339))
	}
	return err
}

// explain says what can be done about a request that got no answer.
func (c *Client) explain(err error) error {
	// The library repeats method and URL, which may hold what users typed.
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err
	}
	where := c.base.Scheme + "://" + c.base.Host
	var (
		unknown  x509.UnknownAuthorityError
		host     x509.HostnameError
		invalid  x509.CertificateInvalidError
		verify   *tls.CertificateVerificationError
		noTLS    tls.RecordHeaderError
		timedOut interface{ Timeout() bool }
	)
	switch {
	case errors.As(err, &unknown), errors.As(err, &host), errors.As(err, &invalid), errors.As(err, &verify):
		return fmt.Errorf("the certificate of the control plane at %s is not trusted: %w. Give the certificate of its authority with "+
			"--ca-cert-file of \"kumactl config control-planes add\" (kuma-cp keeps its own in kuma-cp.crt in its working directory); "+
			"--skip-verify trusts anybody instead, which is insecure", where, err)
	case errors.As(err, &noTLS), errors.Is(err, http.ErrSchemeMismatch):
		return fmt.Errorf("what listens at %s does not speak TLS; its address may begin with http:// or have another port: %w", where, err)
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timedOut) && timedOut.Timeout():
		return fmt.Errorf("the control plane at %s did not answer in time (see --api-timeout): %w", where, err)
	}
	return fmt.Errorf("the control plane at %s cannot be reached: %w", where, err)
}
