package health

import (
	"context"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestAgents: a mirror that refuses clients by their User-Agent stays up with a warning. It is checked once an hour.
func TestAgents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const warns = "refuses wget (403) and curl (403) by the User-Agent"
		var (
			asked   atomic.Int32
			pleased atomic.Bool
		)
		b := newBed(t, func(o *Options) {
			o.CheckAgents = func(_ context.Context, target Target) string {
				asked.Add(1)
				if pleased.Load() || target.Address != netip.MustParseAddr("192.0.2.1") || target.Role != HTTP {
					return ""
				}
				return warns
			}
		})
		b.SetPool(pool(t, "a.example.net=192.0.2.1"))
		defer b.start()()
		<-b.Swept()
		warning := func() string {
			for _, e := range b.Report().Mirrors["http://a.example.net/tails/"].Endpoints {
				if e.Role == HTTP {
					return e.Warning
				}
			}
			return ""
		}
		if warning() != warns {
			t.Errorf("warning %q, want %q", warning(), warns)
		}
		wait(50 * time.Minute)
		if v := b.verdictAt("192.0.2.1", HTTP); v.State != Up || asked.Load() != 1 || b.count("192.0.2.1", HTTP) < 90 {
			t.Errorf("after 50 minutes: %v, asked %d times", v.State, asked.Load())
		}
		pleased.Store(true)
		wait(20 * time.Minute)
		if warning() != "" || asked.Load() != 2 {
			t.Errorf("after it has changed its mind: warning %q, asked %d times", warning(), asked.Load())
		}
		if n := b.logs.FilterMessage("mirror refuses download clients").Len(); n != 1 {
			t.Errorf("logged %d times", n)
		}
	})
}
