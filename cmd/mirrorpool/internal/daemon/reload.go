package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"mirrorpool/config"
	"mirrorpool/config/source"
	"mirrorpool/dnspool/admin"
	"mirrorpool/dnspool/authority"
	"mirrorpool/dnspool/geo"
)

// newList returns the list of mirrors that the configuration asks for, judged by the one that is in force at
// the time. text is the list itself if it is not nil.
func newList(inForce *atomic.Pointer[config.Server], text []byte, log *zap.Logger) (*source.List, error) {
	c := inForce.Load()
	return source.New(source.Options{
		Source: c.Mirrors, Text: text, StateDir: c.StateDir,
		Settings: func() source.Settings {
			c := inForce.Load()
			return source.Settings{Refresh: c.MirrorsRefresh, Guard: c.MirrorsGuard, DNS: c.DNS, Keys: c.MirrorsKeys}
		},
		Log: log, Now: time.Now, Rand: newRand(),
	})
}

// reload reads the configuration and the list of mirrors again, and puts in force what is good; with o.DryRun nothing. It
// is called on request.
func (s *server) reload(ctx context.Context, o admin.ReloadOptions) admin.ReloadAnswer {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	answer := admin.ReloadAnswer{DryRun: o.DryRun}
	if o.DryRun {
		answer.Settings = s.readSettings().answer
		answer.Pool = poolReload(s.list.Preview(ctx, o.Confirm))
	} else {
		answer.Settings = s.reloadSettings()
		s.events.ReloadSettings(&answer.Settings)
		answer.Pool = poolReload(s.reloadPool(ctx, o.Confirm))
	}
	answer.OK = answer.Settings.Error == "" && answer.Pool.Error == ""
	s.mu.Lock()
	defer s.mu.Unlock()
	answer.Pool.Latest = s.unreported
	if o.DryRun {
		return answer
	}
	s.unreported = nil
	s.lastReload = &admin.ReloadStatus{
		At: time.Now(), OK: answer.OK, Error: cmp.Or(answer.Settings.Error, answer.Pool.Error), Restart: answer.Settings.Restart,
	}
	return answer
}

// look reads the list of mirrors again, because it may have changed. The configuration is read on request only: its
// editors say when they are done.
func (s *server) look(ctx context.Context) source.Result {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	r := s.reloadPool(ctx, false)
	if r.Applied {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.unreported = &admin.PoolUpdate{At: s.now(), Change: r.Change}
	}
	return r
}

// reloadPool puts in force what the list of mirrors has come to.
func (s *server) reloadPool(ctx context.Context, confirm bool) source.Result {
	r := s.list.Reload(ctx, confirm)
	counted := poolReload(r)
	s.events.ReloadPool(&counted)
	if r.Applied {
		s.mu.Lock()
		defer s.mu.Unlock() // no snapshot may join the new pool with verdicts on the old one
		s.pool = s.list.Pool()
		s.checker.SetPool(s.pool) // which reports a change, and so leads to a new snapshot
	}
	return r
}

// newSettings are what the configuration's file comes to.
type newSettings struct {
	config   *config.Server // in force, with what can change while the server runs
	static   *authority.ZoneFile
	feed     newFeed
	token    []byte // the administrator's
	warnings []*config.Error
	answer   admin.SettingsReload
}

// readSettings reads the configuration again, and puts nothing in force.
func (s *server) readSettings() newSettings {
	n := newSettings{answer: admin.SettingsReload{Applied: []string{}, Restart: []string{}}}
	if s.file == "" {
		return n
	}
	next, warnings, err := config.LoadServer(s.file)
	if err == nil {
		err = collision(s.list.Pool(), next)
	}
	var read *authority.ZoneFile
	if err == nil {
		read, err = loadStatic(next)
	}
	if err == nil {
		n.token, err = admin.ReadToken(next.Admin.TokenFile)
	}
	if err == nil {
		err = checkDatabases(s.config.Load().GeoIP, next.GeoIP)
	}
	if err != nil {
		n.answer.Error = err.Error()
		return n
	}
	now, applied, restart := config.Update(s.config.Load(), next)
	n.config, n.static = now, s.static
	if n.feed, err = s.feeds.prepare(now); err != nil {
		n.answer.Error = err.Error()
		return n
	}
	changed := s.feeds.changedKeys(n.feed)                     // files may hold something else under the same path
	if next.DNS.Zone == now.DNS.Zone && !read.Same(s.static) { // else it waits for the restart
		n.static = read
		changed = append(changed, "dns.zone_file")
	}
	if s.admin != nil && !s.admin.HasToken(n.token) {
		changed = append(changed, "admin.token_file")
	}
	for _, key := range changed {
		if !slices.Contains(applied, key) {
			applied = append(applied, key)
		}
	}
	if len(applied)+len(restart) > 0 { // else they are in the log already
		n.warnings = warnings
	}
	n.answer.Applied, n.answer.Restart = append(n.answer.Applied, applied...), append(n.answer.Restart, restart...)
	return n
}

