package health

import (
	"context"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestSetSettings changes the settings of a running checker, one after the other, and wants each to take effect within
// an interval.
func TestSetSettings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Pointer[Target]
		b := newBed(t, func(o *Options) { o.Settings.Interval = 10 * time.Hour })
		see := func(_ context.Context, target Target) Observation {
			if target.Role == HTTP {
				asked.Store(&target)
			}
			return Observation{Result: Up, Trace: ago(2 * time.Hour)}
		}
		b.set("192.0.2.1", see)
		b.set("10.0.0.1", see)
		b.knows("b.example.net", "10.0.0.1")
		b.SetPool(pool(t, "a.example.net=192.0.2.1 b.example.net"))
		defer b.start()()
		<-b.Swept()
		wait(time.Minute)
		s := b.Checker.settings.Health
		set := func(change func()) {
			t.Helper()
			change()
			if err := b.SetSettings(s); err != nil {
				t.Fatal(err)
			}
			wait(2 * time.Minute)
		}
		const prefix, private = "http://a.example.net/tails/", "http://b.example.net/tails/"

		before := b.count("192.0.2.1", HTTP)
		set(func() { s.Interval = 10 * time.Second })
		if n := b.count("192.0.2.1", HTTP) - before; n < 10 {
			t.Errorf("with an interval of 10 seconds, probed %d times in two minutes", n)
		}
		set(func() { s.Path, s.UserAgent = "new/trace", "another monitor" })
		if got := asked.Load(); got.URL.Path != "/tails/new/trace" || got.UserAgent != "another monitor" {
			t.Errorf("asked for %v as %q", got.URL, got.UserAgent)
		}
		set(func() { s.MaxAge = time.Hour })
		if v := b.verdictAt("192.0.2.1", HTTP); v.State != Stale {
			t.Errorf("with max_age: %v", v.State)
		}
		set(func() { s.MaxAge = 0 })
		if v := b.verdictAt("192.0.2.1", HTTP); v.State != Up {
			t.Errorf("without max_age: %v", v.State)
		}
		set(func() { s.AllowPrivate = true })
		if v := b.verdictAt("10.0.0.1", HTTP); v.State != Up || b.Report().Mirrors[private].Problem != "" {
			t.Errorf("with allow_private: %v, %q", v.State, b.Report().Mirrors[private].Problem)
		}
		set(func() { s.AllowPrivate = false })
		if m := b.Report().Mirrors[private]; len(m.Endpoints) > 0 || m.Problem == "" {
			t.Errorf("without allow_private: %+v", m)
		}
		set(func() { s.DNSURL = "" })
		if m := b.Report().Mirrors[prefix]; len(m.Endpoints) != 1 {
			t.Errorf("without dns_url: %+v", m.Endpoints)
		}
		set(func() { s.DNSURL = "http://dl.example.org/trace" })
		if v := b.verdictAt("192.0.2.1", DNS); v.State != Up {
			t.Errorf("with dns_url: %v", v.State)
		}

		b.set("192.0.2.1", fails("connect: connection refused"))
		set(func() { s.Fall = 100 })
		set(func() { s.Fall = 1 })
		if v := b.verdictAt("192.0.2.1", HTTP); v.State != Down {
			t.Errorf("with fall 1: %v", v.State)
		}
		set(func() { s.Enabled = false })
		before = b.count("192.0.2.1", HTTP)
		wait(time.Hour)
		if v, n := b.verdictAt("192.0.2.1", HTTP), b.count("192.0.2.1", HTTP)-before; v.State != Up || n > 0 {
			t.Errorf("with checks off: %v, probed %d times", v.State, n)
		}
		set(func() { s.Enabled = true })
		if v := b.verdictAt("192.0.2.1", HTTP); v.State != Down {
			t.Errorf("with checks on again: %v", v.State)
		}
	})
}

