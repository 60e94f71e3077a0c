package certificates

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// TestDamagedAccount has the error for an account that cannot be read name its file, and leave it as it is.
func TestDamagedAccount(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "{", "{}", `{"account": {}, "key": "x"}`} {
		i := &issuer{directory: "https://acme.example/dir", storage: newStorage(t.TempDir()), accounts: new(sync.Mutex)}
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
