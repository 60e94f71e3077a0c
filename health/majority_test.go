package health

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// voters parses "host weight trace addresses...", one per line; the trace is in hours, "-" if there is none. A host
// that begins with "!" is down.
func voters(t *testing.T, text string) []voter {
	t.Helper()
	var list []voter
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 3 {
			continue
		}
		v := voter{host: strings.TrimPrefix(fields[0], "!"), down: strings.HasPrefix(fields[0], "!"),
			weight: uint64(number(t, fields[1]))}
		if fields[2] != "-" {
			v.trace = hours(number(t, fields[2]))
		}
		for _, addr := range addrs(strings.Join(fields[3:], " ")) {
			v.networks = append(v.networks, networkOf(addr))
		}
		list = append(list, v)
	}
	return list
}

func number(t *testing.T, text string) float64 {
	t.Helper()
	n, err := strconv.ParseFloat(text, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestMajorityTrace(t *testing.T) {
	for _, test := range []struct {
		name   string
		voters string
		want   float64 // 0: none
	}{
		{"no mirror", "", 0},
		{"one mirror", "a 10 5 192.0.2.1", 0},
		{"two mirrors", "a 10 5 192.0.2.1\n b 10 5 198.51.100.1", 5},
		{"two of four are ahead", "a 10 9 192.0.2.1\n b 10 9 198.51.100.1\n c 10 5 203.0.113.1\n d 10 5 1.0.0.1", 5},
		{"two of three are ahead", "a 10 9 192.0.2.1\n b 10 9 198.51.100.1\n c 10 5 203.0.113.1", 9},
		{"weight counts, not number", "a 30 9 192.0.2.1\n b 20 9 198.51.100.1\n c 10 5 203.0.113.1\n d 10 5 1.0.0.1\n e 10 5 " +
			"1.0.1.1", 9},
		{"one with most of the weight is not enough", "a 90 9 192.0.2.1\n b 10 5 198.51.100.1", 5},
		{"half the weight is not enough", "a 10 9 192.0.2.1\n b 10 9 198.51.100.1\n c 20 5 203.0.113.1", 5},
		{"a newer trace stands for older ones", "a 10 9 192.0.2.1\n b 10 8 198.51.100.1\n c 10 7 203.0.113.1", 8},
		{"mirrors without a trace speak against", "a 10 9 192.0.2.1\n b 10 9 198.51.100.1\n c 10 -\n d 10 -", 0},
		{"mirrors that are down have no vote", "a 10 9 192.0.2.1\n b 10 9 198.51.100.1\n !c 10 5 203.0.113.1\n !d 10 5 1.0.0.1", 9},
		{"nor do they make a majority", "a 10 9 192.0.2.1\n !b 10 9 198.51.100.1\n c 10 5 203.0.113.1", 5},
		{"one host listed twice", "a 10 9 192.0.2.1\n a 10 9 192.0.2.1\n b 10 9 198.51.100.1\n c 10 5 203.0.113.1\n d 10 5 1.0.0.1", 5},
		{"all hosts listed twice", "a 10 9 192.0.2.1\n a 10 9 192.0.2.1\n b 10 9 198.51.100.1\n b 10 9 198.51.100.1\n c 10 5 " +
			"203.0.113.1\n c 10 5 203.0.113.1", 9},
		{"two names at one address", "a 10 9 192.0.2.1\n b 10 9 192.0.2.1\n c 10 9 198.51.100.1\n d 10 5 203.0.113.1\n e 10 5 " +
			"1.0.0.1", 5},
		{"two addresses of one /24", "a 10 9 192.0.2.1\n b 10 9 192.0.2.200\n c 10 5 198.51.100.1", 5},
		{"two addresses of one /48", "a 10 9 2001:db8:1::1\n b 10 9 2001:db8:1:9::1\n c 10 5 2001:db8:2::1", 5},
		{"one network of either family", "a 10 9 192.0.2.1 2001:db8:1::1\n b 10 9 198.51.100.1 2001:db8:1::2\n c 10 5 203.0.113.1", 5},
		{"private addresses count each", "a 10 9 10.0.0.1\n b 10 9 10.0.0.2\n c 10 5 10.0.0.3", 9},
		{"one with addresses in the networks of others gains nothing",
			"x 10 9 192.0.2.66 198.51.100.66 203.0.113.66 1.0.0.66\n y 10 9 1.0.9.1\n" +
				"a 10 5 192.0.2.1\n b 10 5 198.51.100.1\n c 10 5 203.0.113.1\n d 10 5 1.0.0.1", 5},
		{"one host in two networks", "a 10 9 192.0.2.1\n a 10 9 1.0.0.1\n b 10 9 198.51.100.1\n c 10 5 203.0.113.1\n d 10 5 " +
			"1.0.1.1", 5},
		{"a light entry of the same host takes nothing away",
			"a 1 6 192.0.2.1\n a 100 5 192.0.2.1\n b 50 5 198.51.100.1\n c 40 5 203.0.113.1", 5},
		{"nor does a light mirror in the same network",
			"z 1 6 192.0.2.9\n a 100 5 192.0.2.1\n b 50 5 198.51.100.1\n c 40 5 203.0.113.1", 5},
	} {
		list := voters(t, test.voters)
		want := hours(test.want)
		if test.want == 0 {
			want = time.Time{}
		}
		random := rand.New(rand.NewPCG(1, 2))
		for range 20 { // the order does not matter
			random.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
			if got := majorityTrace(list); !got.Equal(want) {
				t.Fatalf("%s: %v, want %v, of %v", test.name, got, want, list)
			}
		}
	}
}

func TestNetworkOf(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.7": "192.0.2.0/24", "2001:db8:1:2::7": "2001:db8:1::/48",
		"127.0.0.7": "127.0.0.7/32", "10.1.2.3": "10.1.2.3/32", "fd00::7": "fd00::7/128",
	} {
		if got := networkOf(netip.MustParseAddr(addr)); got.String() != want {
			t.Errorf("%s: %v, want %s", addr, got, want)
		}
	}
}

// TestReferenceStays: one of two mirrors that carry the reference is disabled. The third one, ten days behind, does
// not become fresh by that, but when no mirror carries what was withdrawn.
func TestReferenceStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, func(o *Options) { o.Settings.MaxLag = time.Minute })
		old, released := ago(240*time.Hour), ago(50*time.Hour)
		b.set("192.0.2.1", carries(released))
		b.set("198.51.100.1", carries(released))
		b.set("203.0.113.1", carries(old))
		p := pool(t, "a.example.net=192.0.2.1 b.example.net=198.51.100.1 c.example.net=203.0.113.1")
		b.SetPool(p)
		defer b.start()()
		<-b.Swept()
		p = pool(t, "a.example.net=192.0.2.1 b.example.net=198.51.100.1 c.example.net=203.0.113.1")
		p.Mirrors[1].Weight, p.Mirrors[1].DNS.Weight = 0, 0
		b.SetPool(p)
		wait(time.Hour)
		if r := b.Report().Reference; !r.Trace.Equal(released) {
			t.Errorf("the reference is %v, want %v", r.Trace, released)
		}
		if v := b.verdictAt("203.0.113.1", HTTP); v.State != Stale {
			t.Errorf("the mirror behind: %v, %q", v.State, v.Reason)
		}
		b.set("192.0.2.1", carries(old))
		wait(time.Hour)
		if r := b.Report().Reference; !r.Trace.Equal(old) {
			t.Errorf("after the release is withdrawn, the reference is %v, want %v", r.Trace, old)
		}
	})
}

