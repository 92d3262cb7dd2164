package envoy

import (
	"weft/internal/cp/xds"
	"weft/internal/mesh/model"
)

// Memo remembers listeners and clusters by what they were made from, so that a
// thousand proxies that call one service cost one listener and one cluster, and
// what a proxy has for itself is not made again because of something else. It holds
// them weakly: what no proxy has any more is forgotten. It is safe for concurrent
// use; nil remembers nothing.
type Memo struct{ made *xds.Weak[memoKey] }

// memoKey is the hash of what a resource was made from.
type memoKey struct {
	typ  xds.Type
	from model.Hash
}

// NewMemo returns an empty Memo.
func NewMemo() *Memo { return &Memo{xds.NewWeak[memoKey]()} }
