package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"mirrorpool/config"
	"mirrorpool/config/source"
	"mirrorpool/dnspool/admin"
	"mirrorpool/dnspool/authority"
)

// newList returns the list of mirrors that the configuration asks for, judged by the one that is in force at
// the time. text is the list itself if it is not nil.
func newList(inForce *atomic.Pointer[config.Server], text []byte, log *zap.Logger) (*source.List, error) {
	c := inForce.Load()
	return source.New(source.Options{
		Source: c.Mirrors, Text: text, Key: c.MirrorsKey, StateDir: c.StateDir,
		Settings: func() source.Settings {
			c := inForce.Load()
			return source.Settings{Refresh: c.MirrorsRefresh, Guard: c.MirrorsGuard, DNS: c.DNS}
		},
		Log: log, Now: time.Now, Rand: newRand(),
	})
}

// reload reads the configuration and the list of mirrors again, and puts in force what is good. It is called
// when somebody asks for it.
func (s *server) reload(ctx context.Context, confirm bool) admin.ReloadAnswer {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	answer := admin.ReloadAnswer{Settings: s.reloadSettings()}
	s.events.ReloadSettings(&answer.Settings)
	answer.Pool = poolReload(s.reloadPool(ctx, confirm))
	answer.OK = answer.Settings.Error == "" && answer.Pool.Error == ""
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastReload = &admin.ReloadStatus{
		At: time.Now(), OK: answer.OK, Error: cmp.Or(answer.Settings.Error, answer.Pool.Error), Restart: answer.Settings.Restart,
	}
	return answer
}

// look reads the list of mirrors again, because it may have changed. The configuration it leaves alone: who
// edits that says when it is done.
func (s *server) look(ctx context.Context) source.Result {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	return s.reloadPool(ctx, false)
}

// reloadPool puts in force what the list of mirrors has come to.
func (s *server) reloadPool(ctx context.Context, confirm bool) source.Result {
	r := s.list.Reload(ctx, confirm)
	told := poolReload(r)
	s.events.ReloadPool(&told)
	if r.Applied {
		s.mu.Lock()
		defer s.mu.Unlock() // no snapshot may join the new pool with verdicts on the old one
		s.pool = s.list.Pool()
		s.checker.SetPool(s.pool) // which reports a change, and so leads to a new snapshot
	}
	return r
}

// reloadSettings reads the configuration again, and puts in force what can change now.
func (s *server) reloadSettings() admin.SettingsReload {
	answer := admin.SettingsReload{Applied: []string{}, Restart: []string{}}
	if s.file == "" {
		return answer
	}
	next, warnings, err := config.LoadServer(s.file)
	if err == nil {
		err = collision(s.list.Pool(), next)
	}
	var read *authority.Static
	if err == nil {
		read, err = loadStatic(next)
	}
	if err != nil {
		s.log.Error("cannot use the configuration; the old one stays in force", zap.Error(err))
		answer.Error = err.Error()
		return answer
	}
	now, applied, restart := config.Update(s.config.Load(), next)
	if len(applied)+len(restart) > 0 { // else they are in the log already
		logWarnings(s.log, warnings)
	}
	static := s.static
	if next.DNS.ZoneFile == now.DNS.ZoneFile && next.DNS.Zone == now.DNS.Zone && !read.Same(static) { // else it waits for the restart
		static = read
		applied = append(applied, "dns.zone_file")
	}
	answer.Applied, answer.Restart = append(answer.Applied, applied...), append(answer.Restart, restart...)
	if len(restart) > 0 {
		s.log.Warn("the configuration has changes that need a restart", zap.Strings("keys", restart))
	}
	if len(applied) > 0 {
		s.apply(now, static)
		s.log.Info("configuration has changed", zap.Strings("keys", applied))
	}
	return answer
}

// loadStatic reads the zone file, if the configuration names one.
func loadStatic(c *config.Server) (*authority.Static, error) {
	if c.DNS.ZoneFile == "" {
		return nil, nil
	}
	return authority.LoadStatic(c.DNS.ZoneFile, c.DNS.Zone, authority.PoolNames(c.DNS))
}

// apply puts a configuration in force, which differs from the one before in what can change while the server
// runs.
func (s *server) apply(c *config.Server, static *authority.Static) {
	if level, err := zapcore.ParseLevel(c.Log.Level); err == nil {
		s.logLevel.SetLevel(level)
	}
	s.mu.Lock()
	s.config.Store(c)
	s.static = static
	if s.dns != nil {
		s.dns.SetConfig(c.DNS, static)
	}
	s.zoneChanged = true
	s.mu.Unlock()
	s.rebuild()
}

// collision returns an error if mirrors of the pool have names that the configuration uses for something else.
func collision(pool *config.Pool, c *config.Server) error {
	var errs []error
	for _, found := range pool.Collisions(c.DNS) {
		errs = append(errs, fmt.Errorf("%s: the mirror %s in force: %w", c.Mirrors, pool.Mirrors[found.Mirror].URLPrefix, found))
	}
	return errors.Join(errs...)
}

// poolReload tells an administrator what has come of the list of mirrors.
func poolReload(r source.Result) admin.PoolReload {
	answer := admin.PoolReload{Applied: r.Applied, Held: r.Held, Warnings: []string{}}
	if r.Err != nil {
		answer.Error = r.Err.Error()
	}
	if !r.Change.Empty() {
		answer.Change = &r.Change
	}
	for _, w := range r.Warnings {
		answer.Warnings = append(answer.Warnings, w.Error())
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
