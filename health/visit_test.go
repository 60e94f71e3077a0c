package health

import (
	"context"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

// TestVisit: while another visit is at a mirror's host, no check goes there, for an interval at most.
func TestVisit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, nil)
		b.SetPool(pool(t, "m1=192.0.2.1 m2=192.0.2.2"))
		defer b.start()()
		<-b.Swept()
		web := endpointKey{netip.MustParseAddr("192.0.2.1"), HTTP}
		probes := func() int {
			b.mu.Lock()
			defer b.mu.Unlock()
			return len(b.starts[web])
		}
		if _, ok := b.Visit(t.Context(), "http://nowhere/tails/"); ok {
			t.Error("a mirror that is not there is visited")
		}
		end, ok := b.Visit(t.Context(), "http://m1/tails/")
		if !ok {
			t.Fatal("no visit")
		}
		before := probes()
		time.Sleep(29 * time.Second)
		if probes() != before {
			t.Error("checked during the visit")
		}
		end()
		synctest.Wait()
		time.Sleep(2 * time.Second)
		if probes() == before {
			t.Error("not checked after the visit")
		}
		if end, ok = b.Visit(t.Context(), "http://m1/tails/"); !ok {
			t.Fatal("no second visit")
		}
		before = probes()
		time.Sleep(65 * time.Second)
		if probes() == before {
			t.Error("a visit that takes long keeps the checks away")
		}
		end()
		end()
	})
}

// TestVisitWaits: a visit begins when the checks under way have ended, or not at all.
func TestVisitWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, nil)
		b.SetPool(pool(t, "m1=192.0.2.1"))
		b.set("192.0.2.1", func(context.Context, Target) Observation {
			time.Sleep(5 * time.Second)
			return Observation{Result: Up, Trace: traceTime}
		})
		defer b.start()()
		synctest.Wait() // the first check is under way
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, ok := b.Visit(short, "http://m1/tails/"); ok {
			t.Error("two visits at a time")
		}
		begin := time.Now()
		end, ok := b.Visit(t.Context(), "http://m1/tails/")
		if waited := time.Since(begin); !ok || waited < 3*time.Second {
			t.Errorf("began after %v, %v", waited, ok)
		}
		end()
	})
}
