package backend

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// inNamespace runs f in a new network namespace that only f sees. Commands that f
// runs are in it, too.
func inNamespace(f func() error) error {
	done := make(chan error, 1)
	go func() {
		// The thread is not unlocked: it must not be used for anything else, and
		// ends with the goroutine.
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("%w: %w", ErrNoNamespace, err)
			return
		}
		done <- f()
	}()
	return <-done
}
