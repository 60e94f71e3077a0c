package admin

import (
	"encoding/json"
	"net/http/httptest"
	"testing"
)

// TestStatusJSON compares the status, which is written as it is encoded, with what encoding/json makes of it as a
// whole.
func TestStatusJSON(t *testing.T) {
	t.Parallel()
	b := testBackend(3)
	status := b.Status()
	status.Mirrors[1].Notes = "<b>&\"\\\u2028\n"
	status.Mirrors[2].Endpoints = nil
	b.Status = func() Status { return status }
	w := httptest.NewRecorder()
	newMux(b).ServeHTTP(w, httptest.NewRequest("GET", "/api/v1/status", nil))
	want, err := json.MarshalIndent(status, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if got := w.Body.String(); got != string(want)+"\n" {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
