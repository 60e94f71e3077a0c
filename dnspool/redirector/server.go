package redirector

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"mirrorpool/config"
	"mirrorpool/dnspool/certificates"
	"mirrorpool/dnspool/listen"
)

const (
	maxConnections = 4096             // of all listeners; at most a quarter of the process' descriptors
	maxFromNetwork = 512              // of one client network; at most an eighth of all
	maxHeaderBytes = 8 << 10          // of a request
	readTime       = 5 * time.Second  // for reading a request
	requestTime    = 10 * time.Second // for reading and answering it
	idleTime       = 60 * time.Second
	shutdownTime   = 3 * time.Second
	busyInterval   = 5 * time.Millisecond // between looks at the shutdown whether all requests are answered

	maxHeavy   = 1024 // connections that take much memory, and further HTTP/2 requests on them
	maxStreams = 8    // HTTP/2 requests at once on a connection

	http2Protocol = "h2" // RFC 9113 section 3.1
)

// A Server is the HTTP face.
type Server struct {
	plainServers []*plainServer
	drains       []*listen.Listener // below plainServers, in the same order
	http         http.Server
	conns        *listen.ConnLimiter // all connections
	// heavy limits those that take up to 80 kB, where others take 20: they do a TLS handshake, send a long request, or
	// were handed over to net/http. Each further HTTP/2 request at once on a connection counts as one more.
	heavy        *listen.ConnLimiter
	ending       atomic.Bool
	busy         atomic.Int64 // connections on which a request is expected or being answered
	tls          *tls.Config  // nil without TLS, as are the next two
	certificates certificates.Source
	tickets      *certificates.Tickets
	httpsPort    string // the local port that http leads to; empty: http serves by itself
	hsts         string // Strict-Transport-Security; empty: off
}

func newServer() *Server {
	return &Server{conns: newConnLimiter(), heavy: listen.NewConnLimiter(maxHeavy, maxHeavy/8)}
}

// Listen opens the listeners that c asks for. They answer from Run on.
func Listen(
	ctx context.Context, sockets *listen.Opener, c config.HTTP, handler *Handler, log *zap.Logger,
) (*Server, error) {
	s := newServer()
	s.http = http.Server{
		Handler:     http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.answer(handler, w, r) }),
		ReadTimeout: readTime, WriteTimeout: requestTime, IdleTimeout: idleTime,
		MaxHeaderBytes: maxHeaderBytes, ConnState: s.track,
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, clientConnOf(conn))
		},
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: maxStreams,
			// Request bodies are not read.
			MaxReadFrameSize: 16 << 10, MaxReceiveBufferPerConnection: 64 << 10, MaxReceiveBufferPerStream: 1 << 10,
		},
		ErrorLog: zap.NewStdLog(zap.NewNop()), // its messages hold client addresses
	}
	if c.TLS != nil {
		if err := s.openTLS(ctx, *c.TLS, handler, log); err != nil {
			return nil, err
		}
	}
	if err := s.open(ctx, sockets, c, handler, log); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// open opens the listeners: those for http, and then those for https.
func (s *Server) open(ctx context.Context, sockets *listen.Opener, c config.HTTP, handler *Handler, log *zap.Logger) error {
	plain, secure := c.Listen, []string(nil)
	switch {
	case c.TLS != nil && len(c.TLS.Listen) == 0:
		plain, secure = nil, c.Listen
	case c.TLS != nil:
		secure = c.TLS.Listen
	}
	for i, addr := range slices.Concat(plain, secure) {
		drain, err := sockets.TCP(ctx, addr)
		if err != nil {
			return fmt.Errorf("cannot answer HTTP at %s: %w", addr, err)
		}
		s.drains = append(s.drains, drain)
		p := newPlainServer(&limitedListener{drain, s.conns, handler.trustedProxies}, s, handler, log)
		if i >= len(plain) {
			p.tls = s.tls
		}
		s.plainServers = append(s.plainServers, p)
	}
	if c.TLS != nil {
		s.setTLS(c.TLS, s.plainServers[len(plain):])
	}
	return nil
}

// Addrs returns the addresses of the listeners, in the order of the configuration.
func (s *Server) Addrs() []net.Addr {
	addrs := make([]net.Addr, len(s.plainServers))
	for i, f := range s.plainServers {
		addrs[i] = f.Addr()
	}
	return addrs
}

