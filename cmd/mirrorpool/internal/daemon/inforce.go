package daemon

import (
	"context"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"mirrorpool/config"
	"mirrorpool/config/source"
	"mirrorpool/dnspool"
	"mirrorpool/dnspool/admin"
	"mirrorpool/dnspool/authority"
	"mirrorpool/dnspool/authority/dnssec"
	"mirrorpool/dnspool/geo"
	"mirrorpool/dnspool/redirector"
	"mirrorpool/health"
	"mirrorpool/health/files"
	"mirrorpool/health/files/verify"
	"mirrorpool/health/ledger"
	"mirrorpool/health/watch"
)

// Changes are gathered for gatherTime before they make a new snapshot, or in large pools, where a snapshot takes long,
// for gatherShare for each mirror. So while many mirrors are checked for the first time, snapshots take about a fifth
// of a CPU.
const (
	gatherTime  = 20 * time.Millisecond
	gatherShare = 40 * time.Microsecond
)

// gatherFor is how long changes are gathered in a pool of so many mirrors.
func gatherFor(mirrors int) time.Duration { return max(gatherTime, time.Duration(mirrors)*gatherShare) }

// An inForce holds the configuration, the list of mirrors and the zone file that are in force, and makes a snapshot of
// them and the verdicts. Whatever changes one of them does so here, and both faces get the snapshot at once.
type inForce struct {
	log      *zap.Logger
	now      func() time.Time
	list     *source.List
	checker  *health.Checker
	places   *geo.Reader
	handler  *redirector.Handler
	catalog  *files.Catalog
	verifier *verify.Verifier
	history  *health.History
	ledger   *ledger.Ledger
	shares   admin.Shares
	feeds    *feeds
	signer   *dnssec.Signer
	parent   *parent
	watchers *watch.Group // nil: this server goes by itself

	keysChange      keyLock       // before mu
	ttls            dnssec.TTLs   // of the zone, if it is signed; keysChange guards it
	unsaved         *dnssec.Keys  // which could not be kept, as on a full disk; likewise
	savingOverrides sync.Mutex    // held while they are written
	withholding     sync.Mutex    // held by withhold: of two at a time, the one that knows less must not come last
	overridesFile   string        // "" without state_dir
	overridden      chan struct{} // of capacity 1: overrides have changed

	pastKnown atomic.Bool // the history and the ledger are loaded

	config  atomic.Pointer[config.Server] // written with mu held
	current dnspool.Current               // likewise

	mu               sync.Mutex // guards all below
	pool             *config.Pool
	zoneFile         *authority.StaticRecords     // nil without one
	txt              map[string][]string          // TXT records for challenges of certificate authorities, by owner; not changed
	zoneChanged      bool                         // by other than the pool, since the latest snapshot
	othersTXT        map[string][]string          // likewise of other servers of the group
	elsewhere        map[string]dnspool.Overrides // drains that were set at other servers, by the server's name
	drainPaces       map[string]drainPace         // how often these change, by the server's name
	elsewhereFile    string                       // where they are kept; "" without state_dir
	elsewhereChanged bool                         // they are not saved yet
	warnedUnshared   bool                         // not all drains are shared, which is logged
	drainsLeft       map[string]int               // how many drains of another server do not count here, by its name
	secondReads      time.Time                    // when other watchers' notes on corrupt files were read
	serialSince      time.Time                    // when the serial changed last
	keyPhase         string                       // what the keys that sign do
	overrides        dnspool.Overrides
	saving           int                // changes of overrides that are not saved yet
	overridesSeen    os.FileInfo        // their file, as this process has read or written it last; nil: never
	dns              *authority.Server  // nil before the faces are open
	web              *redirector.Server // likewise
}

// takePool has the mirrors checked that the list has in force now, unless they are already. What has been found out
// about them leads to a new snapshot.
func (f *inForce) takePool() {
	f.mu.Lock()
	defer f.mu.Unlock() // no snapshot may join the new pool with verdicts on the old one
	if pool := f.list.Pool(); pool != f.pool {
		f.pool = pool
		f.checker.SetPool(pool)
	}
}

// setFiles puts a configuration, a zone file and, if they are to change, keys in force. f.keysChange is held.
func (f *inForce) setFiles(n *newSettings) {
	f.ttls = n.ttls
	f.mu.Lock()
	signed, digest := f.config.Load().DNS.DNSSEC != nil, f.zoneDigest()
	if n.changesKeys() {
		f.setKeys(n.config, n.keys)
	}
	f.config.Store(n.config)
	f.zoneFile = n.zoneFile
	f.zoneChanged = f.zoneChanged || signed || n.config.DNS.DNSSEC != nil || f.zoneDigest() != digest
	f.mu.Unlock()
	f.rebuild()
}

// zoneDigest is a hash of what the zone holds besides the pool and signatures. f.mu is held.
func (f *inForce) zoneDigest() uint64 {
	return authority.Digest(f.config.Load().DNS, f.zoneFile, f.challenges())
}

