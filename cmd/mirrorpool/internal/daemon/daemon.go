// Package daemon is the whole program at work: the checks, the faces (DNS server and redirector), and what joins them.
//
// All that the program works with and that can change while it runs, the configuration, the list of mirrors, the zone
// file and the verdicts, is joined into one snapshot in one place, inForce, and both faces answer from that.
//
//	serve.go      from a file's name to a running daemon
//	daemon.go     the parts, and the tasks that run them
//	inforce.go    what is in force; how a snapshot comes to be
//	reload.go     reloads: on request, and those of the list of mirrors by itself
//	certificates.go  certificates by ACME: where their challenges are answered
//	publicstats.go  what ?mirrorstats shows
//	mail.go       what mails may be about
//	ledger.go     what was wrong with each mirror, for half a year
//	overrides.go  drains, and mirrors that a person has forced up
//	settings.go   what a new configuration comes to
//	files.go      which mirror carries which file
//	verification.go  which copies of files are corrupt
//	watch.go      other watchers of the same mirrors
//	keylock.go    who may use key files
//	notes.go      what servers of a group tell each other beside verdicts: drains, challenges, held lists, corrupt files
//	signing.go    the keys that sign the zone, and when its signatures are made anew
//	parent.go     what is known of the DS records that the zone's parent has
//	lookup.go     asking resolvers for them
//	feeds.go      transfers, NOTIFY and updates for other DNS servers
//	state.go      what outlives the process
//	status.go     status, explanations and metrics for the administrator
//	systemd.go    the service manager: readiness, watchdog, SIGHUP
//	log.go        the log, and repeats.go what is left out of it; journal_*.go, whether it goes to systemd's journal
//	listeners.go  which listeners can be opened, before the mirrors are checked
//	runtime.go    threads and garbage collection
package daemon

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
	"weak"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"mirrorpool/config"
	"mirrorpool/config/source"
	"mirrorpool/dnspool"
	"mirrorpool/dnspool/admin"
	"mirrorpool/dnspool/authority"
	"mirrorpool/dnspool/authority/dnssec"
	"mirrorpool/dnspool/certificates"
	"mirrorpool/dnspool/geo"
	"mirrorpool/dnspool/listen"
	"mirrorpool/dnspool/mail"
	"mirrorpool/dnspool/redirector"
	"mirrorpool/dnspool/stats"
	"mirrorpool/health"
	"mirrorpool/health/ledger"
	"mirrorpool/health/probe"
)

// errNotReady is why the faces do not answer yet.
var errNotReady = errors.New("starting: the mirrors are being checked for the first time")

// A ConfigError is about the configuration, or a file that it names: to start again does not help until one is changed.
type ConfigError struct{ Err error }

func (e *ConfigError) Error() string { return e.Err.Error() }

// Unwrap gives e.Err.
func (e *ConfigError) Unwrap() error { return e.Err }

// Options are what a Daemon works with.
type Options struct {
	Config  *config.Server
	File    string           // the configuration's, to read it again; empty: none
	List    []byte           // the list of mirrors, if not nil; Config.Mirrors is only its name then
	Version string           // of the program
	Sockets *listen.Opener   // nil: all are its own
	Hangup  <-chan os.Signal // each causes a reload; nil: none
	// Certificate is that of https, if not nil; the configuration names none then.
	Certificate *tls.Certificate
	Roots       *x509.CertPool // what signs the certificates of mirrors; nil: the system's
	Log         *zap.Logger
	Level       zap.AtomicLevel // of Log; a reload may change it
}

// A Daemon is the checks, the faces and what joins them.
type Daemon struct {
	*inForce
	o           Options
	admin       *admin.Server      // nil if off
	acme        *certificates.ACME // nil without ACME
	mailer      *mail.Mailer
	stats       *stats.Counter
	public      publicCache
	collector   collector
	events      *admin.Events
	started     time.Time
	describing  sync.Mutex
	description weak.Pointer[description] // the latest one, while it is in memory

	saved      func() *health.Saved // the verdicts from before the start; nil once they are restored
	warm       bool                 // there are verdicts from before the start that are good enough to begin with
	opened     chan struct{}        // closed when the faces answer
	updates    chan source.Result   // from the list, of what it has read by itself
	reloading  sync.Mutex           // held during a reload: one at a time
	lastReload atomic.Pointer[admin.ReloadStatus]
	patience   time.Duration // of a reload with the disks

	readingSettings chan struct{} // of capacity 1: full while a reload reads the settings, for longer than it if they hang
}

