package admin

import (
	"net/http"
	"time"
)

// parentTime is how long a look at the parent's DS records may take.
const parentTime = 15 * time.Second

// showSignatures handles GET /api/v1/dnssec.
func showSignatures(b Backend) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		s, ok := b.Signatures()
		if !ok {
			http.Error(w, "the zone is not signed: see dns.dnssec", http.StatusNotFound)
			return
		}
		writeJSON(w, s)
	}
}

// rollKeys handles POST /api/v1/dnssec/rollover, and answers with what there is then.
func rollKeys(b Backend) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := b.RollKeys(r.URL.Query().Get("algorithm")); err != nil {
			http.Error(w, err.Error(), http.StatusConflict)
			return
		}
		showSignatures(b)(w, r)
	}
}

// abortRollover handles DELETE /api/v1/dnssec/rollover, and answers likewise.
func abortRollover(b Backend) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(parentTime + requestTime))
		if err := b.AbortRollover(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusConflict)
			return
		}
		showSignatures(b)(w, r)
	}
}
