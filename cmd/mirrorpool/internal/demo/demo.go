package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"mirrorpool/config"
)

const (
	// The third mirror works for demoWorks, then fails for demoFails, over and over.
	demoWorks = 40 * time.Second
	demoFails = 20 * time.Second

	demoFile = "stable/tails-amd64-6.0/tails-amd64-6.0.img"
)

// demoWeights are the weights of the mirrors, which are at 127.0.0.11 and up.
var demoWeights = []int{30, 20, 10}

//go:embed demo.json
var demoConfig []byte

// demoOptions are where the demo listens.
type demoOptions struct {
	dns, http, admin string
	mirrorPort       uint16
}

func newDemoCommand() *cobra.Command {
	var o demoOptions
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run the whole program on three mirrors of its own, one of which fails now and then",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return failed(demo(cmd.Context(), o, cmd.OutOrStdout(), cmd.ErrOrStderr()))
		},
	}
	cmd.Flags().StringVar(&o.dns, "dns", "127.0.0.1:5300", "answer DNS at this address")
	cmd.Flags().StringVar(&o.http, "http", "127.0.0.1:8080", "answer HTTP at this address")
	cmd.Flags().StringVar(&o.admin, "admin", "127.0.0.1:8053", "answer the administrator at this address")
	cmd.Flags().Uint16Var(&o.mirrorPort, "mirror-port", 8081, "the port of the three mirrors; 0 for any that is free")
	return cmd
}

// demo runs three mirrors, and the server on them, until ctx ends.
func demo(ctx context.Context, o demoOptions, stdout, stderr io.Writer) error {
	mirrors, err := listenDemoMirrors(ctx, o.mirrorPort)
	if err != nil {
		return err
	}
	c, text, err := configureDemo(o, mirrors)
	if err != nil {
		return err
	}
	log, level, err := newLogger(c.Log, stderr)
	if err != nil {
		return err
	}
	var inForce atomic.Pointer[config.Server]
	inForce.Store(c)
	list, err := newList(&inForce, text, log)
	if err != nil {
		return err
	}
	if err := list.Start(ctx); err != nil {
		return err
	}
	s, err := newServer(ctx, nil, &inForce, "", list, log, level)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, m := range mirrors {
		g.Go(func() error { return m.run(ctx) })
	}
	g.Go(func() error { return mirrors[len(mirrors)-1].failNowAndThen(ctx, log) })
	g.Go(func() error { return s.run(ctx) })
	select {
	case <-ctx.Done():
	case <-s.opened:
		printHints(stdout, s, len(mirrors))
	}
	return g.Wait()
}

// configureDemo returns the configuration, and the list of the mirrors.
func configureDemo(o demoOptions, mirrors []*demoMirror) (*config.Server, []byte, error) {
	text := string(demoConfig)
	for from, to := range map[string]string{
		"127.0.0.1:5300": o.dns, "127.0.0.1:8080": o.http, "127.0.0.1:8053": o.admin,
		"MIRROR_PORT": fmt.Sprint(mirrors[0].addr().Port()),
	} {
		text = strings.ReplaceAll(text, from, to)
	}
	c, _, err := config.ParseServer("demo.json", []byte(text))
	if err != nil {
		return nil, nil, err
	}
	c.Mirrors = "the demo's own list"
	type entry struct {
		URLPrefix string `json:"url_prefix"`
		Weight    int    `json:"weight"`
		Name      string `json:"name"`
	}
	list := struct {
		Version int     `json:"version"`
		Mirrors []entry `json:"mirrors"`
	}{Version: 1}
	for i, m := range mirrors {
		list.Mirrors = append(list.Mirrors, entry{fmt.Sprintf("http://%s/tails/", m.addr()), demoWeights[i], fmt.Sprintf("m%d", i+1)})
	}
	data, err := json.Marshal(list)
	return c, data, err
}

// printHints says what to try.
func printHints(w io.Writer, s *server, mirrors int) {
	dns, web := s.dns.Addrs()[0].(*net.UDPAddr), s.web.Addrs()[0]
	zone := strings.TrimSuffix(s.config.Load().DNS.Zone, ".")
	fmt.Fprintf(w, `mirrorpool answers for %d mirrors; the last one works for %v and then fails for %v. Try:

  dig @%s -p %d %s A +noall +answer
  dig @%s -p %d m1.%s A +short
  curl -sI http://%s/%s
  curl -sL http://%s/%s
  mirrorpool status --admin %s
  mirrorpool explain --admin %s --client 192.0.2.1 /%s

and in a browser

  http://%s/                 the status page
  http://%s/%s?mirrorlist

To have redirects follow the client's place, give geoip.city a database, such as iptoasn-country.mmdb of
ip-location-db, which is in the public domain (PDDL).

Ctrl-C stops it.
`, mirrors, demoWorks, demoFails, dns.IP, dns.Port, zone, dns.IP, dns.Port, zone, web, demoFile, web, demoFile,
		s.admin.Addr(), s.admin.Addr(), demoFile, s.admin.Addr(), web, demoFile)
}

// A demoMirror is a small web server that carries any file below /tails/.
type demoMirror struct {
	listener net.Listener
	started  time.Time
	failing  atomic.Bool
}

func listenDemoMirrors(ctx context.Context, port uint16) ([]*demoMirror, error) {
	var lc net.ListenConfig
	var mirrors []*demoMirror
	for i := range demoWeights {
		at := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, byte(11 + i)}), port)
		l, err := lc.Listen(ctx, "tcp4", at.String())
		if err != nil {
			return nil, fmt.Errorf("cannot run a mirror at %s: %w "+
				"(the demo needs the addresses 127.0.0.11 to 127.0.0.%d; see --mirror-port)",
				at, err, 10+len(demoWeights))
		}
		m := &demoMirror{listener: l, started: time.Now()}
		port = m.addr().Port() // DNS knows addresses only, so all have to use the same
		mirrors = append(mirrors, m)
	}
	return mirrors, nil
}

func (m *demoMirror) addr() netip.AddrPort { return m.listener.Addr().(*net.TCPAddr).AddrPort() }

func (m *demoMirror) run(ctx context.Context) error {
	server := http.Server{Handler: m, ReadHeaderTimeout: 5 * time.Second}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(m.listener); err != http.ErrServerClosed {
		return err
	}
	return nil
}

// failNowAndThen makes the mirror fail from time to time, until ctx ends.
func (m *demoMirror) failNowAndThen(ctx context.Context, log *zap.Logger) error {
	timer := time.NewTimer(demoWorks)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		failing := !m.failing.Load()
		m.failing.Store(failing)
		log.Info("demo: a mirror fails or works again", zap.Stringer("mirror", m.addr()), zap.Bool("failing", failing))
		timer.Reset(demoWorks)
		if failing {
			timer.Reset(demoFails)
		}
	}
}

// ServeHTTP serves the trace file, and for every other path a text that says where it came from.
func (m *demoMirror) ServeHTTP(w http.ResponseWriter, r *http.Request) {
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
