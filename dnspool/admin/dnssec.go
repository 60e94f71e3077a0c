package admin

import "net/http"

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
