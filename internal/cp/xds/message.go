package xds

import "time"

// Request is what a client says, in a form that both protocols share.
type Request struct {
	// Node is the id of the client's node; empty where the client left it out.
	Node string
	Type Type
	// Nonce of the response that this request confirms or rejects; may be empty.
	Nonce string
	// Rejected tells that the client could not use that response, and Error why.
	Rejected bool
	Error    string

	// Subscribe and Unsubscribe change what a delta client wants to hear of; "*"
	// stands for all. Have are the versions that it brings along from an earlier
	// stream.
	Subscribe, Unsubscribe []string
	Have                   map[string]string

	// Names are all that a state-of-the-world client wants to hear of, and
	// Version is what it accepted last, possibly on an earlier stream.
	Names   []string
	Version string
}

// Response is what a client is told. It is encoded by Codec.
type Response struct {
	Delta bool
	Type  Type
	Nonce string
	// Version covers all that the client holds of the type; state-of-the-world only.
	Version   string
	Resources []*Resource
	// Removed are the names that are gone; delta only.
	Removed []string
	// Identifier names the control plane instance.
	Identifier string

	// since is when the oldest change in it was made; zero = not a change.
	since time.Time
}

// Delivery is an accepted response.
type Delivery struct {
	Type Type
	// Changed is when the oldest change in it was made; zero if the response was
	// not caused by a change (first connection) or the time is not known.
	Changed time.Time
	Sent    time.Time
	Acked   time.Time
}

// Rejection is a response that the client could not use.
type Rejection struct {
	Type Type
	// Names are the resources in the response. A response with several is split
	// until the bad ones are known, so the last rejections name one each (not for
	// state-of-the-world clusters and listeners, which always come together).
	Names   []string
	Message string
	// Sent and At are the times of the response and its rejection.
	Sent, At time.Time
}

// Holding is what a client has accepted of the secrets that it subscribed to.
type Holding struct {
	// Secrets are those of the newest set that it confirmed.
	Secrets []*Resource
	// Listeners tells whether it accepted all listeners of that set, too.
	Listeners bool
	// Serving tells whether nothing is left that listeners wait for: the client
	// accepted them and, if the set has secrets, all that it subscribed to. One
	// that starts opens its ports only then, not when it accepts the listeners.
	Serving bool
	// Stage is that of the newest set of which the client accepted everything.
	Stage string
}

// Reporter is told what happens on a stream, in order, from the stream's own
// goroutine. Its methods must not block.
type Reporter interface {
	Sent(t Type)
	Acked(d Delivery)
	Rejected(r Rejection)
	// Holds comes when the client has confirmed secrets, or the listeners that may
	// use them. What it brought along from an earlier stream counts too.
	Holds(h Holding)
}

type silent struct{}

func (silent) Sent(Type)          {}
func (silent) Acked(Delivery)     {}
func (silent) Rejected(Rejection) {}
func (silent) Holds(Holding)      {}
