package xds

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// lastHolding remembers what was reported last, and how often.
type lastHolding struct {
	silent
	last  Holding
	calls int
}

func (h *lastHolding) Holds(g Holding) { h.last, h.calls = g, h.calls+1 }

func (h *lastHolding) String() string {
	var names []string
	for _, r := range h.last.Secrets {
		names = append(names, r.Name+"="+string(r.Body))
	}
	slices.Sort(names)
	return fmt.Sprintf("%v listeners %v", names, h.last.Listeners)
}

// Secrets count as held when the client confirmed them, not when they were sent;
// listeners when it confirmed those of the same set.
func TestHolding(t *testing.T) {
	h := &lastHolding{}
	m := NewMachine(true, nil, Options{Reporter: h})
	now := time.Now()
	secret := func(v string) *Resource { return NewResource(Secret, "cert", []byte(v)) }
	port := NewResource(Listener, "port", []byte("port"))
	send := func() *Response {
		t.Helper()
		r, ok := m.Next(now)
		if !ok {
			t.Fatal("nothing is sent")
		}
		return r
	}
	say := func(r *Request) {
		t.Helper()
		if err := m.Request(r, now); err != nil {
			t.Fatal(err)
		}
	}
	check := func(when, want string) {
		t.Helper()
		for {
			if _, more := m.Next(now); !more {
				break
			}
			t.Errorf("%s: something else is sent", when)
		}
		if h.String() != want {
			t.Errorf("%s it holds %s, want %s", when, h, want)
		}
	}

	m.SetTarget(NewSet([]*Resource{port, secret("1")}, nil))
	say(&Request{Type: Listener, Subscribe: []string{"*"}})
	listeners := send()
	check("before it asked for secrets", "[] listeners false")
	say(&Request{Type: Secret, Subscribe: []string{"cert"}})
	first := send()
	check("before it confirmed", "[] listeners false")
	say(&Request{Type: Secret, Nonce: first.Nonce})
	check("with the secret", "[cert=1] listeners false")
	say(&Request{Type: Listener, Nonce: listeners.Nonce})
	check("with all", "[cert=1] listeners true")

	m.SetTarget(m.target.With(Secret, []*Resource{secret("2")}))
	second := send()
	check("while another secret is under way", "[] listeners true")
	say(&Request{Type: Secret, Nonce: second.Nonce, Rejected: true, Error: "no"})
	for { // parts of what was refused
		r, more := m.Next(now)
		if !more {
			break
		}
		say(&Request{Type: Secret, Nonce: r.Nonce, Rejected: true, Error: "no"})
	}
	check("when it refused that", "[] listeners true")

	m.SetTarget(m.target.With(Secret, []*Resource{secret("3")}))
	now = now.Add(time.Hour)
	third := send()
	say(&Request{Type: Secret, Nonce: third.Nonce})
	check("with a third", "[cert=3] listeners true")
	calls := h.calls
	m.SetTarget(m.target.With(Secret, []*Resource{m.target.Of(Secret)["cert"]}))
	check("with the same again", "[cert=3] listeners true")
	if h.calls != calls {
		t.Error("nothing changed, but it was reported")
	}
}

// A client that brings its secrets along from an earlier stream holds them without
// having been sent any.
func TestHoldingBroughtAlong(t *testing.T) {
	h := &lastHolding{}
	m := NewMachine(true, nil, Options{Reporter: h})
	res := NewResource(Secret, "cert", []byte("1"))
	m.SetTarget(NewSet([]*Resource{res}, nil))
	if err := m.Request(&Request{Type: Secret, Subscribe: []string{"cert"}, Have: map[string]string{"cert": VersionString(res.Version)}}, time.Now()); err != nil {
		t.Fatal(err)
	}
	for {
		r, more := m.Next(time.Now())
		if !more {
			break
		}
		if len(r.Resources) > 0 {
			t.Errorf("it is sent %d resources", len(r.Resources))
		}
	}
	if h.String() != "[cert=1] listeners false" {
		t.Errorf("it holds %s", h)
	}
}
