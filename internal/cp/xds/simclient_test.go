package xds

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// simClient behaves as Envoy does on an aggregated stream: it asks for all
// clusters and listeners, then by name for what these refer to; it holds back
// the confirmation of clusters until all of them have endpoints; it applies the
// good ones of clusters and listeners and rejects a response with a bad one.
//
// Bodies are words: "name version [bad] [eds] [secret=s] [route=r] [uses=a,b]".
type simClient struct {
	delta bool
	now   func() time.Time

	hold    [NumTypes]map[string]string // name → body
	version [NumTypes]map[string]string // delta: name → version
	applied [NumTypes]string            // state of the world: accepted version
	names   [NumTypes]map[string]bool
	nonce   [NumTypes]string // newest of this stream
	cold    map[string]time.Time
	held    []*Request // confirmations of clusters that wait for warming

	out      []*Request
	regrown  bool // endpoints were subscribed since the last ones came
	problems []string
	got      int // resources received on this stream
	strict   bool
}

func newSimClient(delta bool, now func() time.Time) *simClient {
	c := &simClient{delta: delta, now: now, cold: map[string]time.Time{}, strict: true}
	for t := range NumTypes {
		c.hold[t], c.version[t], c.names[t] = map[string]string{}, map[string]string{}, map[string]bool{}
	}
	return c
}

func word(body, key string) string {
	for _, f := range strings.Fields(body) {
		if f == key {
			return "yes"
		}
		if v, ok := strings.CutPrefix(f, key+"="); ok {
			return v
		}
	}
	return ""
}

// connect begins a new stream.
func (c *simClient) connect() {
	c.out, c.held, c.got = nil, nil, 0
	c.nonce = [NumTypes]string{}
	// Clusters whose endpoints got lost with the last stream: nothing tells the
	// control plane; Envoy stops waiting by itself.
	clear(c.cold)
	if c.regrown { // see Machine.settleClaim
		c.applied[Endpoints] = ""
	}
	for _, t := range []Type{Cluster, Endpoints, Secret, Listener, Route, Runtime} {
		if t.wildcard() || len(c.names[t]) > 0 {
			c.ask(t, slices.Sorted(maps.Keys(c.names[t])), nil, true)
		}
	}
}

func (c *simClient) ask(t Type, subscribe, unsubscribe []string, first bool) {
	r := &Request{Node: "node", Type: t, Subscribe: subscribe, Unsubscribe: unsubscribe}
	if c.delta {
		if first {
			r.Have = maps.Clone(c.version[t])
		}
	} else {
		r.Subscribe, r.Unsubscribe = nil, nil
		r.Names = slices.Sorted(maps.Keys(c.names[t]))
		r.Version, r.Nonce = c.applied[t], c.nonce[t]
	}
	c.out = append(c.out, r)
}

// receive handles one response.
func (c *simClient) receive(r *Response) {
	c.got += len(r.Resources)
	t := r.Type
	c.nonce[t] = r.Nonce
	c.regrown = c.regrown && t != Endpoints
	if !c.delta && t.wildcard() {
		keep := map[string]bool{}
		for _, res := range r.Resources {
			keep[res.Name] = true
		}
		for _, name := range slices.Sorted(maps.Keys(c.hold[t])) {
			if !keep[name] {
				c.remove(t, name)
			}
		}
	}
	for _, name := range r.Removed {
		c.remove(t, name)
	}
	bad := ""
	for _, res := range r.Resources {
		if word(string(res.Body), "bad") != "" {
			bad = res.Name
			if !t.wildcard() {
				break // the others are not looked at any more
			}
			continue
		}
		c.apply(t, res)
	}
	ack := &Request{Type: t, Nonce: r.Nonce, Names: slices.Sorted(maps.Keys(c.names[t])), Version: r.Version}
	if bad != "" {
		ack.Rejected, ack.Error, ack.Version = true, "bad resource "+bad, c.applied[t]
	} else {
		c.applied[t] = r.Version
		if c.delta {
			for _, res := range r.Resources {
				if t.wildcard() || c.names[t][res.Name] {
					c.version[t][res.Name] = VersionString(res.Version)
				}
			}
		}
	}
	if c.delta {
		ack.Names, ack.Version = nil, ""
	}
	if t == Cluster && len(c.cold) > 0 {
		c.held = append(c.held, ack)
	} else {
		c.out = append(c.out, ack)
	}
	c.warm()
	c.interest()
}

