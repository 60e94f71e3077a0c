package daemon

import (
	"context"
	"fmt"
	"time"

	"mirrorpool/config"
	"mirrorpool/dnspool"
	"mirrorpool/dnspool/admin"
	"mirrorpool/health"
	"mirrorpool/health/watch"
)

// newWatchers returns the group of watchers that the configuration asks for, or nil.
func newWatchers(o Options, now func() time.Time) (*watch.Group, error) {
	if o.Config.Watch == nil {
		return nil, nil
	}
	return watch.New(watch.Options{Config: *o.Config.Watch, Version: o.Version, Log: o.Log, Now: now})
}

// verdicts are what the checks know now, and other watchers with them.
func (f *inForce) verdicts() *health.Report {
	report := f.checker.Report()
	if f.watchers != nil {
		for prefix, m := range report.Mirrors {
			m.Release = f.catalog.ReleaseDigest(prefix)
			report.Mirrors[prefix] = m
		}
		f.watchers.Apply(report)
	}
	return report
}

// agreement is what makes the next snapshot tell the same as those of other servers; nil without any. f.mu is held.
func (f *inForce) agreement(c *config.Server) *dnspool.Agreement {
	if f.watchers == nil {
		return nil
	}
	versions := map[string]dnspool.ZoneVersion{}
	for name, v := range f.watchers.ZoneVersions() {
		versions[name] = dnspool.ZoneVersion(v)
	}
	return &dnspool.Agreement{Name: c.Watch.Name, Versions: versions, Zone: f.zoneDigest()}
}

// announce tells other servers which version of the zone this one serves.
func (f *inForce) announce(s *dnspool.Snapshot) {
	if f.watchers != nil && len(f.config.Load().DNS.Listen) > 0 {
		f.watchers.Announce(watch.ZoneVersion{Serial: s.Serial, Content: s.Content})
	}
}

// watchersChanged delivers a value when other watchers have said something new; never without any.
func (f *inForce) watchersChanged() <-chan struct{} {
	if f.watchers == nil {
		return nil
	}
	return f.watchers.Changed()
}

// takeSecondLooks has mirrors checked soon that another watcher holds unfit, and those listed that carry other files by
// its word.
func (f *inForce) takeSecondLooks() {
	for _, prefix := range f.watchers.Claims() {
		f.checker.CheckSoon(prefix)
	}
	f.catalog.LookAt(f.watchers.Releases())
}

// runWatchers takes part in the group of watchers, if this server is in one, until ctx ends. stopped reports whether
// that is because the daemon was stopped, and nothing has failed.
func (d *Daemon) runWatchers(ctx context.Context, stopped func() bool) error {
	if d.watchers == nil {
		return nil
	}
	return d.watchers.Run(ctx, stopped)
}

// readWatchKeys reads the keys of the group of watchers again; nil without one. What else the configuration says of it
// waits for a restart.
func (d *Daemon) readWatchKeys(next *config.Server) ([][]byte, error) {
	if d.watchers == nil || next.Watch == nil {
		return nil, nil
	}
	return watch.ReadKeys(d.config.Load().Watch.KeyFile)
}

// watcherView is what one watcher sees of the mirrors.
func (d *Daemon) watcherView(watcher string) (admin.WatcherView, error) {
	said, about, ok := d.watchers.Said(watcher, d.now())
	if !ok {
		status := d.watchStatus(d.now())
		return admin.WatcherView{}, fmt.Errorf("there is no watcher %q, but %s", watcher, status.Names())
	}
	own, _, _ := d.watchers.Said(d.config.Load().Watch.Name, d.now())
	return admin.DescribeView(about, said, own, d.list.Pool().Mirrors), nil
}

// watchStatus is what an administrator learns of the group of watchers; nil without one.
func (d *Daemon) watchStatus(now time.Time) *admin.WatchStatus {
	if d.watchers == nil {
		return nil
	}
	s := admin.DescribeWatchers(d.watchers.Status(now))
	s.List = d.sharedList()
	notesOn(d.inForce, watch.TopicList, func(n *watch.NoteOf, theirs admin.SharedList) {
		if w := s.Watcher(n.Watcher); w != nil {
			theirs.Why = config.Printable(theirs.Why)
			w.List = &theirs
		}
	})
	d.mu.Lock()
	defer d.mu.Unlock()
	for name, count := range d.drainsLeft {
		if w := s.Watcher(name); w != nil {
			w.DrainsLeftOut = count
		}
	}
	return &s
}
