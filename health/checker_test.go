package health

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
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

func TestOneCheckPerAddressAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, nil)
		b.set("192.0.2.1", slowly(50*time.Millisecond))
		b.SetPool(pool(t, "a.example.net=192.0.2.1 b.example.net=192.0.2.1 c.example.net=192.0.2.1"))
		defer b.start()()
		<-b.Swept()
		wait(10 * time.Minute)
		for p, most := range b.most {
			if most > 1 {
				t.Errorf("%v in role %v was probed %d times at once", p.address, p.role, most)
			}
		}
		if n := b.count("192.0.2.1", HTTP); n < 3*20 {
			t.Errorf("three mirrors at one address were probed %d times in 10 minutes", n)
		}
	})
}

// TestOneVisitPerHostAtATime has a mirror with four addresses, which are slow, fast, dead and hung, and an rsync daemon,
// and another mirror on the same host. What begins while something is under way there has to have begun with it.
func TestOneVisitPerHostAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, nil)
		type span struct{ from, to time.Time }
		var spans []span
		watch := func(behave func(context.Context, Target) Observation) func(context.Context, Target) Observation {
			return func(ctx context.Context, target Target) Observation {
				from := time.Now()
				o := behave(ctx, target)
				b.mu.Lock()
				defer b.mu.Unlock()
				spans = append(spans, span{from, time.Now()})
				return o
			}
		}
		b.set("192.0.2.1", watch(slowly(time.Second)))
		b.set("192.0.2.2", watch(slowly(time.Millisecond)))
		b.set("2001:db8::1", watch(fails("connect: connection refused")))
		b.set("2001:db8::2", watch(hangs))
		p := pool(t, "a.example.net=192.0.2.1,192.0.2.2,2001:db8::1,2001:db8::2 a.example.net=192.0.2.1")
		p.Mirrors[0].RsyncURL = "rsync://a.example.net/tails/"
		p.Mirrors[1].URLPrefix += "other/"
		p.Mirrors[1].URL = p.Mirrors[1].URL.JoinPath("other/")
		b.SetPool(p)
		defer b.start()()
		<-b.Swept()
		wait(time.Hour)
		b.mu.Lock()
		defer b.mu.Unlock()
		if len(spans) < 500 {
			t.Errorf("only %d probes in an hour", len(spans))
		}
		for i, one := range spans {
			for _, other := range spans[i+1:] {
				if one.from.Before(other.to) && other.from.Before(one.to) && !one.from.Equal(other.from) {
					t.Fatalf("a probe from %v to %v, and one from %v to %v", one.from, one.to, other.from, other.to)
				}
			}
		}
	})
}

// TestVisitAfterVisit has mirrors on one host: the visits of the later ones begin when the one before has ended, and those
// that are removed meanwhile are not visited.
func TestVisitAfterVisit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, nil)
		addresses := []string{"192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"}
		p := pool(t, strings.Repeat("a.example.net ", len(addresses)))
		for i := range p.Mirrors {
			p.Mirrors[i].URLPrefix += fmt.Sprintf("tree%d/", i)
			p.Mirrors[i].DNS.Addresses = addrs(addresses[i])
			b.set(addresses[i], slowly(5*time.Second))
		}
		b.SetPool(p)
		began := time.Now()
		defer b.start()()
		wait(time.Second)
		var waiting []string
		var under string
		for i, addr := range addresses {
			if b.count(addr, HTTP) == 0 {
				waiting = append(waiting, addr)
			} else {
				under = p.Mirrors[i].URLPrefix
			}
		}
		if len(waiting) != 3 {
			t.Fatalf("%d mirrors wait for the visit of %s, want 3", len(waiting), under)
		}
		removed, stays := waiting[:2], waiting[2]
		p.Mirrors = slices.DeleteFunc(p.Mirrors, func(m config.Mirror) bool { return slices.Contains(removed, m.DNS.Addresses[0].String()) })
		b.SetPool(p)
		wait(time.Minute)
		if starts := b.startsAt(stays, HTTP); len(starts) == 0 || starts[0].Sub(began) != 5*time.Second {
			t.Errorf("the next visit began at %v; want after 5 s", starts)
		}
		if n := b.count(removed[0], HTTP) + b.count(removed[1], HTTP); n > 0 {
			t.Errorf("mirrors were probed %d times that had been removed", n)
		}
	})
}

