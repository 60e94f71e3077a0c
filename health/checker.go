package health

import (
	"context"
	"maps"
	"math/rand/v2"
	"reflect"
	"sync"
	"time"

	"go.uber.org/zap"

	"mirrorpool/config"
)

// verdictIntervals is how many times its own interval a verdict lasts without being renewed.
const verdictIntervals = 3

// A Checker keeps the verdicts on a pool's endpoints up to date. It joins three jobs: the schedule says when to probe,
// the survey watches the pool as a whole, and the memory holds what outlives a restart.
type Checker struct {
	checkDNS    bool
	checkAgents func(context.Context, Target) string
	prober      Prober
	resolver    Resolver
	log         *zap.Logger
	now         func() time.Time
	watch       func(Role, Observation)

	changed chan struct{} // holds one token while there are changes to report
	wake    chan struct{} // holds one token while the schedule may have changed
	swept   chan struct{} // closed when the first sweep has ended

	mu       sync.Mutex // guards all below
	settings settings
	policy   Policy // of settings
	mirrors  map[string]*mirror
	paces    map[string]*pace // by host
	sweeping bool             // the first sweep has not ended
	rand     *rand.Rand

	schedule schedule
	survey   survey
	origin   origin
	memory   memory
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

// NewChecker returns a checker without mirrors. It does nothing until Run.
func NewChecker(o Options) (*Checker, error) {
	s, err := parseSettings(o.Settings, o.CheckDNS)
	if err != nil {
		return nil, err
	}
	c := &Checker{
		checkDNS: o.CheckDNS, checkAgents: o.CheckAgents, prober: o.Prober, resolver: o.Resolver,
		log: o.Log, now: o.Now, rand: o.Rand, watch: o.Watch,
		changed: make(chan struct{}, 1), wake: make(chan struct{}, 1), swept: make(chan struct{}),
		mirrors: map[string]*mirror{}, paces: map[string]*pace{}, sweeping: true,
		schedule: newSchedule(o.Rand),
		origin:   origin{reader: o.Reference},
	}
	c.setSettings(s)
	c.setReference(o.Now())
	return c, nil
}

// Changed delivers a value after a change that may alter which mirrors are eligible (verdicts, addresses, the
// reference). Changes that come faster than they are received become one.
func (c *Checker) Changed() <-chan struct{} { return c.changed }

// Swept is closed when each endpoint has been checked once.
func (c *Checker) Swept() <-chan struct{} { return c.swept }

// SetPool makes pool, which is not changed any more, the one to check. Verdicts of mirrors that stay are kept; one that
// has changed is checked at once. Checks of mirrors that are gone stop at once, those under way included.
func (c *Checker) SetPool(pool *config.Pool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	mirrors := make(map[string]*mirror, len(pool.Mirrors))
	for i := range pool.Mirrors {
		entry := &pool.Mirrors[i]
		m := c.mirrors[entry.URLPrefix]
		changed := m != nil && !reflect.DeepEqual(m.Mirror, entry)
		if m == nil {
			m = c.newMirror(entry)
		}
		m.Mirror = entry
		mirrors[entry.URLPrefix] = m
		c.setChecks(m, now)
		if changed {
			c.expedite(m, now)
		}
	}
	for prefix, m := range c.mirrors {
		if mirrors[prefix] == nil {
			c.remove(m)
		}
	}
	c.mirrors = mirrors
	maps.DeleteFunc(c.paces, func(_ string, p *pace) bool { return now.Sub(p.next) > limitedPaceTime })
	c.endSweep(now)
	signal(c.changed)
	signal(c.wake)
}

// SetSettings puts other settings in force. Verdicts are kept; all endpoints are checked anew within an interval. If
// the error is not nil, nothing has changed.
func (c *Checker) SetSettings(h config.Health) error {
	next, err := parseSettings(h, c.checkDNS)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now, before := c.now(), c.settings
	c.setSettings(next)
	if before.Enabled != next.Enabled || before.ReferenceURL != next.ReferenceURL {
		c.setReference(now)
	}
	for _, m := range c.mirrors {
		if before.Enabled != next.Enabled {
			c.switchChecks(m, now)
		}
		m.web.findProblems(next.AllowPrivate)
		m.rsyncLookup().findProblems(next.AllowPrivate)
		c.setChecks(m, now)
		c.spread(m, now)
	}
	c.endSweep(now)
	signal(c.changed)
	signal(c.wake)
	return nil
}

// setSettings puts settings in force, but for the mirrors and the reference.
func (c *Checker) setSettings(s settings) {
	c.settings, c.policy = s, s.policy()
	c.schedule.interval = s.Interval
	c.survey.fresh.MaxLag, c.survey.fresh.MaxAge = s.MaxLag, s.MaxAge
}

// Stalled reports whether the schedule has come to a halt: a check is overdue by several intervals.
func (c *Checker) Stalled() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.schedule.overdue(c.now()) > verdictIntervals*c.policy.Interval+maxRequests*c.settings.Timeout
}

// Run checks the pool until ctx ends, and returns nil when all checks under way have ended too.
func (c *Checker) Run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		timer.Reset(c.startDue(ctx, &running))
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-c.wake:
		}
	}
}

// startDue starts all tasks that are due and may run, and returns the time until it should be called again.
func (c *Checker) startDue(ctx context.Context, running *sync.WaitGroup) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	if ctx.Err() != nil { // tasks that have ended since are in the schedule no more
		return c.policy.Interval
	}
	for {
		v, wait := c.schedule.next(now)
		if v == nil {
			return wait
		}
		for _, t := range v.tasks {
			taskCtx, cancel := context.WithCancel(ctx)
			t.cancel = cancel
			running.Go(func() {
				defer cancel()
				c.runTask(taskCtx, t, v)
			})
		}
	}
}

// runTask runs one task of a visit.
func (c *Checker) runTask(ctx context.Context, t *task, v *visit) {
	finish := t.work(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	if !t.dropped && ctx.Err() == nil {
		c.schedule.repeat(t, v, now, finish(now))
		c.endSweep(now)
	}
	c.schedule.end(t, v, now)
	signal(c.wake)
}

// endSweep ends the first sweep when each task has ended once.
func (c *Checker) endSweep(now time.Time) {
	if c.schedule.newTasks > 0 || !c.sweeping {
		return
	}
	c.reconsider(now)
	c.sweeping = false
	c.memory.mirrors = nil
	close(c.swept)
}

// signal leaves a token in ch unless there is one.
func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
