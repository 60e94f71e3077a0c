package health

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestStateFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "verdicts")
	b := newBed(t, nil)
	if err := b.Adopt(ReadSaved(path, epoch, time.Second)); err != nil || b.logs.Len() > 0 {
		t.Errorf("no file yet: %v, %d log entries", err, b.logs.Len())
	}
	b.SetPool(pool(t, "a.example.net=192.0.2.1"))
	for range 2 { // the second time there is one to replace
		if err := b.SaveState(path); err != nil {
			t.Fatal(err)
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v, want mode 0600", info.Mode(), err)
	}
	if left, _ := filepath.Glob(path + "?*"); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	saved := ReadSaved(path, epoch, time.Second)
	if err := newBed(t, nil).Adopt(saved); err != nil || saved.state != nil {
		t.Errorf("what was saved: %v", err)
	}
}

// TestAdopt begins with the verdicts of a file.
func TestAdopt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "verdicts")
		if err := ran(t).SaveState(path); err != nil {
			t.Fatal(err)
		}
		b := newBed(t, nil)
		if err := b.Adopt(ReadSaved(path, time.Now(), time.Minute)); err != nil {
			t.Fatal(err)
		}
		b.SetPool(pool(t, "a.example.net=192.0.2.1"))
		endpoints := b.Report().Mirrors["http://a.example.net/tails/"].Endpoints
		if len(endpoints) == 0 || slices.ContainsFunc(endpoints, func(e Endpoint) bool { return e.State != Up || !e.Restored }) {
			t.Errorf("%+v", b.Report().Mirrors)
		}
	})
}

func TestBadStateFileIsSetAside(t *testing.T) {
	path := filepath.Join(t.TempDir(), "verdicts")
	if err := os.WriteFile(path, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	b := newBed(t, nil)
	want := path + ": not a file of mirrorpool-verdicts; set aside as " + path + ".bad"
	if err := b.Adopt(ReadSaved(path, epoch, time.Second)); err == nil || err.Error() != want {
		t.Errorf("%v, want %q", err, want)
	}
	if b.logs.FilterMessage("cannot restore saved verdicts").Len() != 1 || b.logs.Len() != 1 {
		t.Errorf("logged %v", b.logs.All())
	}
	if aside, err := os.ReadFile(path + ".bad"); err != nil || string(aside) != "nonsense" {
		t.Errorf("set aside: %q, %v", aside, err)
	}
	if err := b.SaveState(path); err != nil {
		t.Error(err)
	}
}

// TestStateFileOutOfReach: a file that cannot be read, or not be set aside, is logged and stays where it is.
func TestStateFileOutOfReach(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "verdicts")
	if err := os.WriteFile(file, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	b := newBed(t, nil)
	if err := b.Adopt(ReadSaved(filepath.Join(file, "below"), epoch, time.Second)); err == nil ||
		b.logs.FilterMessage("cannot restore saved verdicts").Len() != 1 || b.logs.Len() != 1 {
		t.Errorf("below a file: %v, logged %v", err, b.logs.All())
	}
	if err := os.Mkdir(file+".bad", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := b.Adopt(ReadSaved(file, epoch, time.Second)); err == nil || !strings.Contains(err.Error(), "it cannot be set aside") || b.logs.Len() != 2 {
		t.Errorf("no way to set it aside: %v, logged %v", err, b.logs.All())
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "nonsense" {
		t.Errorf("the file now has %q, %v", text, err)
	}
}

func TestStateThatCannotBeSaved(t *testing.T) {
	b := newBed(t, nil)
	for _, path := range []string{filepath.Join(t.TempDir(), "missing", "verdicts"), "/dev/full/verdicts"} {
		for range 3 {
			if err := b.SaveState(path); err == nil {
				t.Errorf("%s: saved", path)
			}
		}
	}
	warnings := b.logs.FilterMessage("cannot save verdicts")
	if n := warnings.Len(); n != 2 {
		t.Errorf("warned %d times, want once for each reason", n)
	}
	// After a success the same reason is news again.
	if err := b.SaveState(filepath.Join(t.TempDir(), "verdicts")); err != nil || b.logs.Len() != warnings.Len() {
		t.Errorf("saved: %v, logged %v", err, b.logs.All())
	}
	if err := b.SaveState("/dev/full/verdicts"); err == nil || b.logs.Len() != warnings.Len()+1 {
		t.Errorf("not saved again: %v, logged %v", err, b.logs.All())
	}
}
