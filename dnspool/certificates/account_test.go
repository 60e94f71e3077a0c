package certificates

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// TestDamagedAccount has the error for an account that cannot be read name its file, and leave it as it is.
func TestDamagedAccount(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "{", "{}", `{"account": {}, "key": "x"}`} {
		i := &issuer{directory: "https://acme.example/dir", storage: newStorage(t.TempDir())}
		file := i.storage.Filename(i.accountKey())
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := i.accountOf(t.Context(), nil)
		if err == nil || !strings.Contains(err.Error(), file+": restore the file, or remove it") {
			t.Errorf("%q: %v", text, err)
		}
		if left, err := os.ReadFile(file); err != nil || string(left) != text {
			t.Errorf("%q is %q now, %v", text, left, err)
		}
	}
}

// TestOneAccount starts two copies of the program, with three names each, on an empty folder: they register one
// account.
func TestOneAccount(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.InfoLevel)
		authority := newFakeACME(t)
		o := authority.options(dir, Reach{}, fakeTXT{}, zap.New(core))
		o.Config.Names = append(o.Config.Names, "b."+authority.name, "c."+authority.name)
		first, stopFirst := runACME(t, o)
		defer stopFirst()
		second, stopSecond := runACME(t, o)
		defer stopSecond()
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := logs.FilterMessageSnippet("ACME account registered").Len(); n != 1 {
			t.Errorf("%d accounts registered, want 1", n)
		}
		for _, name := range o.Config.Names {
			if !first.Covers(name) || !second.Covers(name) {
				t.Errorf("%s: a certificate is missing", name)
			}
		}
	})
}
