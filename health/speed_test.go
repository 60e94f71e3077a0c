package health

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"mirrorpool/config"
)

func quick(o *Options) {
	o.Settings.Interval, o.Settings.Timeout, o.Settings.Fall = time.Second, time.Second, 2
}

// leaves returns how long after a fault at the given phase of the schedule the endpoint is no longer up.
func leaves(t *testing.T, change func(*Options), latency, phase time.Duration, fault func(*bed)) (took time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, change)
		b.set("192.0.2.1", slowly(latency))
		b.SetPool(pool(t, "a.example.net=192.0.2.1"))
		defer b.start()()
		<-b.Swept()
		wait(10*b.policy.Interval + phase)
		if v := b.verdictAt("192.0.2.1", HTTP); v.State != Up {
			t.Fatalf("%v, %q before the fault", v.State, v.Reason)
		}
		fault(b)
		start := time.Now()
		for {
			<-b.Changed()
			if v := b.verdictAt("192.0.2.1", HTTP); v.State != Up {
				took = time.Since(start)
				return
			}
		}
	})
	return took
}

func TestSpeedOfVerdicts(t *testing.T) {
	hard := fails("connect: connection refused")
	for _, test := range []struct {
		name    string
		change  func(*Options)
		latency time.Duration
		step    time.Duration
		fault   func(*bed)
		limit   time.Duration
	}{
		{"quick settings, refused", quick, 20 * time.Millisecond, 50 * time.Millisecond,
			func(b *bed) { b.set("192.0.2.1", hard) }, 1500 * time.Millisecond},
		{"quick settings, hang", quick, 20 * time.Millisecond, 50 * time.Millisecond,
			func(b *bed) { b.set("192.0.2.1", hangs) }, 2500 * time.Millisecond},
		{"quick settings, one role hangs", quick, 20 * time.Millisecond, 50 * time.Millisecond,
			func(b *bed) { b.set("192.0.2.1/dns", hangs); b.set("192.0.2.1/http", hard) }, 2500 * time.Millisecond},
		{"quick settings, hang at 80 ms away", quick, 80 * time.Millisecond, 50 * time.Millisecond,
			func(b *bed) { b.set("192.0.2.1", hangs) }, 2500 * time.Millisecond},
		{"default settings, refused", nil, 200 * time.Millisecond, 1500 * time.Millisecond,
			func(b *bed) { b.set("192.0.2.1", hard) }, 40 * time.Second},
		{"default settings, hang", nil, 200 * time.Millisecond, 1500 * time.Millisecond,
			func(b *bed) { b.set("192.0.2.1", hangs) }, 48 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			worst := time.Duration(0)
			for i := range 20 {
				worst = max(worst, leaves(t, test.change, test.latency, time.Duration(i)*test.step, test.fault))
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

// TestSpeedAgainstServers breaks real servers, with interval 1s, timeout 1s and fall 2.
func TestSpeedAgainstServers(t *testing.T) {
	if testing.Short() {
		t.Skip("takes three seconds")
	}
	ca := newAuthority(t)
	for _, test := range []struct {
		name  string
		limit time.Duration
		fault func(w http.ResponseWriter, r *http.Request) // nil: the server stops
	}{
		{"stopped", 1500 * time.Millisecond, nil},
		{"404", 1500 * time.Millisecond, http.NotFound},
		{"parked", 2500 * time.Millisecond, text("for sale")},
		{"stale trace", 2500 * time.Millisecond, text("1")},
		{"hang", 2500 * time.Millisecond, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }},
		{"one byte a second", 2500 * time.Millisecond, drip},
		{"endless body", 2500 * time.Millisecond, func(w http.ResponseWriter, r *http.Request) {
			for part := make([]byte, 1<<16); r.Context().Err() == nil; {
				w.Write(part)
			}
		}},
		{"redirect loop", 2500 * time.Millisecond, redirect("/")},
		{"redirect elsewhere", 2500 * time.Millisecond, redirect("https://elsewhere.example/")},
		{"redirect to http", 2500 * time.Millisecond, redirect("http://" + mirrorHost + "/")},
		{"trace in the future", 2500 * time.Millisecond, text("4000000000")},
		{"500", 2500 * time.Millisecond, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			took := breakServer(t, ca, test.fault)
			for try := 1; took > test.limit && try < 5; try++ { // on a busy machine the clock runs on while we do not
				took = breakServer(t, ca, test.fault)
			}
			t.Logf("left up after %v", took)
			if took > test.limit && !raceDetector {
				t.Errorf("left up after %v, want at most %v", took, test.limit)
			}
		})
	}
}

// drip sends one byte a second.
func drip(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Length", "60")
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		fmt.Fprint(w, "1")
		w.(http.Flusher).Flush()
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		}
	}
}

// breakServer runs a checker against an https server, breaks it right after a probe, which is the worst moment, and
// returns how long it stays up after that.
func breakServer(t *testing.T, ca *authority, fault http.HandlerFunc) time.Duration {
	var broken atomic.Bool
	served := make(chan struct{}, 100)
	s := serve(t, "127.0.0.7", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if broken.Load() {
			fault(w, r)
			return
		}
		serveTrace(w, r)
		served <- struct{}{}
	}), ca.issue(t, mirrorHost, time.Now().Add(20*time.Hour)))
	c, err := NewChecker(Options{
		Settings: config.Health{Enabled: true, Interval: time.Second, Timeout: time.Second, Rise: 2, Fall: 2,
			Path: "project/trace", MaxLag: time.Hour, MaxAge: time.Since(traceTime) + time.Hour},
		Prober: NewHTTPProber(ca.roots(), time.Now), Resolver: NewSystemResolver(), Log: zap.NewNop(), Now: time.Now,
		Rand: rand.New(rand.NewPCG(1, 2)),
	})
	if err != nil {
		t.Fatal(err)
	}
	p := pool(t, net.JoinHostPort(mirrorHost, portOf(s.Listener))+"=127.0.0.7")
	p.Mirrors[0].URL.Scheme = "https"
	c.SetPool(p)
	b := &bed{Checker: c, t: t}
	defer b.start()()
	for range 3 {
		<-served
	}
	start := time.Now()
	if broken.Store(true); fault == nil {
		s.Close()
	}
	for {
		<-c.Changed()
		if v := b.verdictAt("127.0.0.7", HTTP); v.State != Up && !v.Checked.Before(start) {
			return time.Since(start)
		}
	}
}
