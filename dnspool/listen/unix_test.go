package listen

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestUnix has a second process take over from a first one, and the first one end.
func TestUnix(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "admin.sock")
	first, err := Unix(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("%v, %v; want mode 0660", info.Mode(), err)
	}
	if taken, err := (*Opener)(nil).Check(t.Context(), "tcp", UnixPrefix+path); !taken || err != nil {
		t.Errorf("while one listens: %v, %v", taken, err)
	}
	second, err := Unix(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	first.Drain(ended, 1)
	if _, err := first.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept after Drain: %v", err)
	}
	first.Close()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatalf("after the first has ended: %v", err)
	}
	conn.Close()
	if _, err := second.Accept(); err != nil {
		t.Error(err)
	}
	second.Close()
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("it is still there: %v", err)
	}
	if taken, err := (*Opener)(nil).Check(t.Context(), "tcp", UnixPrefix+path); taken || err != nil {
		t.Errorf("when none listens: %v, %v", taken, err)
	}
}

func TestUnixFails(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		file:                                  "is there already, and is no socket",
		filepath.Join(dir, "missing", "sock"): "no such file",
		filepath.Join(dir, strings.Repeat("a", 200)): "invalid argument",
	} {
		if l, err := Unix(t.Context(), path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, %v; want %q", path, l, err, want)
		}
	}
	if _, err := os.Lstat(file); err != nil {
		t.Errorf("the file that was there: %v", err)
	}
}
