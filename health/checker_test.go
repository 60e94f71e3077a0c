package health

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mirrorpool/config"
)

func TestFirstSweep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, nil)
		b.set("192.0.2.2", slowly(4*time.Second))
		b.set("192.0.2.3/dns", fails("status: 404 Not Found, want 200"))
		b.SetPool(pool(t, "a.example.net=192.0.2.1 b.example.net=192.0.2.2 c.example.net=192.0.2.3"))
		defer b.start()()
		synctest.Wait()
		select {
		case <-b.Swept():
			t.Fatal("swept while one is being checked for the first time")
		default:
		}
		if v := b.verdictAt("192.0.2.1", HTTP); v.State != Up {
			t.Errorf("a quick one: %v", v.State)
		}
		if v := b.verdictAt("192.0.2.2", HTTP); v.State != Unknown {
			t.Errorf("a slow one, before it has answered: %v", v.State)
		}
		wait(4 * time.Second)
		<-b.Swept()
		<-b.Changed()
		if v := b.verdictAt("192.0.2.2", DNS); v.State != Up || v.Latency != 4*time.Second || !v.Checked.Equal(time.Now()) {
			t.Errorf("a slow one, after it has answered: %+v", v)
		}
		if v := b.verdictAt("192.0.2.3", DNS); v.State != Down || v.Reason != "status: 404 Not Found, want 200" {
			t.Errorf("without the pool's virtual host, in role dns: %v, %q", v.State, v.Reason)
		}
		if v := b.verdictAt("192.0.2.3", HTTP); v.State != Up {
			t.Errorf("without the pool's virtual host, in role http: %v", v.State)
		}
		if b.peak < 2 {
			t.Errorf("%d probes at once, want the slow one's 2 roles", b.peak)
		}
	})
}

func TestNewChecker(t *testing.T) {
	t.Parallel()
	const bad = "http://[2001:db8::1/"
	for name, o := range map[string]Options{
		"dns_url":       {Settings: config.Health{Enabled: true, DNSURL: bad}, CheckDNS: true, Now: time.Now},
		"reference_url": {Settings: config.Health{Enabled: true, ReferenceURL: bad}, Now: time.Now},
	} {
		if _, err := NewChecker(o); err == nil || !strings.Contains(err.Error(), bad) {
			t.Errorf("a bad %s: %v", name, err)
		}
	}
	for name, o := range map[string]Options{
		"dns_url, without the DNS face": {Settings: config.Health{Enabled: true, DNSURL: bad}, Now: time.Now},
		"reference_url, without checks": {Settings: config.Health{ReferenceURL: bad}, Now: time.Now},
	} {
		if c, err := NewChecker(o); err != nil || len(c.schedule.waiting) > 0 {
			t.Errorf("a bad %s: %v", name, err)
		}
	}
}

// TestRemovalDuringTheFirstSweep: the sweep waits for those that stay, and for no other.
func TestRemovalDuringTheFirstSweep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, nil)
		b.set("192.0.2.1", hangs)
		b.set("192.0.2.11", hangs)
		b.set("192.0.2.3", slowly(5*time.Second))
		b.SetPool(pool(t, "a.example.net=192.0.2.1,192.0.2.11 b.example.net=192.0.2.2 c.example.net=192.0.2.3"))
		began := time.Now()
		defer b.start()()
		wait(time.Second)
		b.SetPool(pool(t, "c.example.net=192.0.2.3"))
		select {
		case <-b.Swept():
			if took := time.Since(began); took != 5*time.Second {
				t.Errorf("it ends after %v, want 5 s", took)
			}
		case <-time.After(time.Minute):
			t.Error("it does not end")
		}
	})
}

func TestSweepOfNothing(t *testing.T) {
	b := newBed(t, nil)
	b.SetPool(pool(t, ""))
	<-b.Swept()
	select {
	case <-b.Changed():
	default:
		t.Error("the new pool is not signalled")
	}
}