// TestVisitTakesAlong: what is due at a mirror within a tenth of the interval goes along with a visit, and what is due later
// does not.
func TestVisitTakesAlong(t *testing.T) {
	for late, together := range map[time.Duration]bool{2 * time.Second: true, 4 * time.Second: false} {
		synctest.Test(t, func(t *testing.T) {
			b := newBed(t, nil)
			b.set("192.0.2.2", slowly(late)) // so that it is due so much later each time
			b.SetPool(pool(t, "a.example.net=192.0.2.1,192.0.2.2"))
			stop := b.start()
			<-b.Swept()
			wait(10 * time.Minute)
			stop()
			quick, slow := b.starts[endpointKey{netip.MustParseAddr("192.0.2.1"), HTTP}], b.starts[endpointKey{netip.MustParseAddr("192.0.2.2"), HTTP}]
			shared := 0
			for _, at := range quick {
				if slices.Contains(slow, at) {
					shared++
				}
			}
			// Those apart drift, and so meet now and then.
			if len(slow) < 10 || together && shared != len(quick) || !together && 3*shared > len(quick) {
				t.Errorf("due %v later: %d of %d visits, and %d to the slow one, are shared", late, shared, len(quick), len(slow))
			}
		})
	}
}

// slowResolver is a bed's resolver that takes a while, and counts.
type slowResolver struct {
	*bed
	took  time.Duration
	mu    sync.Mutex
	asked map[string]int // by host
}

func (r *slowResolver) Lookup(ctx context.Context, host string) (v4, v6 Answer) {
	r.mu.Lock()
	r.asked[host]++
	r.mu.Unlock()
	time.Sleep(r.took)
	return r.bed.Lookup(ctx, host)
}

// counts returns how often each host was asked for.
func (r *slowResolver) counts() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.asked)
}

// newSlowBed returns a bed with a slow resolver.
func newSlowBed(t *testing.T, took time.Duration) (*bed, *slowResolver) {
	r := &slowResolver{took: took, asked: map[string]int{}}
	r.bed = newBed(t, func(o *Options) { o.Resolver = r })
	return r.bed, r
}

// TestLookupsFollowThePool: a mirror that has changed is looked up at once, and one that is gone never more.
func TestLookupsFollowThePool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, resolver := newSlowBed(t, 0)
		b.knows("a.example.net", "192.0.2.1")
		b.knows("rsync.example.net", "192.0.2.2")
		p := pool(t, "a.example.net")
		p.Mirrors[0].RsyncURL = "rsync://rsync.example.net/tails/"
		b.SetPool(p)
		defer b.start()()
		wait(time.Second)
		p.Mirrors[0].Weight++
		b.SetPool(p)
		synctest.Wait()
		if want := map[string]int{"a.example.net": 2, "rsync.example.net": 2}; !maps.Equal(resolver.counts(), want) {
			t.Errorf("when the mirror has changed: %v, want %v", resolver.counts(), want)
		}
		b.SetPool(pool(t, "b.example.net=192.0.2.3"))
		before := resolver.counts()
		wait(time.Hour)
		if !maps.Equal(resolver.counts(), before) {
			t.Errorf("when the mirror is gone: %v, after %v", resolver.counts(), before)
		}
	})
}

// TestLookupsDoNotWait: look-ups, and rsync daemons without an address, of which nothing is to be asked, wait for no others.
func TestLookupsDoNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, resolver := newSlowBed(t, 5*time.Second)
		p := pool(t, "a.example.net b.example.net c.example.net d.example.net=192.0.2.4")
		for i := range p.Mirrors {
			p.Mirrors[i].RsyncURL = fmt.Sprintf("rsync://missing%d.example.net/tails/", i)
		}
		b.SetPool(p)
		began := time.Now()
		defer b.start()()
		<-b.Swept()
		if took := time.Since(began); took != resolver.took {
			t.Errorf("the first sweep takes %v, want %v as one look-up", took, resolver.took)
		}
		wait(10 * time.Second)
		for i := range p.Mirrors {
			p.Mirrors[i].Weight++ // so that all is due at once
		}
		b.SetPool(p)
		synctest.Wait()
		for prefix, m := range b.Report().Mirrors {
			if m.Rsync == nil || !m.Rsync.Checked.Equal(time.Now()) {
				t.Errorf("%s: the rsync daemon without an address has to wait: %+v", prefix, m.Rsync)
			}
		}
	})
}

