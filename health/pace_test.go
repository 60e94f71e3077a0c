package health

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// limits makes requests to a server that allows one a second, as a mirror would see them: the probe waits for its turn
// before each of its requests.
type limits struct {
	allowed time.Duration // between two requests

	mu      sync.Mutex
	last    time.Time
	refused int
	times   []time.Time
}

func (l *limits) probe(_ context.Context, t Target) Observation {
	o := Observation{Result: Up, Trace: traceTime}
	for range requestsOf(t.Role) {
		o.Awaited += t.Await(context.Background()) // its turn is not within the time of a request
		if !l.request(time.Now()) {
			o.Result, o.Reason, o.RetryAfter = Unknown, "status: 429 Too Many Requests", 5*time.Second
			return o
		}
	}
	return o
}

// seen returns the times of the requests so far, and how many of them were refused.
func (l *limits) seen() (times []time.Time, refused int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.times), l.refused
}

// request reports whether the server allows a request.
func (l *limits) request(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.times = append(l.times, now)
	if !l.last.IsZero() && now.Sub(l.last) < l.allowed {
		l.refused++
		return false
	}
	l.last = now
	return true
}

// TestGuest has a mirror with two addresses that allows a request a second, with the default interval and a short one.
func TestGuest(t *testing.T) {
	for _, interval := range []time.Duration{30 * time.Second, time.Second} {
		t.Run(fmt.Sprint(interval), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBed(t, func(o *Options) { o.Settings.Interval, o.Settings.Timeout = interval, interval/3 })
				server := &limits{allowed: time.Second}
				for _, addr := range []string{"192.0.2.1", "2001:db8::1"} {
					b.set(addr, server.probe)
				}
				b.SetPool(pool(t, "a.example.net=192.0.2.1,2001:db8::1"))
				defer b.start()()
				<-b.Swept()
				wait(2 * time.Minute)
				_, before := server.seen()
				for range 60 {
					wait(10 * time.Second)
					for _, addr := range []string{"192.0.2.1", "2001:db8::1"} {
						for _, role := range []Role{HTTP, DNS} {
							if v := b.verdictAt(addr, role); v.State != Up {
								t.Fatalf("%s in role %v: %v, %q", addr, role, v.State, v.Reason)
							}
						}
					}
				}
				if _, refused := server.seen(); refused > before {
					t.Errorf("%d requests came too soon after a refusal was seen", refused-before)
				}
			})
		})
	}
}

// TestPoliteAfterTheSweep has a mirror without a limit: it sees no more than two requests in any second.
func TestPoliteAfterTheSweep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, nil)
		server := &limits{}
		b.set("192.0.2.1", server.probe)
		b.SetPool(pool(t, "a.example.net=192.0.2.1"))
		defer b.start()()
		<-b.Swept()
		swept := time.Now()
		wait(10 * time.Minute)
		times, _ := server.seen()
		for i := 2; i < len(times); i++ {
			if first := times[i-2]; first.After(swept) && times[i].Sub(first) < time.Second {
				t.Errorf("three requests within %v", times[i].Sub(first))
			}
		}
		if len(times) < 3*19 {
			t.Errorf("%d requests in ten minutes", len(times))
		}
	})
}

// TestBusy has a mirror that answers 429 for some time.
func TestBusy(t *testing.T) {
	busy := func(at time.Duration) Observation {
		return Observation{At: epoch.Add(at), Result: Unknown, Reason: "status: 429 Too Many Requests", RetryAfter: 20 * time.Second}
	}
	v := Verdict{}.Next(Observation{At: epoch, Result: Up}, policy)
	for at := 10 * time.Second; at < 70*time.Second; at += 20 * time.Second {
		if v = v.Next(busy(at), policy); v.State != Up || v.ForSelection() != Up || v.InDoubt() || v.Wait(policy) != policy.Interval {
			t.Errorf("busy for %v: %v, in doubt %v, next in %v", at, v.State, v.InDoubt(), v.Wait(policy))
		}
	}
	if v.Reason == "" {
		t.Error("no reason while it is busy")
	}
	rested := v.Next(Observation{At: epoch.Add(75 * time.Second), Result: Up}, policy)
	if rested.Reason != "" || !rested.BusySince.IsZero() || rested.Wait(policy) != policy.Interval {
		t.Errorf("after that: %+v", rested)
	}
	slow := busy(60 * time.Second)
	slow.RetryAfter = time.Minute
	if next := v.Next(slow, policy); next.Wait(policy) != time.Minute {
		t.Error("it wants a minute, and does not get it")
	}
	for range policy.Fall {
		v = v.Next(busy(90*time.Second), policy)
	}
	if v.State != Down || v.Reason != "status: 429 Too Many Requests" {
		t.Errorf("busy for more than a minute: %v, %q", v.State, v.Reason)
	}
	first := Verdict{}.Next(busy(0), policy)
	if first.State != Unknown || first.Wait(policy) != 20*time.Second {
		t.Errorf("busy at first: %v, next in %v", first.State, first.Wait(policy))
	}
	if first = first.Next(busy(time.Minute), policy); first.State != Down {
		t.Errorf("busy from the first check on: %v", first.State)
	}
}
