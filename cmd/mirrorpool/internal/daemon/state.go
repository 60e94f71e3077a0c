package daemon

import (
	"context"
	"path/filepath"
	"sync"
	"time"

	"mirrorpool/config"
	"mirrorpool/health"
)

// saveInterval is how often the verdicts are saved.
const saveInterval = time.Minute

// stateFile is where something is kept, or "".
func (d *Daemon) stateFile(name string) string {
	if dir := d.config.Load().StateDir; dir != "" {
		return filepath.Join(dir, name)
	}
	return ""
}

// readVerdicts reads the saved verdicts, if there are such, while the caller goes on. What it returns waits for them.
func readVerdicts(c *config.Server, now func() time.Time) func() *health.Saved {
	if c.StateDir == "" {
		return func() *health.Saved { return new(health.Saved) }
	}
	read := make(chan *health.Saved, 1)
	go func() { read <- health.ReadSaved(filepath.Join(c.StateDir, "verdicts"), now(), c.Health.Interval) }()
	return sync.OnceValue(func() *health.Saved { return <-read })
}

// loadState reads what answers depend on of what an earlier run has saved: the overrides, the verdicts and the rows of
// files. What is wrong with them is logged; without them all starts from nothing.
func (d *Daemon) loadState() {
	d.loadOverrides()
	d.loadElsewhere()
	if file := d.stateFile("joint-verdicts"); d.watchers != nil && file != "" {
		d.watchers.LoadState(file)
	}
	if d.saved == nil {
		d.saved = readVerdicts(d.config.Load(), d.now)
	}
	d.checker.Adopt(d.saved()) // what goes wrong is logged
	d.saved = nil
	if d.stateFile("verdicts") == "" {
		return
	}
	var loading sync.WaitGroup // no answer is given before, and those of a large pool take a while
	for _, load := range [...]func(){
		d.catalog.LoadState,
		func() { d.catalog.Sums.LoadState(); d.verifier.LoadState() },
		func() { d.stats.Load(d.log) },
	} {
		loading.Go(load)
	}
	loading.Wait()
}

// loadPast reads the history and the ledger that an earlier run has saved. Where the faces open with saved verdicts,
// they do so first. Nothing is added to the past before it is loaded.
func (d *Daemon) loadPast(ctx context.Context) error {
	if d.warm {
		select {
		case <-d.opened:
		case <-ctx.Done():
			return nil // the files stay as they are
		}
	}
	if history := d.stateFile("history"); history != "" {
		d.history.LoadHistory(history, d.now(), d.log)
		d.ledger.Load(d.stateFile("ledger"), d.now(), d.log)
	}
	d.pastKnown.Store(true)
	return nil
}

// savePast saves the history and the ledger.
func (d *Daemon) savePast() {
	if d.pastKnown.Load() {
		d.history.SaveHistory(d.stateFile("history"), d.log)
		d.ledger.Save(d.stateFile("ledger"), d.log)
	}
}

// saveState saves the verdicts, the history, the ledger and the rows of files from time to time until ctx ends, and
// then once more. What goes wrong is logged where it does.
func (d *Daemon) saveState(ctx context.Context) error {
	verdicts := d.stateFile("verdicts")
	if verdicts == "" {
		return nil
	}
	save := func() {
		d.checker.SaveState(verdicts)
		d.saveElsewhere()
		if d.watchers != nil {
			d.watchers.SaveState(d.stateFile("joint-verdicts"))
		}
		d.savePast()
		d.catalog.SaveState()
		d.verifier.SaveState()
		d.stats.Save(d.log)
	}
	ticker := time.NewTicker(saveInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			save()
		case <-ctx.Done():
			save()
			return nil
		}
	}
}
