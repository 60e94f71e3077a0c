//go:build unix

package safefile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestOpenRefusesWhatIsNotRegular(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(fifo, link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{fifo, link, dir, "/dev/null"} {
		f, err := Open(path)
		if err == nil {
			f.Close()
		}
		if err == nil || !strings.Contains(err.Error(), "not a regular file") {
			t.Errorf("%s: error %v, want that it is not a regular file", path, err)
		}
	}
	if _, err := Open(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v, want that there is none", err)
	}
}

func TestReadIsBounded(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("12345678"), 0o644); err != nil {
		t.Fatal(err)
	}
	if data, err := Read(path, 8); err != nil || string(data) != "12345678" {
		t.Errorf("%q, %v; want all 8 bytes", data, err)
	}
	if _, err := Read(path, 7); err == nil || !strings.Contains(err.Error(), "a file of at most 7 bytes") {
		t.Errorf("error %v, want that 8 bytes are too many", err)
	}
}

func TestReadSecret(t *testing.T) {
	t.Parallel()
	for mode, want := range map[os.FileMode]string{
		0o600: "", 0o400: "", 0o640: "", 0o440: "", 0o604: "chmod 600", 0o660: "chmod 600", 0o644: "chmod 600", 0o602: "chmod 600",
	} {
		path := filepath.Join(t.TempDir(), "secret")
		if err := os.WriteFile(path, []byte("secret"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		checkRefusal(t, mode, second(ReadSecret(path, 100)), want)
	}
	asRoot(t)
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(path, 12345, -1); err != nil {
		t.Fatal(err)
	}
	checkRefusal(t, 0o600, second(ReadSecret(path, 100)), "another user (uid 12345)")
	checkRefusal(t, 0o600, second(ReadTrusted(path, 100)), "another user (uid 12345)")
}

func TestReadTrusted(t *testing.T) {
	t.Parallel()
	for mode, want := range map[os.FileMode]string{0o600: "", 0o444: "", 0o644: "", 0o664: "go-w", 0o646: "go-w", 0o666: "go-w"} {
		path := filepath.Join(t.TempDir(), "public")
		if err := errors.Join(os.WriteFile(path, []byte("public"), 0o600), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
		checkRefusal(t, mode, second(ReadTrusted(path, 100)), want)
	}
}

func TestCheckFolder(t *testing.T) {
	t.Parallel()
	for mode, want := range map[os.FileMode]string{0o700: "", 0o755: "", 0o750: "", 0o775: "go-w", 0o777: "go-w",
		0o777 | os.ModeSticky: "go-w"} {
		dir := t.TempDir()
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		checkRefusal(t, mode, CheckFolder(dir), want)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	checkRefusal(t, 0o600, CheckFolder(file), "not a folder")
	asRoot(t)
	dir := t.TempDir()
	if err := os.Chown(dir, 12345, -1); err != nil {
		t.Fatal(err)
	}
	checkRefusal(t, 0o700, CheckFolder(dir), "another user (uid 12345)")
}

// TestSame replaces a file by one that differs in size, in time, or in nothing but its inode.
func TestSame(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "file")
	at := time.Unix(1_800_000_000, 0)
	look := func(text string, at time.Time) os.FileInfo {
		t.Helper()
		next := path + ".new"
		if err := os.WriteFile(next, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(os.Chtimes(next, at, at), os.Rename(next, path)); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info
	}
	first := look("one", at)
	if again, err := os.Stat(path); err != nil || !Same(first, again) || !Same(nil, nil) || Same(first, nil) || Same(nil, first) {
		t.Errorf("a file is not the same as itself, or as none: %v", err)
	}
	for what, next := range map[string]os.FileInfo{"inode": look("one", at), "size": look("three", at),
		"time": look("one", at.Add(time.Second))} {
		if Same(first, next) {
			t.Errorf("the same with another %s", what)
		}
	}
}

func second(_ []byte, err error) error { return err }

func checkRefusal(t *testing.T, mode os.FileMode, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("mode %04o: %v, want no error", mode, err)
	case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
		t.Errorf("mode %04o: error %v, want %q", mode, err, want)
	}
}

func asRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
}
