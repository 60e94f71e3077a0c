package certificates

import (
	"encoding/pem"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"mirrorpool/config"
	"mirrorpool/testdata/testbed"
)

// TestUnreadableFiles has each file of a saved certificate that cannot be opened: it stays, the problem names it, and
// no other certificate is ordered. Once it can be opened, it is served.
func TestUnreadableFiles(t *testing.T) {
	t.Parallel()
	for _, ending := range []string{".crt", ".key", ".json"} {
		dir := t.TempDir()
		synctest.Test(t, func(t *testing.T) {
			authority := newSimulatedAuthority(t)
			acme, stop := runSimulated(t, dir, authority, zap.NewNop())
			synctest.Wait()
			first := serves(t, acme, authority, false)
			stop()
			file := filepath.Join(dir, "certificates", "simulated", authority.name, authority.name+ending)
			kept := file + ".kept"
			if err := os.Rename(file, kept); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(file, file); err != nil { // cannot be opened, even by root
				t.Fatal(err)
			}
			acme, stop = runSimulated(t, dir, authority, zap.NewNop())
			defer stop()
			time.Sleep(10 * time.Minute)
			synctest.Wait()
			if problem := acme.Status()[0].Problem; !strings.Contains(problem, "cannot read a saved certificate") ||
				!strings.Contains(problem, file) {
				t.Errorf("%s: the problem is %q", ending, problem)
			}
			if info, err := os.Lstat(file); err != nil || info.Mode()&fs.ModeSymlink == 0 {
				t.Errorf("%s: the file was replaced: %v, %v", ending, info, err)
			}
			if err := os.Rename(kept, file); err != nil {
				t.Fatal(err)
			}
			if err := acme.SetConfig(&config.ACME{Names: []string{authority.name}}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if got := serves(t, acme, authority, false); first == 0 || got != first || authority.issued.Load() != 1 {
				t.Errorf("%s: certificate %d, then %d; %d issued", ending, first, got, authority.issued.Load())
			}
			if problem := acme.Status()[0].Problem; problem != "" {
				t.Errorf("%s: the problem stays: %s", ending, problem)
			}
		})
	}
}

// TestExposedKeys has saved keys and folders with modes that let in other users: the start corrects them, with a
// warning for each, and leaves the rest.
func TestExposedKeys(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	core, logs := observer.New(zap.WarnLevel)
	modes := []struct {
		name      string
		mode, now fs.FileMode
	}{
		{"accounts/authority.json", 0o644, 0o600},
		{"certificates/authority/a.example.org/a.example.org.key", 0o604, 0o600},
		{"certificates/authority/a.example.org/a.example.org.key.bad", 0o620, 0o600},
		{"certificates/authority/a.example.org/a.example.org.crt", 0o644, 0o644},
		{"certificates/authority/b.example.org/b.example.org.key", 0o640, 0o640},
		{"certificates/authority/b.example.org", 0o777 | fs.ModeDir, 0o755},
		{"certificates/authority", 0o755 | fs.ModeDir, 0o755},
	}
	for _, m := range modes {
		file := filepath.Join(dir, m.name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if !m.mode.IsDir() {
			if err := os.WriteFile(file, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chmod(file, m.mode.Perm()); err != nil {
			t.Fatal(err)
		}
	}
	acme := NewACME(Options{Config: &config.ACME{}, Dir: dir, Log: zap.New(core)})
	if err := acme.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer acme.Close()
	for _, m := range modes {
		file := filepath.Join(dir, m.name)
		info, err := os.Stat(file)
		if err != nil || info.Mode().Perm() != m.now {
			t.Errorf("%s: %v, %v, want %v", m.name, info.Mode(), err, m.now)
		}
		lines := logs.FilterField(zap.String("file", file)).All()
		if n := len(lines); (n == 1) != (m.mode.Perm() != m.now) || n > 1 {
			t.Errorf("%s: %d warnings", m.name, n)
		}
		for _, line := range lines { // both as ls shows them
			if got := line.ContextMap(); got["mode"] != m.mode.String() || got["corrected"] != info.Mode().String() {
				t.Errorf("%s: the log has mode %v, corrected %v", m.name, got["mode"], got["corrected"])
			}
		}
	}
}

// TestCheckWhileSaving has another copy of the program save a renewed certificate, one file after the other, while this
// one checks the files: they stay. Without an order, a certificate that does not match its key is set aside.
func TestCheckWhileSaving(t *testing.T) {
	t.Parallel()
	const name = "a.example.org"
	acme := NewACME(Options{Config: &config.ACME{Names: []string{name}}, Dir: t.TempDir(), Log: zap.NewNop()})
	if err := acme.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer acme.Close()
	other, keys := newStorage(acme.o.Dir), certmagic.StorageKeys
	save := func(key string, text []byte) {
		t.Helper()
		if err := other.FileStorage.Store(t.Context(), key, text); err != nil {
			t.Fatal(err)
		}
	}
	authority := testbed.NewAuthority(t)
	before, renewed := authority.Issue(t, name, time.Now().Add(day)), authority.Issue(t, name, time.Now().Add(90*day))
	text, err := certmagic.PEMEncodePrivateKey(renewed.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	save(keys.SiteCert("authority", name), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: before.Certificate[0]}))
	if err := other.Lock(t.Context(), issueLock+name); err != nil {
		t.Fatal(err)
	}
	save(keys.SitePrivateKey("authority", name), text)
	for _, saving := range []bool{true, false} {
		if err := acme.repairSaved(t.Context(), acme.now.Load(), name); err != nil {
			t.Error(err)
		}
		if stays := other.Exists(t.Context(), keys.SiteCert("authority", name)); stays != saving {
			t.Errorf("while an order saves: %v: the certificate stays: %v", saving, stays)
		}
		if saving {
			if err := other.Unlock(t.Context(), issueLock+name); err != nil {
				t.Fatal(err)
			}
		}
	}
}