// many returns n mirrors with an address each, from 198.51.0.0 on.
func many(n int) (text string) {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "m%d.example.net=198.51.%d.%d ", i, i/256, i%256)
	}
	return b.String()
}

func TestBoundedInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, nil)
		for i := range 600 {
			b.set(fmt.Sprintf("198.51.%d.%d", i/256, i%256), hangs)
		}
		b.SetPool(pool(t, many(600)))
		defer b.start()()
		<-b.Swept()
		if b.peak != 2*maxInFlight { // a visit looks in two roles
			t.Errorf("%d probes at once, want %d", b.peak, 2*maxInFlight)
		}
	})
}

func TestChecksDoNotBunch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, func(o *Options) { o.CheckDNS = false })
		b.SetPool(pool(t, many(1000)))
		defer b.start()()
		<-b.Swept()
		wait(10 * time.Minute)
		begin := time.Now()
		wait(5 * time.Minute)
		perSecond := map[int]int{}
		total := 0
		for _, starts := range b.starts {
			for _, at := range starts {
				if since := at.Sub(begin); since > 0 {
					perSecond[int(since/time.Second)]++
					total++
				}
			}
		}
		mean := total / 300
		if mean < 1000/30 || mean > 1000/26 {
			t.Errorf("%d probes a second, want 1000 in 27 to 30 seconds", mean)
		}
		for second, n := range perSecond {
			if n > 3*mean {
				t.Errorf("%d probes in second %d, %d on average", n, second, mean)
			}
		}
	})
}

func TestHungMirrorDelaysNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, func(o *Options) { o.Settings.Interval, o.Settings.Timeout = time.Second, time.Second })
		for i := range 100 {
			b.set(fmt.Sprintf("198.51.0.%d", i), hangs)
		}
		b.SetPool(pool(t, many(200)))
		defer b.start()()
		<-b.Swept()
		wait(time.Minute)
		for i := 100; i < 200; i++ {
			starts := b.starts[endpointKey{netip.MustParseAddr(fmt.Sprintf("198.51.0.%d", i)), HTTP}]
			for j := 1; j < len(starts); j++ {
				if gap := starts[j].Sub(starts[j-1]); gap > 1100*time.Millisecond {
					t.Fatalf("mirror %d was not checked for %v, because others hang", i, gap)
				}
			}
		}
	})
}

func TestStalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, nil)
		b.SetPool(pool(t, "a.example.net=192.0.2.1"))
		stop := b.start()
		<-b.Swept()
		wait(time.Hour)
		if b.Stalled() {
			t.Error("stalled while it runs")
		}
		stop()
		wait(69 * time.Second)
		if v := b.verdictAt("192.0.2.1", HTTP); v.State != Up {
			t.Errorf("verdict before three intervals and a timeout are over: %v", v.State)
		}
		if b.Stalled() {
			t.Error("stalled before three intervals and a timeout are over")
		}
		wait(62 * time.Second)
		if !b.Stalled() {
			t.Error("not stalled after nothing ran for long")
		}
		if v := b.verdictAt("192.0.2.1", HTTP); v.State != Unknown || !strings.HasPrefix(v.Reason, "last checked 2m") {
			t.Errorf("verdict of a stalled checker: %v, %q", v.State, v.Reason)
		}
	})
}

func TestStalledAfterThreeIntervalsAndATimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, nil)
		if b.Stalled() {
			t.Error("stalled with nothing to do")
		}
		b.SetPool(pool(t, "a.example.net=192.0.2.1")) // which is due at once, and Run is not called
		wait(3*30*time.Second + 10*time.Second)
		if b.Stalled() {
			t.Error("stalled when just three intervals and a timeout are over")
		}
		wait(1)
		if !b.Stalled() {
			t.Error("not stalled after that")
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
