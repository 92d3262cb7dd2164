package xds

import (
	"fmt"
	"unicode/utf8"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
)

// maxError is how much of a client's error message is kept.
const maxError = 4 << 10

// FromDelta returns what a delta request says; false if it is of a type that
// this server does not have, which is to be ignored.
func FromDelta(d *discovery.DeltaDiscoveryRequest) (*Request, bool) {
	t, ok := TypeOf(d.GetTypeUrl())
	if !ok {
		return nil, false
	}
	return &Request{
		Node: d.GetNode().GetId(), Type: t, Nonce: d.GetResponseNonce(),
		Rejected: d.GetErrorDetail() != nil, Error: shorten(d.GetErrorDetail().GetMessage()),
		Subscribe: d.GetResourceNamesSubscribe(), Unsubscribe: d.GetResourceNamesUnsubscribe(),
		Have: d.GetInitialResourceVersions(),
	}, true
}

// FromSotW returns what a state-of-the-world request says; false if it is of a
// type that this server does not have, which is to be ignored.
func FromSotW(d *discovery.DiscoveryRequest) (*Request, bool) {
	t, ok := TypeOf(d.GetTypeUrl())
	if !ok {
		return nil, false
	}
	return &Request{
		Node: d.GetNode().GetId(), Type: t, Nonce: d.GetResponseNonce(),
		Rejected: d.GetErrorDetail() != nil, Error: shorten(d.GetErrorDetail().GetMessage()),
		Names: d.GetResourceNames(), Version: d.GetVersionInfo(),
	}, true
}

// shorten bounds a message, without cutting a character.
func shorten(s string) string {
	if len(s) <= maxError {
		return s
	}
	n := maxError
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return fmt.Sprintf("%s… (%d bytes left out)", s[:n], len(s)-n)
}
