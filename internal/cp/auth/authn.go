package auth

import (
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"weft/internal/config"
)

// Authn finds out who calls the API.
type Authn struct {
	tokens           *Tokens
	byClientCert     bool
	localhostIsAdmin bool
	hosts            []string // names of this machine beside localhost
}

// NewAuthn returns the check. hostname is that of this machine.
func NewAuthn(c config.APIServerAuthn, t *Tokens, hostname string) *Authn {
	return &Authn{
		tokens:           t,
		byClientCert:     c.Type == config.AuthnAdminClientCerts,
		localhostIsAdmin: c.LocalhostIsAdmin,
		hosts:            []string{"localhost", strings.ToLower(hostname)},
	}
}

// errTwoCredentials is the error for a request with several of them.
var errTwoCredentials = errors.New("more than one Authorization header was sent")

// Authenticate returns who makes a request: by place (if the settings say so),
// then by client certificate or user token, else Anonymous. An error means that a
// token was sent and cannot be accepted.
func (a *Authn) Authenticate(r *http.Request) (User, error) {
	if a.localhostIsAdmin && a.isLocal(r) {
		return Admin(), nil
	}
	if a.byClientCert {
		if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
			return Admin(), nil
		}
		return Anonymous(), nil
	}
	headers := r.Header.Values("Authorization")
	if len(headers) > 1 {
		return User{}, errTwoCredentials
	}
	if len(headers) == 0 {
		return Anonymous(), nil
	}
	// Exactly this spelling, as in 2.10; other schemes are somebody else's.
	text, ok := strings.CutPrefix(headers[0], "Bearer ")
	if !ok {
		return Anonymous(), nil
	}
	return a.tokens.VerifyUser(r.Context(), text)
}

// isLocal tells whether a program on this machine makes the request of its own
// accord: neither for somebody elsewhere (a reverse proxy) nor for a web page
// from elsewhere (a browser).
func (a *Authn) isLocal(r *http.Request) bool {
	addr, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return false
	}
	if ip := addr.Addr().Unmap(); ip != netip.IPv6Loopback() && ip != netip.AddrFrom4([4]byte{127, 0, 0, 1}) {
		return false
	}
	for _, h := range []string{"Forwarded", "X-Forwarded-For", "X-Real-Ip", "Via"} {
		if r.Header.Get(h) != "" {
			return false
		}
	}
	return a.ownHost(r.Host) && !fromForeignPage(r)
}

// ownHost tells whether the request was sent to this machine by a name that
// nobody else can give it; a foreign name means that DNS was used to lead a
// browser here.
func (a *Authn) ownHost(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	host = strings.ToLower(strings.Trim(host, "[]"))
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	return host != "" && slices.Contains(a.hosts, host)
}

// fromForeignPage tells whether a page of another origin makes the request.
func fromForeignPage(r *http.Request) bool {
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" && site != "none" {
		return true
	}
	origin := r.Header.Get("Origin")
	if origin == "" {
		return false
	}
	u, err := url.Parse(origin)
	return err != nil || !strings.EqualFold(u.Host, r.Host)
}