// TestSetSettingsReference gives a running checker a reference_url, another one, and none.
func TestSetSettingsReference(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old, first, second := ago(100*time.Hour), ago(50*time.Hour), ago(40*time.Hour)
		b := newBed(t, nil)
		b.set("192.0.2.1", carries(old))
		b.set("198.51.100.1", carries(old))
		b.set("origin.example.org", carries(first))
		b.set("new.example.org", carries(second))
		b.SetPool(pool(t, "a.example.net=192.0.2.1 b.example.net=198.51.100.1"))
		defer b.start()()
		<-b.Swept()
		for _, step := range []struct {
			url  string
			want time.Time
		}{{"", old}, {"https://origin.example.org/trace", first}, {"https://new.example.org/trace",
			second}, {"https://gone.example.org/", time.Time{}}, {"", old}} {
			s := b.Checker.settings.Health
			s.ReferenceURL = step.url
			if err := b.SetSettings(s); err != nil {
				t.Fatal(err)
			}
			wait(2 * time.Minute)
			r := b.Report().Reference
			if !r.Trace.Equal(step.want) || (r.Problem != "") != step.want.IsZero() {
				t.Errorf("reference_url %q: %+v, want %v", step.url, r, step.want)
			}
		}
	})
}

// TestSetSettingsKeepsTheReference: other settings do not make the checker forget reference_url's trace, and bad ones
// change nothing.
func TestSetSettingsKeepsTheReference(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, func(o *Options) { o.Settings.ReferenceURL = "https://origin.example.org/trace" })
		b.set("origin.example.org", carries(ago(time.Hour)))
		defer b.start()()
		<-b.Swept()
		before := b.Report()
		s := b.Checker.settings.Health
		s.DNSURL = "http://[2001:db8::1/"
		if err := b.SetSettings(s); err == nil {
			t.Error("a bad dns_url passes")
		}
		if got := b.Report(); !reflect.DeepEqual(got, before) || b.Checker.settings.DNSURL == s.DNSURL {
			t.Errorf("bad settings change the report to %+v, or the settings", got)
		}
		s = b.Checker.settings.Health
		s.MaxLag++
		if err := b.SetSettings(s); err != nil {
			t.Fatal(err)
		}
		if got := b.Report().Reference; got.Trace.IsZero() || got != before.Reference {
			t.Errorf("other settings change the reference from %+v to %+v", before.Reference, got)
		}
	})
}

// TestSetSettingsAtOnce: what does not need a probe or a look-up is in force when SetSettings returns.
func TestSetSettingsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, nil)
		b.knows("a.example.net", "10.0.0.1")
		b.knows("rsync.example.net", "10.0.0.2")
		p := pool(t, "a.example.net")
		p.Mirrors[0].RsyncURL = "rsync://rsync.example.net/tails/"
		b.SetPool(p)
		defer b.start()()
		<-b.Swept()
		problem := func() string { return b.Report().Mirrors["http://a.example.net/tails/"].Problem }
		for _, private := range []string{"10.0.0.1", "10.0.0.2"} {
			if !strings.Contains(problem(), private) {
				t.Errorf("problem %q, want one of %s", problem(), private)
			}
		}
		synctest.Wait()
		select {
		case <-b.Changed():
		default:
		}
		s := b.Checker.settings.Health
		s.AllowPrivate = true
		if err := b.SetSettings(s); err != nil {
			t.Fatal(err)
		}
		if problem() != "" {
			t.Errorf("with allow_private: problem %q", problem())
		}
		select {
		case <-b.Changed():
		default:
			t.Error("no change is signalled")
		}
	})
}

// TestSetSettingsDuringTheFirstSweep: the sweep ends if there is nothing left to check.
func TestSetSettingsDuringTheFirstSweep(t *testing.T) {
	b := newBed(t, nil)
	b.SetPool(pool(t, "a.example.net=192.0.2.1"))
	s := b.Checker.settings.Health
	s.Enabled = false
	if err := b.SetSettings(s); err != nil {
		t.Fatal(err)
	}
	select {
	case <-b.Swept():
	default:
		t.Error("the sweep goes on without checks")
	}
}

