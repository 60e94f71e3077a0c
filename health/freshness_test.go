package health

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mirrorpool/config"
)

// hours returns the time h hours after epoch.
func hours(h float64) time.Time { return epoch.Add(time.Duration(h * float64(time.Hour))) }

func TestFreshness(t *testing.T) {
	type release struct{ at, trace float64 }
	up, down, stale := Verdict{State: Up}, Verdict{State: Down}, Verdict{State: Stale}
	for _, test := range []struct {
		name      string
		releases  []release // in hours; the first one was found
		v         Verdict
		at, trace float64
		want      string
	}{
		{"no reference", nil, up, 100, 0, ""},
		{"carries it", []release{{0, -9}}, up, 1, -9, ""},
		{"is ahead of it", []release{{0, -9}}, up, 1, 0, ""},
		{"old, because nothing was released", []release{{0, -9000}}, up, 1, -9000, ""},
		{"behind since before we looked", []release{{0, -9}}, up, 0, -10,
			"freshness: 1h0m0s behind the reference, more than max_lag (3h0m0s) after it changed at 2026-03-01T03:00:00Z"},
		{"behind a release of late", []release{{0, -9}, {5, 4}}, up, 8, -9, ""},
		{"behind it for too long", []release{{0, -9}, {5, 4}}, up, 8.01, -9,
			"freshness: 13h0m0s behind the reference, more than max_lag (3h0m0s) after it changed at 2026-03-01T17:00:00Z"},
		{"the clock runs from the first release missed", []release{{0, -9}, {5, 5}, {7, 7}, {8, 8}}, up, 8.5, -9,
			"freshness: 17h0m0s behind the reference, more than max_lag (3h0m0s) after it changed at 2026-03-01T17:00:00Z"},
		{"and not from one that is carried", []release{{0, -9}, {5, 5}, {7, 7}, {8, 8}}, up, 9.5, 5, ""},
		{"a release was withdrawn", []release{{0, -9}, {5, 5}, {6, -9}}, up, 20, -9, ""},
		{"and made again", []release{{0, -9}, {5, 5}, {6, -9}, {18, 5}}, up, 20, -9, ""},
		{"back from down, caught up", []release{{0, -9}, {5, 5}}, down, 6, 5, ""},
		{"back from down, not caught up", []release{{0, -9}, {5, 5}}, down, 6, -9,
			"freshness: 14h0m0s behind the reference, and has to catch up after an outage"},
		{"back from down behind an outage of ours", []release{{0, -9}, {5, 5}}, Verdict{From: Down}, 6, -9,
			"freshness: 14h0m0s behind the reference, and has to catch up after an outage"},
		{"stale, owes an older release than the present one", []release{{0, -9}, {5, 5}, {7, 7}},
			Verdict{State: Stale, Owes: hours(5)}, 7.5, 5, ""},
		{"stale, owes one still", []release{{0, -9}, {5, 5}, {7, 7}}, Verdict{State: Stale, Owes: hours(5)}, 7.5, -9,
			"freshness: 16h0m0s behind the reference, and has to catch up after an outage"},
		{"owes what was withdrawn", []release{{0, -9}, {5, 5}, {7, -9}}, Verdict{State: Stale, Owes: hours(5)}, 7.5, -9, ""},
		{"stale for its lag", []release{{0, -9}, {5, 5}, {7, 7}}, stale, 7.5, 5, ""},
	} {
		f := Freshness{MaxLag: 3 * time.Hour}
		for i, r := range test.releases {
			f.Learn(hours(r.trace), hours(r.at), i == 0)
		}
		o := f.Judge(&test.v, Observation{At: hours(test.at), Result: Up, Trace: hours(test.trace)})
		if o.Reason != test.want || (o.Result == Up) != (test.want == "") || (o.Result == Stale) != (test.want != "") {
			t.Errorf("%s: %v, %q, want %q", test.name, o.Result, o.Reason, test.want)
		}
	}
}

func TestLearn(t *testing.T) {
	f := Freshness{MaxLag: 3 * time.Hour}
	for _, test := range []struct {
		what      string
		trace, at time.Time
		found     bool
		news      bool
		since     time.Time
	}{
		{"nothing, before anything is known", time.Time{}, hours(0), false, false, time.Time{}},
		{"the first one is as old as it says, found or not", hours(-9), hours(0), false, true, hours(-9)},
		{"the same once more", hours(-9), hours(1), false, false, hours(-9)},
		{"nothing", time.Time{}, hours(1), false, false, hours(-9)},
		{"one that was made while we looked", hours(1), hours(2), false, true, hours(2)},
		{"one that was there before we looked", hours(3), hours(4), true, true, hours(3)},
		{"one from the future", hours(9), hours(5), true, true, hours(5)},
		{"back to one that is remembered: in force since it first was", hours(3), hours(6), false, true, hours(3)},
		{"a new one", hours(3.5), hours(7), false, true, hours(7)},
		{"one that is older than its predecessor came into force", hours(5), hours(8), true, true, hours(7)},
	} {
		news := f.Learn(test.trace, test.at, test.found)
		if since := f.Reference().Since; news != test.news || !since.Equal(test.since) {
			t.Errorf("%s: news %v, in force since %v; want %v, %v", test.what, news, since, test.news, test.since)
		}
	}
}

