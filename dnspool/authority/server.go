package authority

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"mirrorpool/config"
	"mirrorpool/config/failure"
	"mirrorpool/dnspool"
	"mirrorpool/dnspool/authority/dnssec"
	"mirrorpool/dnspool/authority/transfer"
	"mirrorpool/dnspool/authority/wire"
	"mirrorpool/dnspool/listen"
	"mirrorpool/dnspool/tsig"
)

const (
	firstQueryTime = 3 * time.Second  // how long a new TCP connection may be silent
	idleTime       = 15 * time.Second // how long it may be silent after a query
	writeTime      = 3 * time.Second
	shutdownTime   = 3 * time.Second
	maxQuery       = 4096 // bytes over UDP; what is longer is cut, and so malformed
	maxResponse    = 4096 // bytes over UDP, as config allows
	unlimited      = -1
	maxTCPMessage  = dns.MaxMsgSize
)

// A Server is the DNS face.
type Server struct {
	o           Options
	sockets     []*dns.Server
	addrs       []net.Addr
	cookies     wire.CookieJar // where no secret is configured
	limiter     *limiter       // for where a rate limit is
	connLimiter *listen.ConnLimiter
	zone        atomic.Pointer[zone]
	signing     failure.Last // used by Publish alone
	latency     *prometheus.HistogramVec
	tallies     []*tally // of the sockets and, first, of what miekg/dns hands to ServeDNS over UDP and over TCP
}

// Options are what a Server works with.
type Options struct {
	Sockets   *listen.Opener
	Config    config.DNS
	ZoneFile  *StaticRecords                 // nil without one
	Places    func(netip.Addr) dnspool.Place // nil without a geographical database
	Transfers *transfer.Server               // serves transfers; nil: none
	Keys      *tsig.Ring                     // sign transfers; nil: none
	Signer    *dnssec.Signer                 // signs the zone where the configuration asks for it
	Log       *zap.Logger
}

// Listen opens the sockets that o.Config asks for, UDP and TCP at each address, and as many of each as there are CPUs.
// They answer from Run on. Until the first Publish, the answer is SERVFAIL.
func Listen(ctx context.Context, o Options) (*Server, error) {
	s := &Server{o: o, cookies: wire.RandomCookieJar(), limiter: newLimiter(time.Now()), connLimiter: newConnLimiter(),
		latency: newLatency()}
	s.newTally("udp", "slow")
	s.newTally("tcp", "slow")
	for _, addr := range o.Config.Listen {
		if err := s.listen(ctx, addr); err != nil {
			s.Close()
			return nil, fmt.Errorf("cannot answer DNS at %s: %w", addr, err)
		}
	}
	return s, nil
}

func (s *Server) listen(ctx context.Context, addr string) error {
	sockets := 1
	if listen.CanShare {
		sockets = min(runtime.NumCPU(), runtime.GOMAXPROCS(0))
	}
	for i := range sockets {
		l, err := s.o.Sockets.TCP(ctx, addr)
		if err != nil {
			return err
		}
		if addr, err = withPort(addr, l.Addr()); err != nil {
			l.Close()
			return err
		}
		s.add(&dns.Server{Listener: streamListener{l, sockets, &s.zone, s.newTally("tcp", "fast"), s.connLimiter}})
		conn, ours, err := s.o.Sockets.UDP(ctx, addr)
		if err != nil {
			return err
		}
		if i == 0 {
			s.addrs = append(s.addrs, conn.LocalAddr())
		}
		pc, err := listen.UDPBatch(conn, ours, newFastPath(&s.zone, s.newTally("udp", "fast")),
			listen.BatchSizes{Query: maxQuery, Response: maxResponse})
		if err != nil {
			return err
		}
		s.add(&dns.Server{PacketConn: pc})
		if !ours && !s.o.Sockets.More(addr) {
			break // the service manager handed us one socket; we may not open more
		}
	}
	return nil
}

// withPort is an address with the port of another: all sockets share the port that the first one may have chosen. The
// host stays as it is written, because that says for which families it is.
func withPort(addr string, chosen net.Addr) (string, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return "", err
	}
	_, port, err := net.SplitHostPort(chosen.String())
	return net.JoinHostPort(host, port), err
}

// newTally returns a tally that Collect will look at.
func (s *Server) newTally(transport, path string) *tally {
	t := &tally{transport: transport, path: path, latency: s.latency.WithLabelValues(path).(prometheus.Histogram)}
	s.tallies = append(s.tallies, t)
	return t
}

func (s *Server) add(srv *dns.Server) {
	srv.Handler = s
	srv.MsgAcceptFunc = accept
	srv.UDPSize = maxQuery
	srv.MaxTCPQueries = unlimited
	if s.o.Keys != nil {
		srv.TsigProvider = s.o.Keys
	}
	srv.ReadTimeout = firstQueryTime
	srv.IdleTimeout = func() time.Duration { return idleTime }
	s.sockets = append(s.sockets, srv)
}

// Addrs returns the addresses that are listened at, one for each in the configuration.
func (s *Server) Addrs() []net.Addr { return s.addrs }

