package health

import (
	"cmp"
	"container/heap"
	"context"
	"math/rand/v2"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"mirrorpool/config"
)

const (
	maxInFlight   = 512                    // probes and look-ups under way at a time
	addressRetry  = 100 * time.Millisecond // until an address that is being probed is tried again
	lookupTimeout = 10 * time.Second
	// verdictIntervals is how many times its own interval a verdict lasts without being renewed.
	verdictIntervals = 3
)

// A Checker keeps the verdicts on a pool's endpoints up to date.
type Checker struct {
	settings config.Health
	policy   Policy
	dnsURL   *url.URL // nil if role DNS is not judged
	prober   Prober
	resolver Resolver
	log      *zap.Logger
	now      func() time.Time

	changed chan struct{} // holds one token while there are changes that nobody has fetched
	wake    chan struct{} // holds one token while the schedule may have changed
	swept   chan struct{} // closed when the first sweep has ended

	mu      sync.Mutex // guards all below
	mirrors map[string]*mirror
	tasks   schedule
	busy    map[netip.Addr]bool // addresses that are being probed
	running int
	first   int // tasks that have not ended once
	rand    *rand.Rand
}

// Options are what a Checker works with.
type Options struct {
	Settings config.Health
	// CheckDNS says whether role DNS is judged. Without the DNS face nobody asks for it.
	CheckDNS bool
	Prober   Prober
	Resolver Resolver
	Log      *zap.Logger
	Now      func() time.Time
	Rand     *rand.Rand // spreads the checks over time
}

// A mirror is a mirror of the pool, and what has been found out about it.
type mirror struct {
	config.Mirror
	trace     *url.URL // what role HTTP fetches
	endpoints map[netip.Addr]*endpoint
	lookup    *task // nil if the addresses are given
	problem   string
	v4, v6    Answer // as last found out
}

// An endpoint is a mirror at one address, with its verdicts by role.
type endpoint struct {
	mirror   *mirror
	address  netip.Addr
	roles    []Role
	verdicts [2]Verdict
	task     *task
}

// NewChecker returns a checker without mirrors. It does nothing until Run.
func NewChecker(o Options) (*Checker, error) {
	c := &Checker{
		settings: o.Settings,
		policy:   Policy{Interval: o.Settings.Interval, Rise: o.Settings.Rise, Fall: o.Settings.Fall},
		prober:   o.Prober, resolver: o.Resolver, log: o.Log, now: o.Now, rand: o.Rand,
		changed: make(chan struct{}, 1), wake: make(chan struct{}, 1), swept: make(chan struct{}),
		mirrors: map[string]*mirror{}, busy: map[netip.Addr]bool{},
	}
	if o.CheckDNS {
		u, err := url.Parse(o.Settings.DNSURL)
		if err != nil {
			return nil, err
		}
		c.dnsURL = u
	}
	return c, nil
}

// Changed delivers a value after anything has changed that decides who is eligible. Changes that come
// faster than they are received become one.
func (c *Checker) Changed() <-chan struct{} { return c.changed }

// Swept is closed when each endpoint has been checked once.
func (c *Checker) Swept() <-chan struct{} { return c.swept }

// SetPool makes pool the one to check. Verdicts of mirrors that stay are kept; checks of mirrors that are
// gone stop at once, those under way included.
func (c *Checker) SetPool(pool *config.Pool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	keep := make(map[string]*mirror, len(pool.Mirrors))
	for _, m := range pool.Mirrors {
		old := c.mirrors[m.URLPrefix]
		if old == nil {
			old = &mirror{trace: m.URL.JoinPath(c.settings.Path), endpoints: map[netip.Addr]*endpoint{}}
		}
		old.Mirror = m
		keep[m.URLPrefix] = old
		c.findAddresses(old, now)
	}
	for prefix, old := range c.mirrors {
		if keep[prefix] == nil {
			c.remove(old)
		}
	}
	c.mirrors = keep
	c.sweepEnds()
	notify(c.changed)
	notify(c.wake)
}

