package certificates

import (
	"context"
	"time"

	"go.uber.org/zap"
)

// A Status is the state of a certificate.
type Status struct {
	Name        string
	From, Until time.Time // its validity; zero if there is none yet
	Problem     string    // one line: why the latest attempt to obtain or renew it failed; "" if it did not
}

// Overdue reports whether a certificate should have been renewed by now: it has less than 14 days left, or, if it is
// for a short time, less than 30 % of it. Renewal begins when a third is left.
func (s *Status) Overdue(now time.Time) bool {
	return !s.Until.IsZero() && s.Until.Sub(now) < min(warnTime, s.Until.Sub(s.From)*3/10)
}

const (
	warnTime      = 14 * 24 * time.Hour
	errorTime     = 2 * 24 * time.Hour // before the end, when it is an error
	watchInterval = 10 * time.Second
)

// Watch logs which certificates are missing or overdue, once a day and when it becomes worse, until ctx ends.
func Watch(ctx context.Context, list func() []Status, now func() time.Time, log *zap.Logger) error {
	w := watcher{log: log, latest: map[string]logged{}}
	ticker := time.NewTicker(watchInterval)
	defer ticker.Stop()
	for {
		w.check(list(), now())
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// A watcher logs certificates that are missing or overdue.
type watcher struct {
	log    *zap.Logger
	latest map[string]logged // by name
}

// logged is what was logged of a certificate, and when.
type logged struct {
	message string
	at      time.Time
}

const (
	messageMissing = "no certificate by ACME yet"
	messageOverdue = "certificate ends soon and has not been renewed"
	messageExpired = "certificate has ended; clients refuse it"
)

// check logs what is new, and after a day once more. Of several certificates for a name it takes the first, which is
// preferred to that in files.
func (w *watcher) check(list []Status, now time.Time) {
	seen := map[string]bool{}
	for i := range list {
		s := &list[i]
		if s.Until.IsZero() && s.Problem == "" {
			continue // the first order is under way
		}
		if seen[s.Name] {
			continue
		}
		seen[s.Name] = true
		message := s.trouble(now)
		before, known := w.latest[s.Name]
		if message == "" {
			delete(w.latest, s.Name)
			continue
		}
		if known && before.message == message && now.Sub(before.at) < 24*time.Hour {
			continue
		}
		w.latest[s.Name] = logged{message, now}
		fields := []zap.Field{zap.String("name", s.Name), zap.String("problem", s.Problem)}
		if message != messageMissing {
			fields = append(fields, zap.Time("expires", s.Until))
		}
		if message == messageExpired || message == messageOverdue && s.Until.Sub(now) < errorTime {
			w.log.Error(message, fields...)
		} else {
			w.log.Warn(message, fields...)
		}
	}
}

// trouble returns the message for a certificate that is missing or overdue, or "".
func (s *Status) trouble(now time.Time) string {
	switch {
	case s.Until.IsZero():
		return messageMissing
	case !now.Before(s.Until):
		return messageExpired
	case s.Overdue(now):
		return messageOverdue
	default:
		return ""
	}
}
