package checksums

import (
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

// TestSaves saves what has changed, and only that; what cannot be saved is tried again.
func TestSaves(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		folder := filepath.Join(t.TempDir(), "state")
		file := filepath.Join(folder, "checksums")
		o := newOrigin(t, 0, file)
		defer o.stop()
		take := func(digest string) {
			sum, _ := ParseSum(digest)
			l := o.store.NewListing()
			l.Add("x.img", 1, 1, &sum)
			o.store.Take(l)
		}
		saved := func() bool {
			time.Sleep(2*saveEvery + time.Second)
			_, err := os.Stat(file)
			return err == nil && os.Remove(file) == nil
		}

		take(hexA)
		if saved() || o.logs.FilterMessage("cannot save the checksums of files").Len() == 0 {
			t.Errorf("without the folder, the log has %v", o.logs.All())
		}
		if err := os.Mkdir(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		if !saved() {
			t.Error("what could not be saved is not saved later")
		}
		if take(hexA); saved() {
			t.Error("what has not changed is saved again")
		}
		if take(hexB); !saved() {
			t.Error("another checksum is not saved")
		}
		o.put("y.img", "y", 1)
		o.put("y.img.sha256", hexA+"\n", 2)
		if o.list(); !saved() {
			t.Error("a checksum from a list is not saved")
		}
	})
}

// TestDamagedState begins without checksums, and says why.
func TestDamagedState(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{"another format": "{}", "no gob": "good"} {
		file := filepath.Join(t.TempDir(), "checksums")
		err := os.WriteFile(file, []byte(body), 0o600)
		if name == "no gob" {
			err = stateFormat.Replace(file, []byte(body))
		}
		if err != nil {
			t.Fatal(err)
		}
		o := newOrigin(t, 0, file)
		if n := o.logs.FilterMessage("ignoring saved checksums").Len(); n != 1 || len(o.store.Files()) > 0 {
			t.Errorf("%s: %d warnings, and %d files", name, n, len(o.store.Files()))
		}
		o.stop()
	}
	o := newOrigin(t, 0, filepath.Join(t.TempDir(), "checksums"))
	if o.stop(); o.logs.Len() > 0 {
		t.Errorf("the first start logs %v", o.logs.All())
	}
}