func TestRemovedMirror(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, nil)
		cancelled := make(chan time.Time, 2)
		b.set("192.0.2.1", func(ctx context.Context, _ Target) Observation {
			<-ctx.Done()
			cancelled <- time.Now()
			return Observation{Result: Down, Reason: "request: cancelled"}
		})
		b.SetPool(pool(t, "a.example.net=192.0.2.1 b.example.net=192.0.2.2"))
		defer b.start()()
		wait(time.Second)
		before := time.Now()
		since := b.verdictAt("192.0.2.2", HTTP).Since

		b.SetPool(pool(t, "b.example.net=192.0.2.2 c.example.net=192.0.2.3"))
		synctest.Wait()
		for range 2 {
			if at := <-cancelled; !at.Equal(before) {
				t.Errorf("cancelled %v after the mirror was removed", at.Sub(before))
			}
		}
		if v := b.verdictAt("192.0.2.3", HTTP); v.State != Up || !v.Checked.Equal(before) {
			t.Errorf("a new mirror: %v, checked %v later", v.State, v.Checked.Sub(before))
		}
		if v := b.verdictAt("192.0.2.2", HTTP); !v.Since.Equal(since) || v.State != Up {
			t.Errorf("one that stayed: %v since %v, want up since %v", v.State, v.Since, since)
		}
		if len(b.Report().Mirrors) != 2 {
			t.Errorf("%d mirrors in the report", len(b.Report().Mirrors))
		}
		wait(time.Hour)
		if n := b.count("192.0.2.1", HTTP); n != 1 {
			t.Errorf("a removed mirror was probed %d times more", n-1)
		}
	})
}

func TestChangedMirrorIsCheckedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, nil)
		b.SetPool(pool(t, "-a.example.net=192.0.2.1 b.example.net=192.0.2.2"))
		defer b.start()()
		wait(time.Second)
		if n := b.count("192.0.2.1", HTTP); n != 1 {
			t.Fatalf("a disabled mirror was probed %d times, want 1", n)
		}
		b.SetPool(pool(t, "a.example.net=192.0.2.1 b.example.net=192.0.2.2"))
		synctest.Wait()
		if n, other := b.count("192.0.2.1", HTTP), b.count("192.0.2.2", HTTP); n != 2 || other != 1 {
			t.Errorf("probed %d times after it changed, and the other one %d times, want 2 and 1", n, other)
		}
	})
}

func TestGivenAndFoundAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, nil)
		b.lookupTime = time.Millisecond // the given addresses count until it is over
		b.knows("a.example.net", "192.0.2.1 2001:db8::1")
		b.SetPool(pool(t, "a.example.net=192.0.2.1,192.0.2.9"))
		defer b.start()()
		wait(time.Second)
		since := b.verdictAt("192.0.2.1", HTTP).Since
		b.SetPool(pool(t, "a.example.net")) // to be looked up from now on
		if v := b.verdictAt("192.0.2.9", HTTP); v.State != Up {
			t.Errorf("a given address, before the look-up: %v", v.State)
		}
		wait(time.Second)
		if got, want := b.addressesOf("a.example.net"), addrs("192.0.2.1 2001:db8::1"); !slices.Equal(got, want) {
			t.Fatalf("after the look-up: %v, want %v", got, want)
		}
		if v := b.verdictAt("192.0.2.1", HTTP); v.State != Up || !v.Since.Equal(since) {
			t.Errorf("an address that is both: %v since %v, want up since %v", v.State, v.Since, since)
		}
		b.SetPool(pool(t, "a.example.net=10.0.0.1")) // explicit ones may be private
		for range 2 {
			if got, want := b.addressesOf("a.example.net"), addrs("10.0.0.1"); !slices.Equal(got, want) {
				t.Errorf("given again: %v, want %v", got, want)
			}
			wait(time.Hour) // in which nothing is looked up
		}
	})
}

// addressesOf returns the addresses of a host's mirror in the report.
func (b *bed) addressesOf(host string) []netip.Addr {
	var list []netip.Addr
	for _, e := range b.Report().Mirrors["http://"+host+"/tails/"].Endpoints {
		list = append(list, e.Address)
	}
	return slices.Compact(list)
}

// TestLostAddressIsNotChecked: an address that a mirror has no more gets no checks, while the others go on.
func TestLostAddressIsNotChecked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, nil)
		b.SetPool(pool(t, "a.example.net=192.0.2.1,192.0.2.2"))
		defer b.start()()
		<-b.Swept()
		b.SetPool(pool(t, "a.example.net=192.0.2.1"))
		wait(time.Second)
		lost, kept := b.count("192.0.2.2", HTTP), b.count("192.0.2.1", HTTP)
		if lost == 0 {
			t.Error("the address was not checked while the mirror had it")
		}
		wait(time.Hour)
		if n := b.count("192.0.2.2", HTTP); n != lost {
			t.Errorf("it was checked %d times after the mirror lost it", n-lost)
		}
		if n := b.count("192.0.2.1", HTTP); n == kept {
			t.Error("the other one was not checked after that")
		}
	})
}

func TestLookedUpAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, nil)
		b.knows("a.example.net", "192.0.2.1 192.0.2.2")
		b.SetPool(pool(t, "a.example.net"))
		defer b.start()()
		<-b.Swept()
		check := func(when, addresses, problem string) {
			t.Helper()
			wait(2 * time.Minute)
			r := b.Report().Mirrors["http://a.example.net/tails/"]
			if got := b.addressesOf("a.example.net"); !slices.Equal(got, addrs(addresses)) || r.Problem != problem {
				t.Errorf("%s: %v, %q, want %s, %q", when, got, r.Problem, addresses, problem)
			}
		}
		check("found", "192.0.2.1 192.0.2.2", "")
		b.knows("a.example.net", "192.0.2.2 2001:db8::2")
		check("one address replaced", "192.0.2.2 2001:db8::2", "")
		b.forgets("a.example.net")
		check("name servers fail", "192.0.2.2 2001:db8::2",
			"resolve: asking 192.0.2.53:53 for a.example.net A: SERVFAIL; keeping 2 known addresses")
		b.knows("a.example.net", "192.0.2.2 10.0.0.1")
		check("private address", "192.0.2.2",
			`resolve: 10.0.0.1, which DNS gives for "a.example.net", is not a public address: set health.allow_private to probe it`)
		b.knows("a.example.net", "")
		check("no address", "", `resolve: "a.example.net" has no address`)
		if b.count("10.0.0.1", HTTP) > 0 {
			t.Error("probed a private address")
		}
	})
}

func TestAllowPrivate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, func(o *Options) { o.Settings.AllowPrivate = true })
		b.knows("a.example.net", "10.0.0.1")
		b.SetPool(pool(t, "a.example.net"))
		defer b.start()()
		<-b.Swept()
		if v := b.verdictAt("10.0.0.1", HTTP); v.State != Up {
			t.Errorf("a private address that may be probed: %v", v.State)
		}
	})
}

func TestHealthOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, func(o *Options) {
			o.Settings.Enabled, o.Settings.ReferenceURL = false, "http://origin.example.org/trace"
		})
		b.knows("b.example.net", "192.0.2.2")
		p := pool(t, "a.example.net=192.0.2.1 b.example.net")
		p.Mirrors[0].RsyncURL = "rsync://a.example.net/tails/"
		b.SetPool(p)
		defer b.start()()
		<-b.Swept()
		wait(time.Hour)
		if r := b.Report().Mirrors["http://a.example.net/tails/"].Rsync; r != nil {
			t.Errorf("an rsync daemon is judged: %+v", r)
		}
		for prefix, m := range b.Report().Mirrors {
			if m.Newcomer != [2]bool{} {
				t.Errorf("%s is new in its roles: %v", prefix, m.Newcomer)
			}
		}
		if len(b.starts) > 0 || b.Stalled() {
			t.Errorf("probed %d places, stalled %v", len(b.starts), b.Stalled())
		}
		for _, addr := range []string{"192.0.2.1", "192.0.2.2"} {
			if v := b.verdictAt(addr, DNS); v.State != Up || v.Reason != "checks are off" {
				t.Errorf("%s: %v, %q", addr, v.State, v.Reason)
			}
		}
	})
}

func TestRunWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, nil)
		ended := 0
		b.set("192.0.2.1", func(ctx context.Context, _ Target) Observation {
			<-ctx.Done()
			time.Sleep(3 * time.Second) // it takes a while to clean up
			b.mu.Lock()
			defer b.mu.Unlock()
			ended++
			return Observation{Result: Unknown, Reason: "request: cancelled"}
		})
		b.SetPool(pool(t, "a.example.net=192.0.2.1"))
		stop := b.start()
		wait(time.Second)
		stop()
		if ended != 2 {
			t.Errorf("Run returned when %d of 2 probes had ended", ended)
		}
		if v := b.verdictAt("192.0.2.1", HTTP); v.State != Unknown || !v.Checked.IsZero() {
			t.Errorf("a cancelled probe made the verdict %+v", v)
		}
	})
}

