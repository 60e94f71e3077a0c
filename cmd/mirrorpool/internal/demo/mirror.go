package demo

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
)

// A mirror is a small web server that carries any file below /tails/.
type mirror struct {
	listener net.Listener
	secure   net.Listener // for https
	started  time.Time
	failing  atomic.Bool
}

// mirrorAddr is where a mirror is.
func mirrorAddr(i int) netip.Addr { return netip.AddrFrom4([4]byte{127, 0, 0, byte(11 + i)}) }

func listenMirrors(ctx context.Context, port, tlsPort uint16, cert *tls.Certificate) ([]*mirror, error) {
	var lc net.ListenConfig
	var mirrors []*mirror
	for i := range weights {
		m := &mirror{started: time.Now()}
		for _, l := range []struct {
			to   *net.Listener
			port *uint16
			flag string
		}{{&m.listener, &port, "--mirror-port"}, {&m.secure, &tlsPort, "--mirror-tls-port"}} {
			at := netip.AddrPortFrom(mirrorAddr(i), *l.port)
			var err error
			if *l.to, err = lc.Listen(ctx, "tcp4", at.String()); err != nil {
				return nil, fmt.Errorf("cannot run a mirror at %s: %w (the demo needs the addresses 127.0.0.11 to 127.0.0.%d; see %s)",
					at, err, 10+len(weights), l.flag)
			}
			*l.port = addrPort(*l.to).Port() // DNS knows addresses only, so all have to use the same
		}
		m.secure = tls.NewListener(m.secure, &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{*cert}})
		mirrors = append(mirrors, m)
	}
	return mirrors, nil
}

func addrPort(l net.Listener) netip.AddrPort { return l.Addr().(*net.TCPAddr).AddrPort() }

func (m *mirror) addr() netip.AddrPort { return addrPort(m.listener) }

func (m *mirror) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, l := range []net.Listener{m.listener, m.secure} {
		g.Go(func() error {
			server := http.Server{Handler: m, ReadHeaderTimeout: 5 * time.Second, ErrorLog: log.New(io.Discard, "", 0)}
			stop := context.AfterFunc(ctx, func() { server.Close() })
			defer stop()
			if err := server.Serve(l); err != http.ErrServerClosed {
				return err
			}
			return nil
		})
	}
	return g.Wait()
}

// failNowAndThen makes the mirror fail from time to time, until ctx ends.
func (m *mirror) failNowAndThen(ctx context.Context, logger *zap.Logger) error {
	timer := time.NewTimer(works)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		failing := !m.failing.Load()
		m.failing.Store(failing)
		if failing {
			logger.Info("demo: a mirror fails", zap.Stringer("mirror", m.addr()))
			timer.Reset(fails)
		} else {
			logger.Info("demo: the mirror works again", zap.Stringer("mirror", m.addr()))
			timer.Reset(works)
		}
	}
}

// ServeHTTP serves the trace file, and for every other path a text that says where it came from.
func (m *mirror) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	text := fmt.Sprintf("This is %s from the mirror at %s.\n", r.URL.Path, m.addr().Addr())
	switch {
	case m.failing.Load():
		http.Error(w, "this mirror has its bad time", http.StatusServiceUnavailable)
		return
	case !strings.HasPrefix(r.URL.Path, "/tails/"):
		http.NotFound(w, r)
		return
	case r.URL.Path == "/tails/project/trace":
		text = fmt.Sprintln(m.started.Unix())
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	http.ServeContent(w, r, "", m.started, bytes.NewReader([]byte(text)))
}
