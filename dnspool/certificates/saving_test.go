package certificates

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"mirrorpool/config"
	"mirrorpool/testdata/testbed"
)

// A failingStorage saves no file of a certificate with an ending, while it fails.
type failingStorage struct {
	*storage
	ending string
	fails  atomic.Bool
	failed atomic.Int64
}

// Store is described at [certmagic.Storage].
func (f *failingStorage) Store(ctx context.Context, key string, value []byte) error {
	if f.fails.Load() && strings.HasPrefix(key, "certificates/") && path.Ext(key) == f.ending {
		f.failed.Add(1)
		return errors.New("the disk is full")
	}
	return f.storage.Store(ctx, key, value)
}

// TestRenewalNotSaved has a renewal of which one file cannot be saved: the saved certificate stays, and a restart while
// the authority is down serves it.
func TestRenewalNotSaved(t *testing.T) {
	for _, ending := range []string{".key", ".crt", ".json"} {
		dir := t.TempDir()
		synctest.Test(t, func(t *testing.T) {
			authority, disk := newSimulatedAuthority(t), &failingStorage{ending: ending}
			o := Options{
				Config: &config.ACME{Names: []string{authority.name}}, Dir: dir, Log: zap.NewNop(),
				Reach: func(string) Reach { return Reach{} },
				tune: func(c *certmagic.Config) {
					disk.storage = c.Storage.(*storage)
					c.Issuers, c.Storage = []certmagic.Issuer{authority}, disk
				},
			}
			acme, stop := runACME(t, o)
			time.Sleep(59 * day)
			synctest.Wait()
			first := serves(t, acme, authority, false)
			disk.fails.Store(true)
			time.Sleep(3 * day)
			synctest.Wait()
			stop()
			authority.down.Store(true)
			acme, stop = runACME(t, o)
			time.Sleep(time.Hour)
			synctest.Wait()
			if got := serves(t, acme, authority, false); got != first || disk.failed.Load() == 0 {
				t.Errorf("%s: certificate %d is served after a restart, want %d; saving failed %d times",
					ending, got, first, disk.failed.Load())
			}
			authority.down.Store(false)
			disk.fails.Store(false)
			time.Sleep(day)
			synctest.Wait()
			if got := serves(t, acme, authority, false); got <= first {
				t.Errorf("%s: certificate %d is served once files can be saved", ending, got)
			}
			stop()
			if left, _ := filepath.Glob(filepath.Join(dir, "certificates", "*", "*", "*"+staged)); len(left) > 0 {
				t.Errorf("%s: left in the folder: %v", ending, left)
			}
		})
	}
}

// A savedSite has the files of certificates for one name.
type savedSite struct {
	storage *storage
	site    string // key in the storage, without an ending
}

// save saves a certificate as certmagic does. after is called after each file; it may be nil.
func (s savedSite) save(t *testing.T, cert tls.Certificate, after func(ending string)) {
	t.Helper()
	key, err := certmagic.PEMEncodePrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	chain := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]})
	for _, file := range []struct {
		ending string
		text   []byte
	}{{".key", key}, {".crt", chain}, {".json", []byte(`{"sans": ["a.example.org"]}`)}} {
		if err := s.storage.Store(t.Context(), s.site+file.ending, file.text); err != nil {
			t.Fatal(err)
		}
		if after != nil {
			after(file.ending)
		}
	}
}

// served returns the end of the certificate that a start serves from a folder.
func served(t *testing.T, dir, name string) (until time.Time) {
	t.Helper()
	acme := NewACME(Options{Config: &config.ACME{Names: []string{name}}, Dir: dir, Log: zap.NewNop()})
	if err := acme.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer acme.Close()
	if cert := acme.find(name); cert != nil {
		until = cert.Leaf.NotAfter
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "certificates", "*", "*", "*"+staged)); len(left) > 0 {
		t.Errorf("left in the folder: %v", left)
	}
	return until
}

