package kinds

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"weft/internal/mesh/model"
)

// TrustName is the name of the Config that holds the MeshTrust of a mesh.
func TrustName(mesh string) string { return "kuma-" + mesh + "-mtls" }

// meshOfTrust returns the mesh whose MeshTrust a Config holds.
func meshOfTrust(name string) (mesh string, ok bool) {
	rest, prefixed := strings.CutPrefix(name, "kuma-")
	mesh, suffixed := strings.CutSuffix(rest, "-mtls")
	return mesh, prefixed && suffixed && mesh != ""
}

// MeshTrust says how far a mesh is on its way to the certificate authority that
// its Mesh object asks for. The leader writes it; every instance of the control
// plane acts by it, so that all of them take the same step at the same time:
//
//	steady      Signer signs; Trusted holds nothing else
//	distribute  Next was asked for: Signer still signs, all learn to trust Next
//	reissue     Signer is what was Next: everybody gets a new certificate, and
//	            what signed before stays in Trusted until nobody needs it
//	leave       the Mesh asks for no mutual TLS any more: see Leaving
//
// It holds certificates, but no keys.
type MeshTrust struct {
	// Signer issues the certificates of proxies.
	Signer CARef `json:"signer"`
	// Next is to become Signer as soon as all proxies trust it.
	Next *CARef `json:"next,omitempty"`
	// Since is when the present step began.
	Since time.Time `json:"since"`
	// Trusted are the authorities whose certificates count, beside those of the
	// backends that the Mesh lists.
	Trusted []TrustedCA `json:"trusted,omitempty"`
	// Plain are the services (values of kuma.io/service) that have proxies which
	// were there before mutual TLS was turned on and may not speak it yet. What
	// joins later speaks it from its first configuration on.
	Plain []string `json:"plain,omitempty"`
	// Leaving tells how far a mesh is whose Mesh object asks for no mutual TLS any
	// more. As long as there is a MeshTrust its proxies still speak it; "" means
	// LeavingOpen, so that nobody has to write anything first.
	Leaving LeavingStage `json:"leaving,omitempty"`
}

// LeavingStage is a stage on the way from mutual TLS to plain text.
type LeavingStage string

// The stages of leaving. When the last is over there is no MeshTrust any more.
const (
	// LeavingOpen: servers accept plain text too, clients go on as before.
	LeavingOpen LeavingStage = "open"
	// LeavingPlain: clients send plain text, servers still accept both.
	LeavingPlain LeavingStage = "plain"
)

// CARef names a certificate authority: the backend, and the key pair by a hash
// of its certificate, since a backend may get another one.
type CARef struct {
	Backend string `json:"backend"`
	ID      string `json:"id"`
}

// TrustedCA is an authority whose certificates count.
type TrustedCA struct {
	CARef
	// PEM are the certificates to check against.
	PEM string `json:"pem"`
}

// The steps of a MeshTrust.
const (
	TrustSteady     = "steady"
	TrustDistribute = "distribute"
	TrustReissue    = "reissue"
	TrustLeave      = "leave"
)

// Step returns which step is under way.
func (t *MeshTrust) Step() string {
	switch {
	case t.Leaving != "":
		return TrustLeave
	case t.Next != nil:
		return TrustDistribute
	case slices.ContainsFunc(t.Trusted, func(c TrustedCA) bool { return c.ID != t.Signer.ID }):
		return TrustReissue
	}
	return TrustSteady
}

// SpeaksTLS tells whether all proxies of a service can be talked to with TLS.
func (t *MeshTrust) SpeaksTLS(service string) bool {
	_, plain := slices.BinarySearch(t.Plain, service)
	return !plain
}

// ParseTrust reads the text of a Config object.
func ParseTrust(text string) (*MeshTrust, error) {
	t := new(MeshTrust)
	if err := json.Unmarshal([]byte(text), t); err != nil {
		return nil, fmt.Errorf("read the state of mutual TLS: %w", err)
	}
	slices.Sort(t.Plain)
	return t, nil
}

// TrustOf returns the MeshTrust of a mesh, nil if there is none that can be read.
func TrustOf(t model.Tables, mesh string) *MeshTrust {
	row, ok := t.Table(Config, "").Get(TrustName(mesh))
	if !ok {
		return nil
	}
	trust, err := ParseTrust(model.Spec[ConfigSpec](row.Object).Config)
	if err != nil {
		return nil // the leader writes it anew
	}
	return trust
}

// Encode returns the text of the Config object.
func (t *MeshTrust) Encode() (string, error) {
	b, err := json.Marshal(t)
	if err != nil {
		return "", fmt.Errorf("write the state of mutual TLS: %w", err)
	}
	return string(b), nil
}
