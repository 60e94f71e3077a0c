package admin

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"mirrorpool/health/ledger"
)

func TestLedgerText(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	for want, l := range map[string]LedgerStatus{
		"up 100 % of 30 days and 100 % of 180 days; no failure in half a year":                                                                                  {now.AddDate(-1, 0, 0), 1, 1, 0, 0, time.Time{}},
		"up 99.99 % of 30 days and 98.50 % of 180 days; 2 failures in half a year, the longest for 2h00m, the latest on 2026-10-29: number 2 within six months": {now.AddDate(-1, 0, 0), 0.999999, 0.985, 2, 7200, now.AddDate(0, 0, -3)},
		"known for 12d: up 0.00 % of that time; 1 failure in half a year, the longest for 12d, the latest on 2026-10-20": {
			now.AddDate(0, 0, -12), 0, 0, 1, 12 * 86400, now.AddDate(0, 0, -12)},
	} {
		if got := l.Text(now); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestLedgerEndpoint(t *testing.T) {
	t.Parallel()
	l := ledger.New()
	now := time.Now().UTC().Truncate(time.Second)
	l.Note(map[string][]ledger.Problem{"https://a.example.net/": {{Kind: ledger.Down, Reason: "status: 404", Noticed: "check"}}}, now, time.Minute)
	mux := newMux(Backend{Ledger: func(mirror string, since time.Time) ([]ledger.Summary, bool) {
		if mirror == "" {
			return l.Summaries(since, now), true
		}
		s, ok := l.Summary(mirror, since, now)
		return []ledger.Summary{s}, ok
	}})
	for query, want := range map[string]int{
		"":                            http.StatusOK,
		"?since=2026-01-01T00:00:00Z": http.StatusOK,
		"?mirror=" + url.QueryEscape("https://a.example.net/"): http.StatusOK,
		"?since=yesterday": http.StatusBadRequest,
		"?mirror=x":        http.StatusNotFound,
	} {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/api/v1/ledger"+query, nil))
		if w.Code != want {
			t.Errorf("%q: %d, want %d", query, w.Code, want)
		}
		var list []ledger.Summary
		if want == http.StatusOK && (json.Unmarshal(w.Body.Bytes(), &list) != nil || len(list) != 1 || len(list[0].Incidents) != 1) {
			t.Errorf("%q: %s", query, w.Body)
		}
	}
}