// findAddresses takes the addresses of m that are given, or sees to it that its host is looked up.
func (c *Checker) findAddresses(m *mirror, now time.Time) {
	given := m.DNS.Addresses
	if literal, err := netip.ParseAddr(m.URL.Hostname()); err == nil && len(given) == 0 {
		given = []netip.Addr{literal}
	}
	switch {
	case len(given) > 0:
		c.drop(m.lookup)
		m.lookup, m.problem, m.v4, m.v6 = nil, "", Answer{}, Answer{}
		c.setAddresses(m, given, now)
	case m.lookup == nil:
		c.setAddresses(m, nil, now)
		m.lookup = c.add(&task{due: now, host: m})
	default:
		c.setAddresses(m, m.addresses(c.settings.AllowPrivate), now)
	}
}

// rolesOf is in which roles m's endpoints are judged.
func (c *Checker) rolesOf(m *mirror) []Role {
	if c.dnsURL == nil || m.DNS.Off {
		return []Role{HTTP}
	}
	return []Role{HTTP, DNS}
}

// setAddresses gives m an endpoint at each address and at no other.
func (c *Checker) setAddresses(m *mirror, addrs []netip.Addr, now time.Time) {
	roles := c.rolesOf(m)
	for _, addr := range addrs {
		e := m.endpoints[addr]
		if e == nil {
			e = &endpoint{mirror: m, address: addr}
			m.endpoints[addr] = e
			if c.settings.Enabled {
				e.task = c.add(&task{due: now, endpoint: e})
			}
		}
		if len(e.roles) < len(roles) && e.task != nil { // a role is new
			c.tasks.move(e.task, now)
		}
		e.roles = roles
	}
	for addr, e := range m.endpoints {
		if !slices.Contains(addrs, addr) {
			c.drop(e.task)
			delete(m.endpoints, addr)
		}
	}
}

func (c *Checker) remove(m *mirror) {
	c.drop(m.lookup)
	for _, e := range m.endpoints {
		c.drop(e.task)
	}
}

// Report returns what is known now. Verdicts that were not renewed for too long are unknown in it.
func (c *Checker) Report() *Report {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	report := &Report{At: now, Mirrors: make(map[string]MirrorReport, len(c.mirrors))}
	for prefix, m := range c.mirrors {
		r := MirrorReport{Problem: m.problem, Endpoints: make([]Endpoint, 0, 2*len(m.endpoints))}
		for addr, e := range m.endpoints {
			for _, role := range e.roles {
				r.Endpoints = append(r.Endpoints, Endpoint{addr, role, c.verdict(e, role, now)})
			}
		}
		slices.SortFunc(r.Endpoints, func(a, b Endpoint) int {
			return cmp.Or(a.Address.Compare(b.Address), cmp.Compare(a.Role, b.Role))
		})
		report.Mirrors[prefix] = r
	}
	return report
}

func (c *Checker) verdict(e *endpoint, role Role, now time.Time) Verdict {
	v := e.verdicts[role]
	if !c.settings.Enabled {
		return Verdict{State: Up, Reason: "checks are off"}
	}
	return v.At(now, verdictIntervals*max(c.policy.Interval, v.Wait(c.policy))+c.settings.Timeout)
}

// Stalled reports whether the schedule has come to a halt: a check is overdue by several intervals.
func (c *Checker) Stalled() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.tasks) > 0 && c.now().Sub(c.tasks[0].due) > verdictIntervals*c.policy.Interval+c.settings.Timeout
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
	for len(c.tasks) > 0 && c.running < maxInFlight {
		next := c.tasks[0]
		if wait := next.due.Sub(now); wait > 0 {
			return wait
		}
		if e := next.endpoint; e != nil {
			if c.busy[e.address] {
				c.tasks.move(next, now.Add(addressRetry))
				continue
			}
			c.busy[e.address] = true
		}
		heap.Pop(&c.tasks)
		c.running++
		taskCtx, cancel := context.WithCancel(ctx)
		next.cancel = cancel
		running.Go(func() {
			defer cancel()
			c.run(taskCtx, next)
		})
	}
	return c.policy.Interval // nothing is due, or the end of a task will wake us
}

