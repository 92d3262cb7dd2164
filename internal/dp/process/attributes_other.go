//go:build !linux

package process

import "syscall"

// processAttributes puts a program into its own process group, so that a
// Ctrl-C reaches only kuma-dp, which then drains.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}

// dropAmbient has nothing to do: only Linux has such capabilities.
func dropAmbient() error { return nil }