// reloadSettings reads the configuration again, and puts in force what can change now.
func (s *server) reloadSettings() admin.SettingsReload {
	n := s.readSettings()
	if n.answer.Error != "" {
		s.log.Error("cannot use the configuration; the old one stays in force", zap.String("error", n.answer.Error))
		return n.answer
	}
	logWarnings(s.log, n.warnings)
	if len(n.answer.Restart) > 0 {
		s.log.Warn("the configuration has changes that need a restart", zap.Strings("keys", n.answer.Restart))
	}
	if len(n.answer.Applied) > 0 {
		if slices.ContainsFunc(n.answer.Applied, isFeedKey) {
			s.feeds.apply(n.feed)
		}
		s.apply(&n)
		s.log.Info("configuration has changed", zap.Strings("keys", n.answer.Applied))
	}
	return n.answer
}

// isFeedKey reports whether a key of the configuration decides what other DNS servers get.
func isFeedKey(key string) bool {
	return slices.Contains([]string{"dns.tsig_keys", "dns.allow_transfer", "dns.notify", "dns.notify_source", "publish"}, key)
}

// loadStatic reads the zone file, if the configuration names one.
func loadStatic(c *config.Server) (*authority.ZoneFile, error) {
	if c.DNS.ZoneFile == "" {
		return nil, nil
	}
	return authority.LoadZoneFile(c.DNS.ZoneFile, c.DNS.Zone, authority.PoolNames(c.DNS))
}

// apply puts a configuration in force, which differs from the one before in what can change while the server
// runs.
func (s *server) apply(n *newSettings) {
	c := n.config
	if level, err := zapcore.ParseLevel(c.Log.Level); err == nil {
		s.logLevel.SetLevel(level)
	}
	if err := s.checker.SetSettings(c.Health); err != nil {
		s.log.Error("cannot use the new settings of the checks", zap.Error(err)) // config lets no such URL pass
	}
	s.handler.SetConfig(c.HTTP)
	s.places.SetFiles(c.GeoIP)
	if s.admin != nil {
		s.admin.SetToken(n.token)
	}
	s.mu.Lock()
	s.config.Store(c)
	s.static = n.static
	s.zoneChanged = true
	s.mu.Unlock()
	s.rebuild()
}

// checkDatabases returns an error if a geographical database is to come from another file, and that is not usable.
func checkDatabases(old, next config.GeoIP) error {
	for _, f := range [...]struct{ key, old, next string }{
		{"geoip.city", old.City, next.City}, {"geoip.asn", old.ASN, next.ASN},
	} {
		if f.old == f.next {
			continue // the reader tells what is wrong with it
		}
		if err := geo.Check(f.next); err != nil {
			return fmt.Errorf("%s: %w", f.key, err)
		}
	}
	return nil
}

// collision returns an error if mirrors of the pool have names that the configuration uses for something else.
func collision(pool *config.Pool, c *config.Server) error {
	var errs []error
	for _, found := range pool.Collisions(c.DNS) {
		errs = append(errs, fmt.Errorf("%s: the mirror %s in force: %w", c.Mirrors, pool.Mirrors[found.Mirror].URLPrefix, found))
	}
	return errors.Join(errs...)
}

// poolReload is what an administrator learns of a reload of the list of mirrors.
func poolReload(r source.Result) admin.PoolReload {
	answer := admin.PoolReload{Applied: r.Applied, Held: r.Held, Warnings: []string{}}
	if r.Err != nil {
		answer.Error = r.Err.Error()
	}
	if !r.Change.Empty() {
		answer.Change = &r.Change
	}
	for _, group := range config.GroupWarnings(r.Warnings) {
		answer.Warnings = append(answer.Warnings, group.String())
	}
	return answer
}

// poolStatus tells an administrator where the pool in force comes from.
func poolStatus(s source.Status, now time.Time) admin.PoolStatus {
	status := admin.PoolStatus{
		Source: s.Source, Loaded: s.Loaded, AgeSeconds: now.Sub(s.Loaded).Seconds(), Kept: s.Kept,
		Error: s.Error, KeepError: s.KeepError,
	}
	if !s.Checked.IsZero() {
		status.Checked = &s.Checked
	}
	if s.Held != nil {
		status.Held = &admin.HeldStatus{Since: s.Held.Since, Decision: s.Held.Decision, Change: s.Held.Change}
	}
	return status
}
