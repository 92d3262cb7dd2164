// Package watchdog undoes an installation that nobody confirms. A process of its
// own, in a session of its own, waits: the shell that installed may be the one that
// was cut off. The waiting process listens on a socket with an abstract name,
// which exists once per network namespace, as rules do, and leaves no file behind.
//
// Start is called by the process that installs, Serve by the one that waits,
// Confirm and Pending by any other.
package watchdog

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// socketName is abstract (the @ stands for a zero byte).
const socketName = "@weft-transparent-proxy-watchdog"

// Words of the two conversations.
const (
	wordReady   = "ready"   // waiting process: I am there
	wordArmed   = "armed"   // installing process: done, the time runs
	wordAbandon = "abandon" // installing process: undone already, go away
	wordConfirm = "confirm" // operator: keep it
	wordKept    = "kept"    // waiting process: it is kept
)

// graceForInstall is how long an installation may take before the time runs.
const graceForInstall = 2 * time.Minute

// ErrNotPending tells that nothing waits for confirmation.
var ErrNotPending = errors.New("nothing waits for confirmation")

// Order is what the waiting process is told.
type Order struct {
	// Within is how long it waits.
	Within time.Duration `json:"within"`
	// State is what it needs to undo the installation.
	State json.RawMessage `json:"state"`
}

// Started is the hold that the installing process has on the waiting one.
type Started struct {
	in  io.WriteCloser
	cmd *exec.Cmd
}

// Start starts the waiting process and returns when it is ready to undo. It also
// undoes if we die.
func Start(cmd *exec.Cmd, o *Order) (*Started, error) {
	cmd.SysProcAttr = ownSession()
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start the watchdog: %w", err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start the watchdog: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the watchdog: %w", err)
	}
	s := &Started{in: in, cmd: cmd}
	if err := json.NewEncoder(in).Encode(o); err != nil {
		return nil, fmt.Errorf("tell the watchdog what to do: %w", errors.Join(err, s.wait()))
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if line != wordReady+"\n" {
		return nil, fmt.Errorf("the watchdog does not start: %w", errors.Join(errors.New(strings.TrimSpace(line)), err, s.wait()))
	}
	return s, nil
}

func (s *Started) wait() error {
	s.in.Close()
	return s.cmd.Wait()
}

// Armed tells that the installation is done. The waiting process is on its own
// from here.
func (s *Started) Armed() error {
	_, err := io.WriteString(s.in, wordArmed+"\n")
	if err = errors.Join(err, s.in.Close()); err != nil {
		return fmt.Errorf("tell the watchdog that the time runs: %w", err)
	}
	if err := s.cmd.Process.Release(); err != nil {
		return fmt.Errorf("let go of the watchdog: %w", err)
	}
	return nil
}

// Abandon tells that there is nothing to undo.
func (s *Started) Abandon() error {
	if _, err := io.WriteString(s.in, wordAbandon+"\n"); err != nil {
		return fmt.Errorf("dismiss the watchdog: %w", err)
	}
	return s.wait()
}

// Outcome is how the waiting ended.
type Outcome string

// The outcomes.
const (
	Kept      Outcome = "confirmed"
	Abandoned Outcome = "abandoned"
	TimeIsUp  Outcome = "not confirmed in time"
	Stopped   Outcome = "the watchdog was told to end"
	Orphaned  Outcome = "the installation was cut off"
)

