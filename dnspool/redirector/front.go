package redirector

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"
)

const (
	minFrontBuffer = 1 << 10               // bytes that a connection holds, unless it has had a longer request
	maxFrontBuffer = 4 << 10               // bytes of a plain request
	acceptPause    = 20 * time.Millisecond // when there are no file descriptors
)

// A front answers plain requests itself, over http. A connection on which another one comes in it hands over to net/http,
// whose listener it is.
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
		c.Close()
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
	rest, err := f.answer(c)
	f.leave(c)
	if err == nil {
		c.ahead = bytes.TrimPrefix(rest, emptyLine) // which net/http would not ignore
		select {
		case f.passed <- c:
			return
		case <-f.closing:
		}
	}
	f.server.setBusy(c, false)
	c.Close()
}

// answer answers the plain requests on a connection, and returns what has come in after them. err is that of the network,
// or a panic: as with net/http, that ends the connection alone.
func (f *front) answer(c *crowdConn) (rest []byte, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("panic: %v", cause)
			f.log.Error("a request cannot be answered; please report this", zap.Error(err), zap.Stack("stack"))
		}
	}()
	in := make([]byte, 0, minFrontBuffer)
	c.SetReadDeadline(time.Now().Add(readTime)) // if it fails, so will the read
	for {
		request, how := readPlain(in)
		if how == partial && len(in) < maxFrontBuffer {
			more, err := f.read(c, in)
			if errors.Is(err, io.EOF) && len(in) > 0 {
				return in, nil // it is cut short, which net/http tells
			}
			if err != nil {
				return nil, err
			}
			in = more
			continue
		}
		if how != plain || f.server.ending.Load() { // who may not go on is told so by net/http
			return in, nil
		}
		now := time.Now()
		c.member.Wait(now)
		c.SetWriteDeadline(now.Add(requestTime))
		if answered, err := f.handler.answerPlain(c, request.path, c.peer); !answered || err != nil {
			return in, err
		}
		in = in[:copy(in, in[request.size:])]
		f.expect(c, len(in) > 0)
	}
}

// read reads more of a request, after what there is of it.
func (f *front) read(c *crowdConn, in []byte) ([]byte, error) {
	if len(in) == cap(in) {
		in = append(make([]byte, 0, maxFrontBuffer), in...)
	}
	n, err := c.Read(in[len(in):cap(in)])
	if n == 0 {
		return nil, err
	}
	if !c.busy.Load() {
		f.expect(c, true)
	}
	return in[:len(in)+n], nil
}

// expect gives the client time for its next request, which has begun or not.
func (f *front) expect(c *crowdConn, begun bool) {
	f.server.setBusy(c, begun)
	limit := idleTime
	if begun {
		limit = readTime
	}
	c.SetReadDeadline(time.Now().Add(limit))
}
