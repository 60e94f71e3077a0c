package ledger

import (
	"encoding/json"
	"fmt"
	"time"

	"go.uber.org/zap"

	"mirrorpool/config/statefile"
)

// format is that of the saved ledger.
var format = statefile.Format{Kind: "mirrorpool-ledger", Version: 1, Limit: 256 << 20}

// Save writes the ledger to a file at path, atomically. It logs a failure, once until the error changes.
func (l *Ledger) Save(path string, log *zap.Logger) {
	l.mu.Lock()
	body, err := json.Marshal(l.mirrors)
	l.mu.Unlock()
	if err == nil {
		err = format.Replace(path, body)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.saving.IsNew(err) {
		log.Warn("cannot save the ledger of incidents", zap.String("file", path), zap.Error(err))
	}
}

// Load restores what Save wrote to path, if there is something. What cannot be used is logged and set aside.
func (l *Ledger) Load(path string, now time.Time, log *zap.Logger) {
	err := format.Load(path, func(body []byte) error {
		mirrors, err := decode(body, now)
		if err != nil {
			return err
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		l.mirrors = mirrors
		return nil
	})
	if err != nil {
		log.Warn("cannot restore the saved ledger of incidents", zap.Error(err))
	}
}

// decode reads a saved ledger. Times that lie in the future, because a clock was wrong, become now.
func decode(body []byte, now time.Time) (map[string]*record, error) {
	var mirrors map[string]*record
	if err := json.Unmarshal(body, &mirrors); err != nil {
		return nil, err
	}
	if mirrors == nil || len(mirrors) > maxMirrors {
		return nil, fmt.Errorf("%d mirrors", len(mirrors))
	}
	for prefix, r := range mirrors {
		if r == nil || len(r.Incidents) > maxIncidents || len(r.Doubts) > maxDoubts {
			return nil, fmt.Errorf("%s: not a record of at most %d incidents", prefix, maxIncidents)
		}
		for _, t := range []*time.Time{&r.First, &r.Last} {
			past(t, now)
		}
		for k := range r.Incidents {
			i := &r.Incidents[k]
			if len(i.Where) > maxWhere || len(i.Reason) > 4*maxText || i.Times < 1 {
				return nil, fmt.Errorf("%s: an incident that makes no sense", prefix)
			}
			for _, t := range []*time.Time{&i.Since, &i.Until, &i.Fit} {
				past(t, now)
			}
		}
	}
	return mirrors, nil
}

// past makes a time that lies in the future now.
func past(t *time.Time, now time.Time) {
	if t.After(now) {
		*t = now
	}
}
