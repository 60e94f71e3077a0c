package certificates

import (
	"context"
	"slices"
	"time"

	"go.uber.org/zap"
)

// A Status is what there is to say of a certificate.
type Status struct {
	Name        string
	From, Until time.Time // its validity; zero if there is none yet
	Problem     string    // why it could not be obtained or renewed the last time; "" if that went well
}

// Ends reports whether a certificate should have been renewed by now: it has less than 14 days left, or, if it is for a
// short time, less than 30 % of it. Renewal begins when a third is left.
func (s *Status) Ends(now time.Time) bool {
	return !s.Until.IsZero() && s.Until.Sub(now) < min(warnTime, s.Until.Sub(s.From)*3/10)
}

const (
	warnTime      = 14 * 24 * time.Hour
	errorTime     = 2 * 24 * time.Hour // before the end, when it is an error
	watchInterval = time.Minute
)

// Watch logs which certificates are missing or end soon, once a day and when it becomes worse, until ctx ends.
func Watch(ctx context.Context, list func() []Status, now func() time.Time, log *zap.Logger) error {
	w := watcher{log: log, told: map[string]telling{}}
	ticker := time.NewTicker(watchInterval)
	defer ticker.Stop()
	for {
		w.look(list(), now())
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// A watcher remembers what it has logged.
type watcher struct {
	log  *zap.Logger
	told map[string]telling // by name
}

// A telling is a line of the log.
type telling struct {
	what string
	at   time.Time
}

const (
	tellMissing = "no certificate yet; https does not answer for this name"
	tellSoon    = "certificate ends soon and has not been renewed"
	tellEnded   = "certificate has ended; clients refuse it"
)

// look logs what is new, and after a day once more.
func (w *watcher) look(list []Status, now time.Time) {
	for i := range list {
		s := &list[i]
		what := s.trouble(now)
		before, known := w.told[s.Name]
		if what == "" {
			delete(w.told, s.Name)
			continue
		}
		if known && before.what == what && now.Sub(before.at) < 24*time.Hour {
			continue
		}
		w.told[s.Name] = telling{what, now}
		fields := []zap.Field{zap.String("name", s.Name), zap.Time("expires", s.Until), zap.String("problem", s.Problem)}
		if what == tellMissing {
			fields = slices.Delete(fields, 1, 2)
		}
		if what == tellEnded || what == tellSoon && s.Until.Sub(now) < errorTime {
			w.log.Error(what, fields...)
		} else {
			w.log.Warn(what, fields...)
		}
	}
}

// trouble returns what is wrong with a certificate, or "".
func (s *Status) trouble(now time.Time) string {
	switch {
	case s.Until.IsZero():
		return tellMissing
	case !now.Before(s.Until):
		return tellEnded
	case s.Ends(now):
		return tellSoon
	default:
		return ""
	}
}
