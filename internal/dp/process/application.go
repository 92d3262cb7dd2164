package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// Application is the program beside the proxy. Unlike the programs that
// kuma-dp runs for itself, its end is its own affair: with which code it ended
// is told, not judged. Run is called once; the other methods may be called from
// any goroutine at any time.
type Application struct {
	// Path of the program and its arguments.
	Path string
	Args []string
	// Env of the program.
	Env []string
	// User to run as; nil means that of kuma-dp.
	User *syscall.Credential
	// Stdin, Stdout and Stderr of the program.
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Grace is how long it may take to end after it was asked to.
	Grace time.Duration
	// Log receives what happens to it.
	Log *slog.Logger

	mu      sync.Mutex
	process *os.Process // nil before the start and after the end
	end     os.Signal   // nil means SIGTERM
}

// Exit says how an application ended, or that it never ran.
type Exit struct {
	// Code that the shell would show: the exit code, or 128 plus the signal.
	Code int
	// Failure is why it could not be run; nil if it ran.
	Failure error

	how string
}

// Error says how the application ended.
func (e *Exit) Error() string {
	if e.Failure != nil {
		return fmt.Sprintf("start the application: %v", e.Failure)
	}
	return fmt.Sprintf("the application ended (%s)", e.how)
}

// Unwrap gives access to the cause.
func (e *Exit) Unwrap() error { return e.Failure }

// Exit codes of the shell for a program that is not there or cannot be run.
const (
	codeNotFound  = 127
	codeCannotRun = 126
)

// FindApplication looks for the program of a command, as a shell does.
func FindApplication(name string) (string, error) {
	path, err := exec.LookPath(name)
	switch {
	case err == nil:
		return path, nil
	case errors.Is(err, os.ErrPermission):
		return "", &Exit{Code: codeCannotRun, Failure: err}
	default:
		return "", &Exit{Code: codeNotFound, Failure: err}
	}
}

// FindUser looks for a user by name or number, with all groups.
func FindUser(name string) (*syscall.Credential, error) {
	u, err := user.Lookup(name)
	if _, number := strconv.ParseUint(name, 10, 32); err != nil && number == nil {
		u, err = user.LookupId(name)
	}
	if err != nil {
		return nil, fmt.Errorf("find the user of the application: %w", err)
	}
	ids, err := u.GroupIds()
	if err != nil {
		return nil, fmt.Errorf("find the groups of user %s: %w", name, err)
	}
	c := &syscall.Credential{}
	for _, id := range ids {
		n, err := strconv.ParseUint(id, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("find the groups of user %s: %w", name, err)
		}
		c.Groups = append(c.Groups, uint32(n))
	}
	uid, errUID := strconv.ParseUint(u.Uid, 10, 32)
	gid, errGID := strconv.ParseUint(u.Gid, 10, 32)
	if err := errors.Join(errUID, errGID); err != nil {
		return nil, fmt.Errorf("read the numbers of user %s: %w", name, err)
	}
	c.Uid, c.Gid = uint32(uid), uint32(gid)
	return c, nil
}

// Run starts the program and waits until it has ended: by itself, or because
// ctx ended and it was asked to. Children that it leaves behind are killed.
// The error is only for a program that could not be run.
func (a *Application) Run(ctx context.Context) (*Exit, error) {
	cmd := exec.Command(a.Path, a.Args...) //nolint:noctx,gosec // because it is stopped in two steps below, and the command is the user's.
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.Env = a.Stdin, a.Stdout, a.Stderr, a.Env
	cmd.SysProcAttr = processAttributes()
	cmd.SysProcAttr.Credential = a.User
	cmd.WaitDelay = stopGrace
	before := func() error { return nil }
	if a.User != nil {
		before = dropAmbient
	}
	done, err := start(cmd, before)
	if err != nil {
		return nil, &Exit{Code: codeCannotRun, Failure: err}
	}
	a.set(cmd.Process)
	a.Log.Info("application started", "program", a.Path, "pid", cmd.Process.Pid)
	select {
	case err = <-done:
	case <-ctx.Done():
		err = a.stop(done)
	}
	a.set(nil)
	// The group lives on if the program left children behind.
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	exit := &Exit{Code: code(cmd.ProcessState), how: cmd.ProcessState.String()}
	a.Log.Info("application ended", "code", exit.Code, "how", exit.how)
	if err := waitError(err); err != nil {
		a.Log.Warn("a child of the application kept its output open", "error", err)
	}
	return exit, nil
}

func (a *Application) stop(done <-chan error) error {
	a.mu.Lock()
	sig := a.end
	a.mu.Unlock()
	if sig == nil {
		sig = syscall.SIGTERM
	}
	a.Log.Info("stopping the application", "signal", sig.String(), "grace", a.Grace.String())
	a.Signal(sig)
	t := time.NewTimer(a.Grace)
	defer t.Stop()
	select {
	case err := <-done:
		return err
	case <-t.C:
	}
	a.Log.Warn("the application still runs; killing it", "grace", a.Grace.String())
	a.Kill()
	return <-done
}

func (a *Application) set(p *os.Process) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.process = p
}

// StopWith says which signal asks the program to end.
func (a *Application) StopWith(sig os.Signal) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.end = sig
}

// Signal passes a signal on to the program, if it runs.
func (a *Application) Signal(sig os.Signal) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.process == nil {
		return
	}
	if err := a.process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		a.Log.Warn("a signal did not reach the application", "signal", sig.String(), "error", err)
	}
}

// Kill ends the program and its children at once.
func (a *Application) Kill() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.process == nil {
		return
	}
	if err := syscall.Kill(-a.process.Pid, syscall.SIGKILL); err != nil {
		a.Log.Warn("cannot kill the application", "error", err)
	}
}
