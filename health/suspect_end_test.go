package health

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// unreachable fails as if this host's way to a mirror was cut.
func unreachable(context.Context, Target) Observation {
	return Observation{Result: Down, Cause: CauseConnect, Reason: "connect: timed out"}
}

// TestRecoveryIsShared cuts this host off for hours. Once it is back, all mirrors are looked at again, not only the
// first that is found to pass, which would have to carry the whole load.
func TestRecoveryIsShared(t *testing.T) {
	for _, role := range []string{"", "/http"} {
		synctest.Test(t, func(t *testing.T) {
			b := newBed(t, nil)
			b.SetPool(pool(t, many(6)))
			defer b.start()()
			<-b.Swept()
			wait(5 * time.Minute)
			all := func(behave func(context.Context, Target) Observation) {
				for i := range 6 {
					b.set(fmt.Sprintf("198.51.0.%d%s", i, role), behave)
				}
			}
			all(unreachable)
			wait(2 * time.Hour)
			all(nil)
			passing := func() (up, again int) {
				for i := range 6 {
					switch v := b.verdictAt(fmt.Sprintf("198.51.0.%d", i), HTTP); {
					case v.State == Up:
						up++
					case !v.PassingSince.IsZero():
						again++
					}
				}
				return up, again
			}
			for up, _ := passing(); up == 0; up, _ = passing() {
				wait(time.Second)
				if u, a := passing(); u > 0 && u+a < 6 {
					t.Errorf("in role %q, when %d are up first, %d pass again, of 6", role, u, a)
				}
			}
			wait(time.Minute)
			if up, again := passing(); up != 6 {
				t.Errorf("in role %q, a minute later %d are up, %d pass again", role, up, again)
			}
		})
	}
}

// TestLossyNetwork has this host's network lose so much that all mirrors fail now and then: none is blamed for that
// alone.
func TestLossyNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, func(o *Options) { o.Settings.Fall = 5 })
		var n atomic.Int64
		for i := range 8 {
			b.set(fmt.Sprintf("198.51.0.%d", i), func(context.Context, Target) Observation {
				if n.Add(1)%3 == 0 {
					return Observation{Result: Down, Reason: "request: timed out"}
				}
				return Observation{Result: Up, Trace: traceTime}
			})
		}
		b.SetPool(pool(t, many(8)))
		defer b.start()()
		<-b.Swept()
		wait(30 * time.Minute)
		up := 0
		for _, m := range b.Report().Mirrors {
			for _, e := range m.Endpoints {
				if e.Role == HTTP && e.State == Up && e.Share() == 1 {
					up++
				}
			}
		}
		if up < 6 {
			t.Errorf("%d of 8 are up with their whole weight", up)
		}
	})
}

// TestDeadMirrorsAreNotLossy: mirrors that failed now and then before they died do not excuse one that does so now.
func TestDeadMirrorsAreNotLossy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, nil)
		var died atomic.Bool
		var n [8]atomic.Int64
		for i := range 8 {
			b.set(fmt.Sprintf("198.51.0.%d", i), func(context.Context, Target) Observation {
				switch now := n[i].Add(1); {
				case i > 4: // passes
				case died.Load() && i > 0, now%6 == 0:
					return Observation{Result: Down, Reason: "request: timed out"}
				}
				return Observation{Result: Up, Trace: traceTime}
			})
		}
		b.SetPool(pool(t, many(8)))
		defer b.start()()
		<-b.Swept()
		wait(30 * time.Minute)
		if !b.Report().Policy.Lossy {
			t.Error("five of eight fail now and then, and that is not seen")
		}
		died.Store(true)
		wait(30 * time.Minute)
		if r := b.Report(); r.Policy.Lossy {
			t.Error("four of these are dead, and the way to all mirrors is blamed")
		}
	})
}
