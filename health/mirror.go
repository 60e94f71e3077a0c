package health

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"mirrorpool/config"
	"mirrorpool/health/rsync"
)

// A mirror is a mirror of the pool, and what has been found out about it.
type mirror struct {
	*config.Mirror
	web    *lookup  // of the URL's host
	checks []*check // in the roles HTTP and DNS, at each address once in each

	everUp        [3]bool     // by role: whether an endpoint has been up since the mirror was added
	agentsChecked time.Time   // when it was last checked with the User-Agents of download clients
	refuses       string      // which of them it refuses, or ""
	refusesAt     endpointKey // where

	rsyncURL  rsync.URL // of the trace file; zero if there is none
	rsyncHost *lookup   // nil if the host is the URL's
	rsync     *check    // nil if there is none, or until the host was looked up
}

// An endpointKey is an address in one role.
type endpointKey struct {
	address netip.Addr
	role    Role
}

// A check is an endpoint in one role, with its verdict.
type check struct {
	endpointKey
	mirror  *mirror
	verdict Verdict
	task    *task // nil if checks are off

	failingSince time.Time // zero if it does not fail
	failedUp     bool      // it was up when it began to fail
	lastReason   string    // of the latest check

	// clockAhead is by how much this host's clock was ahead of the server's the last time, if dated.
	clockAhead   time.Duration
	dated        bool
	decidedEarly bool      // judged by one probe, before the reference was known; see reconsider
	warned       time.Time // when the log last warned of its certificate
}

func (c *Checker) newMirror(entry *config.Mirror) *mirror {
	m := &mirror{
		web: &lookup{host: strings.ToLower(entry.URL.Hostname())},
	}
	c.memory.recallAddresses(entry.URLPrefix, m.web)
	m.everUp = c.memory.mirrors[entry.URLPrefix].everUp()
	if !c.settings.Enabled {
		m.everUp = [3]bool{true, true, true} // as all mirrors count as up
	}
	return m
}

// check returns m's check of an endpoint in the roles HTTP and DNS, or nil.
func (m *mirror) check(key endpointKey) *check {
	for _, k := range m.checks {
		if k.endpointKey == key {
			return k
		}
	}
	return nil
}

// all yields m's checks in all roles.
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

// tasks yields the tasks of m's checks.
func (m *mirror) tasks(yield func(*task) bool) {
	for k := range m.all {
		if k.task != nil && !yield(k.task) {
			return
		}
	}
}

// setChecks makes m's look-ups and checks those that its entry and the settings ask for.
func (c *Checker) setChecks(m *mirror, now time.Time) {
	c.setRsync(m)
	c.setLookups(m, now)
	c.setAddresses(m, now)
}

// setRsync takes over the URL of m's rsync daemon. A daemon with another URL is judged anew.
func (c *Checker) setRsync(m *mirror) {
	var u rsync.URL
	if m.RsyncURL != "" && c.settings.Enabled {
		parsed, err := rsync.ParseURL(m.RsyncURL)
		if err != nil { // package config accepts no such URL
			c.log.Warn("ignoring a bad rsync_url", zap.String("mirror", m.URLPrefix), zap.Error(err))
		} else {
			u = parsed.Join(c.settings.Path)
		}
	}
	if u != m.rsyncURL && m.rsync != nil {
		c.schedule.drop(m.rsync.task)
		m.rsync = nil
	}
	m.rsyncURL = u
}

// setLookups takes the addresses of m that are given, or starts looking up its host; likewise for its rsync daemon.
func (c *Checker) setLookups(m *mirror, now time.Time) {
	given := m.DNS.Addresses
	if addr, ok := literal(m.URL.Hostname()); ok && len(given) == 0 {
		given = []netip.Addr{addr}
	}
	if len(given) > 0 {
		c.schedule.drop(m.web.task)
		m.web.task = nil
		m.web.give(given)
	} else {
		// Addresses that were given until now serve until the look-up has ended.
		c.startLookup(m.web, m, now)
	}

	host := strings.ToLower(m.rsyncURL.Host)
	if m.rsyncHost != nil && m.rsyncHost.host != host {
		c.schedule.drop(m.rsyncHost.task)
		m.rsyncHost = nil
	}
	if host != "" && host != m.web.host && m.rsyncHost == nil {
		m.rsyncHost = &lookup{host: host}
		if addr, ok := literal(host); ok {
			m.rsyncHost.give([]netip.Addr{addr})
		} else {
			c.startLookup(m.rsyncHost, m, now)
		}
	}
}

