package daemon

import (
	"context"
	"path/filepath"
	"sync"
	"time"
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

// loadState reads the overrides, the verdicts, the history, the ledger and the rows of files that an earlier run has
// saved. What is wrong with them is logged; without them all starts from nothing.
func (d *Daemon) loadState() {
	d.loadOverrides()
	verdicts := d.stateFile("verdicts")
	if verdicts == "" {
		return
	}
	var loading sync.WaitGroup // no answer is given before, and those of a large pool take a while
	for _, load := range [...]func(){
		func() { d.checker.LoadState(verdicts) },
		func() { d.history.LoadHistory(d.stateFile("history"), d.now(), d.log) },
		func() { d.ledger.Load(d.stateFile("ledger"), d.now(), d.log) },
		d.catalog.LoadState,
		func() { d.catalog.Sums.LoadState(); d.verifier.LoadState() },
		func() { d.stats.Load(d.log) },
	} {
		loading.Go(load)
	}
	loading.Wait()
}

// saveState saves the verdicts, the history, the ledger and the rows of files from time to time until ctx ends, and
// then once more. What goes wrong is logged where it does.
func (d *Daemon) saveState(ctx context.Context) error {
	verdicts, history := d.stateFile("verdicts"), d.stateFile("history")
	if verdicts == "" {
		return nil
	}
	save := func() {
		d.checker.SaveState(verdicts)
		d.history.SaveHistory(history, d.log)
		d.ledger.Save(d.stateFile("ledger"), d.log)
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