func TestChecksOfTheDownBecomeRarer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, nil)
		b.set("192.0.2.1", fails("connect: connection refused"))
		b.SetPool(pool(t, "a.example.net=192.0.2.1"))
		defer b.start()()
		wait(3 * time.Hour)
		before := b.count("192.0.2.1", HTTP)
		wait(time.Hour)
		if n := b.count("192.0.2.1", HTTP) - before; n < 12 || n > 14 {
			t.Errorf("probed %d times in an hour, want one in 4.5 to 5 minutes", n)
		}
		if v := b.verdictAt("192.0.2.1", HTTP); v.State != Down {
			t.Errorf("between rare checks: %v, want down", v.State)
		}
	})
}

func TestStateChangesAreLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, nil)
		b.SetPool(pool(t, "a.example.net=192.0.2.1"))
		defer b.start()()
		<-b.Swept()
		b.set("192.0.2.1/http", fails("connect: connection refused"))
		wait(time.Minute)
		last := b.logs.FilterMessage("endpoint changed state").All()
		fields := last[len(last)-1].ContextMap()
		if len(last) != 3 || fields["to"] != "down" || fields["role"] != "http" || fields["reason"] != "connect: connection refused" {
			t.Errorf("%d changes logged, the last one %v", len(last), fields)
		}
	})
}

func TestCertificateWarningsAreRare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, func(o *Options) { o.CheckDNS = false })
		b.set("192.0.2.1", func(context.Context, Target) Observation {
			return Observation{Result: Up, Trace: traceTime, CertExpires: time.Now().Add(5*24*time.Hour + time.Minute)}
		})
		b.SetPool(pool(t, "a.example.net=192.0.2.1"))
		defer b.start()()
		<-b.Swept()
		wait(47 * time.Hour)
		if n := b.logs.FilterMessage("certificate must be renewed").Len(); n != 2 {
			t.Errorf("warned %d times in 47 hours, want 2", n)
		}
		e := b.Report().Mirrors["http://a.example.net/tails/"].Endpoints[0]
		if !strings.HasSuffix(e.Warning, "in 5 days") || e.State != Up {
			t.Errorf("in the report: %v, %q", e.State, e.Warning)
		}
	})
}

func TestFamiliesAreJudgedApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, nil)
		b.SetPool(pool(t, "a.example.net=192.0.2.1,2001:db8::1 b.example.net=2001:db8::2"))
		defer b.start()()
		<-b.Swept()
		b.set("2001:db8::1", hangs)
		b.set("2001:db8::2", func(context.Context, Target) Observation {
			return Observation{Reason: "connect: this host has no route to the address"}
		})
		wait(2 * time.Minute)
		for addr, want := range map[string]State{"192.0.2.1": Up, "2001:db8::1": Down, "2001:db8::2": Unknown} {
			if v := b.verdictAt(addr, DNS); v.State != want {
				t.Errorf("%s: %v, %q, want %v", addr, v.State, v.Reason, want)
			}
		}
		if v := b.verdictAt("2001:db8::2", HTTP); v.Reason != "connect: this host has no route to the address" {
			t.Errorf("without a route: %q", v.Reason)
		}
	})
}

// TestFamily: with health.family nothing is known of the other one, and nothing is asked there.
func TestFamily(t *testing.T) {
	for family, unknown := range map[string]string{"": "", "ipv4": "2001:db8::1", "ipv6": "192.0.2.1"} {
		synctest.Test(t, func(t *testing.T) {
			b := newBed(t, func(o *Options) { o.Settings.Family = family })
			b.SetPool(pool(t, "a.example.net=192.0.2.1,2001:db8::1"))
			defer b.start()()
			<-b.Swept()
			for _, addr := range []string{"192.0.2.1", "2001:db8::1"} {
				v, want := b.verdictAt(addr, HTTP), Up
				if addr == unknown {
					want = Unknown
				}
				if v.State != want || (b.count(addr, HTTP) == 0) != (want == Unknown) {
					t.Errorf("family %q: %s is %v, %q, after %d probes", family, addr, v.State, v.Reason, b.count(addr, HTTP))
				}
			}
			if suspects := b.Report().Suspects; len(suspects) > 0 {
				t.Errorf("family %q: %v", family, suspects)
			}
		})
	}
}
