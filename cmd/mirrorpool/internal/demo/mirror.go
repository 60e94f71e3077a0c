package demo

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// A mirror is a small web server that carries any file below /tails/.
type mirror struct {
	listener net.Listener
	started  time.Time
	failing  atomic.Bool
}

func listenMirrors(ctx context.Context, port uint16) ([]*mirror, error) {
	var lc net.ListenConfig
	var mirrors []*mirror
	for i := range weights {
		at := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, byte(11 + i)}), port)
		l, err := lc.Listen(ctx, "tcp4", at.String())
		if err != nil {
			return nil, fmt.Errorf("cannot run a mirror at %s: %w "+
				"(the demo needs the addresses 127.0.0.11 to 127.0.0.%d; see --mirror-port)",
				at, err, 10+len(weights))
		}
		m := &mirror{listener: l, started: time.Now()}
		port = m.addr().Port() // DNS knows addresses only, so all have to use the same
		mirrors = append(mirrors, m)
	}
	return mirrors, nil
}

func (m *mirror) addr() netip.AddrPort { return m.listener.Addr().(*net.TCPAddr).AddrPort() }

func (m *mirror) run(ctx context.Context) error {
	server := http.Server{Handler: m, ReadHeaderTimeout: 5 * time.Second}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(m.listener); err != http.ErrServerClosed {
		return err
	}
	return nil
}

// failNowAndThen makes the mirror fail from time to time, until ctx ends.
func (m *mirror) failNowAndThen(ctx context.Context, log *zap.Logger) error {
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
			log.Info("demo: a mirror fails", zap.Stringer("mirror", m.addr()))
			timer.Reset(fails)
		} else {
			log.Info("demo: the mirror works again", zap.Stringer("mirror", m.addr()))
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
