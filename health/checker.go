package health

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"net/url"
	"reflect"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"mirrorpool/config"
	"mirrorpool/health/rsync"
)

// verdictIntervals is how many times its own interval a verdict lasts without being renewed.
const verdictIntervals = 3

// A Checker keeps the verdicts on a pool's endpoints up to date.
type Checker struct {
	checkDNS    bool
	checkAgents func(context.Context, Target) string
	prober      Prober
	resolver    Resolver
	reference   ReferenceReader
	log         *zap.Logger
	now         func() time.Time
	watch       func(Role, Observation)

	changed chan struct{} // holds one token while there are changes that nobody has fetched
	wake    chan struct{} // holds one token while the schedule may have changed
	swept   chan struct{} // closed when the first sweep has ended

	mu       sync.Mutex // guards all below
	settings settings
	policy   Policy // of settings
	mirrors  map[string]*mirror
	tasks    schedule
	visits   map[string]*visit // under way, by host
	busy     map[place]bool    // what is being probed
	running  int               // visits and look-ups
	first    int               // tasks that have not ended once
	sweeping bool              // the first sweep has not ended
	rand     *rand.Rand

	fresh            Freshness
	referenceTask    *task // nil without a reference_url
	referenceProblem string
	suspect          string    // see Report
	suspected        time.Time // when that began
	surveyed         time.Time // when survey last ran
	memory           memory    // verdicts from before a restart whose checks do not exist yet
	saveProblem      string    // why verdicts were not saved the last time
}

// Options are what a Checker works with.
type Options struct {
	Settings config.Health
	// CheckDNS says whether role DNS is judged, which the DNS server alone needs.
	CheckDNS  bool
	Prober    Prober // for all roles
	Resolver  Resolver
	Reference ReferenceReader // for Settings.ReferenceURL
	// CheckAgents requests a target as download clients do, and describes which of them the mirror refuses, or returns "".
	// If it is nil, mirrors are not checked for that.
	CheckAgents func(context.Context, Target) (refused string)

	Log  *zap.Logger
	Now  func() time.Time
	Rand *rand.Rand // spreads the checks over time
	// Watch, unless it is nil, is called with the result of each probe. It must not block.
	Watch func(Role, Observation)
}

// A mirror is a mirror of the pool, and what has been found out about it.
type mirror struct {
	config.Mirror
	trace *url.URL // what role HTTP fetches
	web   *lookup  // of the URL's host
	// checks are those in the roles HTTP and DNS.
	checks map[place]*check

	everUp      [3]bool   // by role: whether an endpoint has been up since the mirror was added
	agentsAsked time.Time // when it was last asked under the names of download clients
	refuses     string    // which of them it refuses, or ""
	refusesAt   place     // where

	rsyncURL  rsync.URL // of the trace file; zero if there is none
	rsyncHost *lookup   // nil if the host is the URL's
	rsync     *check    // nil if there is none, or until the host was looked up
}

// A place is an address in one role.
type place struct {
	address netip.Addr
	role    Role
}

// A check is an endpoint in one role, with its verdict.
type check struct {
	place
	mirror  *mirror
	verdict Verdict
	task    *task // nil if checks are off

	failing time.Time // since when it fails, if it was up before; zero if it does not
	rash    bool      // the first sweep's only look decided, when the reference was not known yet
	warned  time.Time // when its certificate was last warned of
}

// NewChecker returns a checker without mirrors. It does nothing until Run.
func NewChecker(o Options) (*Checker, error) {
	s, err := parseSettings(o.Settings, o.CheckDNS)
	if err != nil {
		return nil, err
	}
	c := &Checker{
		settings: s, policy: s.policy(), checkDNS: o.CheckDNS, checkAgents: o.CheckAgents,
		prober: o.Prober, resolver: o.Resolver, reference: o.Reference,
		log: o.Log, now: o.Now, rand: o.Rand, watch: o.Watch,
		changed: make(chan struct{}, 1), wake: make(chan struct{}, 1), swept: make(chan struct{}),
		mirrors: map[string]*mirror{}, visits: map[string]*visit{}, busy: map[place]bool{}, sweeping: true,
		fresh: Freshness{MaxLag: s.MaxLag, MaxAge: s.MaxAge},
	}
	c.setReference(o.Now())
	return c, nil
}