// TestMinorityCannotOutdateMirrors: two mirrors of six, one of which is in the list twice, carry a trace from the
// future.
func TestMinorityCannotOutdateMirrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, func(o *Options) { o.Settings.MaxLag = time.Minute })
		released := ago(50 * time.Hour)
		honest := []string{"203.0.113.1", "1.0.0.1", "1.0.1.1", "1.0.2.1"}
		for _, addr := range honest {
			b.set(addr, carries(released))
		}
		for _, addr := range []string{"192.0.2.1", "198.51.100.1"} {
			b.set(addr, carries(ago(-240*time.Second)))
		}
		p := pool(t, "x.example.net=192.0.2.1 y.example.net=198.51.100.1 a.example.net=203.0.113.1 b.example.net=1.0.0.1 "+
			"c.example.net=1.0.1.1 d.example.net=1.0.2.1")
		again := p.Mirrors[0]
		again.URLPrefix = "https://x.example.net/tails/"
		p.Mirrors = append(p.Mirrors, again)
		b.SetPool(p)
		defer b.start()()
		<-b.Swept()
		wait(time.Hour)
		for _, addr := range honest {
			if v := b.verdictAt(addr, HTTP); v.State != Up {
				t.Errorf("%s: %v, %q", addr, v.State, v.Reason)
			}
		}
		if r := b.Report().Reference; !r.Trace.Equal(released) {
			t.Errorf("the reference is %v, want %v", r.Trace, released)
		}
	})
}