// TestJudgesOnlyWhatPasses has observations that freshness has nothing to say of, although the reference is newer.
func TestJudgesOnlyWhatPasses(t *testing.T) {
	f := Freshness{MaxLag: time.Hour, MaxAge: time.Hour}
	f.Learn(hours(1), hours(1), true)
	for _, o := range []Observation{
		{At: hours(9), Result: Up}, // without a trace
		{At: hours(9), Result: Down, Reason: "connect: timed out", Trace: epoch},
		{At: hours(9), Result: Unknown, Reason: "connect: network is unreachable", Trace: epoch},
	} {
		if got := f.Judge(&Verdict{State: Down}, o); got != o {
			t.Errorf("%+v became %+v", o, got)
		}
	}
}

// TestOwes has a mirror owe what it was judged to owe, until it is down once more.
func TestOwes(t *testing.T) {
	p := Policy{Interval: 30 * time.Second, Rise: 2, Fall: 3}
	for _, test := range []struct {
		what string
		v    Verdict
		o    Observation
		want time.Time
	}{
		{"back from down", Verdict{State: Down}, Observation{Result: Stale, Owes: hours(1)}, hours(1)},
		{"caught up", Verdict{State: Stale, Owes: hours(1)}, Observation{Result: Up}, time.Time{}},
		{"one failure is no outage", Verdict{State: Stale, Owes: hours(1)}, Observation{Result: Down}, hours(1)},
		{"an outage of ours is none", Verdict{State: Stale, Owes: hours(1)}, Observation{Result: Unknown}, hours(1)},
		{"down again", Verdict{State: Down, Owes: hours(1)}, Observation{Result: Down}, time.Time{}},
		{"down again, as far as was known", Verdict{From: Down, Owes: hours(1)}, Observation{Result: Down}, time.Time{}},
	} {
		if got := test.v.Next(test.o, p).Owes; !got.Equal(test.want) {
			t.Errorf("%s: owes %v, want %v", test.what, got, test.want)
		}
	}
}

func TestFreshnessMaxAge(t *testing.T) {
	f := Freshness{MaxLag: time.Hour, MaxAge: 2 * time.Hour}
	for at, want := range map[float64]string{2: "", 2.01: "freshness: the trace is 2h0m36s old, max_age is 2h0m0s"} {
		if o := f.Judge(new(Verdict), Observation{At: hours(at), Result: Up, Trace: epoch}); o.Reason != want {
			t.Errorf("after %v hours: %v, %q, want %q", at, o.Result, o.Reason, want)
		}
	}
	down := Observation{Result: Down, Reason: "connect: timed out", Trace: epoch}
	if o := f.Judge(new(Verdict), down); o != down {
		t.Errorf("a failure became %+v", o)
	}
}

func TestFreshnessIsBounded(t *testing.T) {
	f := Freshness{MaxLag: 1000 * time.Hour}
	for i := range 3 * maxChanges {
		f.Learn(hours(float64(i)), hours(float64(i)), false)
	}
	if n := len(f.changes); n != maxChanges {
		t.Errorf("%d changes remembered, want %d", n, maxChanges)
	}
	if since, _ := f.behind(hours(-1)); !since.Since.Equal(hours(2*maxChanges-1)) && !since.Since.Equal(epoch) {
		t.Errorf("one that is behind everything is so since %v", since.Since)
	}
	f = Freshness{MaxLag: 3 * time.Hour}
	for i := range 100 {
		f.Learn(hours(float64(i)), hours(float64(i)), false)
	}
	if n := len(f.changes); n != 5 { // 4 within max_lag, and one that makes a mirror behind it stale
		t.Errorf("%d changes remembered, want 5", n)
	}
}

// The bubble's clock starts in 2000, so the traces here are of that time.
func ago(d time.Duration) time.Time { return time.Now().Add(-d).Truncate(time.Second) }

func TestReferenceByVote(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old, released := ago(100*time.Hour), ago(50*time.Hour)
		b := newBed(t, nil)
		b.set("192.0.2.1", carries(old))
		for _, addr := range []string{"198.51.100.1", "203.0.113.1"} {
			b.set(addr, carries(released))
		}
		b.set("192.0.2.4", carries(ago(0))) // disabled
		b.SetPool(pool(t, "a.example.net=192.0.2.1 b.example.net=198.51.100.1 c.example.net=203.0.113.1 -d.example.net=192.0.2.4"))
		defer b.start()()
		<-b.Swept()
		// Whichever came first, the first sweep tells the truth.
		want := "freshness: 50h0m0s behind the reference, more than max_lag (3h0m0s) after it changed at 1999-12-29T22:00:00Z"
		if v := b.verdictAt("192.0.2.1", HTTP); v.State != Stale || v.Reason != want {
			t.Errorf("the old one: %v, %q, want stale, %q", v.State, v.Reason, want)
		}
		r := b.Report().Reference
		if !r.Trace.Equal(released) || r.Mirrors != 2 || r.Enabled != 3 || r.Weight != 20 || r.EnabledWeight != 30 || r.Problem != "" {
			t.Errorf("the reference: %+v", r)
		}
		// It catches up.
		b.set("192.0.2.1", carries(released))
		wait(time.Minute)
		if v := b.verdictAt("192.0.2.1", HTTP); v.State != Up {
			t.Errorf("after it caught up: %v, %q", v.State, v.Reason)
		}
	})
}

