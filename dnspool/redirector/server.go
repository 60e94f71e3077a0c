package redirector

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"mirrorpool/config"
	"mirrorpool/dnspool/listen"
)

const (
	maxConnections = 4096             // at all listeners together, and at most a quarter of the process' descriptors
	maxFromNetwork = 512              // of these, from one client network, and at most an eighth of all
	maxHeaderBytes = 8 << 10          // of a request
	readTime       = 5 * time.Second  // for reading a request
	requestTime    = 10 * time.Second // for reading and answering it
	idleTime       = 60 * time.Second
	shutdownTime   = 3 * time.Second
	busyInterval   = 5 * time.Millisecond // how often it is looked whether all are answered, at the end

	maxCostly  = 1024 // connections that take much memory, and requests of HTTP/2
	maxStreams = 8    // requests of HTTP/2 at once on a connection

	http2Protocol = "h2" // RFC 9113 section 3.1
)

// A Server is the HTTP face.
type Server struct {
	fronts []*front
	drains []*listen.Listener // what is below fronts
	http   http.Server
	crowd  *listen.ConnLimiter // all connections
	// costly are those that take up to 80 kB, where others take 20: they do a TLS handshake, send a long request, or are
	// net/http's. A request of HTTP/2 beside another one on its connection is one more.
	costly      *listen.ConnLimiter
	ending      atomic.Bool
	busy        atomic.Int64 // connections on which a request is expected or being answered
	tls         *tls.Config  // nil without TLS
	certificate *certificate // nil without TLS
}

func newServer() *Server {
	return &Server{crowd: newCrowd(), costly: listen.NewConnLimiter(maxCostly, maxCostly/8)}
}

// Listen opens the listeners that c asks for. They answer from Run on.
func Listen(ctx context.Context, sockets *listen.Opener, c config.HTTP, handler *Handler, log *zap.Logger) (*Server, error) {
	s := newServer()
	s.http = http.Server{
		Handler:     http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.answer(handler, w, r) }),
		ReadTimeout: readTime, WriteTimeout: requestTime, IdleTimeout: idleTime,
		MaxHeaderBytes: maxHeaderBytes, ConnState: s.track,
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, crowdConnOf(conn))
		},
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: maxStreams,
			// What a client sends besides headers is not read.
			MaxReadFrameSize: 16 << 10, MaxReceiveBufferPerConnection: 64 << 10, MaxReceiveBufferPerStream: 1 << 10,
		},
		ErrorLog: zap.NewStdLog(zap.NewNop()), // its messages name client addresses
	}
	if c.TLS != nil {
		var err error
		if s.certificate, err = loadCertificate(*c.TLS, log); err != nil {
			return nil, err
		}
		s.tls = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: s.certificate.get, NextProtos: []string{http2Protocol, "http/1.1"}}
		s.http.TLSConfig = s.tls.Clone() // net/http speaks HTTP/2 then, and changes it
	}
	for _, addr := range c.Listen {
		drain, err := sockets.TCP(ctx, addr)
		if err != nil {
			s.Close()
			return nil, fmt.Errorf("cannot answer HTTP at %s: %w", addr, err)
		}
		s.drains = append(s.drains, drain)
		s.fronts = append(s.fronts, newFront(&crowdListener{drain, s.crowd, handler.trustedProxies}, s, handler, log))
	}
	return s, nil
}

// Addrs returns the addresses that are listened at, one for each in the configuration.
func (s *Server) Addrs() []net.Addr {
	addrs := make([]net.Addr, len(s.fronts))
	for i, f := range s.fronts {
		addrs[i] = f.Addr()
	}
	return addrs
}

// Close closes the listeners, where Run is not going to.
func (s *Server) Close() {
	for _, f := range s.fronts {
		f.Close()
	}
}

// connKey is the key of a request's context for its connection.
type connKey struct{}

// answer answers a request. The last one on each connection tells the client to open another for the next.
func (s *Server) answer(handler http.Handler, w http.ResponseWriter, r *http.Request) {
	if s.ending.Load() {
		w.Header()["Connection"] = connectionClose
	}
	c, _ := r.Context().Value(connKey{}).(*crowdConn)
	if c != nil && r.TLS == nil {
		r.TLS = c.tls // net/http does not see through a passedConn
	}
	if c == nil || r.ProtoMajor < 2 {
		handler.ServeHTTP(w, r)
		return
	}
	if c.streams.Add(1) > 1 {
		beside := s.costly.Admit(c.network, c.Conn, time.Now())
		defer beside.Release()
	}
	defer c.streams.Add(-1)
	body := bodyWriter{ResponseWriter: w}
	handler.ServeHTTP(&body, r)
	if body.begun {
		_ = http.NewResponseController(w).Flush() // until then, the request takes its memory
	}
}

// A bodyWriter notes whether a response has more than headers.
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

// track counts connections that net/http must not be told to shut down yet: it would close them without an answer.
func (s *Server) track(conn net.Conn, state http.ConnState) {
	c := crowdConnOf(conn)
	if c == nil {
		return
	}
	if state == http.StateIdle {
		c.wait(time.Now())
	}
	s.setBusy(c, state == http.StateNew || state == http.StateActive)
}

// setBusy tells whether a request is expected or being answered on a connection, and returns whether that was so before.
func (s *Server) setBusy(c *crowdConn, busy bool) (before bool) {
	before = c.busy.Swap(busy)
	switch {
	case busy && !before:
		s.busy.Add(1)
	case before && !busy:
		s.busy.Add(-1)
	}
	return before
}

// drain has those who have connected, or begun to, accepted and answered, and new clients go to others at the same addresses.
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

// Run answers requests until ctx ends, and finishes those under way. It closes the listeners, but not before the kernel
// gives new clients to others at the same addresses, if there are any.
func (s *Server) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, f := range s.fronts {
		g.Go(func() error {
			if err := f.run(); ctx.Err() == nil {
				return fmt.Errorf("cannot accept HTTP connections: %w", err)
			}
			return nil
		})
		g.Go(func() error { f.wait(); return nil })
		g.Go(func() error {
			if err := s.http.Serve(f); !errors.Is(err, http.ErrServerClosed) && ctx.Err() == nil {
				return err
			}
			return nil
		})
	}
	if s.certificate != nil {
		g.Go(func() error { return s.certificate.run(ctx, lookInterval) })
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
		for _, f := range s.fronts {
			f.Close() // if net/http has not been told of it yet
		}
		return err
	})
	return g.Wait()
}