// Publish makes the answers come from snapshot, as c has it, and from what the zone file holds, if there is one.
// c.Listen is left alone. It must not be called at the same time as itself. Where the zone cannot be signed, clients
// that ask for signatures, and transfers, get the last version that could be.
func (s *Server) Publish(c config.DNS, static *StaticRecords, snapshot *dnspool.Snapshot) {
	z := s.newZone(c, static, snapshot)
	if len(c.CookieSecrets) == 0 {
		z.cookies = s.cookies // clients keep theirs through changes of the pool
	}
	if c.Geo {
		z.place = s.o.Places
	}
	if z.rate > 0 {
		z.limiter = s.limiter
	}
	s.o.Transfers.Withhold(z.withheld != nil)
	// While no address is known yet, secondaries keep what they have. Later, a disabled mirror's must go in any case.
	if z.oneVersion() && (!z.blind || s.o.Transfers.Published()) {
		s.o.Transfers.Publish(z.toTransfer()) // before a client can ask for it
	}
	s.zone.Store(z)
}

func (s *Server) newZone(c config.DNS, static *StaticRecords, snapshot *dnspool.Snapshot) *zone {
	if c.DNSSEC == nil {
		return newZone(c, static, snapshot, randomStart())
	}
	z, err := newSignedZone(c, static, snapshot, randomStart(), s.o.Signer)
	isNew := s.signing.IsNew(err)
	if err == nil {
		return z
	}
	if isNew {
		s.o.Log.Error("cannot sign the zone; clients that ask for signatures get the last signed version until its signatures expire",
			zap.Error(err))
	}
	signed := neverSigned()
	if before := s.zone.Load(); before != nil {
		signed = before.signed // nil while signing is turned on: validators do not expect signatures before
	}
	return newUnsignableZone(c, static, snapshot, randomStart(), signed)
}

// Run answers queries until ctx ends, and then those that have come in. It closes the sockets, but not before the
// kernel gives new queries to others at the same addresses, if there are any.
func (s *Server) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, srv := range s.sockets {
		g.Go(func() error { return s.serve(ctx, srv) })
	}
	if s.o.Transfers != nil {
		g.Go(func() error { s.o.Transfers.Run(ctx); return nil })
	}
	return g.Wait()
}

// serve runs one socket until ctx ends.
func (s *Server) serve(ctx context.Context, srv *dns.Server) error {
	started, done := make(chan struct{}), make(chan error, 1)
	srv.NotifyStartedFunc = func() { close(started) }
	go func() {
		if srv.PacketConn != nil {
			if err := listen.LockReaderThread(); err != nil {
				s.o.Log.Debug("answers may be slow while a long list is loaded", zap.Error(err))
			}
		}
		done <- srv.ActivateAndServe()
	}()
	select {
	case err := <-done:
		return err
	case <-started:
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	limit, cancel := context.WithTimeout(context.Background(), shutdownTime)
	defer cancel()
	if d, ok := srv.Listener.(streamListener); ok {
		d.Drain(limit, d.sockets)
	}
	if d, ok := srv.PacketConn.(interface{ Drain(context.Context) }); ok {
		d.Drain(limit)
	}
	if err := srv.ShutdownContext(limit); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

// Close closes the sockets, where Run is not going to.
func (s *Server) Close() {
	for _, srv := range s.sockets {
		if srv.Listener != nil {
			srv.Listener.Close()
		}
		if srv.PacketConn != nil {
			srv.PacketConn.Close()
		}
	}
}

// ServeDNS answers one query that was not answered from what is prepared. It is called by miekg/dns.
func (s *Server) ServeDNS(w dns.ResponseWriter, req *dns.Msg) {
	came := time.Now()
	from, tally := clientOf(w.RemoteAddr(), came), s.tallies[0]
	if from.stream {
		tally = s.tallies[1]
	}
	answered := func(rcode int, err error) {
		tally.latency.Observe(time.Since(came).Seconds())
		tally.count(req.Question[0].Qtype, rcode)
		if err != nil {
			s.o.Log.Debug("cannot answer a query", zap.Error(listen.HideAddresses(err)))
		}
	}
	signed := s.o.Transfers != nil && req.IsTsig() != nil
	switch {
	case signed && w.TsigStatus() != nil:
		answered(refuseSignature(w, req))
	case s.o.Transfers.Wants(w.RemoteAddr(), req):
		s.serveTransfer(w, req, answered)
	case signed:
		answered(s.serveSigned(w, req, from))
	default:
		answered(s.serveUnsigned(w, req, from))
	}
}

func (s *Server) serveUnsigned(w dns.ResponseWriter, req *dns.Msg, from client) (rcode int, err error) {
	packed, rcode, err := s.respond(req, from)
	if err == nil {
		_, err = w.Write(packed)
	}
	return rcode, err
}

// serveTransfer answers a request for a transfer, over TCP alongside others, as it may take long.
func (s *Server) serveTransfer(w dns.ResponseWriter, req *dns.Msg, answered func(rcode int, err error)) {
	if from, ok := w.RemoteAddr().(streamAddr); ok {
		from.conn.alongside(func() { answered(s.o.Transfers.Serve(from.conn.send, req, true)) })
		return
	}
	answered(s.o.Transfers.Serve(func(message []byte) error { _, err := w.Write(message); return err }, req, false))
}

func (s *Server) respond(req *dns.Msg, from client) (packed []byte, rcode int, err error) {
	if z := s.zone.Load(); z != nil {
		if !listen.CanBatch && !z.allows(&from, nil) { // batches are looked at before
			packed, err = truncatedReply(req).Pack()
			return packed, dns.RcodeSuccess, err
		}
		return z.respondWithCode(req, from)
	}
	packed, err = wire.Reply(req, dns.RcodeServerFailure).Pack()
	return packed, dns.RcodeServerFailure, err
}

// truncatedReply makes a client come back over TCP.
func truncatedReply(req *dns.Msg) *dns.Msg {
	resp := wire.Reply(req, dns.RcodeSuccess)
	resp.Truncated = true
	return resp
}
