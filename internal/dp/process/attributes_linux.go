package process

import "syscall"

// processAttributes puts a program into its own process group, so that a
// Ctrl-C reaches only kuma-dp, which then drains; and lets it die with kuma-dp.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