// files are the configuration and the zone file in force.
func (f *inForce) files() (*config.Server, *authority.StaticRecords) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.config.Load(), f.zoneFile
}

// join has the faces, which are open, answer from the snapshot in force, and from all that come after it.
func (f *inForce) join(dns *authority.Server, web *redirector.Server) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dns, f.web = dns, web
	f.dns.Publish(f.config.Load().DNS, f.zoneRecords(), f.current.Load()) // the configuration may have been reloaded just now
	f.feeds.publish(f.current.Load())
}

// zoneRecords are what the zone holds besides the pool. f.mu is held.
func (f *inForce) zoneRecords() *authority.StaticRecords {
	return f.zoneFile.WithTXT(f.config.Load().DNS, f.challenges())
}

// faces are the open faces, or nil.
func (f *inForce) faces() (*authority.Server, *redirector.Server) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.dns, f.web
}

// followVerdicts makes a new snapshot whenever a verdict has changed, here or at another watcher, until ctx ends; and
// else when untilRebuild says so.
func (f *inForce) followVerdicts(ctx context.Context) error {
	gather := time.NewTimer(0)
	defer gather.Stop()
	again := time.NewTimer(0)
	defer again.Stop()
	for {
		again.Reset(f.untilRebuild())
		select {
		case <-ctx.Done():
			return nil
		case <-again.C:
			gather.Reset(0)
		case <-f.checker.Changed():
			gather.Reset(gatherFor(f.mirrors()))
		case <-f.watchersChanged():
			f.takeSecondLooks()
			gather.Reset(gatherFor(f.mirrors()))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-gather.C:
		}
		f.rebuild()
	}
}

// mirrors is how many there are in the snapshot in force.
func (f *inForce) mirrors() int {
	if s := f.current.Load(); s != nil {
		return len(s.Mirrors)
	}
	return 0
}

// untilRebuild is for how long a snapshot may be in force: an interval of the checks, because verdicts that are not
// renewed become old; and until other records of the keys are in force that were signed ahead, because the ones before
// may expire then, and the zone with them.
func (f *inForce) untilRebuild() time.Duration {
	wait := min(f.config.Load().Health.Interval, signingInterval)
	keys := f.signer.Keys()
	if keys == nil {
		return wait
	}
	now := f.now()
	if next := keys.NextPeriod(now); !next.IsZero() {
		wait = min(wait, next.Sub(now))
	}
	return wait
}

// rebuild puts a new snapshot in force.
func (f *inForce) rebuild() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rebuildLocked()
}

// rebuildLocked is rebuild with f.mu held.
func (f *inForce) rebuildLocked() {
	c := f.config.Load()
	previous := f.current.Load()
	report := f.verdicts()
	f.observeCopies(report)
	f.judge(report)
	if f.pastKnown.Load() {
		f.history.Note(report)
		f.noteIncidents(report)
	}
	f.observeFiles(report)
	if previous != nil {
		f.shares.Note(previous, f.handler.Redirects)
	}
	f.takeDrains()
	f.takeChallenges(c)
	f.takeSecondReads()
	f.zoneChanged = f.needsVersion(c) || f.zoneChanged
	next := dnspool.Build(f.input(c, report))
	f.zoneChanged = false
	if previous == nil || previous.Serial != next.Serial {
		f.serialSince = next.Built
	}
	f.current.Publish(next)
	f.announce(next)
	f.share()
	if f.dns == nil {
		return // the faces are not open yet
	}
	f.dns.Publish(c.DNS, f.zoneRecords(), next)
	f.feeds.publish(next)
	logPanic(f.log, previous.Panic(), next.Panic())
}

// input is what a snapshot is made of now. f.mu is held.
func (f *inForce) input(c *config.Server, report *health.Report) dnspool.Input {
	overrides, _ := f.overrides.Split(f.now())
	overrides, f.drainsLeft = f.withDrainsElsewhere(overrides)
	return dnspool.Input{
		Pool: f.pool, Health: report, Previous: f.current.Load(), Now: f.now(), Rand: rand.New(globalSource{}),
		Overrides: overrides, Policy: dnspool.PolicyOf(c),
		Place: f.places.Place, Number: f.catalog.Number,
		ZoneChanged: f.zoneChanged, Last: f.feeds.last, Agree: f.agreement(c),
	}
}

// working says of each mirror whether it is fit to serve in a role, or cannot be judged: a list that takes another one
// away takes nothing. It is nil while nothing is known.
func (f *inForce) working() map[string]bool {
	snapshot := f.current.Load()
	if snapshot == nil {
		return nil
	}
	working := make(map[string]bool, len(snapshot.Mirrors))
	for i := range snapshot.Mirrors {
		working[snapshot.Mirrors[i].URLPrefix] = snapshot.Mirrors[i].Works()
	}
	return working
}
