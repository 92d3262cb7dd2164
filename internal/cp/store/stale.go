package store

import "context"

type staleKey struct{}

// AllowStale marks reads whose answer may be a moment old, such as a list that a
// person looks at: a store with read replicas may ask one. Without it every read
// sees all acknowledged writes, which a read before a write needs.
func AllowStale(ctx context.Context) context.Context {
	return context.WithValue(ctx, staleKey{}, true)
}

// StaleAllowed tells whether AllowStale was called on the way to ctx.
func StaleAllowed(ctx context.Context) bool {
	allowed, _ := ctx.Value(staleKey{}).(bool)
	return allowed
}
