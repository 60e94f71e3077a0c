package daemon

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mirrorpool/config"
	"mirrorpool/health/ledger"
)

// TestMailOfFlaps: a mirror that comes and goes 30 times has two mails, whichever failures the checks count. What is
// known of it for mails goes back as far as they ask, and is nothing before the first snapshot.
func TestMailOfFlaps(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		m := newModel(t, dir, 8)
		if err := m.start(); err != nil {
			t.Fatal(err)
		}
		defer func() { m.stop() }()
		sent := m.runMailer(t)
		time.Sleep(10 * time.Minute)
		begin := m.time()
		for range 30 {
			m.world.hold([]int{1}, fails)
			time.Sleep(3 * time.Minute)
			m.world.changeAll(passes)
			time.Sleep(3 * time.Minute)
		}
		time.Sleep(time.Hour)
		subjects := sent()
		if len(subjects) != 2 || !strings.HasSuffix(subjects[0], ": down") || !strings.HasSuffix(subjects[1], ": serves again") {
			t.Errorf("%q, want a mail when it begins and one when it ends", subjects)
		}
		for since, want := range map[time.Time]bool{begin: true, {}: true, m.time(): false} { // zero: within a day
			found := false
			for _, about := range m.mailView(since).Mirrors {
				found = found || slices.ContainsFunc(about.Incidents, func(in ledger.Incident) bool { return in.Kind == ledger.Down })
				if !about.First.Before(begin) {
					t.Errorf("%s: seen first at %v", about.URLPrefix, about.First)
				}
			}
			if found != want {
				t.Errorf("incidents since %v: %v, want %v", since, found, want)
			}
		}
	})
}

// TestMailStarting: before the first snapshot, nothing is known of the mirrors; that there are none would be false.
func TestMailStarting(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		m := newModel(t, dir, 1)
		if err := m.start(); err != nil {
			t.Fatal(err)
		}
		defer func() { m.stop() }()
		settle()
		if v := m.mailView(time.Time{}); v.Starting || len(v.Mirrors) != 1 {
			t.Errorf("once started: %+v", v)
		}
		c, _, err := config.LoadServer(m.file("mirrorpool.json"))
		if err != nil {
			t.Fatal(err)
		}
		next, err := m.newDaemon(c)
		if err != nil {
			t.Fatal(err)
		}
		if v := next.mailView(time.Time{}); !v.Starting || v.Quiet == "" {
			t.Errorf("before the first snapshot: %+v", v)
		}
		next.begin()
		next.rebuild()
		if v := next.mailView(time.Time{}); !v.Starting || len(next.publicStats()) > 0 {
			t.Errorf("before the ledger is loaded: %+v, and %v for the public", v, next.publicStats())
		}
		close(next.opened)
		if err := next.loadPast(t.Context()); err != nil {
			t.Fatal(err)
		}
		if v := next.mailView(time.Time{}); v.Starting || len(next.publicStats()) != 1 {
			t.Errorf("once it is: %+v, and %v for the public", v, next.publicStats())
		}
	})
}
