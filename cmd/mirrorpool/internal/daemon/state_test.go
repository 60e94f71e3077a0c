package daemon

import (
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"mirrorpool/dnspool/stats"
)

// TestCrashLosesAMinute: a crash takes at most the downloads of the last minute away.
func TestCrashLosesAMinute(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		m, r := newModel(t, dir, 1), rand.New(rand.NewPCG(7, 7))
		if err := m.start(); err != nil {
			t.Fatal(err)
		}
		defer func() { m.stop() }()
		count := func(n int) {
			for range n {
				m.stats.Count(stats.Download, "stable/a.iso", true, "https://a.example.net/", stats.Country{'D', 'E'})
			}
		}
		counted := func() uint64 {
			rows := m.stats.Report(stats.ByPath, time.Time{}).Rows
			if len(rows) == 0 {
				return 0
			}
			return rows[0].Downloads
		}
		count(5)
		time.Sleep(time.Minute + time.Second)
		count(2)
		if err := m.crash(r); err != nil {
			t.Fatal(err)
		}
		if got := counted(); got != 5 {
			t.Errorf("%d downloads after a crash, want the 5 of over a minute ago", got)
		}
		count(3)
		time.Sleep(time.Minute + time.Second)
		if err := m.crash(r); err != nil {
			t.Fatal(err)
		}
		if got := counted(); got != 8 {
			t.Errorf("%d downloads after another crash, want 8", got)
		}
	})
}
