package watchdog

import (
	"errors"
	"fmt"
	"log/syslog"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// ownSession keeps the process alive when the terminal of its parent goes away.
func ownSession() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// peerUID returns the user at the other end.
func peerUID(c net.Conn) (uint32, error) {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return 0, errors.New("not a local connection")
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return 0, fmt.Errorf("ask who is there: %w", err)
	}
	var cred *unix.Ucred
	var inner error
	if err := raw.Control(func(fd uintptr) { cred, inner = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return 0, fmt.Errorf("ask who is there: %w", err)
	}
	if inner != nil {
		return 0, fmt.Errorf("ask who is there: %w", inner)
	}
	return cred.Uid, nil
}

// SystemLog writes sentences to the log of the system: nobody sees what the
// waiting process prints.
func SystemLog(name string) func(format string, args ...any) {
	w, err := syslog.New(syslog.LOG_NOTICE|syslog.LOG_DAEMON, name)
	if err != nil {
		return func(string, ...any) {}
	}
	return func(format string, args ...any) { fmt.Fprintf(w, format, args...) }
}
