package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"mirrorpool/config"
	"mirrorpool/config/source"
	"mirrorpool/dnspool"
	"mirrorpool/dnspool/admin"
	"mirrorpool/dnspool/authority"
	"mirrorpool/dnspool/geo"
	"mirrorpool/dnspool/listen"
	"mirrorpool/dnspool/redirector"
	"mirrorpool/health"
	"mirrorpool/health/probe"
)

// gatherTime is how long changes are gathered before they make a new snapshot.
const gatherTime = 20 * time.Millisecond

// saveInterval is how often the verdicts are saved.
const saveInterval = time.Minute

// errNotReady is why the faces do not answer yet.
var errNotReady = errors.New("starting: the mirrors are being checked for the first time")

// A server is the whole program: the checks, the faces and what joins them.
type server struct {
	file     string                         // the configuration's, to read it again; empty: none
	config   *atomic.Pointer[config.Server] // in force; shared with list
	sockets  *listen.Opener
	log      *zap.Logger
	now      func() time.Time
	logLevel zap.AtomicLevel
	list     *source.List
	checker  *health.Checker
	places   *geo.Reader
	handler  *redirector.Handler
	admin    *admin.Server // nil if off
	current  dnspool.Current
	history  *health.History
	shares   admin.Shares
	events   *admin.Events
	started  time.Time
	feeds    *feeds
	opened   chan struct{} // closed when the faces answer

	reloading sync.Mutex // held during a reload: one at a time

	mu          sync.Mutex // guards all below
	pool        *config.Pool
	static      *authority.ZoneFile // of the zone file; nil without one
	zoneChanged bool                // by other than the pool, since the latest snapshot
	dns         *authority.Server   // nil if off, or before the faces are open
	web         *redirector.Server
	lastReload  *admin.ReloadStatus // nil before the first
	unreported  *admin.PoolUpdate   // taken from the list's source by itself since the last reload on request; or nil
}

// newServer prepares a server for the pool that list has in force. The administrator's listener is open once
// it returns. file is where the configuration was read from, empty if from nowhere.
func newServer(ctx context.Context, sockets *listen.Opener, inForce *atomic.Pointer[config.Server], file string, list *source.List, log *zap.Logger, level zap.AtomicLevel) (*server, error) {
	c := inForce.Load()
	static, err := loadStatic(c)
	if err != nil {
		return nil, &failure{exitUsage, err}
	}
	s := &server{
		sockets: sockets, config: inForce, file: file, log: log, now: time.Now, logLevel: level, list: list, opened: make(chan struct{}), pool: list.Pool(),
		static: static, history: health.NewHistory(), events: admin.NewEvents(), started: time.Now(),
	}
	if s.feeds, err = newFeeds(c, log); err != nil {
		return nil, &failure{exitUsage, err}
	}
	if err := checkListeners(ctx, sockets, c, log); err != nil {
		return nil, failed(err)
	}
	s.checker, err = newChecker(health.Options{Settings: c.Health, CheckDNS: true, Log: log, Watch: s.events.Probe})
	if err != nil {
		return nil, err
	}
	s.places = geo.Open(c.GeoIP, log)
	s.handler = redirector.NewHandler(redirector.Options{
		Config: c.HTTP, Current: &s.current, Place: s.places.Place, Source: globalSource{}, Now: time.Now,
		FileSize: probe.NewFiles(nil, func() string { return inForce.Load().Health.UserAgent }).Size,
	})
	if c.Admin.Listen != "" {
		backend := admin.Backend{
			Status: s.describe, Ready: s.ready, Reload: s.reload, Explain: s.explain, Collect: s.collect,
		}
		if s.admin, err = admin.Listen(ctx, sockets, c.Admin, backend); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// newChecker returns a checker of mirrors on the network, with the system's clock, certificates and resolver.
func newChecker(o health.Options) (*health.Checker, error) {
	prober := probe.New(nil, time.Now)
	o.Prober, o.CheckAgents = prober, prober.CheckAgents
	o.Resolver, o.Reference = probe.NewResolver(), probe.NewReference(nil, time.Now)
	o.Now, o.Rand = time.Now, newRand()
	return health.NewChecker(o)
}

// newRand returns an unpredictable source of randomness for one goroutine at a time.
func newRand() *rand.Rand { return rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())) }