// Changed delivers a value after anything has changed that decides who is eligible. Changes that come
// faster than they are received become one.
func (c *Checker) Changed() <-chan struct{} { return c.changed }

// Swept is closed when each endpoint has been checked once.
func (c *Checker) Swept() <-chan struct{} { return c.swept }

// SetPool makes pool the one to check. Verdicts of mirrors that stay are kept; one that has changed is
// checked at once. Checks of mirrors that are gone stop at once, those under way included.
func (c *Checker) SetPool(pool *config.Pool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	keep := make(map[string]*mirror, len(pool.Mirrors))
	for _, entry := range pool.Mirrors {
		m := c.mirrors[entry.URLPrefix]
		changed := m != nil && !reflect.DeepEqual(m.Mirror, entry)
		if m == nil {
			m = c.newMirror(&entry)
		}
		m.Mirror = entry
		keep[entry.URLPrefix] = m
		c.setRsync(m)
		c.findAddresses(m, now)
		c.setAddresses(m, now)
		if changed {
			c.hurry(m, now)
		}
	}
	for prefix, m := range c.mirrors {
		if keep[prefix] == nil {
			c.remove(m)
		}
	}
	c.mirrors = keep
	c.sweepEnds(now)
	notify(c.changed)
	notify(c.wake)
}

func (c *Checker) newMirror(entry *config.Mirror) *mirror {
	m := &mirror{
		trace:  entry.URL.JoinPath(c.settings.Path),
		web:    &lookup{host: strings.ToLower(entry.URL.Hostname())},
		checks: map[place]*check{},
	}
	c.memory.recallAddresses(entry.URLPrefix, m.web)
	m.everUp = c.memory.mirrors[entry.URLPrefix].everUp()
	if !c.settings.Enabled {
		m.everUp = [3]bool{true, true, true} // as it is taken to be
	}
	return m
}

// rolesOf is in which roles m's addresses are judged.
func (c *Checker) rolesOf(m *mirror) []Role {
	if c.settings.dnsURL == nil || m.DNS.Off {
		return []Role{HTTP}
	}
	return []Role{HTTP, DNS}
}

// setAddresses gives m a check at each known address in each role, and no other.
func (c *Checker) setAddresses(m *mirror, now time.Time) {
	wanted := map[place]bool{}
	for _, addr := range m.web.addresses(c.settings.AllowPrivate) {
		for _, role := range c.rolesOf(m) {
			p := place{addr, role}
			wanted[p] = true
			if m.checks[p] == nil {
				m.checks[p] = c.newCheck(m, p, now)
			}
		}
	}
	for p, k := range m.checks {
		if !wanted[p] {
			c.drop(k.task)
			delete(m.checks, p)
		}
	}
	c.setRsyncAddress(m, now)
}

func (c *Checker) newCheck(m *mirror, p place, now time.Time) *check {
	k := &check{place: p, mirror: m}
	k.verdict = c.memory.recall(m.URLPrefix, p)
	if c.settings.Enabled {
		c.startCheck(k, now)
	}
	return k
}

func (c *Checker) startCheck(k *check, now time.Time) {
	k.task = c.add(&task{due: now, check: k, work: func(ctx context.Context) func(time.Time) time.Duration {
		return c.probe(ctx, k)
	}})
}

// all returns m's checks in all roles.
func (m *mirror) all(yield func(*check) bool) {
	for _, k := range m.checks {
		if !yield(k) {
			return
		}
	}
	if m.rsync != nil {
		yield(m.rsync)
	}
}

// hurry makes all that is done about m due now.
func (c *Checker) hurry(m *mirror, now time.Time) {
	c.tasks.move(m.web.task, now)
	c.tasks.move(m.rsyncLookup().task, now)
	for k := range m.all {
		c.tasks.move(k.task, now)
	}
}

func (c *Checker) remove(m *mirror) {
	c.drop(m.web.task)
	if m.rsyncHost != nil {
		c.drop(m.rsyncHost.task)
	}
	for k := range m.all {
		c.drop(k.task)
	}
}
