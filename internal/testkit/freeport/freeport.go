// Package freeport finds ports for programs that tests start.
package freeport

import (
	"testing"

	"weft/internal/freeport"
)

// Take returns n ports as freeport.Pick does.
func Take(t testing.TB, n int) []int {
	t.Helper()
	ports, err := freeport.Pick(n)
	if err != nil {
		t.Fatal(err)
	}
	return ports
}