// TestMinorityAhead has two of six mirrors with something newer, and then two more.
func TestMinorityAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, nil)
		addresses := []string{"192.0.2.1", "198.51.100.1", "203.0.113.1", "1.0.0.1", "1.0.1.1", "1.0.2.1"}
		text := ""
		for i, addr := range addresses {
			text += "m" + strconv.Itoa(i) + ".example.net=" + addr + " "
		}
		b.SetPool(pool(t, text))
		defer b.start()()
		<-b.Swept()
		wait(5 * time.Minute)
		if r := b.Report().Reference; r.AheadMirrors != 0 || !r.Ahead.IsZero() {
			t.Errorf("all alike: %d ahead, with %v", r.AheadMirrors, r.Ahead)
		}
		newer := traceTime.Add(time.Minute)
		for _, addr := range addresses[:2] {
			b.set(addr, carries(newer))
		}
		wait(4 * time.Hour)
		r := b.Report().Reference
		if !r.Trace.Equal(traceTime) || r.AheadMirrors != 2 || !r.Ahead.Equal(newer) {
			t.Errorf("two of six are ahead: reference %v, %d ahead, with %v", r.Trace, r.AheadMirrors, r.Ahead)
		}
		if n := b.logs.FilterMessage("mirrors carry something newer than the reference").Len(); n < 1 || n > 2 {
			t.Errorf("logged %d times", n)
		}
		for _, addr := range addresses {
			if v := b.verdictAt(addr, HTTP); v.State != Up {
				t.Errorf("%s: %v, %q", addr, v.State, v.Reason)
			}
		}
		for _, addr := range addresses[2:4] {
			b.set(addr, carries(newer))
		}
		wait(2 * time.Minute)
		if r := b.Report().Reference; !r.Trace.Equal(newer) || r.AheadMirrors != 0 {
			t.Errorf("four of six follow: reference %v, %d ahead", r.Trace, r.AheadMirrors)
		}
	})
}

// TestLocalFaultIsLoggedOnce has a host that cannot make checks for a while.
func TestLocalFaultIsLoggedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, nil)
		b.SetPool(pool(t, "a.example.net=192.0.2.1 b.example.net=192.0.2.2"))
		defer b.start()()
		<-b.Swept()
		for _, addr := range []string{"192.0.2.1", "192.0.2.2"} {
			b.set(addr, func(context.Context, Target) Observation {
				return Observation{Result: Unknown, Cause: CauseLocal, Reason: "connect: this host has no buffer space left"}
			})
		}
		wait(10 * time.Minute)
		logged := b.logs.FilterMessage("checks cannot be made, for a reason on this host")
		if logged.Len() != 1 || logged.All()[0].ContextMap()["reason"] != "connect: this host has no buffer space left" {
			t.Errorf("logged %d times: %v", logged.Len(), logged.All())
		}
		if v := b.verdictAt("192.0.2.1", HTTP); v.State != Unknown {
			t.Errorf("meanwhile: %v, %q", v.State, v.Reason)
		}
		b.set("192.0.2.1", nil)
		b.set("192.0.2.2", nil)
		wait(2 * time.Minute)
		if n := b.logs.FilterMessage("all checks can be made again").Len(); n != 1 {
			t.Errorf("the end is logged %d times", n)
		}
	})
}
