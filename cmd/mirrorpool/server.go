package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"mirrorpool/config"
	"mirrorpool/dnspool"
	"mirrorpool/dnspool/admin"
	"mirrorpool/dnspool/authority"
	"mirrorpool/dnspool/redirector"
	"mirrorpool/health"
)

// gatherTime is how long changes are gathered before they make a new snapshot.
const gatherTime = 20 * time.Millisecond

// errNotReady is why the faces do not answer yet.
var errNotReady = errors.New("starting: the mirrors are being checked for the first time")

// A server is the whole program: the checks, the faces and what joins them.
type server struct {
	config  *config.Server
	log     *zap.Logger
	checker *health.Checker
	admin   *admin.Server // nil if off
	current dnspool.Current
	opened  chan struct{} // closed when the faces answer

	mu     sync.Mutex // guards all below
	pool   *config.Pool
	status admin.PoolStatus
	dns    *authority.Server // nil if off, or before the faces are open
	web    *redirector.Server
}

// newServer prepares a server for pool. The administrator's listener is open once it returns.
func newServer(c *config.Server, pool *config.Pool, log *zap.Logger) (*server, error) {
	s := &server{
		config: c, log: log, opened: make(chan struct{}), pool: pool,
		status: admin.PoolStatus{Source: c.Mirrors, Loaded: time.Now()},
	}
	var err error
	s.checker, err = health.NewChecker(health.Options{
		Settings: c.Health, CheckDNS: c.Health.DNSURL != "",
		Prober: health.NewHTTPProber(nil, time.Now), Resolver: health.NewSystemResolver(),
		Log: log, Now: time.Now, Rand: newRand(),
	})
	if err != nil {
		return nil, err
	}
	if c.Admin.Listen != "" {
		s.admin, err = admin.Listen(context.Background(), c.Admin, admin.Backend{Status: s.describe, Ready: s.ready})
		if err != nil {
			return nil, err
		}
	}
	return s, nil
}

// newRand returns randomness that nobody can foresee, for one goroutine at a time.
func newRand() *rand.Rand { return rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())) }

// run runs the server until ctx ends.
func (s *server) run(ctx context.Context) error {
	s.checker.SetPool(s.pool)
	g, ctx := errgroup.WithContext(ctx)
	if s.admin != nil {
		g.Go(func() error { return s.admin.Run(ctx) })
	}
	g.Go(func() error { return s.checker.Run(ctx) })
	g.Go(func() error { return s.follow(ctx) })
	g.Go(func() error { return s.poll(ctx) })
	g.Go(func() error { return s.face(ctx) })
	err := g.Wait()
	s.log.Info("stopped", zap.Error(err))
	return err
}

// face opens the faces as soon as there is something to say, and runs them until ctx ends.
func (s *server) face(ctx context.Context) error {
	timeout := time.NewTimer(s.config.Health.StartupTimeout)
	defer timeout.Stop()
	select {
	case <-s.checker.Swept():
	case <-timeout.C:
		s.log.Warn("answering before all mirrors were checked", zap.Duration("startup_timeout", s.config.Health.StartupTimeout))
	case <-ctx.Done():
		return nil
	}
	s.rebuild()
	if err := s.open(ctx); err != nil {
		return err
	}
	close(s.opened)
	s.log.Info("answering", zap.Stringers("dns", s.dns.Addrs()), zap.Stringers("http", s.web.Addrs()),
		zap.String("zone", s.config.DNS.Zone), zap.Uint32("serial", s.current.Load().Serial))
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.dns.Run(ctx) })
	g.Go(func() error { return s.web.Run(ctx) })
	return g.Wait()
}

// open opens the faces' sockets. A face that is off has none.
func (s *server) open(ctx context.Context) error {
	dns, err := authority.Listen(ctx, s.config.DNS, s.log)
	if err != nil {
		return err
	}
	handler := redirector.NewHandler(s.config.HTTP, &s.current, globalSource{})
	web, err := redirector.Listen(ctx, s.config.HTTP, handler)
	if err != nil {
		dns.Close()
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dns, s.web = dns, web
	s.dns.Publish(s.current.Load())
	return nil
}

// globalSource is the runtime's source of randomness, which is safe for concurrent use.
type globalSource struct{}

func (globalSource) Uint64() uint64 { return rand.Uint64() }

// follow makes a new snapshot whenever something has changed, until ctx ends.
func (s *server) follow(ctx context.Context) error {
	gather := time.NewTimer(0)
	defer gather.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.checker.Changed():
		}
		gather.Reset(gatherTime)
		select {
		case <-ctx.Done():
			return nil
		case <-gather.C:
		}
		s.rebuild()
	}
}

// rebuild puts a new snapshot in force.
func (s *server) rebuild() {
	s.mu.Lock()
	defer s.mu.Unlock()
	previous := s.current.Load()
	next := dnspool.Build(dnspool.Input{
		Pool: s.pool, Health: s.checker.Report(), Previous: previous, Now: time.Now(), Rand: newRand(),
		Policy: dnspool.Policy{PanicThreshold: s.config.Health.PanicThreshold, MaxAnswers: s.config.DNS.MaxAnswers},
	})
	s.current.Publish(next)
	if s.dns == nil {
		return // the faces are not open yet
	}
	s.dns.Publish(next)
	if previous.Panic() != next.Panic() {
		s.log.Warn("panic mode changed", zap.Bool("panic", next.Panic()))
	}
}

// poll looks at the list of mirrors again at each refresh interval, until ctx ends.
func (s *server) poll(ctx context.Context) error {
	ticker := time.NewTicker(s.config.MirrorsRefresh)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			s.reload()
		}
	}
}

// reload reads the list of mirrors again. If that fails, the old one stays in force.
func (s *server) reload() {
	pool, err := loadPool(s.config.Mirrors, s.log)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.status.Error = err.Error()
		s.log.Error("cannot reload the list of mirrors; the old one stays in force", zap.Error(err))
		return
	}
	s.status.Error, s.status.Loaded = "", time.Now()
	if reflect.DeepEqual(pool, s.pool) {
		s.log.Debug("list of mirrors is unchanged", zap.String("source", s.config.Mirrors))
		return
	}
	s.pool = pool
	s.checker.SetPool(pool) // which reports a change, and so leads to a new snapshot
	s.log.Info("list of mirrors has changed", zap.String("source", s.config.Mirrors), zap.Int("mirrors", len(pool.Mirrors)))
}

// loadPool reads the list of mirrors from source. A list that would serve nobody is refused.
func loadPool(source string, log *zap.Logger) (*config.Pool, error) {
	pool, warnings, err := config.LoadPool(source)
	if err != nil {
		return nil, err
	}
	logWarnings(log, warnings)
	for i := range pool.Mirrors {
		if pool.Mirrors[i].Enabled() {
			return pool, nil
		}
	}
	return nil, fmt.Errorf("%s: no mirror is enabled: give at least one a weight above 0", source)
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
	report := s.checker.Report()
	status := admin.Status{Zone: strings.TrimSuffix(s.config.DNS.Zone, "."), Ready: s.ready() == nil, Mirrors: []admin.MirrorStatus{}}
	s.mu.Lock()
	status.Pool = s.status
	s.mu.Unlock()
	if snapshot := s.current.Load(); snapshot != nil {
		status.Serial, status.Panic = snapshot.Serial, snapshot.Panic()
		status.Mirrors = admin.MirrorsOf(snapshot, report)
	}
	return status
}
