package health

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// breakMany makes the mirrors from first to last of many fail, or work again.
func (b *bed) breakMany(first, last int, broken bool) {
	for i := first; i <= last; i++ {
		addr := fmt.Sprintf("198.51.%d.%d", i/256, i%256)
		if b.set(addr, nil); broken {
			b.set(addr, hangs)
		}
	}
}

func TestSuspectOurself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, nil)
		b.SetPool(pool(t, many(20)))
		defer b.start()()
		<-b.Swept()
		wait(5 * time.Minute)
		// A few that fail are nothing special.
		b.breakMany(0, 7, true)
		wait(2 * time.Minute)
		if s := b.Report().SuspectNames(); s != "" {
			t.Errorf("8 of 20 fail: suspect %q", s)
		}
		// Most of the rest at once are.
		b.breakMany(8, 17, true)
		wait(41 * time.Second)
		if s := b.Report().SuspectNames(); s != "local network" {
			t.Errorf("10 more of 12 fail: suspect %q", s)
		}
		if b.logs.FilterMessage("most mirrors fail alike, suspecting this host").Len() != 1 {
			t.Error("not logged")
		}
		b.breakMany(0, 17, false)
		wait(6 * time.Minute)
		if s := b.Report().SuspectNames(); s != "" {
			t.Errorf("after it passed: suspect %q", s)
		}
		for i := range 20 {
			if v := b.verdictAt(fmt.Sprintf("198.51.0.%d", i), HTTP); v.State != Up {
				t.Errorf("mirror %d: %v, %q", i, v.State, v.Reason)
			}
		}
	})
}

// TestSuspicionEnds has most mirrors die for good: that becomes normal.
func TestSuspicionEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, nil)
		b.SetPool(pool(t, many(6)))
		defer b.start()()
		<-b.Swept()
		wait(time.Minute)
		b.breakMany(0, 4, true)
		wait(time.Minute)
		if s := b.Report().SuspectNames(); s != SuspectNetwork {
			t.Errorf("5 of 6 fail: suspect %q", s)
		} else if s := b.Report().Suspects[0]; s.Failing != 5 || s.Of != 6 || !strings.Contains(s.Text, "look at this host's network") {
			t.Errorf("5 of 6 mirrors fail: %+v", s)
		}
		if v := b.verdictAt("198.51.0.0", HTTP); v.State != Down {
			t.Errorf("a hard failure: %v, %q, want down whatever is suspected", v.State, v.Reason)
		}
		wait(6 * time.Minute)
		if s := b.Report().SuspectNames(); s != "" {
			t.Errorf("10 intervals later: suspect %q", s)
		}
	})
}

func TestSmallPoolsSuspectNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, nil)
		b.SetPool(pool(t, "a.example.net=198.51.0.0,198.51.0.1,198.51.0.2,198.51.0.3 b.example.net=198.51.0.4"))
		defer b.start()()
		<-b.Swept()
		wait(time.Minute)
		b.breakMany(0, 4, true)
		wait(10 * time.Minute)
		if n := b.logs.FilterMessageSnippet("suspect").Len(); n > 0 {
			t.Error("two mirrors that fail are no reason to suspect ourself")
		}
	})
}

func TestSoftChangesAreHeldWhileWeSuspectOurself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, func(o *Options) { o.Settings.ReferenceURL = "https://origin.example.org/trace" })
		b.set("origin.example.org", carries(ago(100*time.Hour)))
		b.SetPool(pool(t, many(6)))
		defer b.start()()
		<-b.Swept()
		wait(time.Minute)
		b.breakMany(0, 4, true)
		wait(50 * time.Second)
		b.set("198.51.0.5", carries(ago(1100*time.Hour)))
		wait(3 * time.Minute)
		v := b.verdictAt("198.51.0.5", HTTP)
		if v.State != Up || !strings.HasPrefix(v.Reason, "freshness: 999h58m10s behind the reference") || v.InDoubt() {
			t.Errorf("stale while we suspect ourself: %v, %q", v.State, v.Reason)
		}
		b.breakMany(0, 4, false)
		wait(2 * time.Minute)
		if v := b.verdictAt("198.51.0.5", HTTP); v.State != Stale {
			t.Errorf("stale after that: %v, %q", v.State, v.Reason)
		}
	})
}

func TestDoubtIsAnnounced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, nil)
		b.SetPool(pool(t, "a.example.net=192.0.2.1"))
		defer b.start()()
		<-b.Swept()
		<-b.Changed()
		b.set("192.0.2.1/http", fails("connect: connection refused"))
		<-b.Changed()
		r := b.Report()
		v := b.verdictAt("192.0.2.1", HTTP)
		if v.State != Up || !v.InDoubt() || v.DecidesIn(r.Policy) != 4*time.Second {
			t.Errorf("after the first failure: %v, in doubt %v, decides in %v, want 4s", v.State, v.InDoubt(), v.DecidesIn(r.Policy))
		}
		b.set("192.0.2.1/http", nil)
		<-b.Changed()
		if v := b.verdictAt("192.0.2.1", HTTP); v.InDoubt() || v.DecidesIn(r.Policy) != 0 || v.Reason != "" {
			t.Errorf("after it passed: %+v", v)
		}
	})
}
