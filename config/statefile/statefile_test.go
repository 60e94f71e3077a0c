//go:build unix

package statefile

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestReplace wants one file in the end, with all of the last text, that others may not read.
func TestReplace(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "state")
	if err := os.WriteFile(path, []byte("before"), 0o644); err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("after ", 10_000)
	if err := Replace(path, func(w io.Writer) error { _, err := io.WriteString(w, long); return err }); err != nil {
		t.Fatal(err)
	}
	wantAlone(t, path, long)
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("its mode is %v, %v", info.Mode(), err)
	}
}

// TestFailureChangesNothing wants the file as it was, and nothing beside it, whatever fails.
func TestFailureChangesNothing(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "state")
	if err := os.WriteFile(path, []byte("before"), 0o600); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	if err := Replace(path, func(w io.Writer) error { io.WriteString(w, "half"); return broken }); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	wantAlone(t, path, "before")
	folder := filepath.Join(t.TempDir(), "folder")
	if err := os.MkdirAll(filepath.Join(folder, "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Replace(folder, func(io.Writer) error { return nil }); err == nil {
		t.Error("a folder is replaced")
	}
	if names, err := os.ReadDir(filepath.Dir(folder)); len(names) != 1 {
		t.Errorf("%v, %v is left", names, err)
	}
	if err := Replace(filepath.Join(t.TempDir(), "none", "state"), func(io.Writer) error {
		return nil
	}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("in a folder that is not there: %v", err)
	}
}

// TestTrouble tells the same of the same trouble each time.
func TestTrouble(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "none", "state")
	for range 2 {
		err := Replace(path, func(io.Writer) error { return nil })
		if want := "open " + path + ": no such file or directory"; err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// TestLeftovers removes what a crash has left, but not what another process may be writing.
func TestLeftovers(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "state")
	for name, age := range map[string]time.Duration{".1.tmp": 2 * leftoverAge, ".2.tmp": 0, ".old": 2 * leftoverAge} {
		if err := os.WriteFile(path+name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		then := time.Now().Add(-age)
		if err := os.Chtimes(path+name, then, then); err != nil {
			t.Fatal(err)
		}
	}
	if err := Replace(path, func(io.Writer) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if left, err := filepath.Glob(path + "*"); err != nil || !slices.Equal(left, []string{path, path + ".2.tmp", path + ".old"}) {
		t.Errorf("there is %v, %v", left, err)
	}
}

// TestAtOnce replaces a file from many sides: whenever it is read, it is one of the texts, and whole.
func TestAtOnce(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "state")
	var writing sync.WaitGroup
	for c := byte('a'); c < 'i'; c++ {
		writing.Go(func() {
			for range 10 {
				if err := Replace(path, func(w io.Writer) error {
					_, err := w.Write(bytes.Repeat([]byte{c}, 9000))
					return err
				}); err != nil {
					t.Error(err)
				}
				if text, err := os.ReadFile(path); err != nil || len(text) != 9000 || bytes.Count(text, text[:1]) != 9000 {
					t.Errorf("%d bytes, %v", len(text), err)
				}
			}
		})
	}
	writing.Wait()
}

func wantAlone(t *testing.T, path, want string) {
	t.Helper()
	if text, err := os.ReadFile(path); err != nil || string(text) != want {
		t.Errorf("it holds %.20q, %v; want %.20q", text, err, want)
	}
	if names, err := os.ReadDir(filepath.Dir(path)); err != nil || len(names) != 1 {
		t.Errorf("beside it there is %v, %v", names, err)
	}
}

// TestLoad: what is of no use is set aside, whatever is in the way of using it, and nothing else is.
func TestLoad(t *testing.T) {
	t.Parallel()
	use := func(r io.Reader) error {
		text, err := io.ReadAll(r)
		if err == nil && string(text) != "good" {
			err = errors.New("it is not good")
		}
		return err
	}
	tests := map[string]struct {
		prepare func(path string) error
		want    string // of the error, with PATH for the path
		aside   bool
	}{
		"none": {func(string) error { return nil }, "", false},
		"good": {func(path string) error { return os.WriteFile(path, []byte("good"), 0o600) }, "", false},
		"bad": {func(path string) error {
			return os.WriteFile(path, []byte("bad"), 0o600)
		}, "PATH: it is not good; set aside as PATH.bad", true},
		"folder": {func(path string) error { return os.Mkdir(path, 0o700) }, "PATH: not a regular file; set aside as PATH.bad", true},
		"FIFO": {func(path string) error {
			return syscall.Mkfifo(path, 0o600)
		}, "PATH: not a regular file; set aside as PATH.bad", true},
		"loop": {func(path string) error {
			return os.Symlink(path, path)
		}, "PATH: too many levels of symbolic links; set aside as PATH.bad", true},
		"no way to set it aside": {func(path string) error {
			return errors.Join(os.WriteFile(path, []byte("bad"), 0o600), os.Mkdir(path+Aside, 0o700))
		}, "PATH: it is not good; and it cannot be set aside: rename PATH PATH.bad: file exists", true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "state")
			if err := test.prepare(path); err != nil {
				t.Fatal(err)
			}
			got := ""
			if err := Load(path, use); err != nil {
				got = err.Error()
			}
			if want := strings.ReplaceAll(test.want, "PATH", path); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
			if _, err := os.Lstat(path + Aside); (err == nil) != test.aside {
				t.Errorf("aside there is: %v", err)
			}
		})
	}
}

// TestStage wants a file to change when the change is committed, and not before, nor after it is discarded.
func TestStage(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "state")
	stage := func(text string) *Staged {
		t.Helper()
		staged, err := Stage(path, func(w io.Writer) error { _, err := io.WriteString(w, text); return err })
		if err != nil {
			t.Fatal(err)
		}
		return staged
	}
	if err := stage("before").Commit(); err != nil {
		t.Fatal(err)
	}
	stage("discarded").Discard()
	wantAlone(t, path, "before")
	staged := stage("after")
	if text, err := os.ReadFile(path); err != nil || string(text) != "before" {
		t.Errorf("before it is committed: %q, %v", text, err)
	}
	if err := staged.Commit(); err != nil {
		t.Fatal(err)
	}
	wantAlone(t, path, "after")
}