// Close closes the listeners of a server that is not going to run.
func (s *Server) Close() {
	for _, f := range s.plainServers {
		f.Close()
	}
	if s.certificates != nil {
		s.certificates.Close()
	}
}

// connKey is the context key of a request's connection.
type connKey struct{}

// answer answers a request. During a shutdown, the response tells the client to open another connection for the next
// one.
func (s *Server) answer(handler *Handler, w http.ResponseWriter, r *http.Request) {
	if s.ending.Load() {
		w.Header()["Connection"] = connectionClose
	}
	c, _ := r.Context().Value(connKey{}).(*clientConn)
	if c != nil && r.TLS == nil {
		r.TLS = c.tls // net/http does not see through a handedOverConn
	}
	if s.hsts != "" && r.TLS != nil {
		w.Header().Set("Strict-Transport-Security", s.hsts)
	}
	if location := s.toHTTPS(r, handler); location != "" {
		w.Header().Set("Location", location)
		w.Header().Set("Cache-Control", httpsCaching)
		w.WriteHeader(http.StatusMovedPermanently)
		return
	}
	if c == nil || r.ProtoMajor < 2 {
		handler.ServeHTTP(w, r)
		return
	}
	if c.streams.Add(1) > 1 {
		beside := s.heavy.Admit(c.network, c.Conn, time.Now())
		defer beside.Release()
	}
	defer c.streams.Add(-1)
	body := bodyWriter{ResponseWriter: w}
	handler.ServeHTTP(&body, r)
	if body.begun {
		_ = http.NewResponseController(w).Flush() // the request takes its memory until then
	}
}

// A bodyWriter notes whether a response has a body.
type bodyWriter struct {
	http.ResponseWriter
	begun bool
}

// Write writes a part of the body.
func (w *bodyWriter) Write(p []byte) (int, error) {
	w.begun = true
	return w.ResponseWriter.Write(p)
}

var connectionClose = []string{"close"} // must not be changed

// track counts the connections that still await an answer: Shutdown would close those of net/http without one.
func (s *Server) track(conn net.Conn, state http.ConnState) {
	c := clientConnOf(conn)
	if c == nil {
		return
	}
	if state == http.StateIdle {
		c.touch(time.Now())
	}
	s.setBusy(c, state == http.StateNew || state == http.StateActive)
}

// setBusy notes whether a request is expected or being answered on a connection, and returns the state before.
func (s *Server) setBusy(c *clientConn, busy bool) (before bool) {
	before = c.busy.Swap(busy)
	switch {
	case busy && !before:
		s.busy.Add(1)
	case before && !busy:
		s.busy.Add(-1)
	}
	return before
}

// drain stops taking new clients, which the kernel gives to other processes at the same addresses, and waits until
// those that have connected, or begun to, are answered.
func (s *Server) drain(ctx context.Context) {
	s.ending.Store(true)
	var waiting sync.WaitGroup
	for _, l := range s.drains {
		waiting.Go(func() { l.Drain(ctx, 1) })
	}
	waiting.Wait()
	ticker := time.NewTicker(busyInterval)
	defer ticker.Stop()
	for s.busy.Load() > 0 {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// Run answers requests until ctx ends, and finishes those under way. It closes the listeners after the kernel has begun
// to give new clients to other processes at the same addresses, if there are any.
func (s *Server) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, f := range s.plainServers {
		g.Go(func() error {
			if err := f.run(); ctx.Err() == nil {
				return fmt.Errorf("cannot accept HTTP connections: %w", err)
			}
			return nil
		})
		g.Go(func() error { f.wait(); return nil })
		g.Go(func() error {
			err := s.http.Serve(f)
			if errors.Is(err, http.ErrServerClosed) || errors.Is(err, net.ErrClosed) {
				return nil // run returns why there are no more connections
			}
			return err
		})
	}
	if s.certificates != nil {
		g.Go(func() error { return s.certificates.Run(ctx) })
		g.Go(func() error { return s.tickets.Run(ctx) })
	}
	g.Go(func() error {
		<-ctx.Done()
		limit, cancel := context.WithTimeout(context.Background(), shutdownTime)
		defer cancel()
		s.drain(limit)
		err := s.http.Shutdown(limit)
		if err != nil {
			err = s.http.Close()
		}
		for _, f := range s.plainServers {
			f.Close() // Shutdown misses listeners that are not served yet
		}
		return err
	})
	return g.Wait()
}
