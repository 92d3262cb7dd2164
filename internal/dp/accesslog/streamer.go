package accesslog

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

const (
	connectTimeout = 5 * time.Second
	writeTimeout   = 5 * time.Second
	// queueSize is how many lines wait for one collector.
	queueSize = 1024
	// maxCollectors bounds the senders; policies name a handful.
	maxCollectors = 64
	// idleAfter ends a sender that got no line for so long.
	idleAfter = 10 * time.Minute
	// reportEvery is how often dropped lines are logged.
	reportEvery = 10 * time.Second
)

// Streamer reads the pipe and sends.
type Streamer struct {
	path   string
	pipe   *os.File
	log    *slog.Logger
	dialer dialer

	mu      sync.Mutex
	senders map[string]*sender
	dropped map[string]uint64
	wait    sync.WaitGroup
}

// Open makes the pipe and opens it, so that Envoy finds a reader. It must be
// called before Envoy starts.
func Open(path string, log *slog.Logger) (*Streamer, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove old access log pipe: %w", err)
	}
	if err := syscall.Mkfifo(path, 0o666); err != nil {
		return nil, fmt.Errorf("make access log pipe %s: %w", path, err)
	}
	// Envoy may run as another user, so the mode must not depend on the umask.
	if err := os.Chmod(path, 0o666); err != nil { //nolint:gosec // because the directory guards it.
		return nil, fmt.Errorf("make access log pipe %s: %w", path, err)
	}
	// Read and write: the pipe then never reports its end when Envoy closes
	// it, and opening does not wait for Envoy. O_NONBLOCK lets Close end a
	// pending read.
	pipe, err := os.OpenFile(path, os.O_RDWR|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open access log pipe: %w", err)
	}
	return &Streamer{
		path: path, pipe: pipe, log: log, dialer: &net.Dialer{Timeout: connectTimeout},
		senders: map[string]*sender{}, dropped: map[string]uint64{},
	}, nil
}

// Close gives the pipe back when Run was never called.
func (s *Streamer) Close() error {
	return errors.Join(s.pipe.Close(), os.Remove(s.path))
}

// Run forwards lines until ctx ends.
func (s *Streamer) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = s.pipe.Close() })
	defer stop()
	s.wait.Go(func() { s.report(ctx) })
	err := s.read(ctx)
	s.wait.Wait()
	_ = os.Remove(s.path)
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("read access log pipe: %w", err)
}

func (s *Streamer) read(ctx context.Context) error {
	r := bufio.NewReaderSize(s.pipe, 64<<10)
	for {
		line, err := readLine(r)
		if errors.Is(err, errTooLong) {
			s.drop("too long")
			continue
		}
		if err != nil {
			return err
		}
		if len(line) == 0 {
			continue
		}
		e, err := ParseLine(line)
		if err != nil {
			s.log.Debug("unreadable access log line", "error", err)
			s.drop("unreadable")
			continue
		}
		s.send(ctx, e)
	}
}

var errTooLong = errors.New("line too long")

// readLine returns the next line without its end; a line beyond the bound is
// skipped and reported as errTooLong.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	tooLong := false
	for {
		part, err := r.ReadSlice('\n')
		if !tooLong && len(line)+len(part) > maxLine {
			tooLong, line = true, nil
		}
		if !tooLong {
			line = append(line, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err != nil:
			return nil, err
		case tooLong:
			return nil, errTooLong
		}
		return line[:len(line)-1], nil
	}
}

// send queues a line for its collector; it never waits.
func (s *Streamer) send(ctx context.Context, e Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.senders[e.Address]
	if c == nil {
		if len(s.senders) >= maxCollectors {
			s.dropped["too many collectors"]++
			return
		}
		c = &sender{address: e.Address, queue: make(chan []byte, queueSize), streamer: s}
		s.senders[e.Address] = c
		s.wait.Go(func() { c.run(ctx) })
	}
	select {
	case c.queue <- e.Text:
	default:
		s.dropped[e.Address]++
	}
}

func (s *Streamer) drop(why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropped[why]++
}

// report logs dropped lines now and then instead of one by one.
func (s *Streamer) report(ctx context.Context) {
	t := time.NewTicker(reportEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			s.logDropped()
			return
		case <-t.C:
			s.logDropped()
		}
	}
}

func (s *Streamer) logDropped() {
	s.mu.Lock()
	dropped := s.dropped
	s.dropped = map[string]uint64{}
	s.mu.Unlock()
	for why, n := range dropped {
		s.log.Warn("access log lines dropped", "collector_or_reason", why, "lines", n)
	}
}

// sender writes to one collector.
type sender struct {
	address  string
	queue    chan []byte
	streamer *Streamer
}

func (c *sender) run(ctx context.Context) {
	var conn net.Conn
	defer func() {
		if conn != nil {
			_ = conn.Close()
		}
	}()
	idle := time.NewTimer(idleAfter)
	defer idle.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-idle.C:
			if c.retire() {
				return
			}
		case text := <-c.queue:
			conn = c.write(ctx, conn, text)
		}
		idle.Reset(idleAfter)
	}
}

// retire removes an idle sender unless a line came in meanwhile.
func (c *sender) retire() bool {
	c.streamer.mu.Lock()
	defer c.streamer.mu.Unlock()
	if len(c.queue) > 0 {
		return false
	}
	delete(c.streamer.senders, c.address)
	return true
}

// write sends one line over the connection, opening it first if there is none.
// On failure the line is dropped and there is no connection afterwards.
func (c *sender) write(ctx context.Context, conn net.Conn, text []byte) net.Conn {
	if conn != nil && peerClosed(conn) {
		_ = conn.Close()
		conn = nil
	}
	if conn == nil {
		ctx, cancel := context.WithTimeout(ctx, connectTimeout)
		defer cancel()
		fresh, err := c.streamer.dialer.DialContext(ctx, "tcp", c.address)
		if err != nil {
			c.streamer.log.Debug("cannot reach access log collector", "collector", c.address, "error", err)
			c.streamer.drop(c.address)
			return nil
		}
		conn = fresh
	}
	_ = conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	if _, err := conn.Write(text); err != nil {
		c.streamer.log.Debug("cannot write to access log collector", "collector", c.address, "error", err)
		c.streamer.drop(c.address)
		_ = conn.Close()
		return nil
	}
	return conn
}

// peerClosed looks whether the collector closed the connection, as the first
// write after that would succeed and the line be lost.
func peerClosed(conn net.Conn) bool {
	c, ok := conn.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return true
	}
	closed := false
	err = raw.Read(func(fd uintptr) bool {
		var b [1]byte
		n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		closed = (n == 0 && err == nil) || errors.Is(err, syscall.ECONNRESET)
		return true
	})
	return closed || err != nil
}
