package xds

import (
	"bytes"
	"slices"
	"testing"
	"time"
)

// The listener that makes others known comes after them, in the last response
// if there are several.
func TestLastListener(t *testing.T) {
	for _, delta := range []bool{true, false} {
		m := NewMachine(delta, nil, Options{LastListener: "dns", ChunkBytes: 5000})
		var all []*Resource
		for _, name := range []string{"a", "dns", "x", "y"} {
			all = append(all, NewResource(Listener, name, bytes.Repeat([]byte(name), 2000)))
		}
		m.SetTarget(NewSet(all, nil))
		now := time.Now()
		if err := m.Request(&Request{Type: Listener, Subscribe: []string{"*"}}, now); err != nil {
			t.Fatal(err)
		}
		var told []string
		for {
			r, more := m.Next(now)
			if !more {
				break
			}
			for _, res := range r.Resources {
				told = append(told, res.Name)
			}
			if err := m.Request(&Request{Type: Listener, Nonce: r.Nonce, Version: r.Version}, now); err != nil {
				t.Fatal(err)
			}
		}
		if want := []string{"a", "x", "y", "dns"}; !slices.Equal(told, want) {
			t.Errorf("delta %v: told of %v, want %v", delta, told, want)
		}
	}
}
