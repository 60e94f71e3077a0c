package admin

import (
	"context"
	"net/http"
	"time"
)

// testMailTime is how long sending a test may take: longer than the mailer gives itself.
const testMailTime = time.Minute

// A TestMailAnswer is the response of /api/v1/mail/test.
type TestMailAnswer struct {
	OK    bool   `json:"ok"`
	Error string `json:"error"` // why the mail could not be sent, or ""
}

// testMail handles POST /api/v1/mail/test.
func testMail(b Backend) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), testMailTime)
		defer cancel()
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(testMailTime + requestTime))
		if err := b.TestMail(ctx); err != nil {
			writeJSONStatus(w, http.StatusConflict, TestMailAnswer{Error: err.Error()})
			return
		}
		writeJSON(w, TestMailAnswer{OK: true})
	}
}
