package health

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func quick(o *Options) {
	o.Settings.Interval, o.Settings.Timeout, o.Settings.Fall = time.Second, time.Second, 2
}

// leaves returns how long after a fault at the given phase of the schedule the endpoint at address in a role is no
// longer up. Its mirror has another address besides, and an rsync daemon.
func leaves(
	t *testing.T, change func(*Options), latency, phase time.Duration, address string, role Role, fault func(*bed),
) (took time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, change)
		b.set("192.0.2.1", slowly(latency))
		b.set("2001:db8::1", slowly(latency))
		p := pool(t, "a.example.net=192.0.2.1,2001:db8::1")
		p.Mirrors[0].RsyncURL = "rsync://a.example.net/tails/"
		b.SetPool(p)
		defer b.start()()
		<-b.Swept()
		wait(10*b.policy.Interval + phase)
		if v := b.verdictAt(address, role); v.State != Up {
			t.Fatalf("%v, %q before the fault", v.State, v.Reason)
		}
		fault(b)
		start := time.Now()
		for {
			<-b.Changed()
			if v := b.verdictAt(address, role); v.State != Up {
				took = time.Since(start)
				return
			}
		}
	})
	return took
}

func TestSpeedOfVerdicts(t *testing.T) {
	hard := fails("connect: connection refused")
	const v4, v6 = "192.0.2.1", "2001:db8::1"
	at := func(behave func(context.Context, Target) Observation, where ...string) func(*bed) {
		return func(b *bed) {
			for _, w := range where {
				b.set(w, behave)
			}
		}
	}
	const fast = 20 * time.Millisecond
	for _, test := range []struct {
		name    string
		change  func(*Options)
		latency time.Duration
		step    time.Duration
		fault   func(*bed)
		address string
		role    Role
		limit   time.Duration
	}{
		{"refused", quick, fast, 50 * time.Millisecond, at(hard, v4, v6), v4, HTTP, 1500 * time.Millisecond},
		{"refused, in DNS", quick, fast, 50 * time.Millisecond, at(hard, v4, v6), v4, DNS, 1500 * time.Millisecond},
		{"404", quick, fast, 50 * time.Millisecond, at(fails("status: 404 Not Found, want 200"), v4, v6), v6, HTTP,
			1500 * time.Millisecond},
		{"hang", quick, fast, 50 * time.Millisecond, at(hangs, v4, v6), v4, HTTP, 2500 * time.Millisecond},
		{"hang, in DNS", quick, fast, 50 * time.Millisecond, at(hangs, v4, v6), v6, DNS, 2500 * time.Millisecond},
		{"one role hangs", quick, fast, 50 * time.Millisecond,
			func(b *bed) { at(hangs, v4+"/dns")(b); at(hard, v4+"/http")(b) }, v4, HTTP, 2500 * time.Millisecond},
		{"hang at 80 ms away", quick, 80 * time.Millisecond, 50 * time.Millisecond, at(hangs, v4, v6), v4, HTTP,
			2500 * time.Millisecond},
		{"one family hangs", quick, fast, 50 * time.Millisecond, at(hangs, v6), v6, HTTP, 2500 * time.Millisecond},
		{"one family hangs, in DNS", quick, fast, 50 * time.Millisecond, at(hangs, v6), v6, DNS, 2500 * time.Millisecond},
		{"rsync refused", quick, fast, 50 * time.Millisecond, at(hard, v4+"/rsync"), v4, Rsync, 1500 * time.Millisecond},
		{"rsync hangs", quick, fast, 50 * time.Millisecond, at(hangs, v4+"/rsync"), v4, Rsync, 2500 * time.Millisecond},
		{"module gone", quick, fast, 50 * time.Millisecond, at(fails("rsync: the daemon has no such module"), v4+"/rsync"), v4,
			Rsync, 1500 * time.Millisecond},
		{"default settings, refused", nil, 200 * time.Millisecond, 1500 * time.Millisecond, at(hard, v4, v6), v4, HTTP,
			40 * time.Second},
		{"default settings, hang", nil, 200 * time.Millisecond, 1500 * time.Millisecond, at(hangs, v4, v6), v4, HTTP, 48 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			worst := time.Duration(0)
			for i := range 20 {
				worst = max(worst, leaves(t, test.change, test.latency, time.Duration(i)*test.step, test.address, test.role, test.fault))
			}
			t.Logf("left up after at most %v", worst)
			if worst > test.limit {
				t.Errorf("left up after %v, want at most %v", worst, test.limit)
			}
		})
	}
}

// TestSlowMirrorDoesNotFlap has a mirror that is slow by habit and hangs once in a while.
func TestSlowMirrorDoesNotFlap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, func(o *Options) { quick(o); o.CheckDNS = false })
		b.set("192.0.2.1", slowly(600*time.Millisecond))
		b.SetPool(pool(t, "a.example.net=192.0.2.1"))
		defer b.start()()
		<-b.Swept()
		since := b.verdictAt("192.0.2.1", HTTP).Since
		for range 20 {
			wait(10 * time.Second)
			b.set("192.0.2.1", hangs)
			before := b.count("192.0.2.1", HTTP)
			for b.count("192.0.2.1", HTTP) == before { // one look hangs
				wait(10 * time.Millisecond)
			}
			b.set("192.0.2.1", slowly(600*time.Millisecond))
		}
		wait(10 * time.Second)
		if v := b.verdictAt("192.0.2.1", HTTP); v.State != Up || !v.Since.Equal(since) {
			t.Errorf("%v since %v, %q, want up since the start", v.State, v.Since, v.Reason)
		}
	})
}
