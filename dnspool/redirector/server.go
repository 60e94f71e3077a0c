package redirector

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"go.uber.org/zap"
	"golang.org/x/net/netutil"
	"golang.org/x/sync/errgroup"

	"mirrorpool/config"
)

const (
	maxConnections = 4096             // per listener
	maxFromNetwork = 512              // of these, from one client network
	maxHeaderBytes = 16 << 10         // of a request
	readTime       = 5 * time.Second  // for reading a request
	requestTime    = 10 * time.Second // for reading and answering it
	idleTime       = 60 * time.Second
	shutdownTime   = 3 * time.Second
)

// A Server is the HTTP face.
type Server struct {
	listeners   []net.Listener
	http        http.Server
	certificate *certificate // nil without TLS
}

// Listen opens the listeners that c asks for. They answer from Run on.
func Listen(ctx context.Context, c config.HTTP, handler http.Handler, log *zap.Logger) (*Server, error) {
	s := &Server{http: http.Server{
		Handler:     handler,
		ReadTimeout: readTime, WriteTimeout: requestTime, IdleTimeout: idleTime,
		MaxHeaderBytes: maxHeaderBytes,
		ErrorLog:       zap.NewStdLog(zap.NewNop()), // its messages name client addresses
	}}
	if c.TLS != nil {
		var err error
		if s.certificate, err = loadCertificate(*c.TLS, log); err != nil {
			return nil, err
		}
		s.http.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: s.certificate.get}
	}
	var lc net.ListenConfig
	for _, addr := range c.Listen {
		l, err := lc.Listen(ctx, config.ListenNetwork("tcp", addr), addr)
		if err != nil {
			s.Close()
			return nil, fmt.Errorf("cannot answer HTTP at %s: %w", addr, err)
		}
		// A proxy has many clients: it is not one network among others.
		l = limitNetworks(netutil.LimitListener(l, maxConnections), maxFromNetwork, c.TrustedProxies)
		s.listeners = append(s.listeners, l)
	}
	return s, nil
}

// Addrs returns the addresses that are listened at, one for each in the configuration.
func (s *Server) Addrs() []net.Addr {
	addrs := make([]net.Addr, len(s.listeners))
	for i, l := range s.listeners {
		addrs[i] = l.Addr()
	}
	return addrs
}

// Close closes the listeners, where Run is not going to.
func (s *Server) Close() {
	for _, l := range s.listeners {
		l.Close()
	}
}

// Run answers requests until ctx ends, and finishes those under way. It closes the listeners.
func (s *Server) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, l := range s.listeners {
		g.Go(func() error {
			if err := s.serve(l); !errors.Is(err, http.ErrServerClosed) {
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
		if err := s.http.Shutdown(limit); err != nil {
			return s.http.Close()
		}
		return nil
	})
	return g.Wait()
}

func (s *Server) serve(l net.Listener) error {
	if s.certificate != nil {
		return s.http.ServeTLS(l, "", "") // HTTP/2 too
	}
	return s.http.Serve(l)
}
