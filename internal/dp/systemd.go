package dp

import (
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"
)

// systemd tells the service manager how the proxy fares, so that
// `systemctl start` waits for a proxy that serves, units of applications can be
// ordered after it, and `systemctl status` says what is awaited. Without a
// service manager it does nothing.
type systemd struct {
	socket string
	log    *slog.Logger
}

const notifyVariable = "NOTIFY_SOCKET"

func newSystemd(env []string, log *slog.Logger) systemd {
	for _, pair := range env {
		if socket, ok := strings.CutPrefix(pair, notifyVariable+"="); ok {
			return systemd{socket: socket, log: log}
		}
	}
	return systemd{}
}

// status is one line for people.
func (s systemd) status(text string) { s.send("STATUS=" + text) }

func (s systemd) ready() { s.send("READY=1\nSTATUS=serving") }

// stopping also asks for as much time as the end may take, whatever limit the
// unit has.
func (s systemd) stopping(within time.Duration) {
	s.send(fmt.Sprintf("STOPPING=1\nSTATUS=draining\nEXTEND_TIMEOUT_USEC=%d", within.Microseconds()))
}

func (s systemd) send(message string) {
	if s.socket == "" {
		return
	}
	name := s.socket
	if strings.HasPrefix(name, "@") {
		name = "\x00" + name[1:]
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err == nil {
		_, err = conn.Write([]byte(message))
		_ = conn.Close()
	}
	if err != nil {
		s.log.Debug("the service manager was not told", "error", err)
	}
}
