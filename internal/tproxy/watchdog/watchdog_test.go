//go:build linux

package watchdog

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestMain lets the test program be the waiting process, too.
func TestMain(m *testing.M) {
	if os.Getenv("WATCHDOG_TEST_SERVE") == "" {
		os.Exit(m.Run())
	}
	undo := func(_ context.Context, state json.RawMessage) error {
		var file string
		if err := json.Unmarshal(state, &file); err != nil {
			return err
		}
		return os.WriteFile(file, []byte("undone"), 0o600)
	}
	if _, err := Serve(context.Background(), os.Stdin, os.Stdout, undo); err != nil {
		os.Exit(1)
	}
	os.Exit(0)
}

// conversation is a Serve in this process, without a process of its own.
type conversation struct {
	in      *io.PipeWriter
	out     *output
	done    chan Outcome
	undone  chan json.RawMessage
	cancel  context.CancelFunc
	undoErr error
	err     error
}

type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

func serve(t *testing.T, within time.Duration, undoErr error) *conversation {
	t.Helper()
	r, w := io.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	c := &conversation{in: w, out: &output{}, done: make(chan Outcome, 1), undone: make(chan json.RawMessage, 1), cancel: cancel, undoErr: undoErr}
	go func() {
		o, err := Serve(ctx, r, c.out, func(_ context.Context, state json.RawMessage) error {
			c.undone <- state
			return c.undoErr
		})
		c.err = err
		c.done <- o
	}()
	t.Cleanup(func() { w.Close(); cancel() })
	c.say(t, `{"within":`+jsonDuration(within)+`,"state":"before"}`)
	deadline := time.Now().Add(5 * time.Second)
	for c.out.String() == "" {
		if time.Now().After(deadline) {
			t.Fatal("it is never ready")
		}
		time.Sleep(time.Millisecond)
	}
	return c
}

func jsonDuration(d time.Duration) string {
	b, _ := json.Marshal(d)
	return string(b)
}

func (c *conversation) say(t *testing.T, line string) {
	t.Helper()
	if _, err := io.WriteString(c.in, line+"\n"); err != nil {
		t.Fatal(err)
	}
}

// ends requires an outcome, and whether it was undone.
func (c *conversation) ends(t *testing.T, want Outcome, undone bool) {
	t.Helper()
	select {
	case got := <-c.done:
		if got != want {
			t.Errorf("ended with %q, want %q", got, want)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("it never ends")
	}
	select {
	case state := <-c.undone:
		if !undone || string(state) != `"before"` {
			t.Errorf("undone with state %s", state)
		}
	default:
		if undone {
			t.Error("not undone")
		}
	}
}

func TestConfirmed(t *testing.T) {
	c := serve(t, time.Hour, nil)
	c.say(t, wordArmed)
	if !Pending() {
		t.Error("it waits, but nobody sees")
	}
	if err := Confirm(); err != nil {
		t.Fatal(err)
	}
	c.ends(t, Kept, false)
	if err := Confirm(); !errors.Is(err, ErrNotPending) {
		t.Errorf("confirmed twice: %v", err)
	}
	if Pending() {
		t.Error("still waiting")
	}
}

// TestConfirmedBeforeArmed is about an operator who is faster than the self-test.
func TestConfirmedBeforeArmed(t *testing.T) {
	c := serve(t, time.Hour, nil)
	if err := Confirm(); err != nil {
		t.Fatal(err)
	}
	c.ends(t, Kept, false)
}

func TestTimeIsUp(t *testing.T) {
	c := serve(t, time.Millisecond, nil)
	c.say(t, wordArmed)
	c.ends(t, TimeIsUp, true)
}

func TestUndoFails(t *testing.T) {
	c := serve(t, time.Millisecond, errors.New("no nft"))
	c.say(t, wordArmed)
	c.ends(t, TimeIsUp, true)
	if c.err == nil || !strings.Contains(c.err.Error(), "no nft") {
		t.Errorf("got %v", c.err)
	}
}

func TestAbandoned(t *testing.T) {
	c := serve(t, time.Hour, nil)
	c.say(t, wordAbandon)
	c.ends(t, Abandoned, false)
}

// TestOrphaned is about an installation that dies.
func TestOrphaned(t *testing.T) {
	c := serve(t, time.Hour, nil)
	c.in.Close()
	c.ends(t, Orphaned, true)
}

func TestStopped(t *testing.T) {
	c := serve(t, time.Hour, nil)
	c.say(t, wordArmed)
	c.cancel()
	c.ends(t, Stopped, true)
}

// TestStrangers say the wrong word, or none, and keep nothing.
func TestStrangers(t *testing.T) {
	c := serve(t, 300*time.Millisecond, nil)
	for _, word := range []string{"", "keep\n", strings.Repeat("x", 100)} {
		conn, err := net.Dial("unix", socketName)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, word); err != nil {
			t.Fatal(err)
		}
		conn.Close()
	}
	c.say(t, wordArmed)
	c.ends(t, TimeIsUp, true)
}

func TestOnlyOneWaits(t *testing.T) {
	serve(t, time.Hour, nil)
	var out bytes.Buffer
	_, err := Serve(t.Context(), strings.NewReader("{\"within\":1}\n"), &out, func(context.Context, json.RawMessage) error { return nil })
	if err == nil || !strings.Contains(out.String(), "waits for confirmation already") {
		t.Errorf("%v %s", err, out.String())
	}
}

func TestBadOrders(t *testing.T) {
	for _, text := range []string{"", "no JSON\n", `{"within":"x"}` + "\n"} {
		var out bytes.Buffer
		if _, err := Serve(t.Context(), strings.NewReader(text), &out, nil); err == nil || out.Len() > 0 {
			t.Errorf("%q: %v %s", text, err, out.String())
		}
	}
}

func command(t *testing.T) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), "WATCHDOG_TEST_SERVE=1")
	return cmd
}

// TestProcess starts the waiting process for real. It is in a session of its own,
// and a signal to end makes it undo.
func TestProcess(t *testing.T) {
	file := t.TempDir() + "/undone"
	state, err := json.Marshal(file)
	if err != nil {
		t.Fatal(err)
	}
	cmd := command(t)
	s, err := Start(cmd, &Order{Within: 200 * time.Millisecond, State: state})
	if err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	if sid, err := getsid(pid); err != nil || sid != pid {
		t.Errorf("the session is %d (%v), want %d", sid, err, pid)
	}
	if _, err := Start(command(t), &Order{Within: time.Hour, State: state}); err == nil || !strings.Contains(err.Error(), "waits for confirmation already") {
		t.Errorf("a second one: %v", err)
	}
	if err := s.Armed(); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for {
		if text, err := os.ReadFile(file); err == nil && string(text) == "undone" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("never undone")
		}
		time.Sleep(5 * time.Millisecond)
	}
	// We are its parent as long as we live, so it must be waited for here.
	_, _ = syscall.Wait4(pid, nil, 0, nil)

	s, err = Start(command(t), &Order{Within: time.Hour, State: state})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Abandon(); err != nil {
		t.Fatal(err)
	}
}

func TestProgramThatCannotStart(t *testing.T) {
	for _, cmd := range []*exec.Cmd{exec.Command("/does/not/exist"), exec.Command("true"), exec.Command("echo", "no")} {
		if _, err := Start(cmd, &Order{Within: time.Second, State: json.RawMessage(`1`)}); err == nil {
			t.Errorf("%s started", cmd)
		}
	}
}

func getsid(pid int) (int, error) {
	sid, _, errno := syscall.RawSyscall(syscall.SYS_GETSID, uintptr(pid), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(sid), nil
}
