// Package process finds and runs the programs that kuma-dp starts: Envoy, and
// an external CoreDNS if one is named, and the application if a command is given.
// A Process belongs to one goroutine.
package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// stopGrace is how long a program gets between SIGTERM and SIGKILL.
const stopGrace = 5 * time.Second

// Process runs one program for as long as its context lives.
type Process struct {
	// Name for messages.
	Name string
	// Path of the binary.
	Path string
	// Args of the program.
	Args []string
	// Env of the program; nil = that of this one.
	Env []string
	// Stdout and Stderr receive its output.
	Stdout, Stderr io.Writer
	// Log receives what happens to it.
	Log *slog.Logger
}

// ExitError says that a program ended although nobody asked it to.
type ExitError struct {
	// Name of the program.
	Name string
	// Code that the shell would show: the exit code, or 128 plus the signal.
	Code int

	how string
}

// Error says which program ended and how.
func (e *ExitError) Error() string {
	return fmt.Sprintf("%s ended unexpectedly (%s); its own log above says why", e.Name, e.how)
}

// Run starts the program and waits. When ctx ends it stops the program and
// returns nil. A program that ends by itself with code 0 (Envoy after
// /quitquitquit) also gives nil; any other end is an *ExitError.
func (p *Process) Run(ctx context.Context) error {
	cmd := exec.Command(p.Path, p.Args...) //nolint:noctx // because it is stopped in two steps below.
	cmd.Stdout, cmd.Stderr, cmd.Env = p.Stdout, p.Stderr, p.Env
	cmd.SysProcAttr = processAttributes()
	// Pipes that a grandchild keeps open must not block the end.
	cmd.WaitDelay = stopGrace
	done, err := start(cmd, func() error { return nil })
	if err != nil {
		return fmt.Errorf("start %s (%s): %w", p.Name, p.Path, err)
	}
	p.Log.Info("started", "program", p.Name, "pid", cmd.Process.Pid, "path", p.Path)
	select {
	case err := <-done:
		return p.ended(cmd, err)
	case <-ctx.Done():
		p.stop(cmd, done)
		return nil
	}
}

// start starts a program, after before on the same thread; done gets the result
// of its end.
func start(cmd *exec.Cmd, before func() error) (done <-chan error, err error) {
	ended := make(chan error, 1)
	started := make(chan error, 1)
	go func() {
		// The kernel ties the child's life to the thread that started it, so
		// this thread must live as long. It ends with the goroutine, as before
		// may have changed it.
		runtime.LockOSThread()
		err := before()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			started <- err
			return
		}
		started <- nil
		ended <- cmd.Wait()
	}()
	return ended, <-started
}

// code is what the shell would show.
func code(state *os.ProcessState) int {
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return state.ExitCode()
}

func (p *Process) ended(cmd *exec.Cmd, err error) error {
	state := cmd.ProcessState
	if state.Success() {
		p.Log.Info("ended by itself", "program", p.Name)
		return nil
	}
	return errors.Join(&ExitError{Name: p.Name, Code: code(state), how: state.String()}, waitError(err))
}

// waitError drops what the exit code already says.
func waitError(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nil
	}
	return err
}

func (p *Process) stop(cmd *exec.Cmd, done <-chan error) {
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.Log.Debug("signal not delivered", "program", p.Name, "error", err)
	}
	t := time.NewTimer(stopGrace)
	defer t.Stop()
	select {
	case _ = <-done:
		p.Log.Info("stopped", "program", p.Name)
		return
	case <-t.C:
	}
	p.Log.Warn("still running after SIGTERM; killing it", "program", p.Name, "grace", stopGrace.String())
	if err := cmd.Process.Kill(); err != nil {
		p.Log.Warn("cannot kill", "program", p.Name, "error", err)
	}
	_ = <-done
}