// TestSaveCutOff has the program killed after each step in which a new certificate replaces a saved one. The next start
// serves the one before, or the new one once all of it was there.
func TestSaveCutOff(t *testing.T) {
	t.Parallel()
	const name = "a.example.org"
	authority := testbed.NewAuthority(t)
	soon, late := time.Now().Add(day).Truncate(time.Second), time.Now().Add(90*day).Truncate(time.Second)
	before, renewed := authority.Issue(t, name, soon), authority.Issue(t, name, late)
	for _, test := range []struct {
		killed string    // after this file was stored
		moved  string    // endings of the files that were then moved to their places
		want   time.Time // end of the certificate that is served
	}{
		{".key", "", soon},
		{".crt", "", late},
		{".crt", ".key", late},
		{".json", "", late},
	} {
		dir := t.TempDir()
		site := savedSite{newStorage(dir), certmagic.StorageKeys.CertsSitePrefix("authority", name) + "/" + name}
		site.save(t, before, nil)
		killed := t.TempDir()
		site.save(t, renewed, func(ending string) {
			if ending != test.killed {
				return
			}
			if err := os.CopyFS(killed, os.DirFS(dir)); err != nil {
				t.Fatal(err)
			}
		})
		if file := filepath.Join(killed, site.site+test.moved); test.moved != "" {
			if err := os.Rename(file+staged, file); err != nil {
				t.Fatal(err)
			}
		}
		if got := served(t, killed, name); !got.Equal(test.want) {
			t.Errorf("killed after %s was stored, %s moved: the certificate that ends %v is served, want %v",
				test.killed, test.moved, got, test.want)
		}
	}
}

// TestReplacingFails has the chain of a new certificate not moved to its place, after its key was: certmagic then
// deletes what it has stored, and may begin to save another one. The certificate is not lost: the next start serves it.
func TestReplacingFails(t *testing.T) {
	t.Parallel()
	const name = "a.example.org"
	authority, until := testbed.NewAuthority(t), time.Now().Add(90*day).Truncate(time.Second)
	cert := authority.Issue(t, name, until)
	key, err := certmagic.PEMEncodePrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	other, err := certmagic.PEMEncodePrivateKey(authority.Issue(t, name, until).PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	chain := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]})
	for _, again := range []bool{false, true} {
		dir := t.TempDir()
		s, site := newStorage(dir), certmagic.StorageKeys.CertsSitePrefix("authority", name)+"/"+name
		inTheWay := filepath.Join(dir, site+".crt")
		if err := os.MkdirAll(inTheWay, 0o700); err != nil {
			t.Fatal(err)
		}
		err := errors.Join(s.Store(t.Context(), site+".key", key), s.Store(t.Context(), site+".crt", chain))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Store(t.Context(), site+".json", []byte("{}")); err == nil {
			t.Error("a file was moved onto a folder")
		}
		err = errors.Join(s.Delete(t.Context(), site+".crt"), s.Delete(t.Context(), site+".key"), os.Remove(inTheWay))
		if again {
			err = errors.Join(err, s.Store(t.Context(), site+".key", other))
		}
		if err != nil {
			t.Fatal(err)
		}
		if got := served(t, dir, name); !got.Equal(until) {
			t.Errorf("another one begun %v: the certificate that ends %v is served, want %v", again, got, until)
		}
	}
}

// TestDamagedMetadata has the metadata of a saved certificate missing or damaged: it is served nevertheless.
func TestDamagedMetadata(t *testing.T) {
	t.Parallel()
	const name = "a.example.org"
	until := time.Now().Add(day).Truncate(time.Second)
	cert := testbed.NewAuthority(t).Issue(t, name, until)
	for _, text := range []string{"", "{", "\x00\x00\x00\x00"} {
		dir := t.TempDir()
		site := savedSite{newStorage(dir), certmagic.StorageKeys.CertsSitePrefix("authority", name) + "/" + name}
		site.save(t, cert, nil)
		err := os.Remove(filepath.Join(dir, site.site+".json"))
		if text != "" {
			err = os.WriteFile(filepath.Join(dir, site.site+".json"), []byte(text), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		if got := served(t, dir, name); !got.Equal(until) {
			t.Errorf("metadata %q: the certificate that ends %v is served, want %v", text, got, until)
		}
	}
}