// run runs the server until ctx ends.
func (s *server) run(ctx context.Context) error {
	if file := s.stateFile("verdicts"); file != "" {
		s.checker.LoadState(file) // it has logged what is wrong; without it all starts from nothing
		s.history.LoadHistory(s.stateFile("history"), time.Now(), s.log)
	}
	s.checker.SetPool(s.pool)
	g, ctx := errgroup.WithContext(ctx)
	if s.admin != nil {
		g.Go(func() error { return s.admin.Run(ctx) })
	}
	g.Go(func() error { return s.checker.Run(ctx) })
	g.Go(func() error { return s.follow(ctx) })
	g.Go(func() error { return s.places.Run(ctx, s.rebuild) })
	g.Go(func() error { return s.remember(ctx) })
	g.Go(func() error { return boundGarbage(ctx) })
	g.Go(func() error { return s.list.Run(ctx, s.look) })
	g.Go(func() error { return s.face(ctx) })
	err := g.Wait()
	logStop(s.log, err)
	return err
}

// logStop logs that the server has stopped: as an error if it was not asked to.
func logStop(log *zap.Logger, err error) {
	if err != nil {
		log.Error("stopped", zap.Error(err))
		return
	}
	log.Info("stopped")
}

// face opens the faces as soon as there is something to say, and runs them until ctx ends.
func (s *server) face(ctx context.Context) error {
	c := s.config.Load()
	timeout := time.NewTimer(c.Health.StartupTimeout)
	defer timeout.Stop()
	select {
	case <-s.warm():
	case <-s.checker.Swept():
	case <-timeout.C:
		s.log.Warn("answering before all mirrors were checked", zap.Duration("startup_timeout", c.Health.StartupTimeout))
	case <-ctx.Done():
		return nil
	}
	s.rebuild()
	if err := s.open(ctx); err != nil {
		return err
	}
	close(s.opened)
	s.log.Info("answering", zap.Stringers("dns", s.dns.Addrs()), zap.Stringers("http", s.web.Addrs()),
		zap.String("zone", c.DNS.Zone), zap.Uint32("serial", s.current.Load().Serial))
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.dns.Run(ctx) })
	g.Go(func() error { return s.web.Run(ctx) })
	g.Go(func() error { return s.feeds.run(ctx) })
	return g.Wait()
}

// warm returns a channel that is closed if the verdicts from before the start are good enough to begin with, and
// one that nothing comes from if they are not.
func (s *server) warm() <-chan struct{} {
	ch := make(chan struct{})
	if s.checker.Warm() {
		close(ch)
	}
	return ch
}

// stateFile is where something is kept, or "".
func (s *server) stateFile(name string) string {
	if dir := s.config.Load().StateDir; dir != "" {
		return filepath.Join(dir, name)
	}
	return ""
}

// remember saves the verdicts and the history from time to time until ctx ends, and then once more. What goes wrong is
// logged where it does.
func (s *server) remember(ctx context.Context) error {
	verdicts, history := s.stateFile("verdicts"), s.stateFile("history")
	if verdicts == "" {
		return nil
	}
	save := func() {
		s.checker.SaveState(verdicts)
		s.history.SaveHistory(history, s.log)
	}
	ticker := time.NewTicker(saveInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			save()
		case <-ctx.Done():
			save()
			return nil
		}
	}
}