// TestSetSettingsSpreadsTheChecks: with a longer interval no check waits longer than before, and with a shorter one
// they do not all start at once.
func TestSetSettingsSpreadsTheChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, nil)
		b.SetPool(pool(t, many(20)))
		defer b.start()()
		<-b.Swept()
		s := b.Checker.settings.Health
		starts := func(interval time.Duration) (all []time.Time) {
			b.mu.Lock()
			clear(b.starts)
			b.mu.Unlock()
			s.Interval = interval
			if err := b.SetSettings(s); err != nil {
				t.Fatal(err)
			}
			wait(31 * time.Second)
			b.mu.Lock()
			defer b.mu.Unlock()
			for key, times := range b.starts {
				if key.role == HTTP {
					all = append(all, times[0])
				}
			}
			return all
		}
		if n := len(starts(10 * time.Hour)); n != 20 {
			t.Errorf("with a longer interval, %d of 20 are probed within the old one", n)
		}
		all := starts(30 * time.Second)
		if len(all) != 20 {
			t.Fatalf("with a shorter interval, %d of 20 are probed within it", len(all))
		}
		slices.SortFunc(all, time.Time.Compare)
		if took := all[19].Sub(all[0]); took < 15*time.Second {
			t.Errorf("all start within %v", took)
		}
	})
}

// TestSetSettingsOff: a mirror that was never up counts as up while the checks are off, and is no newcomer afterwards.
func TestSetSettingsOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, nil)
		b.set("192.0.2.1", fails("connect: connection refused"))
		b.SetPool(pool(t, "a.example.net=192.0.2.1"))
		defer b.start()()
		<-b.Swept()
		newcomer := func() [2]bool { return b.Report().Mirrors["http://a.example.net/tails/"].Newcomer }
		if newcomer() != [2]bool{true, true} {
			t.Errorf("never up: newcomer %v", newcomer())
		}
		s := b.Checker.settings.Health
		for _, s.Enabled = range []bool{false, true} {
			if err := b.SetSettings(s); err != nil {
				t.Fatal(err)
			}
			wait(time.Minute)
			if newcomer() != [2]bool{} {
				t.Errorf("with checks %v: newcomer %v", s.Enabled, newcomer())
			}
		}
	})
}

// TestSetSettingsAtAnyTime changes settings while checks, the reference and the first sweep are under way.
func TestSetSettingsAtAnyTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, func(o *Options) { o.Settings.ReferenceURL = "https://origin.example.org/trace" })
		b.set("origin.example.org", slowly(time.Second))
		b.set("192.0.2.1", slowly(3*time.Second))
		b.knows("b.example.net", "192.0.2.2")
		p := pool(t, "a.example.net=192.0.2.1 b.example.net")
		p.Mirrors[0].RsyncURL = "rsync://a.example.net/tails/"
		b.SetPool(p)
		defer b.start()()
		s := b.Checker.settings.Health
		for i := range 200 {
			s.Enabled = i%3 != 0
			s.Interval = time.Duration(i%7+1) * time.Second
			s.ReferenceURL = [...]string{"", "https://origin.example.org/trace"}[i%2]
			s.DNSURL = [...]string{"http://dl.example.org/trace", ""}[i/5%2]
			if err := b.SetSettings(s); err != nil {
				t.Fatal(err)
			}
			wait(time.Duration(i%5) * 700 * time.Millisecond)
		}
		s.Enabled, s.Interval, s.DNSURL = true, time.Second, "http://dl.example.org/trace"
		if err := b.SetSettings(s); err != nil {
			t.Fatal(err)
		}
		<-b.Swept()
		wait(time.Minute)
		for _, addr := range []string{"192.0.2.1", "192.0.2.2"} {
			if v := b.verdictAt(addr, DNS); v.State != Up || time.Since(v.Checked) > 10*time.Second || b.Stalled() {
				t.Errorf("%s: %v, checked %v ago, stalled %v", addr, v.State, time.Since(v.Checked), b.Stalled())
			}
		}
	})
}
