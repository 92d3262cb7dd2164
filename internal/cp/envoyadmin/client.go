package envoyadmin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"time"

	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// Limits of a call. Dumps of large meshes have tens of megabytes.
const (
	callTimeout = 5 * time.Second
	dialTimeout = 3 * time.Second
	maxAnswer   = 256 << 20
)

// The pages of Envoy that may be asked for.
const (
	ConfigDump = "config_dump"
	Stats      = "stats"
	Clusters   = "clusters"
)

// Client asks Envoys.
type Client struct {
	authority *Authority
	// own is the address on which Envoy's own admin server listens.
	own netip.Addr
}

// NewClient returns a client that proves itself by the authority, for Envoys
// whose admin server listens on the given address.
func NewClient(a *Authority, adminAddress string) *Client {
	c := &Client{authority: a, own: netip.AddrFrom4([4]byte{127, 0, 0, 1})}
	if ip, err := netip.ParseAddr(adminAddress); err == nil && ip.Is6() {
		c.own = netip.IPv6Loopback()
	}
	return c
}

// Unreachable is the error for an Envoy that does not answer as it should.
type Unreachable struct {
	Address string
	Err     error
}

// Error says where and why.
func (e *Unreachable) Error() string {
	return "the administration of the proxy at " + e.Address + " cannot be reached: " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *Unreachable) Unwrap() error { return e.Err }

// Get returns a page of the Envoy of a proxy, with credentials in it redacted.
// port is its admin port.
func (c *Client) Get(ctx context.Context, proxy *model.Object, port uint32, page string, query url.Values) ([]byte, error) {
	hosts := Hosts(proxy)
	if len(hosts) == 0 || port == 0 {
		return nil, &Unreachable{proxy.Meta.Name, errors.New("it has no address or no admin port")}
	}
	host := hosts[len(hosts)-1] // as others see it
	address := net.JoinHostPort(host, strconv.FormatUint(uint64(port), 10))
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	body, err := c.call(ctx, address, host, page, query)
	if err != nil {
		return nil, &Unreachable{address, err}
	}
	return redact(body), nil
}

func (c *Client) call(ctx context.Context, address, host, page string, query url.Values) ([]byte, error) {
	t := &http.Transport{
		DialContext:         (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSHandshakeTimeout: dialTimeout, DisableKeepAlives: true, Proxy: nil,
	}
	defer t.CloseIdleConnections()
	u := url.URL{Scheme: "http", Host: address, Path: "/" + page, RawQuery: query.Encode()}
	if ip, err := netip.ParseAddr(host); err != nil || ip != c.own { // else Envoy itself listens; here only those with a certificate pass
		u.Scheme = "https"
		var err error
		if t.TLSClientConfig, err = c.authority.client(ctx); err != nil {
			return nil, err
		}
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("make the request: %w", err)
	}
	resp, err := t.RoundTrip(r) // follows no redirects
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("it answered %s", resp.Status)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return nil, fmt.Errorf("read its answer: %w", err)
	}
	if len(body) > maxAnswer {
		return nil, fmt.Errorf("its answer is larger than %d bytes", maxAnswer)
	}
	return body, nil
}

// Hosts are the addresses of a proxy: its own, then the one that others see.
func Hosts(o *model.Object) []string {
	var own, advertised string
	switch spec := o.Spec.(type) {
	case *kinds.DataplaneSpec:
		if n := spec.Networking; n != nil {
			own, advertised = n.Address, n.AdvertisedAddress
		}
	case *kinds.ZoneIngressSpec:
		if n := spec.Networking; n != nil {
			own = n.Address
		}
	case *kinds.ZoneEgressSpec:
		if n := spec.Networking; n != nil {
			own = n.Address
		}
	}
	var out []string
	for _, h := range []string{own, advertised} {
		if h != "" {
			out = append(out, h)
		}
	}
	return out
}

// credential finds the tokens that Envoy sends to control planes, as its dump
// prints them: {"key": "authorization", "value": "…"}.
var credential = regexp.MustCompile(`("key":\s*"(?i:authorization)",\s*"(?:value|raw_value)":\s*")(?:[^"\\]|\\.)*"`)

func redact(body []byte) []byte {
	return credential.ReplaceAll(body, []byte(`${1}[redacted]"`))
}
