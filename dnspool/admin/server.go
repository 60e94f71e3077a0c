package admin

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	jsonv1 "github.com/go-json-experiment/json/v1"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"mirrorpool/config"
	"mirrorpool/dnspool"
	"mirrorpool/dnspool/authority/dnssec"
	"mirrorpool/dnspool/listen"
	"mirrorpool/dnspool/mail"
	"mirrorpool/dnspool/stats"
	"mirrorpool/health/files"
	"mirrorpool/health/ledger"
)

const (
	maxConnections = 256 // a new one evicts the longest idle
	maxHeaderBytes = 8 << 10
	requestTime    = 10 * time.Second
	shutdownTime   = 3 * time.Second
)

// A Backend is the running server, as far as the administrator sees it.
type Backend struct {
	// Status describes the pool as it is now.
	Status func() Status
	// Ready returns nil if the faces answer and the checks are on time, or else what is wrong.
	Ready func() error
	// Reload reads the configuration and the list of mirrors again, and returns the result. It is nil if there are no
	// files to read.
	Reload func(ctx context.Context, o ReloadOptions) ReloadAnswer
	// Explain returns the response that a client would get now. It is nil if the HTTP face is off.
	Explain func(ExplainQuestion) ExplainAnswer
	// Override puts a drain, or another decision of a person on a mirror, in force, and EndOverride ends it. Both are
	// nil in a server that takes none.
	Override, EndOverride func(OverrideRequest) OverrideAnswer
	// Ledger returns the incidents of one mirror, or of all if it is "", that have not ended before a time. ok is false
	// if there is no such mirror.
	Ledger func(mirror string, since time.Time) (list []ledger.Summary, ok bool)
	// Stats returns numbers of downloads since a time.
	Stats func(by stats.By, since time.Time) stats.Report
	// Mail returns what is to be said of mails, and TestMail sends one to the team. Both are nil in a server that sends
	// none.
	Mail     func() mail.Status
	TestMail func(ctx context.Context) error
	// Files returns which mirrors carry the files at some paths.
	Files func(ctx context.Context, paths []string) []files.FileStatus
	// Lacks returns what a mirror lacks, which is named by its url_prefix, name or host. ok is false if there is none.
	Lacks func(ctx context.Context, mirror string) (lacks files.MirrorLacks, ok bool)
	// Signatures returns what is to be said of the zone's keys and signatures; ok is false if it is not signed.
	// RollKeys begins to replace the key, by one of an algorithm, or of the same if that is "".
	Signatures func() (s dnssec.Status, ok bool)
	RollKeys   func(algorithm string) error
	// AbortRollover gives up what RollKeys has begun.
	AbortRollover func(ctx context.Context) error
	// WatcherView returns what one watcher of the group sees of the mirrors, or why there is nothing to return. It is nil
	// without a group.
	WatcherView func(watcher string) (WatcherView, error)
	// Collect sends the metrics of the faces. It may be nil.
	Collect func(ch chan<- prometheus.Metric)
}

// A Server answers the administrator.
type Server struct {
	listener listener
	limited  *listen.LimitedListener // on top of listener
	guard    *guard
	http     http.Server
}

// A listener can stop taking new clients without dropping those that have connected.
type listener interface {
	net.Listener
	Drain(ctx context.Context, sockets int)
}

// open opens the listener at an address: of TCP, or a Unix socket.
func open(ctx context.Context, sockets *listen.Opener, addr string) (listener, error) {
	if path, ok := listen.UnixPath(addr); ok {
		return listen.Unix(ctx, path)
	}
	return sockets.TCP(ctx, addr)
}

// Listen opens the listener of c, which must not be off. Run answers.
func Listen(ctx context.Context, sockets *listen.Opener, c config.Admin, b Backend) (*Server, error) {
	token, err := ReadToken(c.TokenFile)
	if err != nil {
		return nil, err
	}
	l, err := open(ctx, sockets, c.Listen)
	if err != nil {
		return nil, fmt.Errorf("cannot answer the administrator at %s: %w", c.Listen, err)
	}
	limited := &listen.LimitedListener{
		Listener: l, Limiter: listen.NewConnLimiter(maxConnections, maxConnections/2), Network: dnspool.ClientNetwork,
	}
	guarded := newGuard(newMux(b), token, c.Listen)
	return &Server{
		listener: l,
		limited:  limited,
		guard:    guarded,
		http: http.Server{
			Handler:     guarded,
			ReadTimeout: requestTime, WriteTimeout: requestTime, IdleTimeout: requestTime, MaxHeaderBytes: maxHeaderBytes,
			ConnState: limited.State,
			ErrorLog:  zap.NewStdLog(zap.NewNop()), // its messages hold client addresses
		},
	}, nil
}

// Addr returns the address of the listener.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// SetToken puts another token in force for the requests to come: one that [ReadToken] returned, nil for none.
func (s *Server) SetToken(token []byte) { s.guard.setToken(token) }

// HasToken reports whether a token is the one in force.
func (s *Server) HasToken(token []byte) bool { return s.guard.hasToken(token) }

// Run answers requests until ctx ends. It closes the listener.
func (s *Server) Run(ctx context.Context) error {
	done := make(chan error, 1)
	go func() { done <- s.http.Serve(s.limited) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	limit, cancel := context.WithTimeout(context.Background(), shutdownTime)
	defer cancel()
	s.listener.Drain(limit, 1)
	err := s.http.Shutdown(limit)
	if err != nil {
		err = s.http.Close()
	}
	<-done
	return err
}

func newMux(b Backend) *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := b.Ready(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /api/v1/status", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, b.Status()) })
	mux.Handle("GET /{$}", statusPage(b))
	mux.Handle("GET /metrics", metricsHandler(b))
	if b.Ledger != nil {
		mux.HandleFunc("GET /api/v1/ledger", showLedger(b))
	}
	if b.Stats != nil {
		mux.HandleFunc("GET /api/v1/stats", showStats(b))
	}
	if b.Mail != nil {
		mux.HandleFunc("GET /api/v1/mail", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, b.Mail()) })
		mux.HandleFunc("POST /api/v1/mail/test", testMail(b))
	}
	if b.Signatures != nil {
		mux.HandleFunc("GET /api/v1/dnssec", showSignatures(b))
		mux.HandleFunc("POST /api/v1/dnssec/rollover", rollKeys(b))
		mux.HandleFunc("DELETE /api/v1/dnssec/rollover", abortRollover(b))
	}
	if b.Files != nil {
		mux.HandleFunc("GET /api/v1/files", showFiles(b))
	}
	if b.Lacks != nil {
		mux.HandleFunc("GET /api/v1/lacks", showLacks(b))
	}
	if b.Explain != nil {
		mux.HandleFunc("GET /api/v1/explain", explain(b))
	}
	mux.HandleFunc("GET /api/v1/watch", showView(b))
	if b.Override != nil {
		mux.HandleFunc("POST /api/v1/drain", drain(b))
		mux.HandleFunc("DELETE /api/v1/drain", drain(b))
	}
	if b.Reload != nil {
		mux.HandleFunc("POST /api/v1/reload", reload(b))
	}
	return mux
}

func writeJSON(w http.ResponseWriter, v any) { writeJSONStatus(w, http.StatusOK, v) }

// writeJSONStatus writes v as it is encoded: the status of a large pool has megabytes.
func writeJSONStatus(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	out := jsontext.NewEncoder(w, jsonv1.DefaultOptionsV1(), jsontext.WithIndent("  "))
	if json.MarshalEncode(out, v) != nil {
		panic(http.ErrAbortHandler) // for the client not to take a part for the whole
	}
}
