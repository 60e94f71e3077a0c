package health

import (
	"context"
	"crypto/tls"
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

// leaves returns how long after a fault at the given phase of the schedule the endpoint at address in a role is no longer
// up. Its mirror has another address besides, and an rsync daemon.
func leaves(t *testing.T, change func(*Options), latency, phase time.Duration, address string, role Role, fault func(*bed)) (took time.Duration) {
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
		{"404", quick, fast, 50 * time.Millisecond, at(fails("status: 404 Not Found, want 200"), v4, v6), v6, HTTP, 1500 * time.Millisecond},
		{"hang", quick, fast, 50 * time.Millisecond, at(hangs, v4, v6), v4, HTTP, 2500 * time.Millisecond},
		{"hang, in DNS", quick, fast, 50 * time.Millisecond, at(hangs, v4, v6), v6, DNS, 2500 * time.Millisecond},
		{"one role hangs", quick, fast, 50 * time.Millisecond,
			func(b *bed) { at(hangs, v4+"/dns")(b); at(hard, v4+"/http")(b) }, v4, HTTP, 2500 * time.Millisecond},
		{"hang at 80 ms away", quick, 80 * time.Millisecond, 50 * time.Millisecond, at(hangs, v4, v6), v4, HTTP, 2500 * time.Millisecond},
		{"one family hangs", quick, fast, 50 * time.Millisecond, at(hangs, v6), v6, HTTP, 2500 * time.Millisecond},
		{"one family hangs, in DNS", quick, fast, 50 * time.Millisecond, at(hangs, v6), v6, DNS, 2500 * time.Millisecond},
		{"rsync refused", quick, fast, 50 * time.Millisecond, at(hard, v4+"/rsync"), v4, Rsync, 1500 * time.Millisecond},
		{"rsync hangs", quick, fast, 50 * time.Millisecond, at(hangs, v4+"/rsync"), v4, Rsync, 2500 * time.Millisecond},
		{"module gone", quick, fast, 50 * time.Millisecond, at(fails("rsync: the daemon has no such module"), v4+"/rsync"), v4, Rsync, 1500 * time.Millisecond},
		{"default settings, refused", nil, 200 * time.Millisecond, 1500 * time.Millisecond, at(hard, v4, v6), v4, HTTP, 40 * time.Second},
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

// TestSpeedAgainstServers breaks real servers, with interval 1s, timeout 1s and fall 2.
func TestSpeedAgainstServers(t *testing.T) {
	if testing.Short() {
		t.Skip("takes three seconds")
	}
	ca := newAuthority(t)
	expired, foreign := ca.issue(t, mirrorHost, time.Now().Add(-time.Hour)), ca.issue(t, "elsewhere.example.net", time.Now().Add(20*time.Hour))
	for _, test := range []struct {
		name  string
		limit time.Duration
		fault func(w http.ResponseWriter, r *http.Request) // nil: the server stops, unless cert is given
		cert  *tls.Certificate
	}{
		{name: "stopped", limit: 1500 * time.Millisecond, fault: nil},
		{name: "404", limit: 1500 * time.Millisecond, fault: http.NotFound},
		{name: "parked", limit: 2500 * time.Millisecond, fault: text("for sale")},
		{name: "stale trace", limit: 2500 * time.Millisecond, fault: text("1")},
		{name: "hang", limit: 2500 * time.Millisecond, fault: func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }},
		{name: "one byte a second", limit: 2500 * time.Millisecond, fault: drip},
		{name: "endless body", limit: 2500 * time.Millisecond, fault: func(w http.ResponseWriter, r *http.Request) {
			for part := make([]byte, 1<<16); r.Context().Err() == nil; {
				w.Write(part)
			}
		}},
		{name: "redirect loop", limit: 2500 * time.Millisecond, fault: redirect("/")},
		{name: "redirect elsewhere", limit: 2500 * time.Millisecond, fault: redirect("https://elsewhere.example/")},
		{name: "redirect to http", limit: 2500 * time.Millisecond, fault: redirect("http://" + mirrorHost + "/")},
		{name: "trace in the future", limit: 2500 * time.Millisecond, fault: text("4000000000")},
		{name: "500", limit: 2500 * time.Millisecond, fault: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }},
		{name: "certificate of yesterday", limit: 2500 * time.Millisecond, cert: &expired},
		{name: "certificate of somebody else", limit: 2500 * time.Millisecond, cert: &foreign},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			took := breakServer(t, ca, test.fault, test.cert)
			for try := 1; took > test.limit && try < 5; try++ { // on a busy machine the clock runs on while we do not
				took = breakServer(t, ca, test.fault, test.cert)
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
func breakServer(t *testing.T, ca *authority, fault http.HandlerFunc, cert *tls.Certificate) time.Duration {
	var broken atomic.Bool
	served := make(chan struct{}, 100)
	good := ca.issue(t, mirrorHost, time.Now().Add(20*time.Hour))
	s := serveTLS(t, "127.0.0.7", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if broken.Load() && fault != nil {
			fault(w, r)
			return
		}
		serveTrace(w, r)
		served <- struct{}{}
	}), &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		if broken.Load() && cert != nil {
			return cert, nil
		}
		return &good, nil
	}})
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
	if broken.Store(true); fault == nil && cert == nil {
		s.Close()
	}
	for {
		<-c.Changed()
		if v := b.verdictAt("127.0.0.7", HTTP); v.State != Up && !v.Checked.Before(start) {
			return time.Since(start)
		}
	}
}
