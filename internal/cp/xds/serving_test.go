package xds

import (
	"testing"
	"time"
)

// holder notes what it was told last.
type holder struct {
	silent
	last Holding
}

func (h *holder) Holds(n Holding) { h.last = n }

// A client that starts opens its ports when it has its listeners and all secrets
// that these wait for; with listeners alone it does not serve yet.
func TestServingWaitsForSecrets(t *testing.T) {
	now := time.Now()
	listeners := []*Resource{NewResource(Listener, "inbound", []byte("l"))}
	secrets := []*Resource{NewResource(Secret, "ca", []byte("c")), NewResource(Secret, "cert", []byte("k"))}
	for name, tc := range map[string]struct {
		set  []*Resource
		want []bool // after each step below
	}{
		"without secrets": {listeners, []bool{false, true, true, true, true}},
		"with secrets":    {append(listeners, secrets...), []bool{false, false, false, false, true}},
	} {
		t.Run(name, func(t *testing.T) {
			told := &holder{}
			m := NewMachine(true, nil, Options{Reporter: told})
			m.SetTarget(NewSet(tc.set, nil))
			nonce := map[Type]string{}
			step := func(n int, r *Request) {
				t.Helper()
				if err := m.Request(r, now); err != nil {
					t.Fatal(err)
				}
				for {
					answer, more := m.Next(now)
					if !more {
						break
					}
					nonce[answer.Type] = answer.Nonce
				}
				if told.last.Serving != tc.want[n] {
					t.Errorf("step %d: serving %t", n, told.last.Serving)
				}
			}
			step(0, &Request{Node: "n", Type: Listener, Subscribe: []string{"*"}})
			step(1, &Request{Type: Listener, Nonce: nonce[Listener]})
			step(2, &Request{Type: Secret, Subscribe: []string{"ca"}})
			step(3, &Request{Type: Secret, Subscribe: []string{"cert"}})
			step(4, &Request{Type: Secret, Nonce: nonce[Secret]})
		})
	}
}
