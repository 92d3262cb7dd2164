package process

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// processAttributes puts a program into its own process group, so that a
// Ctrl-C reaches only kuma-dp, which then drains; and lets it die with kuma-dp.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// dropAmbient takes from the calling thread, and so from the program that it
// starts, the capabilities that survive a start as another user. Without it
// whoever may become any user would hand that right to the application.
func dropAmbient() error {
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return fmt.Errorf("drop capabilities: %w", err)
	}
	return nil
}
