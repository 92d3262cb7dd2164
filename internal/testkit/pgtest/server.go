package pgtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Server is a PostgreSQL server with its own data directory.
type Server struct {
	Port int

	dir      string
	bin      string
	cred     *syscall.Credential // whom it runs as; nil = like the test
	settings []string
	made     atomic.Int64 // databases

	mu   sync.Mutex
	cmd  *exec.Cmd      // nil = stopped
	life io.WriteCloser // the server ends when this is closed, or the test binary is gone
}

const (
	superuser = "kuma"
	password  = "kuma-test" // nothing secret: loopback, and gone with the test
)

func newServer(settings ...string) (*Server, error) {
	bin, err := binaries()
	if err != nil {
		return nil, err
	}
	s := &Server{bin: bin, settings: settings}
	// Not t.TempDir: its parents may be closed to the user that the server runs as.
	if s.dir, err = os.MkdirTemp("", "pgtest"); err != nil {
		return nil, err
	}
	if os.Getuid() == 0 { // which postgres refuses to run as
		if s.cred, err = unprivileged(); err != nil {
			return nil, err
		}
		if err := os.Chown(s.dir, int(s.cred.Uid), int(s.cred.Gid)); err != nil {
			return nil, err
		}
	}
	pw := filepath.Join(s.dir, "pw")
	if err := os.WriteFile(pw, []byte(password), 0o644); err != nil {
		return nil, err
	}
	cmd := s.command(filepath.Join(bin, "initdb"), "-D", s.data(), "-U", superuser, "--pwfile", pw,
		"-A", "scram-sha-256", "-E", "UTF8", "--locale=C", "--no-sync")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w\n%s", err, out)
	}
	return s, nil
}

func (s *Server) data() string    { return filepath.Join(s.dir, "data") }
func (s *Server) logFile() string { return filepath.Join(s.dir, "log") }

func (s *Server) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Dir = s.dir
	cmd.Env = []string{"LC_ALL=C", "TZ=America/St_Johns", "PATH=" + os.Getenv("PATH")} // a zone that shows mistakes
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.cred}
	return cmd
}

// binaries returns the directory of initdb and postgres.
func binaries() (string, error) {
	dirs := filepath.SplitList(os.Getenv("PATH"))
	packaged, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil {
		return "", err
	}
	slices.Reverse(packaged)
	for _, dir := range append(dirs, packaged...) {
		if executable(filepath.Join(dir, "initdb")) && executable(filepath.Join(dir, "postgres")) {
			return dir, nil
		}
	}
	return "", errAbsent
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && !info.IsDir() && info.Mode()&0o111 != 0
}

func unprivileged() (*syscall.Credential, error) {
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil {
			return nil, err
		}
		gid, err := strconv.ParseUint(u.Gid, 10, 32)
		if err != nil {
			return nil, err
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, errors.New("run PostgreSQL for tests: as root there must be a user postgres or nobody to run it as")
}

// keeper runs the server and waits for a line with the signal to stop it by. When
// there is none any more, since the test binary is gone, it removes everything.
const keeper = `dir=$1; shift; "$@" & pid=$!; read -r sig; kill -${sig:-QUIT} $pid; wait $pid; [ -n "$sig" ] || rm -rf "$dir"`

func (s *Server) start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.Port == 0 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		s.Port = l.Addr().(*net.TCPAddr).Port
		if err := l.Close(); err != nil {
			return err
		}
	}
	args := []string{"-c", keeper, "keeper", s.dir, filepath.Join(s.bin, "postgres"), "-D", s.data(),
		"-p", strconv.Itoa(s.Port), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "max_connections=200"}
	for _, setting := range s.settings {
		args = append(args, "-c", setting)
	}
	s.cmd = s.command("/bin/sh", args...)
	s.cmd.SysProcAttr.Setpgid = true // an interrupt from the terminal is for the test only
	log, err := os.OpenFile(s.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	s.cmd.Stdout, s.cmd.Stderr = log, log
	if s.life, err = s.cmd.StdinPipe(); err != nil {
		return err
	}
	if err := s.cmd.Start(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.ready(ctx); err != nil {
		text, _ := os.ReadFile(s.logFile())
		return fmt.Errorf("start PostgreSQL: %w\n%s", err, text)
	}
	return nil
}

// stop stops the server by a signal; "" kills it and removes its data.
func (s *Server) stop(signal string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil {
		if signal == "" {
			return os.RemoveAll(s.dir)
		}
		return nil
	}
	if signal != "" {
		if _, err := io.WriteString(s.life, signal+"\n"); err != nil {
			return err
		}
	}
	_ = s.life.Close() // closed by Wait too
	err := s.cmd.Wait()
	s.cmd = nil
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return err
	}
	if signal == "" {
		return os.RemoveAll(s.dir)
	}
	return nil
}

// Stop ends the server in good order, closing all connections.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	if err := s.stop("INT"); err != nil {
		t.Fatal(err)
	}
}

// Restart stops the server and starts it with further settings.
func (s *Server) Restart(t testing.TB, settings ...string) {
	t.Helper()
	s.Stop(t)
	s.settings = append(s.settings, settings...)
	s.Start(t)
}

// WriteFile puts a file where the server, and nobody else, can read it, and
// returns its path.
func (s *Server) WriteFile(t testing.TB, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(s.dir, name)
	err := os.WriteFile(path, data, 0o600)
	if err == nil && s.cred != nil {
		err = os.Chown(path, int(s.cred.Uid), int(s.cred.Gid))
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// Kill ends the server at once, as a crash would.
func (s *Server) Kill(t testing.TB) {
	t.Helper()
	if err := s.stop("QUIT"); err != nil {
		t.Fatal(err)
	}
}

// Database makes an empty database, named after the test in no way.
func (s *Server) Database(t testing.TB) DB {
	t.Helper()
	name := fmt.Sprintf("t%d", s.made.Add(1))
	d := DB{Host: "127.0.0.1", Port: s.Port, User: superuser, Password: password, Name: "postgres", Server: s}
	d.Exec(t, "CREATE DATABASE "+name)
	d.Name = name
	return d
}

// Start starts a stopped server, on the same port.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	if err := s.start(); err != nil {
		t.Fatal(err)
	}
}

// patience is how long a server may take to start or stop.
const patience = 60 * time.Second

func (s *Server) ready(ctx context.Context) error {
	for {
		c, err := pgx.Connect(ctx, DB{Host: "127.0.0.1", Port: s.Port, User: superuser, Password: password, Name: "postgres"}.URL())
		if err == nil {
			return c.Close(ctx)
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(20 * time.Millisecond):
		}
	}
}
