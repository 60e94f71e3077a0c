package source

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"go.uber.org/zap"
)

// firstRetry is the longest wait after a first failure; each further one doubles it, up to the refresh
// interval.
const firstRetry = time.Second

// nextLook is how long to wait before the source is looked at again, after a number of failures on end.
//
// Both are spread: without that, all servers of a pool would ask at once after the web server was away. It is
// a pure function but for r.
func nextLook(refresh time.Duration, failures int, r *rand.Rand) time.Duration {
	if failures == 0 {
		return spread(refresh, 0.9, 1.1, r)
	}
	wait := refresh
	if shift := failures - 1; shift < 32 {
		wait = min(refresh, firstRetry<<shift)
	}
	return spread(wait, 0.5, 1, r)
}

// spread returns d times a number from least to most.
func spread(d time.Duration, least, most float64, r *rand.Rand) time.Duration {
	return time.Duration(float64(d) * (least + (most-least)*r.Float64()))
}

// Run reads the source again when it may have changed and at the refresh interval, until ctx ends. It decides what
// comes into force as [List.Reload] does, and sends each result to updates.
func (l *List) Run(ctx context.Context, updates chan<- Result) error {
	var watching sync.WaitGroup
	defer watching.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	changed := make(chan struct{}, 1)
	if w, ok := l.reader.(watcher); ok {
		watching.Go(func() {
			if err := w.watch(ctx, changed); err != nil {
				l.o.Log.Warn("changes of the list of mirrors are noticed at the refresh interval only", zap.Error(err))
			}
		})
	}
	failures := 0
	if l.Status().Error != "" {
		failures = 1
	}
	timer := time.NewTimer(l.pause(failures))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-timer.C:
		}
		r := l.refresh(ctx)
		failures++
		if r.Err == nil || r.Held != nil {
			failures = 0
		}
		select {
		case updates <- r:
		case <-ctx.Done():
			return nil
		}
		timer.Reset(l.pause(failures))
	}
}

// pause is how long to wait for the next look.
func (l *List) pause(failures int) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return nextLook(l.settings.Refresh, failures, l.o.Rand)
}
