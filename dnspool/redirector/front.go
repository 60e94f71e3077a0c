package redirector

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"
)

// acceptPause is how long accepting waits where there are no file descriptors.
const acceptPause = 20 * time.Millisecond

// A front answers plain requests itself. A connection on which another one comes in it hands over to net/http, whose
// listener it is, but not before the request is there as a whole: what net/http makes of headers takes ten times as much
// memory as they do, and a client may take its time. With TLS it does the handshake, and hands over HTTP/2 at once.
type front struct {
	net.Listener
	server   *Server
	handler  *Handler
	log      *zap.Logger
	passed   chan net.Conn
	closing  chan struct{} // closed by Close
	accepted chan struct{} // closed when no more connections are going to be accepted
	ended    chan struct{} // closed when no more are going to be passed
	serving  sync.WaitGroup

	mu   sync.Mutex
	open map[*crowdConn]struct{} // those that are not net/http's; nil after Close
}

func newFront(l net.Listener, s *Server, h *Handler, log *zap.Logger) *front {
	return &front{Listener: l, server: s, handler: h, log: log, open: map[*crowdConn]struct{}{},
		passed: make(chan net.Conn), closing: make(chan struct{}), accepted: make(chan struct{}), ended: make(chan struct{})}
}

// Accept returns the next connection that is net/http's.
func (f *front) Accept() (net.Conn, error) {
	select {
	case c := <-f.passed:
		return c, nil
	case <-f.ended:
		return nil, net.ErrClosed
	}
}

// Close closes the listener, and the connections that are not net/http's.
func (f *front) Close() error {
	err := f.Listener.Close()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open != nil {
		close(f.closing)
	}
	for c := range f.open {
		c.Conn.Close() // whoever serves it does the rest
	}
	f.open = nil
	return err
}

// run accepts connections until the listener fails, or is closed or drained, and has them served.
func (f *front) run() error {
	defer close(f.accepted)
	for {
		conn, err := f.Listener.Accept()
		switch {
		case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
			time.Sleep(acceptPause) // the client waits in the kernel; another connection will end
		case err != nil:
			return err
		default:
			c := conn.(*crowdConn)
			if f.enter(c) {
				f.serving.Go(func() { f.serve(c) })
			}
		}
	}
}

// wait waits until run has ended, and all connections are at their end or net/http's.
func (f *front) wait() {
	<-f.accepted
	f.serving.Wait()
	close(f.ended)
}

// enter takes a new connection in, unless it comes too late.
func (f *front) enter(c *crowdConn) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open == nil {
		c.Close()
		return false
	}
	f.open[c] = struct{}{}
	f.server.setBusy(c, true)
	return true
}

// leave forgets a connection.
func (f *front) leave(c *crowdConn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.open, c)
}

// serve answers the plain requests on a connection, up to the first that is none. Then it is net/http's.
func (f *front) serve(c *crowdConn) {
	next, err := f.answer(c)
	f.leave(c)
	if err == nil {
		c.enter(f.server.costly)
		select {
		case f.passed <- next:
			return
		case <-f.closing:
		}
	}
	f.server.setBusy(c, false)
	c.Close()
}

// answer answers the plain requests on a connection, and returns what net/http is to go on with. err is that of the
// network, or a panic: as with net/http, that ends the connection alone.
func (f *front) answer(c *crowdConn) (next net.Conn, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("panic: %v", cause)
			f.log.Error("a request cannot be answered; please report this", zap.Error(err), zap.Stack("stack"))
		}
	}()
	r := headReader{Conn: c, under: c, server: f.server}
	if f.server.tls != nil {
		secure, speaksHTTP1 := f.handshake(c)
		if !speaksHTTP1 {
			return secure, nil
		}
		r.Conn = secure
	}
	for {
		request, how, err := r.next()
		if err != nil {
			return nil, err
		}
		if how == plain && !f.server.ending.Load() { // net/http tells a client that it may not go on
			now := time.Now()
			c.member.Touch(now)
			r.SetWriteDeadline(now.Add(requestTime))
			answered, err := f.handler.answerPlain(r, request.path, client{addr: c.peer, secure: c.tls != nil})
			if err != nil {
				return nil, err
			}
			if answered {
				r.drop(request.size)
				continue
			}
		}
		// net/http would not ignore an empty line.
		return &passedConn{Conn: r.Conn, under: c, ahead: bytes.TrimPrefix(r.in, emptyLine)}, nil
	}
}

// handshake begins to speak TLS. net/http speaks HTTP/2, and tells a client that does not speak TLS what it should do.
func (f *front) handshake(c *crowdConn) (secure *tls.Conn, speaksHTTP1 bool) {
	c.enter(f.server.costly)
	secure = tls.Server(c, f.server.tls)
	c.SetDeadline(time.Now().Add(readTime)) // if it fails, so will the handshake
	if secure.Handshake() != nil {
		return secure, false
	}
	state := secure.ConnectionState()
	c.tls = &state
	c.SetDeadline(time.Time{})
	if state.NegotiatedProtocol == http2Protocol {
		return secure, false
	}
	c.cheapen()
	return secure, true
}
