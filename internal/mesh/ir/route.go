package ir

import "time"

// Route says what happens to the requests it matches.
type Route struct {
	// Name identifies the route's matches (a hash), Match says which requests.
	Name  string
	Match Match
	// Splits share the requests among clusters; empty with Redirect or Respond.
	Splits   []Split
	Redirect *Redirect
	Respond  *Response
	Rewrite  *Rewrite
	Mirrors  []Mirror

	RequestHeaders  HeaderChange
	ResponseHeaders HeaderChange

	// AutoHostRewrite sends the endpoint's own host name (external destinations).
	AutoHostRewrite bool
	// Timeout is of a whole request, IdleTimeout of a stream without data.
	Timeout      *time.Duration
	IdleTimeout  *time.Duration
	Retry        *Retry
	HashPolicies []HashPolicy
	RateLimit    *RateLimit
	Origins      Origins
}

// Match says which requests a route is for. Exactly one of Path, Prefix and
// Regex is set; Prefix is a plain string prefix.
type Match struct {
	Path, Prefix, Regex string
	Method              string
	Headers             []ValueMatch
	Query               []ValueMatch
}

// MatchType says how a header or query parameter is compared.
type MatchType string

// The match types.
const (
	MatchExact   MatchType = "Exact"
	MatchRegex   MatchType = "RegularExpression"
	MatchPrefix  MatchType = "Prefix"
	MatchPresent MatchType = "Present"
	MatchAbsent  MatchType = "Absent"
)

// ValueMatch compares a header or query parameter.
type ValueMatch struct {
	Type  MatchType
	Name  string
	Value string
}

// Header is a name and a value.
type Header struct{ Name, Value string }

// HeaderChange changes headers: Set replaces, Add appends, Remove deletes.
type HeaderChange struct {
	Set, Add []Header
	Remove   []string
}

// Redirect answers with another address.
type Redirect struct {
	Scheme, Host string
	Port         uint32
	StatusCode   int
	// Path replaces the whole path, Prefix the matched prefix; nil = unchanged.
	Path, Prefix *string
	StripQuery   bool
}

// Rewrite changes a request before it is sent on.
type Rewrite struct {
	Host         string
	Path, Prefix *string
	// HostToBackend sends the endpoint's host name.
	HostToBackend bool
	// PathRegex replaces a part of the path, HostFromPath makes the host from it.
	PathRegex, HostFromPath *RegexReplace
}

// RegexReplace replaces what a regular expression finds; \1 is its first group.
type RegexReplace struct{ Pattern, Substitution string }

// Response is a fixed answer.
type Response struct {
	StatusCode int
	Body       string
}

// Mirror copies requests to a cluster. Percent nil = all.
type Mirror struct {
	Cluster string
	Percent *Percent
}

// Percent is a share in percent with up to four decimals.
type Percent float64

// Retry says when and how a request is tried again.
type Retry struct {
	// On lists the proxy-neutral conditions as the field's standard names
	// (5xx, gateway-error, connect-failure, retriable-4xx, cancelled …).
	On            []string
	StatusCodes   []uint32
	Methods       []string
	Attempts      *uint32
	PerTryTimeout *time.Duration
	BackOffBase   *time.Duration
	BackOffMax    *time.Duration

	RateLimitedBackOff *RateLimitedBackOff
	ResponseHeaders    []ValueMatch
	RequestHeaders     []ValueMatch
	HostSelection      []HostSelection
	HostAttempts       int64
}

// RateLimitedBackOff waits as long as the upstream's answer says.
type RateLimitedBackOff struct {
	Max    *time.Duration
	Resets []ResetHeader
}

// ResetHeader is a response header that says when to try again.
type ResetHeader struct {
	Name   string
	Format string // Seconds, UnixTimestamp
}

// HostSelection says which hosts a retry avoids.
type HostSelection struct {
	Predicate       string // OmitPreviousHosts, OmitHostsWithTags, OmitPreviousPriorities
	Tags            map[string]string
	UpdateFrequency int32
}

// HashPolicy says what consistent hashing looks at.
type HashPolicy struct {
	Type     string // Header, Cookie, Connection, QueryParameter, FilterState
	Name     string // header, cookie, parameter or filter state key
	Path     string // cookie
	TTL      *time.Duration
	SourceIP bool
	Terminal bool
}

// Rate is a number of events per interval.
type Rate struct {
	Num      uint32
	Interval time.Duration
}

// RateLimit limits requests locally.
type RateLimit struct {
	Rate
	StatusCode      uint32 // 0 = 429
	ResponseHeaders HeaderChange
}

// Fault disturbs requests on purpose.
type Fault struct {
	// Clients restricts the fault to clients by their tags (regex on x-kuma-tags).
	Clients      []ValueMatch
	NotClients   []ValueMatch
	AbortStatus  uint32
	AbortPercent Percent
	Delay        *time.Duration
	DelayPercent Percent
	LimitKbps    uint64
	LimitPercent Percent
}
