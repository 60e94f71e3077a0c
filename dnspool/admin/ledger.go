package admin

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"mirrorpool/health/ledger"
)

// A LedgerStatus is what the ledger says of a mirror in short. See [ledger.Summary].
type LedgerStatus struct {
	First     time.Time `json:"first_seen"`
	Uptime30  float64   `json:"uptime_30d"`
	Uptime180 float64   `json:"uptime_180d"`
	Failures  int       `json:"failures_180d"`
	Longest   float64   `json:"longest_seconds"`
	Latest    time.Time `json:"latest_failure,omitzero"`
}

// AddLedger adds what the ledger says of each mirror.
func (s *Status) AddLedger(l *ledger.Ledger, now time.Time) {
	for i := range s.Mirrors {
		m := &s.Mirrors[i]
		if known, ok := l.Summary(m.URLPrefix, now, now); ok {
			m.Ledger = &LedgerStatus{known.First, known.Uptime30, known.Uptime180, known.Failures, known.Longest, known.Latest}
		}
	}
}

const month = 30 * 24 * time.Hour

// Text tells it in a sentence.
func (l *LedgerStatus) Text(now time.Time) string {
	text := fmt.Sprintf("up %s of 30 days and %s of 180 days", percentOf(l.Uptime30), percentOf(l.Uptime180))
	switch age := now.Sub(l.First); {
	case age < month:
		text = fmt.Sprintf("known for %s: up %s of that time", Age(age), percentOf(l.Uptime180))
	case age < ledger.Keep:
		text = fmt.Sprintf("known for %s: up %s of 30 days and %s of that time", Age(age), percentOf(l.Uptime30), percentOf(l.Uptime180))
	}
	if l.Failures == 0 {
		return text + "; no failure in half a year"
	}
	text += fmt.Sprintf("; %s in half a year, the longest for %s, the latest on %s", plural(l.Failures, "failure", "failures"),
		Age(time.Duration(l.Longest*float64(time.Second))), l.Latest.UTC().Format(time.DateOnly))
	if l.Failures > 1 { // what mirror policies count
		text += fmt.Sprintf(": number %d within six months", l.Failures)
	}
	return text
}

// percentOf is a share in percent that never rounds to 100 where something is missing.
func percentOf(share float64) string {
	if share < 1 && share > 0.9999 {
		share = 0.9999
	}
	if share == 1 {
		return "100 %"
	}
	return fmt.Sprintf("%.2f %%", 100*share)
}

// showLedger handles GET /api/v1/ledger. since is a time as in RFC 3339; without it, all incidents are sent.
func showLedger(b Backend) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		since, err := readTime(r.URL.Query().Get("since"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		list, ok := b.Ledger(r.URL.Query().Get("mirror"), since)
		if !ok {
			http.Error(w, "nothing is known of such a mirror: give its url_prefix, name or host", http.StatusNotFound)
			return
		}
		writeJSON(w, list)
	}
}

// readTime reads a time as in RFC 3339; "" is the zero time.
func readTime(text string) (t time.Time, err error) {
	if text == "" {
		return t, nil
	}
	if t, err = time.Parse(time.RFC3339, text); err != nil {
		return t, errors.New("want since=2026-11-01T00:00:00Z")
	}
	return t, nil
}
