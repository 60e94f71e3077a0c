package certificates

import (
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"mirrorpool/config"
)

// TestSharedAnswers: what a client asks for leads to no other file, and what a crash has left is removed at a start.
func TestSharedAnswers(t *testing.T) {
	t.Parallel()
	a := NewACME(Options{Config: &config.ACME{}, Dir: t.TempDir(), Log: zap.NewNop()})
	for _, token := range []string{"new", "old"} {
		if err := a.answers.shared.add(t.Context(), "http-01", token, token+".thumbprint"); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.storage.Store(t.Context(), "answers/secret.txt", []byte("../secret.thumbprint")); err != nil {
		t.Fatal(err)
	}
	for _, token := range []string{"", ".", "..", "../secret", "NEW", "n/ew", "new\x00", "./.", strings.Repeat("x", 5000)} {
		if text, ok := a.KeyAuthorization(token); ok {
			t.Errorf("%.20q: %q", token, text)
		}
	}
	old := time.Now().Add(-2 * sharedTime)
	if err := os.Chtimes(a.storage.Filename(sharedKey("http-01", "old")), old, old); err != nil {
		t.Fatal(err)
	}
	if err := a.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if text, ok := a.KeyAuthorization("new"); !ok || text != "new.thumbprint" {
		t.Errorf("%q, %v", text, ok)
	}
	if text, ok := a.KeyAuthorization("old"); ok {
		t.Errorf("an answer of two hours ago is given: %q", text)
	}
}
