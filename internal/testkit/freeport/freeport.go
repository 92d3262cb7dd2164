// Package freeport finds ports for programs that tests start.
package freeport

import (
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"testing"
)

// The ports lie below the range from which Linux takes ports of outgoing
// connections (ip_local_port_range, 32768 on), so that none of those takes a port
// between its choice and its use.
const (
	first = 20000
	last  = 32000
)

var (
	mu    sync.Mutex
	given = map[int]bool{}
)

// Take returns n ports, free on every address for TCP and UDP. No other call in
// this process returns them again.
func Take(t testing.TB, n int) []int {
	t.Helper()
	mu.Lock()
	defer mu.Unlock()
	var out []int
	for range 100 * n {
		port := first + rand.IntN(last-first)
		if given[port] || !free(port) {
			continue
		}
		given[port] = true
		if out = append(out, port); len(out) == n {
			return out
		}
	}
	t.Fatalf("no %d free ports between %d and %d", n, first, last)
	return nil
}

func free(port int) bool {
	l, err := net.Listen("tcp", ":"+strconv.Itoa(port))
	if err != nil {
		return false
	}
	defer l.Close()
	u, err := net.ListenPacket("udp", ":"+strconv.Itoa(port))
	if err != nil {
		return false
	}
	return u.Close() == nil
}
