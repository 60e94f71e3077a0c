package certificates

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"mirrorpool/config"
)

// A fullStorage cannot save certificates while full is set, although a test of its folders succeeds.
type fullStorage struct {
	certmagic.Storage
	full atomic.Bool
}

// Store is described at [certmagic.Storage].
func (s *fullStorage) Store(ctx context.Context, key string, value []byte) error {
	if s.full.Load() && strings.HasPrefix(key, "certificates/") {
		return errors.New("no space left on device")
	}
	return s.Storage.Store(ctx, key, value)
}

// TestUnsavedCertificates has certificates issued that cannot be saved. Reloads do not order more of them than the
// limit on tries, with and without a validation before each; once they can be saved, there is one.
func TestUnsavedCertificates(t *testing.T) {
	t.Parallel()
	for _, remembers := range []bool{false, true} {
		dir := t.TempDir()
		synctest.Test(t, func(t *testing.T) {
			authority := newFakeACME(t)
			authority.remembers = remembers
			o := authority.options(dir, Reach{}, fakeTXT{}, zap.NewNop())
			storage := &fullStorage{Storage: newStorage(dir)}
			storage.full.Store(true)
			tune := o.tune
			o.tune = func(c *certmagic.Config) { tune(c); c.Storage = storage }
			acme, stop := runACME(t, o)
			defer stop()
			for range 20 {
				time.Sleep(5 * time.Second)
				if err := acme.SetConfig(o.Config); err != nil {
					t.Fatal(err)
				}
			}
			synctest.Wait()
			if n := authority.issued.Load(); n != maxTries {
				t.Errorf("remembers=%v: %d certificates were issued, want %d", remembers, n, maxTries)
			}
			if problem := acme.Status()[0].Problem; !strings.Contains(problem, "issued, but not saved") {
				t.Errorf("remembers=%v: the problem is %q", remembers, problem)
			}
			storage.full.Store(false)
			time.Sleep(2 * triesTime)
			synctest.Wait()
			if serves(t, acme, authority.simulatedAuthority, false) == 0 {
				t.Errorf("remembers=%v: no certificate: %s", remembers, acme.Status()[0].Problem)
			}
			if left, _ := filepath.Glob(filepath.Join(dir, "tries", "*", "*.json")); len(left) > 0 {
				t.Errorf("remembers=%v: tries are counted still: %v", remembers, left)
			}
		})
	}
}

// TestNoOrderWithoutSpace has a folder of the authority that takes no files: nothing is ordered, no account registered,
// and the problem names the folder.
func TestNoOrderWithoutSpace(t *testing.T) {
	t.Parallel()
	for _, folder := range []string{"certificates", "accounts"} {
		dir := t.TempDir()
		synctest.Test(t, func(t *testing.T) {
			blocked := filepath.Join(dir, folder)
			if err := os.Symlink(filepath.Join(dir, "unmounted", "disk"), blocked); err != nil {
				t.Fatal(err)
			}
			authority := newFakeACME(t)
			acme, stop := runACME(t, authority.options(dir, Reach{}, fakeTXT{}, zap.NewNop()))
			defer stop()
			time.Sleep(10 * time.Second)
			synctest.Wait()
			problem := acme.Status()[0].Problem
			if n := authority.ordered(); n != 0 || !strings.Contains(problem, "nothing can be saved in "+blocked) ||
				!strings.Contains(problem, "free disk space") {
				t.Errorf("%d orders, problem %q", n, problem)
			}
			if err := os.Remove(blocked); err != nil {
				t.Fatal(err)
			}
			time.Sleep(5 * time.Minute)
			synctest.Wait()
			if serves(t, acme, authority.simulatedAuthority, false) == 0 {
				t.Errorf("no certificate after the folder was mended: %s", acme.Status()[0].Problem)
			}
		})
	}
}

// TestCheckFolders: each folder that certificates are saved in must be writable for its owner alone.
func TestCheckFolders(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := &config.Server{HTTP: config.HTTP{ACME: &config.ACME{
		Names: []string{"*.example.org"}, Directories: []string{"https://acme.example.net/dir"},
	}}}
	if err := CheckFolders(c, filepath.Join(dir, "none")); err != nil {
		t.Errorf("without a folder: %v", err)
	}
	folder := filepath.Join(dir, "certificates", "acme.example.net-dir", "wildcard_.example.org")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := CheckFolders(c, dir); err != nil {
		t.Error(err)
	}
	if err := os.Chmod(folder, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := CheckFolders(c, dir); err == nil || !strings.Contains(err.Error(), folder) {
		t.Errorf("a folder that others can write to: %v", err)
	}
}
