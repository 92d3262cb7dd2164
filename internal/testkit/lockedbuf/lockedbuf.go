// Package lockedbuf keeps what programs and goroutines write while a test reads
// it.
package lockedbuf

import (
	"strings"
	"sync"
)

// Buffer is a writer that may be read while it is written. The zero value is
// ready for use.
type Buffer struct {
	mu sync.Mutex
	b  strings.Builder
}

// Write implements io.Writer; it never fails.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

// String returns everything that was written so far.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
