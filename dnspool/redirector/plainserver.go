package redirector

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"time"

	"go.uber.org/zap"

	"mirrorpool/dnspool/certificates"
	"mirrorpool/dnspool/listen"
)

// A plainServer answers plain requests itself. At the first request of another kind it hands the connection over to
// net/http, for which it acts as the listener. It waits until the request's headers are complete: net/http needs ten
// times their size in memory, and a client may be slow. With TLS it does the handshake, and hands over HTTP/2 at once.
type plainServer struct {
	net.Listener
	server     *Server
	handler    *Handler
	log        *zap.Logger
	tls        *tls.Config // nil: it speaks http
	handedOver chan net.Conn
	closing    chan struct{} // closed by Close
	accepted   chan struct{} // closed when no more connections will be accepted
	ended      chan struct{} // closed when no more will be handed over
	serving    sync.WaitGroup

	mu   sync.Mutex
	open map[*clientConn]struct{} // connections that were not handed over; nil after Close
}

func newPlainServer(l net.Listener, s *Server, h *Handler, log *zap.Logger) *plainServer {
	return &plainServer{Listener: l, server: s, handler: h, log: log, open: map[*clientConn]struct{}{},
		handedOver: make(chan net.Conn), closing: make(chan struct{}),
		accepted: make(chan struct{}), ended: make(chan struct{})}
}

// Accept returns the next connection for net/http.
func (p *plainServer) Accept() (net.Conn, error) {
	select {
	case c := <-p.handedOver:
		return c, nil
	case <-p.ended:
		return nil, net.ErrClosed
	}
}

// Close closes the listener, and the connections that were not handed over.
func (p *plainServer) Close() error {
	err := p.Listener.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open != nil {
		close(p.closing)
	}
	for c := range p.open {
		c.Conn.Close() // the goroutine that serves it cleans up
	}
	p.open = nil
	return err
}

// run accepts and serves connections until the listener fails, or is closed or drained.
func (p *plainServer) run() error {
	defer close(p.accepted)
	for {
		conn, err := listen.Accept(p.Listener)
		if err != nil {
			return err
		}
		c := conn.(*clientConn)
		if p.enter(c) {
			p.serving.Go(func() { p.serve(c) })
		}
	}
}

// wait waits until run has ended, and all connections are closed or handed over.
func (p *plainServer) wait() {
	<-p.accepted
	p.serving.Wait()
	close(p.ended)
}

// enter registers a new connection. It returns false after Close.
func (p *plainServer) enter(c *clientConn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open == nil {
		c.Close()
		return false
	}
	p.open[c] = struct{}{}
	p.server.setBusy(c, true)
	return true
}

// leave forgets a connection.
func (p *plainServer) leave(c *clientConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, c)
}

// serve answers the plain requests on a connection, and hands it over at the first request of another kind.
func (p *plainServer) serve(c *clientConn) {
	next, err := p.answer(c)
	p.leave(c)
	if err == nil {
		c.markHeavy(p.server.heavy)
		select {
		case p.handedOver <- next:
			return
		case <-p.closing:
		}
	}
	p.server.setBusy(c, false)
	c.Close()
}

// answer answers the plain requests on a connection, and returns the connection that net/http is to go on with. err
// comes from the network, or from a panic, which ends only this connection, as with net/http.
func (p *plainServer) answer(c *clientConn) (next net.Conn, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("panic: %v", cause)
			p.log.Error("panic while answering a request; please report this", zap.Error(err), zap.Stack("stack"))
		}
	}()
	r := headReader{Conn: c, under: c, server: p.server}
	if p.tls != nil {
		secure, speaksHTTP1, err := p.handshake(c)
		if err != nil || !speaksHTTP1 {
			return secure, err
		}
		r.Conn = secure
	}
	for {
		request, how, err := r.next()
		if err != nil {
			return nil, err
		}
		toHTTPS := p.tls == nil && p.server.httpsPort != ""      // net/http decides whether it leads there
		if how == plain && !toHTTPS && !p.server.ending.Load() { // net/http closes connections properly
			now := time.Now()
			c.slot.Touch(now)
			r.SetWriteDeadline(now.Add(requestTime))
			if p.tls != nil {
				request.hsts = p.server.hsts
			}
			answered, err := p.handler.answerPlain(r, &request, client{addr: c.peer, secure: c.tls != nil})
			if err != nil {
				return nil, err
			}
			if answered {
				r.discard(request.size)
				continue
			}
		}
		// net/http does not skip an empty line.
		return &handedOverConn{Conn: r.Conn, under: c, ahead: bytes.TrimPrefix(r.in, emptyLine)}, nil
	}
}

// handshake does the TLS handshake. HTTP/2, and plain HTTP on a TLS port, are for net/http to answer. A connection of
// acme-tls/1 is closed, with an error: it is for the handshake alone (RFC 8737 section 3).
func (p *plainServer) handshake(c *clientConn) (secure *tls.Conn, speaksHTTP1 bool, err error) {
	c.markHeavy(p.server.heavy)
	secure = tls.Server(c, p.tls)
	c.SetDeadline(time.Now().Add(readTime)) // on failure, the handshake fails too
	if secure.Handshake() != nil {
		return secure, false, nil
	}
	state := secure.ConnectionState()
	c.tls = &state
	c.SetDeadline(time.Time{})
	switch state.NegotiatedProtocol {
	case certificates.ALPN:
		secure.Close()
		return secure, false, net.ErrClosed
	case http2Protocol:
		return secure, false, nil
	}
	c.unmarkHeavy()
	return secure, true, nil
}