// New prepares a daemon, with a list of mirrors in force. The administrator's listener is open once it returns. The
// error is a [*ConfigError] where it is about the configuration, a file that it names, or the list of mirrors.
func New(ctx context.Context, o Options) (*Daemon, error) {
	saved := readVerdicts(o.Config, time.Now)
	defer saved() // it has ended by then
	list, err := startList(ctx, o, saved)
	if err != nil {
		return nil, err
	}
	if err := checkFirstKey(ctx, o); err != nil {
		return nil, err
	}
	newChecker := func(h health.Options) (*health.Checker, error) { return probe.NewChecker(h, o.Roots) }
	d, err := newDaemon(o, list, newChecker, time.Now)
	if err != nil {
		return nil, err
	}
	d.saved = saved
	if err := d.checkUnsigned(ctx, ""); err != nil {
		return nil, err
	}
	if err := checkListeners(ctx, o.Sockets, o.Config, o.Log); err != nil {
		return nil, err
	}
	if o.Config.Admin.Listen != "" {
		backend := admin.Backend{Status: d.describe, Ready: d.ready, Reload: d.reload, Explain: d.explain,
			Override: d.override, EndOverride: d.endOverride, Ledger: d.incidents, Mail: d.mailer.Status,
			TestMail: d.mailer.Test, Stats: d.stats.Report, Files: d.fileStatus, Lacks: d.lacks, Signatures: d.signatures, RollKeys: d.rollKeys,
			AbortRollover: d.abortRollover, Collect: d.collect}
		if d.watchers != nil {
			backend.WatcherView = d.watcherView
		}
		if d.admin, err = admin.Listen(ctx, o.Sockets, o.Config.Admin, backend); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// startList returns the list of mirrors that the configuration asks for, with a pool in force.
func startList(ctx context.Context, o Options, saved func() *health.Saved) (*source.List, error) {
	working := func() map[string]bool { return saved().Working }
	list, err := source.New(source.Options{
		Source: o.Config.Mirrors, Text: o.List, StateDir: o.Config.StateDir, Settings: listSettings(o.Config), Log: o.Log,
		Now: time.Now, Working: working,
	})
	if err != nil {
		return nil, &ConfigError{err}
	}
	err = list.Start(ctx)
	if refused := (*source.RefusedError)(nil); errors.As(err, &refused) {
		return nil, &ConfigError{err}
	}
	return list, err // a source that does not answer now may do so later
}

// listSettings are what the configuration says on the list of mirrors.
func listSettings(c *config.Server) source.Settings {
	return source.Settings{Refresh: c.MirrorsRefresh, Guard: c.MirrorsGuard, DNS: c.DNS, Keys: c.MirrorsKeys}
}

// newDaemon joins the parts. It opens no socket.
func newDaemon(
	o Options, list *source.List, newChecker func(health.Options) (*health.Checker, error), now func() time.Time,
) (*Daemon, error) {
	c := o.Config
	d := &Daemon{
		inForce: &inForce{log: o.Log, now: now, list: list, history: health.NewHistory(), ledger: ledger.New(),
			overridden: make(chan struct{}, 1), elsewhere: map[string]dnspool.Overrides{}, signer: dnssec.NewSigner(rand.New(globalSource{})),
			parent: &parent{ask: make(chan struct{}, 1)}},
		o: o, events: admin.NewEvents(), started: now(), opened: make(chan struct{}),
		collector: collector{apply: debug.SetGCPercent},
		updates:   make(chan source.Result), patience: patience, readingSettings: make(chan struct{}, 1),
	}
	d.config.Store(c)
	d.overridesFile, d.elsewhereFile = d.stateFile("overrides"), d.stateFile("drains-elsewhere")
	var err error
	if d.zoneFile, err = authority.LoadZoneFile(c.DNS); err != nil {
		return nil, &ConfigError{err}
	}
	if d.feeds, err = newFeeds(c, o.Log); err != nil {
		return nil, &ConfigError{err}
	}
	if err := d.loadKeys(c); err != nil {
		return nil, &ConfigError{err}
	}
	if err := mail.Check(c.Mail); err != nil {
		return nil, &ConfigError{err}
	}
	d.checker, err = newChecker(health.Options{Settings: c.Health, CheckDNS: true, Log: o.Log, Now: now, Watch: d.events.Probe})
	if err != nil {
		return nil, err
	}
	d.places = geo.Open(c.GeoIP, o.Log)
	d.stats = stats.NewCounter(d.stateFile("stats"), c.Stats.Keep, now)
	d.catalog = d.newCatalog(c.Files, d.stateFile("files"), o.Roots, o.Log, now)
	d.verifier = d.newVerifier(o.Roots)
	d.acme = d.newACME(c)
	if d.watchers, err = newWatchers(o, now); err != nil {
		return nil, &ConfigError{err}
	}
	if err := cmp.Or(certificates.Check(c), redirector.CheckBasePath(c.HTTP.BasePath)); err != nil {
		return nil, &ConfigError{err}
	}
	d.handler = redirector.NewHandler(redirector.Options{
		Certificate: o.Certificate, ACME: d.acme, TicketFile: d.stateFile("ticketkeys"),
		Config: c.HTTP, Current: &d.current, Place: d.places.Place, Source: globalSource{}, Now: now,
		FileSize: probe.NewFiles(o.Roots, func() string { return d.config.Load().Health.UserAgent }).Size,
		Catalog:  d.catalog,
		Stats:    d.stats,
		Public:   d.publicStats,
	})
	d.handler.SetFiles(c.Files)
	d.mailer = mail.New(mail.Options{Config: c.Mail, File: d.stateFile("mail"), View: d.mailView, Log: o.Log})
	d.list.SetWorking(d.working)
	d.list.OnNewText(d.collector.expectList)
	return d, nil
}

// globalSource is the runtime's source of randomness, which is safe for concurrent use.
type globalSource struct{}

func (globalSource) Uint64() uint64 { return rand.Uint64() }

// Run runs the daemon until ctx ends, or one of its tasks fails.
func (d *Daemon) Run(ctx context.Context) error {
	d.begin()
	stopped := func() bool { return ctx.Err() != nil }
	g, working := errgroup.WithContext(ctx)
	g.Go(func() error { return d.runWatchers(working, stopped) })
	for _, task := range d.tasks() {
		g.Go(func() error { return task(working) })
	}
	err := g.Wait()
	d.feeds.transfers.SaveVersion()
	logStop(d.log, err)
	return err
}

// begin puts the first pool in force, with the verdicts that an earlier run has saved. Whether these are good enough to
// answer from is decided here, before any check has a verdict of its own.
func (d *Daemon) begin() {
	d.loadState()
	d.withhold()
	d.takePool()
	d.warm = d.checker.Warm()
}

// tasks are what the daemon does all the time. Each runs until its context ends.
func (d *Daemon) tasks() []func(context.Context) error {
	tasks := []func(context.Context) error{
		d.check,
		d.loadPast,
		d.followVerdicts,
		d.endOverrides,
		d.watchParent,
		d.catalog.Run,
		d.catalog.Sums.Run,
		d.verifier.Run,
		d.shareVerified,
		func(ctx context.Context) error { return d.places.Run(ctx, d.rebuild) },
		func(ctx context.Context) error { return d.list.Run(ctx, d.updates) },
		d.followList,
		d.reloadOnHangup,
		d.face,
		d.saveState,
		d.mailer.Run,
		d.tellManager,
		d.watchCertificates,
		d.boundGarbage,
	}
	if d.admin != nil {
		tasks = append(tasks, d.admin.Run)
	}
	return tasks
}

// check checks the mirrors until ctx ends. Where the faces open with saved verdicts, they do so first: hundreds of
// checks that begin at once would hold up the first answers of a large pool.
func (d *Daemon) check(ctx context.Context) error {
	if d.warm {
		select {
		case <-d.opened:
		case <-ctx.Done():
			return nil
		}
	}
	return d.checker.Run(ctx)
}

// face opens the faces as soon as there is something to say, and runs them until ctx ends.
func (d *Daemon) face(ctx context.Context) error {
	if !d.awaitVerdicts(ctx) {
		return nil
	}
	if !d.warm || d.current.Load() == nil {
		d.rebuild()
	}
	if err := d.open(ctx); err != nil {
		return err
	}
	close(d.opened)
	d.log.Info("answering", zap.Stringers("dns", d.dns.Addrs()), zap.Stringers("http", d.web.Addrs()),
		zap.String("zone", d.config.Load().DNS.Zone), zap.Uint32("serial", d.current.Load().Serial))
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return d.dns.Run(ctx) })
	g.Go(func() error { return d.web.Run(ctx) })
	g.Go(func() error { return d.feeds.run(ctx) })
	return g.Wait()
}

