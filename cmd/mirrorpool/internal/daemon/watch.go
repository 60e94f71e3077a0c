package daemon

import (
	"context"
	"time"

	"mirrorpool/config"
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
		f.watchers.Apply(report)
	}
	return report
}

// watchersChanged delivers a value when other watchers have said something new; never without any.
func (f *inForce) watchersChanged() <-chan struct{} {
	if f.watchers == nil {
		return nil
	}
	return f.watchers.Changed()
}

// takeSecondLooks has mirrors checked soon that another watcher holds unfit.
func (f *inForce) takeSecondLooks() {
	for _, prefix := range f.watchers.Claims() {
		f.checker.CheckSoon(prefix)
	}
}

// runWatchers takes part in the group of watchers, if this server is in one, until ctx ends.
func (d *Daemon) runWatchers(ctx context.Context) error {
	if d.watchers == nil {
		return nil
	}
	return d.watchers.Run(ctx)
}

// readWatchKeys reads the keys of the group of watchers again; nil without one. What else the configuration says of it
// waits for a restart.
func (d *Daemon) readWatchKeys(next *config.Server) ([][]byte, error) {
	if d.watchers == nil || next.Watch == nil {
		return nil, nil
	}
	return watch.ReadKeys(d.config.Load().Watch.KeyFile)
}

// watchStatus is what an administrator learns of the group of watchers; nil without one.
func (d *Daemon) watchStatus(now time.Time) *admin.WatchStatus {
	if d.watchers == nil {
		return nil
	}
	s := admin.DescribeWatchers(d.watchers.Status(now))
	return &s
}