// run runs one task and puts it back into the schedule.
func (c *Checker) run(ctx context.Context, t *task) {
	var finish func(now time.Time) (wait time.Duration)
	if t.host != nil {
		finish = c.lookUp(ctx, t.host)
	} else {
		finish = c.probe(ctx, t.endpoint)
	}

	c.mu.Lock()
	defer c.mu.Unlock()
	c.running--
	if t.endpoint != nil {
		delete(c.busy, t.endpoint.address)
	}
	notify(c.wake)
	if t.dropped || ctx.Err() != nil {
		return
	}
	now := c.now()
	wait := finish(now)
	spread := 0.9
	if !t.done {
		t.done, c.first = true, c.first-1
		spread = 0.5 // so that what began together drifts apart
		c.sweepEnds()
	}
	t.due = now.Add(time.Duration(float64(wait) * (spread + (1-spread)*c.rand.Float64())))
	t.cancel = nil
	heap.Push(&c.tasks, t)
}

// probe looks at e in all its roles at once. The returned function, called under the lock, takes in what
// was seen.
func (c *Checker) probe(ctx context.Context, e *endpoint) func(time.Time) time.Duration {
	ctx, cancel := context.WithTimeout(ctx, c.settings.Timeout)
	defer cancel()
	c.mu.Lock()
	roles, trace, own := e.roles, e.mirror.trace, strings.ToLower(e.mirror.URL.Hostname())
	c.mu.Unlock()
	var seen [2]Observation
	var all sync.WaitGroup
	for _, role := range roles {
		target := Target{Role: role, URL: trace, Address: e.address, OwnHost: own}
		if role == DNS {
			target.URL = c.dnsURL
		}
		all.Go(func() { seen[role] = c.prober.Probe(ctx, target) })
	}
	all.Wait()
	return func(time.Time) time.Duration {
		wait := maxBackoff * c.policy.Interval
		for _, role := range roles {
			c.observe(e, role, seen[role])
			wait = min(wait, e.verdicts[role].Wait(c.policy))
		}
		return wait
	}
}

// observe takes in what a probe has seen.
func (c *Checker) observe(e *endpoint, role Role, o Observation) {
	old := e.verdicts[role]
	next := old.Next(o, c.policy)
	e.verdicts[role] = next
	if next.State != old.State {
		c.log.Info("endpoint changed state",
			zap.String("mirror", e.mirror.URLPrefix), zap.Stringer("endpoint", e.address), zap.Stringer("role", role),
			zap.Stringer("from", old.State), zap.Stringer("to", next.State), zap.String("reason", next.Reason))
	}
	if next.State != old.State || next.InDoubt() != old.InDoubt() {
		notify(c.changed)
	}
}

// sweepEnds closes swept when no task is left that has not ended once.
func (c *Checker) sweepEnds() {
	if c.first > 0 {
		return
	}
	select {
	case <-c.swept:
	default:
		close(c.swept)
	}
}

// add puts a new task into the schedule.
func (c *Checker) add(t *task) *task {
	c.first++
	heap.Push(&c.tasks, t)
	return t
}

// drop takes a task out of the schedule, and cancels it if it is under way. A nil task is none.
func (c *Checker) drop(t *task) {
	if t == nil {
		return
	}
	t.dropped = true
	if !t.done {
		c.first--
	}
	if t.cancel != nil {
		t.cancel()
		return
	}
	heap.Remove(&c.tasks, t.index)
}

// notify leaves a token in ch unless there is one.
func notify(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