// open opens the faces' sockets. A face that is off has none.
func (s *server) open(ctx context.Context) error {
	s.mu.Lock()
	c, static := s.config.Load(), s.static
	s.mu.Unlock()
	dns, err := authority.Listen(ctx, authority.Options{
		Sockets: s.sockets, Config: c.DNS, ZoneFile: static, Places: s.places.Place, Transfers: s.feeds.transfers, Keys: s.feeds.keys, Log: s.log,
	})
	if err != nil {
		return err
	}
	web, err := redirector.Listen(ctx, s.sockets, c.HTTP, s.handler, s.log)
	if err != nil {
		dns.Close()
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dns, s.web = dns, web
	s.dns.Publish(s.config.Load().DNS, s.static, s.current.Load()) // the configuration may have been reloaded just now
	s.feeds.publish(s.current.Load())
	return nil
}

// globalSource is the runtime's source of randomness, which is safe for concurrent use.
type globalSource struct{}

func (globalSource) Uint64() uint64 { return rand.Uint64() }

// follow makes a new snapshot whenever something has changed, until ctx ends; and else at each interval of the checks,
// because verdicts that are not renewed become old.
func (s *server) follow(ctx context.Context) error {
	gather := time.NewTimer(0)
	defer gather.Stop()
	again := time.NewTimer(0)
	defer again.Stop()
	for {
		again.Reset(s.config.Load().Health.Interval)
		select {
		case <-ctx.Done():
			return nil
		case <-again.C:
		case <-s.checker.Changed():
			gather.Reset(gatherTime)
			select {
			case <-ctx.Done():
				return nil
			case <-gather.C:
			}
		}
		s.rebuild()
	}
}

// rebuild puts a new snapshot in force.
func (s *server) rebuild() {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.config.Load()
	previous := s.current.Load()
	report := s.checker.Report()
	s.history.Note(report)
	if previous != nil {
		s.shares.Note(previous, s.handler.Redirects())
	}
	next := dnspool.Build(dnspool.Input{
		Pool: s.pool, Health: report, Previous: previous, Now: s.now(), Rand: newRand(),
		Policy:      dnspool.Policy{PanicThreshold: c.Health.PanicThreshold, MaxAnswers: c.DNS.MaxAnswers, DNSGeo: c.DNS.Geo, Selection: c.Selection},
		Place:       s.places.Place,
		ZoneChanged: s.zoneChanged, LastSerial: s.feeds.lastSerial,
	})
	s.zoneChanged = false
	s.current.Publish(next)
	if s.dns == nil {
		return // the faces are not open yet
	}
	s.dns.Publish(c.DNS, s.static, next)
	s.feeds.publish(next)
	if previous.Panic() != next.Panic() {
		s.log.Warn("panic mode changed", zap.Bool("panic", next.Panic()))
	}
}

// ready returns nil if the faces answer and the checks go on.
func (s *server) ready() error {
	select {
	case <-s.opened:
	default:
		return errNotReady
	}
	if s.checker.Stalled() {
		return errors.New("checks are overdue by several intervals")
	}
	return nil
}

// describe is what /api/v1/status tells.
func (s *server) describe() admin.Status {
	status := admin.Status{Groups: []admin.GroupStatus{}, Mirrors: []admin.MirrorStatus{}}
	if snapshot := s.current.Load(); snapshot != nil {
		status = admin.Describe(snapshot, s.checker.Report())
		s.shares.Note(snapshot, s.handler.Redirects())
		status.AddPast(&s.shares, s.history, time.Now())
	}
	version, _ := build()
	status.Process = admin.ProcessStatus{PID: os.Getpid(), Started: s.started, Version: version}
	s.mu.Lock()
	status.Reload = s.lastReload
	s.mu.Unlock()
	status.Zone = strings.TrimSuffix(s.config.Load().DNS.Zone, ".")
	status.Ready = s.ready() == nil
	status.Pool = poolStatus(s.list.Status(), time.Now())
	s.feeds.describe(&status)
	return status
}

// collect sends what the faces have counted.
func (s *server) collect(ch chan<- prometheus.Metric) {
	s.mu.Lock()
	dns, web := s.dns, s.web
	s.mu.Unlock()
	if dns != nil {
		dns.Collect(ch)
	}
	if web != nil {
		web.Collect(ch)
	}
	s.handler.Collect(ch)
	s.events.Collect(ch)
	s.feeds.collect(ch)
}
