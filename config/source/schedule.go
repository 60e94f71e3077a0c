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

// Run looks at the source when it may have changed and at the refresh interval, until ctx ends. look has to
// call [List.Reload], and to put what comes of it to use.
func (l *List) Run(ctx context.Context, look func(context.Context) Result) error {
	var watching sync.WaitGroup
	defer watching.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	changed := make(chan struct{}, 1)
	if w, ok := l.reader.(watcher); ok {
		watching.Go(func() {
			err := w.watch(ctx, func() {
				select {
				case changed <- struct{}{}:
				default:
				}
			})
			if err != nil {
				l.o.Log.Warn("changes of the list of mirrors are noticed at the refresh interval only", zap.Error(err))
			}
		})
	}
	failures := 0
	if l.Status().Error != "" {
		failures = 1
	}
	timer := time.NewTimer(nextLook(l.o.Settings().Refresh, failures, l.o.Rand))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-timer.C:
		}
		failures++
		if r := look(ctx); r.Err == nil || r.Held != nil {
			failures = 0
		}
		timer.Reset(nextLook(l.o.Settings().Refresh, failures, l.o.Rand))
	}
}