func TestReferenceURL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := ago(100 * time.Hour)
		b := newBed(t, func(o *Options) { o.Settings.ReferenceURL = "https://origin.example.org/trace" })
		b.set("origin.example.org", carries(first))
		b.set("192.0.2.1", carries(first))
		b.set("192.0.2.2", carries(first))
		b.SetPool(pool(t, "a.example.net=192.0.2.1 b.example.net=192.0.2.2"))
		defer b.start()()
		<-b.Swept()
		wait(time.Minute)

		second := ago(time.Hour) // it was published an hour before we could see it
		released := time.Now()
		b.set("origin.example.org", carries(second))
		b.set("192.0.2.2", carries(second))
		wait(2 * time.Hour)
		r := b.Report()
		if !r.Reference.Trace.Equal(second) || r.Reference.Since.Sub(released) > 31*time.Second || r.Reference.Mirrors != 1 ||
			r.Reference.Enabled != 2 {
			t.Errorf("two hours after a release: %+v", r.Reference)
		}
		if v := b.verdictAt("192.0.2.1", HTTP); v.State != Up {
			t.Errorf("two hours after a release, one that has not got it: %v, %q", v.State, v.Reason)
		}

		b.set("origin.example.org", nil) // it cannot be reached any more
		wait(62 * time.Minute)
		r = b.Report()
		if want := "reference_url cannot be read: connect: connection refused; keeping the last one " +
			"known"; !r.Reference.Trace.Equal(second) || r.Reference.Problem != want {
			t.Errorf("an unreachable reference: %+v", r.Reference)
		}
		if v := b.verdictAt("192.0.2.1", HTTP); v.State != Stale {
			t.Errorf("three hours after a release: %v", v.State)
		}
	})
}

func TestUnknownReference(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, func(o *Options) { o.Settings.ReferenceURL = "https://origin.example.org/trace" })
		b.SetPool(pool(t, "a.example.net=192.0.2.1"))
		defer b.start()()
		<-b.Swept()
		want := "reference_url cannot be read: connect: connection refused; no reference is known"
		if r := b.Report().Reference; r.Problem != want || !r.Trace.IsZero() || r.Mirrors != 0 {
			t.Errorf("%+v, want %q", r, want)
		}
		if v := b.verdictAt("192.0.2.1", HTTP); v.State != Up {
			t.Errorf("without a reference: %v, %q", v.State, v.Reason)
		}
	})
}

func TestBackFromAnOutageHasToCatchUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := ago(100 * time.Hour)
		b := newBed(t, func(o *Options) { o.Settings.ReferenceURL = "https://origin.example.org/trace" })
		b.set("origin.example.org", carries(first))
		b.set("192.0.2.1", carries(first))
		b.SetPool(pool(t, "a.example.net=192.0.2.1"))
		defer b.start()()
		<-b.Swept()
		b.set("192.0.2.1", fails("connect: connection refused"))
		wait(5 * time.Minute)
		second := ago(0)
		b.set("origin.example.org", carries(second))
		wait(time.Minute)
		b.set("192.0.2.1", carries(first)) // back, minutes after a release that it missed
		wait(10 * time.Minute)
		if v := b.verdictAt("192.0.2.1", HTTP); v.State != Stale || !strings.HasSuffix(v.Reason, "has to catch up after an outage") {
			t.Errorf("back without the release: %v, %q", v.State, v.Reason)
		}
		b.set("origin.example.org", carries(ago(0))) // a third one; but it is the second that is owed
		wait(time.Minute)
		b.set("192.0.2.1", carries(second))
		wait(time.Minute)
		if v := b.verdictAt("192.0.2.1", HTTP); v.State != Up {
			t.Errorf("back with the release: %v, %q", v.State, v.Reason)
		}
	})
}

func TestReferenceCountsWeights(t *testing.T) {
	r := Reference{ReferenceChange: ReferenceChange{Trace: epoch}}
	add := func(weight uint32, traces ...time.Time) {
		m := &mirror{web: new(lookup), Mirror: &config.Mirror{Weight: weight}}
		for i, trace := range traces {
			p := endpointKey{addrs("192.0.2.1 192.0.2.2")[i], HTTP}
			m.checks = append(m.checks, &check{endpointKey: p, verdict: Verdict{Trace: trace}})
		}
		r.count(m, epoch)
	}
	add(1, epoch)
	add(2, epoch, epoch.Add(-time.Hour)) // half through
	add(4, epoch.Add(time.Hour))         // ahead
	add(8)                               // unknown
	add(0, epoch)                        // disabled
	if r.Mirrors != 2 || r.Weight != 5 || r.Enabled != 4 || r.EnabledWeight != 15 {
		t.Errorf("%+v", r)
	}
}