// rsyncLookup is the look-up of m's rsync daemon.
func (m *mirror) rsyncLookup() *lookup {
	if m.rsyncHost != nil {
		return m.rsyncHost
	}
	return m.web
}

// rolesOf returns the roles in which m's addresses are judged.
func (c *Checker) rolesOf(m *mirror) []Role {
	if c.settings.dnsURL == nil || m.DNS.Off {
		return []Role{HTTP}
	}
	return []Role{HTTP, DNS}
}

// setAddresses gives m a check at each known address in each role, and no other.
func (c *Checker) setAddresses(m *mirror, now time.Time) {
	wanted := map[endpointKey]bool{}
	for _, addr := range m.web.addresses(c.settings.AllowPrivate) {
		for _, role := range c.rolesOf(m) {
			key := endpointKey{addr, role}
			wanted[key] = true
			if m.check(key) == nil {
				m.checks = append(m.checks, c.newCheck(m, key, now))
			}
		}
	}
	m.checks = slices.DeleteFunc(m.checks, func(k *check) bool {
		if !wanted[k.endpointKey] {
			c.schedule.drop(k.task)
		}
		return !wanted[k.endpointKey]
	})
	c.setRsyncAddress(m, now)
}

// setRsyncAddress gives m's rsync daemon, if it has one, a check at one of its addresses: the one where it was last
// reached, while it has that.
func (c *Checker) setRsyncAddress(m *mirror, now time.Time) {
	host := m.rsyncLookup()
	if m.rsyncURL.Host == "" || !host.known {
		return
	}
	addrs := host.addresses(c.settings.AllowPrivate)
	if m.rsync != nil && slices.Contains(addrs, m.rsync.address) {
		return
	}
	key := endpointKey{role: Rsync}
	if len(addrs) > 0 {
		key.address = addrs[0]
	}
	if m.rsync == nil {
		m.rsync = c.newCheck(m, key, now)
	}
	m.rsync.endpointKey = key
}

func (c *Checker) newCheck(m *mirror, key endpointKey, now time.Time) *check {
	k := &check{endpointKey: key, mirror: m}
	k.verdict = c.memory.recall(m.URLPrefix, key)
	if k.verdict.State == Down {
		k.failingSince = k.verdict.Since
	}
	if c.settings.Enabled {
		c.startCheck(k, now)
	}
	return k
}

func (c *Checker) startCheck(k *check, now time.Time) {
	k.task = c.schedule.add(&task{
		due: now, host: k.mirror.web.host, endpoint: &k.endpointKey, siblings: k.mirror.tasks,
		work: func(ctx context.Context) func(time.Time) time.Duration { return c.probe(ctx, k) },
	})
}

// switchChecks starts or stops the checks of m. While they are off, m counts as up.
func (c *Checker) switchChecks(m *mirror, now time.Time) {
	m.everUp = [3]bool{true, true, true}
	for k := range m.all {
		if c.settings.Enabled {
			c.startCheck(k, now)
		} else {
			c.schedule.drop(k.task)
			k.task = nil
		}
	}
}

// spread makes m's checks due at the same random time within an interval from now, unless they are due before.
func (c *Checker) spread(m *mirror, now time.Time) {
	due := now.Add(time.Duration(c.rand.Float64() * float64(c.policy.Interval)))
	for t := range m.tasks {
		if t.due.After(due) {
			c.schedule.move(t, due)
		}
	}
}

// expedite makes m's look-ups and checks due now.
func (c *Checker) expedite(m *mirror, now time.Time) {
	c.schedule.move(m.web.task, now)
	c.schedule.move(m.rsyncLookup().task, now)
	for t := range m.tasks {
		c.schedule.move(t, now)
	}
}

// remove stops m's look-ups and checks.
func (c *Checker) remove(m *mirror) {
	c.schedule.drop(m.web.task)
	if m.rsyncHost != nil {
		c.schedule.drop(m.rsyncHost.task)
	}
	for t := range m.tasks {
		c.schedule.drop(t)
	}
}
