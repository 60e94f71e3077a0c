// Package redirector is the HTTP face of the pool: it sends each request for a file on to a mirror that has
// it, picked from the snapshot in force.
//
// It decides nothing about mirrors, has no list of files and reads no request bodies. It logs no requests.
package redirector

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"time"

	"go.uber.org/zap"
	"golang.org/x/net/netutil"
	"golang.org/x/sync/errgroup"

	"mirrorpool/config"
	"mirrorpool/dnspool"
)

const (
	maxConnections = 4096             // per listener
	maxHeaderBytes = 16 << 10         // of a request
	headerTime     = 5 * time.Second  // for reading a request's header
	requestTime    = 10 * time.Second // for reading and answering a request
	idleTime       = 60 * time.Second
	shutdownTime   = 3 * time.Second
	retryAfter     = "60" // seconds; what a client is told where no mirror is enabled
)

// A Handler answers requests with a redirect to a mirror.
type Handler struct {
	current *dnspool.Current
	config  config.HTTP
	source  rand.Source
	legacy  legacyCache
}

// NewHandler returns a handler that picks from the snapshot in force in current, with randomness from
// source, which must be safe for concurrent use.
func NewHandler(c config.HTTP, current *dnspool.Current, source rand.Source) *Handler {
	return &Handler{current: current, config: c, source: source}
}

// ServeHTTP answers
//
//   - 302 with a mirror's url_prefix and the path;
//   - 400 and 404 to paths that are malformed, or forbidden: see cleanPath;
//   - 405 to other methods than GET and HEAD;
//   - 503 if no mirror is enabled that could serve the client.
//
// /mirrors.json is no file of the mirrors: it is the list of them, see legacyList.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		fail(w, http.StatusMethodNotAllowed)
		return
	}
	if r.URL.Path == legacyPath {
		h.serveLegacyList(w, r)
		return
	}
	path, err := cleanPath(r.URL.EscapedPath(), h.config.BasePath)
	switch {
	case errors.Is(err, errMalformed):
		fail(w, http.StatusBadRequest)
		return
	case err != nil:
		fail(w, http.StatusNotFound)
		return
	}
	mirror := h.pick(clientOf(r, h.config.TrustedProxies))
	if mirror == nil {
		w.Header().Set("Retry-After", retryAfter)
		fail(w, http.StatusServiceUnavailable)
		return
	}
	location := mirror.URLPrefix + path
	if r.URL.RawQuery != "" {
		location += "?" + r.URL.RawQuery
	}
	header := w.Header()
	header.Set("Location", location)
	header.Set("Cache-Control", "private, no-cache") // the next request may have to go elsewhere
	w.WriteHeader(http.StatusFound)
}

func (h *Handler) pick(c client) *dnspool.Mirror {
	snapshot := h.current.Load()
	if snapshot == nil {
		return nil
	}
	var choice dnspool.Choice
	snapshot.Choose(&choice, &dnspool.Request{Family: dnspool.FamilyOf(c.addr), Secure: c.secure, Seed: h.source.Uint64()})
	return choice.Picked
}

// fail answers with a status and its name.
func fail(w http.ResponseWriter, status int) {
	w.Header().Set("Cache-Control", "no-store")
	http.Error(w, http.StatusText(status), status)
}

// A Server is the HTTP face.
type Server struct {
	listeners []net.Listener
	http      http.Server
}

// Listen opens the listeners that c asks for. They answer from Run on.
func Listen(ctx context.Context, c config.HTTP, handler http.Handler) (*Server, error) {
	s := &Server{http: http.Server{
		Handler:           handler,
		ReadHeaderTimeout: headerTime, ReadTimeout: requestTime, WriteTimeout: requestTime, IdleTimeout: idleTime,
		MaxHeaderBytes: maxHeaderBytes,
		ErrorLog:       zap.NewStdLog(zap.NewNop()), // its messages name client addresses
	}}
	var lc net.ListenConfig
	for _, addr := range c.Listen {
		l, err := lc.Listen(ctx, config.ListenNetwork("tcp", addr), addr)
		if err != nil {
			s.Close()
			return nil, fmt.Errorf("cannot answer HTTP at %s: %w", addr, err)
		}
		s.listeners = append(s.listeners, netutil.LimitListener(l, maxConnections))
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
			if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				return err
			}
			return nil
		})
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
