package ir

import (
	"maps"
	"slices"
	"strings"
)

// stacks lists for each protocol what it is built on, itself first.
var stacks = map[Protocol][]Protocol{
	ProtocolGRPC:  {ProtocolGRPC, ProtocolHTTP2, ProtocolTCP},
	ProtocolHTTP2: {ProtocolHTTP2, ProtocolTCP},
	ProtocolHTTP:  {ProtocolHTTP, ProtocolTCP},
	ProtocolKafka: {ProtocolKafka, ProtocolTCP},
	ProtocolMySQL: {ProtocolMySQL, ProtocolTCP},
	// TLS of an application is bytes to the proxy.
	ProtocolTLS: {ProtocolTCP},
	ProtocolTCP: {ProtocolTCP},
}

// Protocols are all that there are.
func Protocols() []Protocol { return slices.Sorted(maps.Keys(stacks)) }

// HTTPProtocols are those in which proxies see requests.
func HTTPProtocols() []Protocol { return []Protocol{ProtocolHTTP, ProtocolHTTP2, ProtocolGRPC} }

// ParseProtocol returns the protocol of that name in any case; ProtocolUnknown
// for an empty or unknown name.
func ParseProtocol(name string) Protocol {
	p := Protocol(strings.ToLower(name))
	if stacks[p] == nil {
		return ProtocolUnknown
	}
	return p
}

// CommonProtocol returns the richest protocol that both speak; ProtocolUnknown
// if one of them is unknown.
func CommonProtocol(a, b Protocol) Protocol {
	if a == b {
		return a
	}
	for _, p := range stacks[a] {
		for _, q := range stacks[b] {
			if p == q {
				return p
			}
		}
	}
	return ProtocolUnknown
}
