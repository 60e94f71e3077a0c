package certificates

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.uber.org/zap"
	"golang.org/x/crypto/ocsp"

	"mirrorpool/config"
)

// TestStaleFiles has locks and OCSP responses of former certificates in state_dir: a start removes them, but not those
// in use. The lock of a certificate is removed with its release.
func TestStaleFiles(t *testing.T) {
	t.Parallel()
	authority, dir := newSimulatedAuthority(t), t.TempDir()
	response := func(until time.Time) string {
		text, err := ocsp.CreateResponse(authority.cert, authority.cert, ocsp.Response{
			Status: ocsp.Good, SerialNumber: authority.cert.SerialNumber, ThisUpdate: until.Add(-day), NextUpdate: until,
		}, authority.key)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	for name, text := range map[string]string{
		"ocsp/old": response(time.Now().Add(-time.Hour)), "ocsp/fresh": response(time.Now().Add(time.Hour)), "ocsp/bad": "bad",
		"locks/ari_old.flock": "", "locks/issue_cert_a.example.org.flock": "",
	} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	other := newStorage(dir)
	if err := other.Lock(t.Context(), "ari_held.x"); err != nil {
		t.Fatal(err)
	}
	acme := NewACME(Options{Config: &config.ACME{}, Dir: dir, Log: zap.NewNop()})
	if err := acme.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer acme.Close()
	left := func(folder string) (names []string) {
		entries, err := os.ReadDir(filepath.Join(dir, folder))
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range entries {
			names = append(names, entry.Name())
		}
		return names
	}
	if got := left("ocsp"); !slices.Equal(got, []string{"fresh"}) {
		t.Errorf("OCSP responses left: %v", got)
	}
	locks := left("locks")
	if !slices.Contains(locks, "ari_held.x.flock") || !slices.Contains(locks, "issue_cert_a.example.org.flock") ||
		slices.Contains(locks, "ari_old.flock") {
		t.Errorf("locks left: %v", locks)
	}
	if err := other.Unlock(t.Context(), "ari_held.x"); err != nil {
		t.Fatal(err)
	}
	if locks := left("locks"); slices.Contains(locks, "ari_held.x.flock") {
		t.Errorf("locks after a release: %v", locks)
	}
}