// Serve is the waiting process: it reads the Order from in, answers on out, and
// calls undo unless the installation is confirmed or abandoned. The end of ctx (a
// signal to end) makes it undo at once.
func Serve(ctx context.Context, in io.Reader, out io.Writer, undo func(ctx context.Context, state json.RawMessage) error) (Outcome, error) {
	signal.Ignore(syscall.SIGHUP, syscall.SIGPIPE, syscall.SIGINT)
	lines := bufio.NewReader(in)
	first, err := lines.ReadBytes('\n')
	if err != nil {
		return "", fmt.Errorf("read the order: %w", err)
	}
	var o Order
	if err := json.Unmarshal(first, &o); err != nil {
		return "", fmt.Errorf("read the order: %w", err)
	}
	l, err := net.Listen("unix", socketName)
	if err != nil {
		fmt.Fprintf(out, "another installation waits for confirmation already\n")
		return "", fmt.Errorf("wait for confirmation: %w", err)
	}
	defer l.Close()
	fmt.Fprintln(out, wordReady)
	outcome := wait(ctx, lines, l, o.Within)
	if outcome == Kept || outcome == Abandoned {
		return outcome, nil
	}
	if err := undo(context.WithoutCancel(ctx), o.State); err != nil {
		return outcome, fmt.Errorf("undo the installation: %w", err)
	}
	return outcome, nil
}

// wait returns what happens first.
func wait(ctx context.Context, parent *bufio.Reader, l net.Listener, within time.Duration) Outcome {
	said := make(chan string, 1)
	go func() {
		line, _ := parent.ReadString('\n')
		said <- strings.TrimSpace(line)
	}()
	// Whoever takes the decision first has it: nobody is told that an installation
	// is kept which is then undone.
	var decided atomic.Bool
	confirmed := make(chan struct{})
	go func() {
		if accept(l, &decided) {
			close(confirmed)
		}
	}()
	end := func(o Outcome) Outcome {
		if !decided.CompareAndSwap(false, true) {
			return Kept
		}
		return o
	}
	timer := time.NewTimer(within + graceForInstall)
	defer timer.Stop()
	for {
		select {
		case word := <-said:
			switch word {
			case wordArmed:
				timer.Reset(within)
				said = nil
			case wordAbandon:
				return end(Abandoned)
			default:
				return end(Orphaned)
			}
		case <-confirmed:
			return Kept
		case <-timer.C:
			return end(TimeIsUp)
		case <-ctx.Done():
			return end(Stopped)
		}
	}
}

// patience is how long a partner may take to say a word.
const patience = 5 * time.Second

// accept returns true when somebody who may confirms, false when the listener is
// closed.
func accept(l net.Listener, decided *atomic.Bool) bool {
	for {
		c, err := l.Accept()
		if err != nil {
			return false
		}
		if answer(c, decided) {
			return true
		}
	}
}

func answer(c net.Conn, decided *atomic.Bool) bool {
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return false
	}
	if !isTrusted(c) {
		return false
	}
	word, _ := bufio.NewReader(io.LimitReader(c, 64)).ReadString('\n')
	if strings.TrimSpace(word) != wordConfirm || !decided.CompareAndSwap(false, true) {
		return false
	}
	// Whether the answer gets through changes nothing: it was confirmed.
	_, _ = io.WriteString(c, wordKept+"\n")
	return true
}

// isTrusted tells whether the partner is root or who we are: everybody on the host
// can connect to, or squat on, an abstract name.
func isTrusted(c net.Conn) bool {
	uid, err := peerUID(c)
	return err == nil && (uid == 0 || int(uid) == os.Geteuid())
}

// Confirm keeps the installation that waits in this network namespace, or returns
// ErrNotPending.
func Confirm() error {
	c, err := dial()
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := io.WriteString(c, wordConfirm+"\n"); err != nil {
		return fmt.Errorf("confirm: %w", err)
	}
	word, err := bufio.NewReader(io.LimitReader(c, 64)).ReadString('\n')
	if strings.TrimSpace(word) != wordKept {
		return fmt.Errorf("confirm: the watchdog did not answer: %w", err)
	}
	return nil
}

// Pending tells whether an installation waits for confirmation.
func Pending() bool {
	c, err := dial()
	if err != nil {
		return false
	}
	c.Close()
	return true
}

func dial() (net.Conn, error) {
	c, err := net.DialTimeout("unix", socketName, patience)
	if err != nil {
		return nil, ErrNotPending
	}
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		c.Close()
		return nil, fmt.Errorf("confirm: %w", err)
	}
	if !isTrusted(c) {
		c.Close()
		return nil, ErrNotPending
	}
	return c, nil
}