func (c *simClient) apply(t Type, res *Resource) {
	if !t.wildcard() && !c.names[t][res.Name] {
		return // unsubscribed in the meantime
	}
	body := string(res.Body)
	if t == Listener || t == Route {
		c.checkUses(t, res.Name, body)
	}
	same := c.hold[t][res.Name] == body
	c.hold[t][res.Name] = body
	if t == Cluster && !same && word(body, "eds") != "" {
		c.cold[res.Name] = c.now()
	}
	if t == Endpoints {
		delete(c.cold, res.Name)
	}
}

// checkUses complains about a listener or route that sends to a cluster that is
// not there or not warm.
func (c *simClient) checkUses(t Type, name, body string) {
	if !c.strict || word(body, "uses") == "" {
		return
	}
	for _, cl := range strings.Split(word(body, "uses"), ",") {
		if _, ok := c.hold[Cluster][cl]; !ok {
			c.problems = append(c.problems, fmt.Sprintf("%s %s uses cluster %s, which is not there", t, name, cl))
		} else if _, cold := c.cold[cl]; cold {
			c.problems = append(c.problems, fmt.Sprintf("%s %s uses cluster %s, which is not warm", t, name, cl))
		}
	}
}

func (c *simClient) remove(t Type, name string) {
	if t == Cluster && c.strict {
		for _, user := range []Type{Listener, Route} {
			for n, body := range c.hold[user] {
				if slices.Contains(strings.Split(word(body, "uses"), ","), name) && (user == Listener || c.names[Route][n]) {
					c.problems = append(c.problems, fmt.Sprintf("cluster %s is removed while %s %s uses it", name, user, n))
				}
			}
		}
	}
	delete(c.hold[t], name)
	delete(c.version[t], name)
	if t == Cluster || t == Endpoints {
		delete(c.cold, name)
	}
}

// warm ends the warming of clusters that waited for long: Envoy then takes the
// endpoints that it has from before.
func (c *simClient) warm() {
	for name, since := range c.cold {
		if c.now().Sub(since) > 15*time.Second {
			delete(c.cold, name)
		}
	}
	if len(c.cold) == 0 {
		c.out = append(c.out, c.held...)
		c.held = nil
	}
}

// interest subscribes to what the held resources refer to.
func (c *simClient) interest() {
	var want [NumTypes]map[string]bool
	for t := range NumTypes {
		want[t] = map[string]bool{}
	}
	for name, body := range c.hold[Cluster] {
		if word(body, "eds") != "" {
			want[Endpoints][name] = true
		}
		if s := word(body, "secret"); s != "" {
			want[Secret][s] = true
		}
	}
	for _, body := range c.hold[Listener] {
		if r := word(body, "route"); r != "" {
			want[Route][r] = true
		}
	}
	for _, t := range []Type{Endpoints, Secret, Route} {
		var add, del []string
		for n := range want[t] {
			if !c.names[t][n] {
				add = append(add, n)
			}
		}
		for n := range c.names[t] {
			if !want[t][n] {
				del = append(del, n)
				delete(c.hold[t], n)
				delete(c.version[t], n)
			}
		}
		if len(add) == 0 && len(del) == 0 {
			continue
		}
		slices.Sort(add)
		slices.Sort(del)
		c.regrown = c.regrown || t == Endpoints && len(add) > 0
		first := len(c.names[t]) == 0 && c.nonce[t] == ""
		c.names[t] = want[t]
		c.ask(t, add, del, first)
	}
}
