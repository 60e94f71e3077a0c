package probe

import (
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"mirrorpool/config"
	"mirrorpool/health"

	"go.uber.org/zap"

	"mirrorpool/testdata/testbed"
)

// TestSpeedAgainstServers breaks real servers, with interval 1s, timeout 1s and fall 2.
func TestSpeedAgainstServers(t *testing.T) {
	if testing.Short() {
		t.Skip("takes three seconds")
	}
	ca := testbed.NewAuthority(t)
	expired, foreign := ca.Issue(t, mirrorHost, time.Now().Add(-time.Hour)), ca.Issue(t, "elsewhere.example.net",
		time.Now().Add(20*time.Hour))
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
		{name: "500", limit: 2500 * time.Millisecond, fault: func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusInternalServerError)
		}},
		{name: "certificate of yesterday", limit: 2500 * time.Millisecond, cert: &expired},
		{name: "certificate of another host", limit: 2500 * time.Millisecond, cert: &foreign},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			took := breakServer(t, ca, test.fault, test.cert)
			for try := 1; took > test.limit && try < 5; try++ { // on a busy machine the clock runs on while we do not
				took = breakServer(t, ca, test.fault, test.cert)
			}
			t.Logf("left up after %v", took)
			if took > test.limit && !testbed.Race {
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
func breakServer(t *testing.T, ca *testbed.Authority, fault http.HandlerFunc, cert *tls.Certificate) time.Duration {
	var broken atomic.Bool
	served := make(chan struct{}, 100)
	good := ca.Issue(t, mirrorHost, time.Now().Add(20*time.Hour))
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
	c, err := health.NewChecker(health.Options{
		Settings: config.Health{Enabled: true, Interval: time.Second, Timeout: time.Second, Rise: 2, Fall: 2,
			Path: "project/trace", MaxLag: time.Hour, MaxAge: time.Since(traceTime) + time.Hour},
		Prober: New(ca.Roots(), time.Now), Resolver: NewResolver(), Log: zap.NewNop(), Now: time.Now,
		Rand: rand.New(rand.NewPCG(1, 2)),
	})
	if err != nil {
		t.Fatal(err)
	}
	m := mirrorAt(t, "https", net.JoinHostPort(mirrorHost, portOf(s.Listener)), netip.MustParseAddr("127.0.0.7"))
	c.SetPool(&config.Pool{Mirrors: []config.Mirror{m}})
	defer start(t, c)()
	for range 3 {
		<-served
	}
	began := time.Now()
	if broken.Store(true); fault == nil && cert == nil {
		s.Close()
	}
	for {
		<-c.Changed()
		for _, e := range c.Report().Mirrors[m.URLPrefix].Endpoints {
			if e.State != health.Up && !e.Checked.Before(began) {
				return time.Since(began)
			}
		}
	}
}