// awaitVerdicts waits until the faces may open: verdicts from before the start are good enough to begin with, all
// mirrors have been checked, or it has taken too long. It returns false if ctx ends before.
func (d *Daemon) awaitVerdicts(ctx context.Context) bool {
	if d.warm {
		return ctx.Err() == nil
	}
	limit := d.config.Load().Health.StartupTimeout
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	select {
	case <-d.checker.Swept():
	case <-timeout.C:
		d.log.Warn("answering before all mirrors were checked", zap.Duration("startup_timeout", limit))
	case <-ctx.Done():
		return false
	}
	return true
}

// open opens the faces' sockets. A face that is off has none.
func (d *Daemon) open(ctx context.Context) error {
	c, zoneFile := d.files()
	dns, err := authority.Listen(ctx, authority.Options{
		Sockets: d.o.Sockets, Config: c.DNS, ZoneFile: zoneFile, Places: d.places.Place, Transfers: d.feeds.transfers,
		Keys: d.feeds.keys, Signer: d.signer, Log: d.log,
	})
	if err != nil {
		return err
	}
	web, err := redirector.Listen(ctx, d.o.Sockets, c.HTTP, d.handler, d.log)
	if err != nil {
		dns.Close()
		return err
	}
	d.join(dns, web)
	return nil
}

// Opened is closed when the faces answer.
func (d *Daemon) Opened() <-chan struct{} { return d.opened }

// Addrs are where a daemon listens.
type Addrs struct {
	DNS, HTTP []net.Addr
	Admin     net.Addr // nil if off
}

// Addrs returns where the daemon listens. The faces must be open.
func (d *Daemon) Addrs() Addrs {
	a := Addrs{DNS: d.dns.Addrs(), HTTP: d.web.Addrs()}
	if d.admin != nil {
		a.Admin = d.admin.Addr()
	}
	return a
}
