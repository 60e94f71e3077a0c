package health

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mirrorpool/config"
)

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

// TestOneVisitPerHostAtATime has a mirror with four addresses, which are slow, fast, dead and hung, and an rsync
// daemon, and another mirror on the same host. What begins while something is under way there has to have begun with
// it.
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

// TestVisitAfterVisit has mirrors on one host: the visits of the later ones begin when the one before has ended, and
// those that are removed meanwhile are not visited.
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
		p.Mirrors = slices.DeleteFunc(p.Mirrors, func(m config.Mirror) bool {
			return slices.Contains(removed, m.DNS.Addresses[0].String())
		})
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

// TestVisitTakesAlong: what is due at a mirror within a tenth of the interval goes along with a visit, and what is due
// later does not.
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
			quick, slow := b.starts[endpointKey{netip.MustParseAddr("192.0.2.1"),
				HTTP}], b.starts[endpointKey{netip.MustParseAddr("192.0.2.2"), HTTP}]
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

// startTime is enough to start some visits on one CPU.
const startTime = 20 * startPause

// TestStartsAreSpread has visits start by and by, even if many are due at once, or the clock is set back.
func TestStartsAreSpread(t *testing.T) {
	t.Parallel()
	s := newSchedule(rand.New(rand.NewPCG(1, 2)))
	s.interval, s.mayStart = time.Minute, 3
	now := time.Unix(1_000_000, 0)
	for i := range 20 {
		s.add(&task{due: now, host: fmt.Sprintf("m%d.example.net", i)})
	}
	var counts []int
	var waits []time.Duration
	for range 8 {
		started := 0
		v, wait := s.next(now)
		for at := now; v != nil; v, wait = s.next(at) { // twice at one time, and then a little later
			if started++; started == 2 {
				at = now.Add(startPause / 4)
			}
		}
		counts, waits = append(counts, started), append(waits, wait)
		if len(counts) == 4 {
			now = now.Add(-time.Hour)
			for _, t := range s.waiting {
				t.due = now
			}
		} else {
			now = now.Add(startPause)
		}
	}
	if want := []int{3, 3, 3, 3, 3, 3, 2, 0}; !slices.Equal(counts, want) {
		t.Errorf("as many visits have started at a time: %v, want %v", counts, want)
	}
	left := startPause * 3 / 4
	if want := []time.Duration{left, left, left, left, left, left, s.interval, s.interval}; !slices.Equal(waits, want) {
		t.Errorf("next is to be called again after %v, want %v", waits, want)
	}
}

// TestStartsSuitTheContainer has fewer visits start at a time where a container may use but a part of the CPUs, and no
// more where there are more threads than CPUs.
func TestStartsSuitTheContainer(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for threads, want := range map[int]int{1: 1, 2 * runtime.NumCPU(): runtime.NumCPU()} {
		runtime.GOMAXPROCS(threads)
		if s := newSchedule(nil); s.mayStart != want {
			t.Errorf("with %d threads, %d may start at a time, want %d", threads, s.mayStart, want)
		}
	}
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
		b.SetPool(reweighed(p))
		wait(startTime)
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

// TestLookupsDoNotWait: look-ups, and rsync daemons without an address, of which nothing is to be asked, wait for no
// others.
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
		if took := time.Since(began); took < resolver.took || took > resolver.took+startTime {
			t.Errorf("the first sweep takes %v, want %v as one look-up", took, resolver.took)
		}
		wait(10 * time.Second)
		b.SetPool(reweighed(p)) // so that all is due at once
		wait(startTime)
		for prefix, m := range b.Report().Mirrors {
			if m.Rsync == nil || time.Since(m.Rsync.Checked) > startTime {
				t.Errorf("%s: the rsync daemon without an address has to wait: %+v", prefix, m.Rsync)
			}
		}
	})
}

// reweighed returns p with other weights.
func reweighed(p *config.Pool) *config.Pool {
	next := &config.Pool{Mirrors: slices.Clone(p.Mirrors)}
	for i := range next.Mirrors {
		next.Mirrors[i].Weight++
	}
	return next
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
		wait(72 * time.Second)
		if !b.Stalled() {
			t.Error("not stalled after nothing ran for long")
		}
		if v := b.verdictAt("192.0.2.1", HTTP); v.State != Unknown || !strings.HasPrefix(v.Reason, "last checked 2m") {
			t.Errorf("verdict of a stalled checker: %v, %q", v.State, v.Reason)
		}
	})
}

func TestStalledAfterThreeIntervalsAndTwoTimeouts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, nil)
		if b.Stalled() {
			t.Error("stalled with nothing to do")
		}
		b.SetPool(pool(t, "a.example.net=192.0.2.1")) // which is due at once, and Run is not called
		wait(3*30*time.Second + 2*10*time.Second)
		if b.Stalled() {
			t.Error("stalled when just three intervals and two timeouts are over")
		}
		wait(1)
		if !b.Stalled() {
			t.Error("not stalled after that")
		}
	})
}
