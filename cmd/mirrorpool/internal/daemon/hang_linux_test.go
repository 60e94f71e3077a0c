package daemon

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mirrorpool/dnspool/admin"
	"mirrorpool/testdata/testbed"
)

// TestHangingDisk has the disk with the key files hang while they are read or written. Snapshots are made all the same,
// and the list of mirrors is read; what waits for the disk is said, and goes on once that does.
func TestHangingDisk(t *testing.T) {
	t.Parallel()
	for name, use := range map[string]func(d *signedDaemon) error{
		"read by the watch of the parent": func(d *signedDaemon) error { return d.moveKeys(nil) },
		"written by a rollover":           func(d *signedDaemon) error { return d.rollKeys("") },
		"read by a reload":                func(d *signedDaemon) error { d.reload(d.t.Context(), admin.ReloadOptions{}); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newSignedDaemon(t, `{"keys": "auto"}`)
			d.patience = 20 * time.Millisecond
			disk := testbed.NewHangingFolder(t, filepath.Join(d.config.Load().StateDir, "keys"))
			used := make(chan error, 1)
			go func() { used <- use(d) }()
			disk.Await(t)

			done := make(chan admin.ReloadAnswer, 1)
			go func() {
				d.rebuild()
				done <- d.reload(t.Context(), admin.ReloadOptions{})
			}()
			select {
			case answer := <-done:
				if !strings.Contains(answer.Settings.Error, "may hang") || answer.Pool.Error != "" || answer.OK {
					t.Errorf("a reload is answered with %+v", answer)
				}
			case <-time.After(time.Minute):
				t.Error("all else hangs, too")
			}
			if s, _ := d.signatures(); s.KeyFiles != "" {
				t.Errorf("so soon it is no trouble: %q", s.KeyFiles)
			}
			if since := d.keysChange.since.Load(); since == nil {
				t.Error("key files are not in use")
			} else {
				longAgo := since.Add(-slowDisk)
				d.keysChange.since.Store(&longAgo)
			}
			if s, _ := d.signatures(); !strings.Contains(s.KeyFiles, "may hang") {
				t.Errorf("the status has no trouble: %+v", s)
			}

			disk.Release()
			if err := <-used; err != nil {
				t.Error(err)
			}
			d.patience = time.Minute
			if answer := d.reload(t.Context(), admin.ReloadOptions{}); !answer.OK {
				t.Errorf("once the disk goes on: %+v", answer)
			}
			if s, _ := d.signatures(); s.KeyFiles != "" {
				t.Errorf("once the disk goes on: %q", s.KeyFiles)
			}
		})
	}
}
