package daemon

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	"mirrorpool/config/source"
	"mirrorpool/dnspool/admin"
)

// patience is for how long a reload waits for the disks that hold the configuration and the files that it names.
const patience = 20 * time.Second

// reload reads the configuration and the list of mirrors again, and puts in force what is good; with o.DryRun nothing.
// It is called on request.
func (d *Daemon) reload(ctx context.Context, o admin.ReloadOptions) admin.ReloadAnswer {
	d.reloading.Lock()
	defer d.reloading.Unlock()
	answer := admin.ReloadAnswer{DryRun: o.DryRun}
	if o.DryRun {
		answer.Settings = d.inTime(func() admin.SettingsReload { return d.previewSettings(o.Confirm) })
		answer.Pool = poolReload(d.list.Preview(ctx, o.Confirm))
	} else {
		answer.Settings = d.inTime(func() admin.SettingsReload { return d.reloadSettings(o.Confirm) })
		d.events.ReloadSettings(&answer.Settings)
		answer.Pool = poolReload(d.reloadPool(ctx, o.Confirm))
		d.catalog.Reread()
		d.parent.lookNow()
		if o.Confirm && answer.Pool.Error == "" {
			d.checker.ConfirmAddresses()
		}
	}
	answer.OK = answer.Settings.Error == "" && answer.Pool.Error == ""
	if !o.DryRun {
		d.lastReload.Store(&admin.ReloadStatus{
			At: time.Now(), OK: answer.OK, Error: cmp.Or(answer.Settings.Error, answer.Pool.Error), Restart: answer.Settings.Restart,
		})
	}
	return answer
}

// inTime returns what a reload of the settings comes to, or that it goes on: a disk that hangs must not keep the list
// of mirrors from being read. There is one at a time.
func (d *Daemon) inTime(reload func() admin.SettingsReload) admin.SettingsReload {
	done := make(chan admin.SettingsReload, 1)
	limit, cancel := context.WithTimeout(context.Background(), d.patience)
	defer cancel()
	select {
	case d.readingSettings <- struct{}{}:
		go func() {
			defer func() { <-d.readingSettings }()
			done <- reload()
		}()
	case <-limit.Done():
	}
	select {
	case answer := <-done:
		return answer
	case <-limit.Done():
	}
	err := fmt.Sprintf("reading the configuration and the files that it names takes longer than %s, and goes on; "+
		"a disk, or a server with a mounted folder, may hang", d.patience)
	d.log.Error("a reload of the configuration hangs", zap.String("error", err))
	return admin.SettingsReload{Applied: []string{}, Restart: []string{}, Error: err}
}

// reloadPool reads the list of mirrors again, and puts in force what it has come to.
func (d *Daemon) reloadPool(ctx context.Context, confirm bool) source.Result {
	r := d.list.Reload(ctx, confirm)
	d.take(r)
	return r
}

// followList puts in force what the list of mirrors has come to by itself, until ctx ends. The configuration is read on
// request only: its editors say when they are done.
func (d *Daemon) followList(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case r := <-d.updates:
			d.take(r)
		}
	}
}

// take counts an attempt to read the list of mirrors, and has the mirrors checked that are in force since.
func (d *Daemon) take(r source.Result) {
	counted := poolReload(r)
	d.events.ReloadPool(&counted)
	d.takePool()
}
