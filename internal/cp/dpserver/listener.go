package dpserver

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"
)

// http2Preface is how a client begins that speaks HTTP/2 without saying so in the
// TLS handshake, as Envoy does.
const http2Preface = "PRI * HTTP/2.0"

// splitter hands the connections of one TLS port to two servers:
//
//   - whoever offers nothing but h2 in the handshake is a gRPC client, as is who
//     offers nothing and begins with the HTTP/2 preface (Envoy);
//   - everybody else speaks HTTP: 1.1, or 2 if it offers both.
//
// So gRPC has a server of its own, which needs half the memory and time of one
// behind net/http. A gRPC client that offers http/1.1 too still works: the HTTP
// server passes its requests on.
type splitter struct {
	inner   net.Listener
	config  *tls.Config
	timeout time.Duration
	log     *slog.Logger
	grpc    *queue
	http    *queue
	slots   chan struct{} // handshakes at the same time
	pending sync.WaitGroup
}

// maxHandshakes bounds the connections that have not shown what they are.
const maxHandshakes = 4096

func newSplitter(inner net.Listener, config *tls.Config, timeout time.Duration, log *slog.Logger) *splitter {
	c := config.Clone()
	c.NextProtos = []string{"h2", "http/1.1"}
	c.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		if conn, ok := h.Conn.(*rawConn); ok {
			conn.onlyHTTP2 = slices.Contains(h.SupportedProtos, "h2") && !slices.Contains(h.SupportedProtos, "http/1.1")
		}
		return nil, nil // the configuration stays
	}
	return &splitter{
		inner: inner, config: c, timeout: timeout, log: log,
		grpc: newQueue(inner.Addr()), http: newQueue(inner.Addr()),
		slots: make(chan struct{}, maxHandshakes),
	}
}

// run accepts connections until the listener is closed.
func (s *splitter) run(ctx context.Context) error {
	defer s.pending.Wait()
	defer s.grpc.Close()
	defer s.http.Close()
	pause := time.Duration(0)
	for {
		conn, err := s.inner.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			// Out of file descriptors, or the client left: others may come.
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			s.log.Warn("accept connection; trying again", "error", err, "pause", pause)
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(pause):
			}
			continue
		}
		pause = 0
		select {
		case s.slots <- struct{}{}:
		case <-ctx.Done():
			conn.Close()
			return nil
		}
		s.pending.Go(func() {
			defer func() { <-s.slots }()
			s.sort(ctx, conn)
		})
	}
}

// sort finds out what a connection is and hands it on.
func (s *splitter) sort(ctx context.Context, raw net.Conn) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	_ = raw.SetDeadline(time.Now().Add(s.timeout))
	hello := &rawConn{Conn: raw}
	conn := tls.Server(hello, s.config)
	if err := conn.HandshakeContext(ctx); err != nil {
		s.log.Debug("TLS handshake", "client", raw.RemoteAddr().String(), "error", err)
		raw.Close()
		return
	}
	switch {
	case hello.onlyHTTP2:
		_ = raw.SetDeadline(time.Time{})
		s.grpc.put(newClientConn(conn, nil))
	case conn.ConnectionState().NegotiatedProtocol != "":
		_ = raw.SetDeadline(time.Time{})
		s.http.put(conn) // net/http wants to see the *tls.Conn
	default:
		s.sortByContent(conn, raw)
	}
}

// sortByContent looks at what a client says that told nothing in the handshake.
func (s *splitter) sortByContent(conn *tls.Conn, raw net.Conn) {
	r := bufio.NewReaderSize(conn, 512)
	for n := 1; n <= len(http2Preface); n++ {
		head, err := r.Peek(n)
		if err != nil {
			conn.Close()
			return
		}
		if string(head) != http2Preface[:n] {
			_ = raw.SetDeadline(time.Time{})
			s.http.put(newClientConn(conn, r))
			return
		}
	}
	_ = raw.SetDeadline(time.Time{})
	s.grpc.put(newClientConn(conn, r))
}

// rawConn is a connection below TLS that remembers what the client offered.
type rawConn struct {
	net.Conn
	onlyHTTP2 bool
}

// clientConn is a connection some of which may have been read already. Its remote
// address leads back to it, so that a stream can close it.
type clientConn struct {
	*tls.Conn
	addr *clientAddr

	mu   sync.Mutex
	head *bufio.Reader // until it is empty
}

// clientAddr is the address of a client and the way to get rid of it.
type clientAddr struct {
	net.Addr
	conn net.Conn
}

func newClientConn(conn *tls.Conn, head *bufio.Reader) *clientConn {
	return &clientConn{Conn: conn, addr: &clientAddr{Addr: conn.RemoteAddr(), conn: conn.NetConn()}, head: head}
}

// RemoteAddr returns the client's address, a *clientAddr.
func (c *clientConn) RemoteAddr() net.Addr { return c.addr }

// Read reads what was read ahead, then from the connection.
func (c *clientConn) Read(p []byte) (int, error) {
	c.mu.Lock()
	if c.head == nil {
		c.mu.Unlock()
		return c.Conn.Read(p)
	}
	defer c.mu.Unlock()
	n := min(c.head.Buffered(), len(p))
	n, err := c.head.Read(p[:n])
	if c.head.Buffered() == 0 {
		c.head = nil
	}
	if err != nil {
		return n, fmt.Errorf("read what was read ahead: %w", err)
	}
	return n, nil
}

// queue is a listener that is fed with connections.
type queue struct {
	addr  net.Addr
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newQueue(addr net.Addr) *queue {
	return &queue{addr: addr, conns: make(chan net.Conn), done: make(chan struct{})}
}

func (q *queue) put(c net.Conn) {
	select {
	case q.conns <- c:
	case <-q.done:
		c.Close()
	}
}

// Accept implements net.Listener.
func (q *queue) Accept() (net.Conn, error) {
	select {
	case c := <-q.conns:
		return c, nil
	case <-q.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (q *queue) Close() error {
	q.once.Do(func() { close(q.done) })
	return nil
}

// Addr implements net.Listener.
func (q *queue) Addr() net.Addr { return q.addr }
