package ir

// Passage is the port of a zone proxy, on which clients tell by the name that they
// ask for in TLS (SNI) where they want to go.
type Passage struct {
	Address string
	Port    uint32
	Chains  []*Chain
}

// Chain handles the connections that ask for certain names.
type Chain struct {
	// Name identifies the chain, may be empty.
	Name        string
	ServerNames []string
	// In says how the connections are handled, as on an inbound: with TLS they are
	// opened here, without they are passed on as they are.
	In *Inbound
	// Stat, Route and Host are what statistics, the route configuration and its
	// virtual host are called; AccessStat prefixes the statistics of Access.
	Stat, Route, Host, AccessStat string
}
