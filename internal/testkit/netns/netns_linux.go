// Package netns gives tests hosts of their own: network namespaces of Linux. For
// tests only.
//
// They need root and the program ip. Where these are missing, tests are skipped,
// loudly; they fail instead where the variable REQUIRE names netns.
package netns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Require skips the test where there are no namespaces, or one of the programs is
// missing.
func Require(t testing.TB, programs ...string) {
	t.Helper()
	var missing []string
	if os.Geteuid() != 0 {
		missing = append(missing, "root privileges")
	}
	for _, p := range append([]string{"ip"}, programs...) {
		if Find(p) == "" {
			missing = append(missing, "the program "+p)
		}
	}
	if len(missing) == 0 {
		probe := fmt.Sprintf("weft-can-%d", os.Getpid())
		if err := exec.Command(Find("ip"), "netns", "add", probe).Run(); err != nil {
			missing = append(missing, "network namespaces")
		} else {
			_ = exec.Command(Find("ip"), "netns", "del", probe).Run()
		}
	}
	if len(missing) == 0 {
		return
	}
	text := "hosts as network namespaces need " + strings.Join(missing, ", ") + " (run tools/testhost/get)"
	if strings.Contains(os.Getenv("REQUIRE"), "netns") {
		t.Fatal(text)
	}
	t.Skip("SKIPPED: " + text)
}

// Find returns the path of a program, or "".
func Find(program string) string {
	if p, err := exec.LookPath(program); err == nil {
		return p
	}
	for _, d := range []string{"/usr/sbin", "/sbin"} {
		if _, err := os.Stat(filepath.Join(d, program)); err == nil {
			return filepath.Join(d, program)
		}
	}
	return ""
}

// IP runs the program ip with the words of a line.
func IP(t testing.TB, format string, args ...any) {
	t.Helper()
	line := fmt.Sprintf(format, args...)
	if out, err := exec.Command(Find("ip"), strings.Fields(line)...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v: %s", line, err, out)
	}
}

// Add makes a namespace whose loopback interface is up; it goes with the test.
func Add(t testing.TB, name string) {
	t.Helper()
	IP(t, "netns add %s", name)
	t.Cleanup(func() { IP(t, "netns del %s", name) })
	IP(t, "-n %s link set lo up", name)
}

// Do runs f on a thread in a namespace, as a user for the sockets that f opens.
// What is opened stays there; goroutines that f starts do not.
func Do(namespace string, uid int, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- inside(namespace, uid, f) }()
	return <-done
}

func inside(namespace string, uid int, f func() error) (err error) {
	runtime.LockOSThread()
	own, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("open the own namespace: %w", err)
	}
	defer func() {
		// The thread must not end: children that it started may be bound to its
		// life (Pdeathsig). It ends, being locked, only if it cannot come back.
		unix.RawSyscall(unix.SYS_SETFSUID, uintptr(os.Geteuid()), 0, 0)
		if e := unix.Setns(own, unix.CLONE_NEWNET); e != nil {
			err = errors.Join(err, fmt.Errorf("leave namespace %s: %w", namespace, e))
		} else {
			runtime.UnlockOSThread()
		}
		_ = unix.Close(own)
	}()
	fd, err := unix.Open("/run/netns/"+namespace, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open namespace %s: %w", namespace, err)
	}
	defer unix.Close(fd)
	if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter namespace %s: %w", namespace, err)
	}
	unix.RawSyscall(unix.SYS_SETFSUID, uintptr(uid), 0, 0)
	return f()
}

// Dial opens a connection out of a namespace, as a user. The address has no name
// in it: names would be asked for outside.
func Dial(ctx context.Context, namespace string, uid int, d *net.Dialer, network, address string) (c net.Conn, err error) {
	err = Do(namespace, uid, func() error {
		c, err = d.DialContext(ctx, network, address)
		return err
	})
	return c, err
}

// Listen opens a port in a namespace.
func Listen(t testing.TB, namespace, network, address string) net.Listener {
	t.Helper()
	var l net.Listener
	err := Do(namespace, 0, func() (err error) {
		l, err = net.Listen(network, address)
		return err
	})
	if err != nil {
		t.Fatalf("listen at %s in %s: %v", address, namespace, err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}
