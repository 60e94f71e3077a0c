package redirector

import (
	"errors"
	"net"
	"sync"
	"syscall"
	"time"
)

const (
	minFrontBuffer = 1 << 10               // bytes; all that a silent connection holds
	maxFrontBuffer = 4 << 10               // of a plain request
	acceptPause    = 20 * time.Millisecond // when there are no file descriptors
)

// A front answers plain requests itself. A connection on which another one comes in it hands over to net/http, whose
// listener it is.
type front struct {
	net.Listener
	server  *Server
	handler *Handler
	passed  chan net.Conn
	closing chan struct{} // closed by Close
	ended   chan struct{} // closed when no more connections are going to be passed

	mu   sync.Mutex
	open map[*limitedConn]struct{} // those that are not net/http's; nil after Close
}

func newFront(l net.Listener, s *Server, h *Handler) *front {
	return &front{Listener: l, server: s, handler: h,
		passed: make(chan net.Conn), closing: make(chan struct{}), ended: make(chan struct{}), open: map[*limitedConn]struct{}{}}
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

// run accepts connections until the listener is closed or drained, and serves them to their end.
func (f *front) run() {
	defer close(f.ended)
	var serving sync.WaitGroup
	defer serving.Wait()
	for {
		conn, err := f.Listener.Accept()
		switch {
		case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
			time.Sleep(acceptPause) // the client waits in the kernel; another connection will end
		case err != nil:
			return
		default:
			c := conn.(*limitedConn)
			if f.enter(c) {
				serving.Go(func() { f.serve(c) })
			}
		}
	}
}

// enter takes a new connection in, unless it comes too late.
func (f *front) enter(c *limitedConn) bool {
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
func (f *front) leave(c *limitedConn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.open, c)
}

// serve answers the plain requests on a connection, up to the first that is none. Then it is net/http's.
func (f *front) serve(c *limitedConn) {
	rest, err := f.answer(c)
	f.leave(c)
	if err == nil {
		c.early = rest
		select {
		case f.passed <- c:
			return
		case <-f.closing:
		}
	}
	f.server.setBusy(c, false)
	c.Close()
}

// answer answers the plain requests on a connection, and returns what has come in after them. err is that of the network.
func (f *front) answer(c *limitedConn) (rest []byte, err error) {
	in := make([]byte, 0, minFrontBuffer)
	c.SetReadDeadline(time.Now().Add(readTime)) // if it fails, so will the read
	for {
		request, how := readPlain(in)
		if how == partial && len(in) == cap(in) && cap(in) < maxFrontBuffer {
			in = append(make([]byte, 0, maxFrontBuffer), in...)
		}
		switch {
		case how == partial && len(in) < cap(in):
			n, err := c.Read(in[len(in):cap(in)])
			if n == 0 {
				return nil, err
			}
			in = in[:len(in)+n]
			if !f.server.setBusy(c, true) { // the first of it
				c.SetReadDeadline(time.Now().Add(readTime))
			}
			continue
		case how != plain || f.server.ending.Load(): // who may not go on is told so by net/http
			return in, nil
		}
		c.SetWriteDeadline(time.Now().Add(requestTime))
		if answered, err := f.handler.answerPlain(c, request.path, c.peer); !answered || err != nil {
			return in, err
		}
		in = in[:copy(in, in[request.size:])]
		if len(in) == 0 {
			f.server.setBusy(c, false)
			c.SetReadDeadline(time.Now().Add(idleTime))
		}
	}
}
