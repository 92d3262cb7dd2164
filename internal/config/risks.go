package config

import (
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

const unauthenticated = "mesh-system:unauthenticated"

// dnsLabel is what may stand between the dots of a DNS name.
var dnsLabel = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`)

// risks returns a warning for each setting that gives up a protection which
// holds by default, and for those that will cause trouble later or do not do yet
// what they say.
func (c *Config) risks() []string {
	var out []string
	add := func(when bool, warning string) {
		if when {
			out = append(out, warning)
		}
	}
	api, static := c.APIServer, c.Access.Static
	add(api.Authn.LocalhostIsAdmin,
		"apiServer.authn.localhostIsAdmin is true: every process on this machine, and whoever comes through a reverse proxy on it, is an administrator")
	add(api.HTTP.Enabled && !isLoopback(api.HTTP.Interface),
		"apiServer.http.interface is not loopback: tokens and objects travel over the network unencrypted on that port; use apiServer.https")
	add(slices.Contains(api.CORSAllowedDomains, ".*"),
		"apiServer.corsAllowedDomains allows .*: every web page that a user of this API visits can call it")
	add(slices.Contains(static.WriteResources.Groups, unauthenticated),
		"access.static.writeResources names the group "+unauthenticated+": whoever reaches the API can change everything but secrets")
	add(slices.Contains(static.AdminResources.Groups, unauthenticated),
		"access.static.adminResources names the group "+unauthenticated+": whoever reaches the API can read all secrets")
	add(tokensForAll(static), "access.static lets the group "+unauthenticated+" issue tokens: whoever reaches the API can become anybody")
	add(!c.IsGlobal() && c.DPServer.Authn.DPProxy.Type == ProxyAuthnNone,
		"dpServer.authn.dpProxy.type is none: whoever reaches the port can be any data plane proxy")
	add(!c.IsGlobal() && c.DPServer.Authn.ZoneProxy.Type == ProxyAuthnNone,
		"dpServer.authn.zoneProxy.type is none: whoever reaches the port can be any zone ingress or egress")
	add(c.IsGlobal(), "mode is global, but zones cannot connect yet: what is written here stays here")
	add(c.IsFederatedZone(),
		"multizone.zone.globalAddress is set, but zones do not connect to a global control plane yet: this one gets no meshes and no policies; leave the address out")
	add(c.IsGlobal() && !c.Multizone.Global.KDS.TLSEnabled,
		"multizone.global.kds.tlsEnabled is false: objects and keys travel between zones unencrypted")
	zone := c.Multizone.Zone
	add(c.IsFederatedZone() && zone.KDS.TLSSkipVerify,
		"multizone.zone.kds.tlsSkipVerify is true: the global control plane is not verified; set multizone.zone.kds.rootCaFile")
	add(c.IsFederatedZone() && strings.HasPrefix(zone.GlobalAddress, "grpc://"),
		"multizone.zone.globalAddress begins with grpc://: objects and keys travel to global unencrypted; use grpcs://")
	add(c.Mode == ModeZone && !dnsLabel.MatchString(zone.Name),
		"multizone.zone.name is no DNS label (small letters, digits, dashes); such names are deprecated")
	add(c.Store.Type == StoreMemory, "store.type is memory: all objects and signing keys are lost when kuma-cp ends")
	pg := c.Store.Postgres
	add(c.Store.Type == StorePostgres && !isLoopback(pg.Host) && !strings.HasPrefix(pg.Host, "/") &&
		(pg.TLS.Mode == PostgresTLSDisable || pg.TLS.Mode == PostgresTLSVerifyNone),
		"store.postgres.tls.mode does not verify the database: secrets travel to an unverified server; use verifyFull")
	add(c.Store.Type == StorePostgres && pg.Password == Default().Store.Postgres.Password,
		"store.postgres.password is the well-known default")
	return out
}

func tokensForAll(s StaticAccess) bool {
	return slices.ContainsFunc([]AccessList{s.GenerateDPToken, s.GenerateUserToken, s.GenerateZoneToken},
		func(l AccessList) bool { return slices.Contains(l.Groups, unauthenticated) })
}

// isLoopback tells whether a host is this machine only.
func isLoopback(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}
