package health

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestGiveAddresses(t *testing.T) {
	t.Parallel()
	l := lookup{host: "a.example.net", problem: "resolve: no address is known", took: time.Second}
	l.give([]netip.Addr{netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("::ffff:192.0.2.1"),
		netip.MustParseAddr("10.0.0.1")})
	if !slices.Equal(l.v4.Addresses, addrs("192.0.2.1 10.0.0.1")) || !slices.Equal(l.v6.Addresses, addrs("2001:db8::1")) {
		t.Errorf("given: %v and %v", l.v4.Addresses, l.v6.Addresses)
	}
	if got := l.addresses(false); !slices.Equal(got, addrs("192.0.2.1 10.0.0.1 2001:db8::1")) {
		t.Errorf("to be probed: %v; want all, IPv4 first", got)
	}
	if !l.known || l.problem != "" || l.took != 0 {
		t.Errorf("known %v, problem %q, took %v", l.known, l.problem, l.took)
	}
}

func TestLearnAddresses(t *testing.T) {
	t.Parallel()
	failure := errors.New("SERVFAIL")
	found := func(text string) Answer { return Answer{Addresses: addrs(text)} }
	failed := Answer{Err: failure}
	const (
		private = `resolve: 10.0.0.1, which DNS gives for "a.example.net", is not a public address: set health.allow_private ` +
			`to probe it`
		noAddress = `resolve: "a.example.net" has no address`
		kept      = "; keeping 1 that DNS gave before"
	)
	local := found("10.0.0.1")
	local.Local = true
	many := func(format string, n int) (text string) {
		for i := range n {
			text += fmt.Sprintf(format+" ", i+1)
		}
		return text
	}
	const v4, v6 = "192.0.2.%d", "2001:db8::%d"
	crowd := func(n, used int) string {
		return fmt.Sprintf(`resolve: "a.example.net" has %d addresses, of which %d are used: give those that matter in `+
			`dns.addresses`, n, used)
	}
	localMany := found(many("10.0.0.%d", 20))
	localMany.Local = true
	for name, test := range map[string]struct {
		before, now  [2]Answer
		allowPrivate bool
		addresses    string
		problem      string
	}{
		"found":           {now: [2]Answer{found("192.0.2.1"), found("2001:db8::1")}, addresses: "192.0.2.1 2001:db8::1"},
		"one family only": {now: [2]Answer{found(""), found("2001:db8::1")}, addresses: "2001:db8::1"},
		"no address":      {now: [2]Answer{found(""), found("")}, problem: noAddress},
		"failed at first": {now: [2]Answer{failed, failed}, problem: "resolve: SERVFAIL; no address is known"},
		"IPv6 failed at first": {now: [2]Answer{found("192.0.2.1"), failed}, addresses: "192.0.2.1",
			problem: "resolve: SERVFAIL; keeping 1 known addresses"},
		"IPv6 failed, and no IPv4": {now: [2]Answer{found(""), failed}, problem: "resolve: SERVFAIL; no address is known"},
		"private":                  {now: [2]Answer{found("10.0.0.1"), found("")}, problem: private},
		"private, not the only one": {now: [2]Answer{found("192.0.2.1 10.0.0.1"), found("")}, addresses: "192.0.2.1",
			problem: private},
		"private, and that is allowed": {now: [2]Answer{found("10.0.0.1"), found("")}, allowPrivate: true, addresses: "10.0.0.1"},
		"private, of the hosts file":   {now: [2]Answer{local, found("")}, addresses: "10.0.0.1"},
		"failed after": {before: [2]Answer{found("192.0.2.1"), found("2001:db8::1")},
			now: [2]Answer{failed, failed}, addresses: "192.0.2.1 2001:db8::1", problem: "resolve: SERVFAIL; keeping 2 known addresses"},
		"IPv4 failed after": {before: [2]Answer{found("192.0.2.1"), found("2001:db8::1")},
			now: [2]Answer{failed, found("2001:db8::2")}, addresses: "192.0.2.1 2001:db8::2 2001:db8::1",
			problem: "resolve: SERVFAIL; keeping 2 known addresses"},
		"failed after the hosts file": {before: [2]Answer{local, found("")}, now: [2]Answer{failed, found("")},
			addresses: "10.0.0.1", problem: "resolve: SERVFAIL; keeping 1 known addresses"},
		"too many": {now: [2]Answer{found(many(v4, 64)), found("")}, addresses: many(v4, 8), problem: crowd(64, 8)},
		"too many, of both families": {now: [2]Answer{found(many(v4, 64)), found(many(v6, 9))}, addresses: many(v4, 4) +
			many(v6, 4), problem: crowd(73, 8)},
		"too many, but for one family": {now: [2]Answer{found(many(v4, 3)), found(many(v6, 9))}, addresses: many(v4, 3) +
			many(v6, 5), problem: crowd(12, 8)},
		"just as many":           {now: [2]Answer{found(many(v4, 6)), found(many(v6, 2))}, addresses: many(v4, 6) + many(v6, 2)},
		"many of the hosts file": {now: [2]Answer{localMany, found("")}, addresses: many("10.0.0.%d", 20)},
		"gone": {before: [2]Answer{found("192.0.2.1"), found("")}, now: [2]Answer{found(""), found("")},
			addresses: "192.0.2.1", problem: noAddress + kept},
		"another one": {before: [2]Answer{found("192.0.2.1"), found("")},
			now: [2]Answer{found("192.0.2.2"), found("")}, addresses: "192.0.2.2 192.0.2.1"},
	} {
		l := lookup{host: "a.example.net", v4: test.before[0], v6: test.before[1]}
		l.learn(test.now[0], test.now[1], test.allowPrivate, traceTime)
		if got := l.addresses(test.allowPrivate); !slices.Equal(got, addrs(test.addresses)) || l.problem != test.problem || !l.known {
			t.Errorf("%s: %v, problem %q, known %v; want %s, %q", name, got, l.problem, l.known, test.addresses, test.problem)
		}
	}
}

// TestLookupIsTold: what has changed is logged once, for better or worse, and who builds answers is woken for
// addresses only.
func TestLookupIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, resolver := newSlowBed(t, 20*time.Millisecond)
		b.knows("a.example.net", "192.0.2.1")
		b.SetPool(pool(t, "a.example.net"))
		defer b.start()()
		<-b.Swept()
		if took := b.Report().Mirrors["http://a.example.net/tails/"].Resolve; took != resolver.took {
			t.Errorf("the look-up is said to take %v", took)
		}
		drained := func() (was bool) {
			select {
			case <-b.Changed():
				return true
			default:
				return false
			}
		}
		drained()
		const tooMany = "192.0.2.3 192.0.2.4 192.0.2.5 192.0.2.6 192.0.2.7 192.0.2.8 192.0.2.9 192.0.2.10 192.0.2.11"
		wait(10 * time.Minute)
		if n := resolver.counts()["a.example.net"]; n < 10 || n > 14 { // for a TTL of a minute, and somewhat earlier
			t.Errorf("looked up %d times in 10 minutes", n)
		}
		for _, step := range []struct {
			does   func()
			level  string
			wakes  bool
			logged int // in all
		}{
			{func() {}, "", false, 0},
			{func() { b.forgets("a.example.net") }, "warn", false, 1},
			{func() {}, "warn", false, 1},
			{func() { b.knows("a.example.net", "192.0.2.2") }, "info", true, 2},
			{func() { b.knows("a.example.net", "192.0.2.2 192.0.2.3") }, "info", true, 2},
			{func() { b.knows("a.example.net", "192.0.2.3") }, "info", true, 2}, // of which no verdict tells
			{func() { b.knows("a.example.net", tooMany) }, "warn", true, 3},
			{func() {}, "warn", false, 3},
		} {
			step.does()
			wait(5 * time.Minute) // to be looked up, and believed
			entries := b.logs.FilterMessageSnippet("problem with a mirror's addresses").All()
			if woken := drained(); len(entries) != step.logged || woken != step.wakes || step.logged > 0 &&
				entries[len(entries)-1].Level.String() != step.level {
				t.Errorf("logged %v, woken %v; want %d entries, the last at level %s, woken %v", entries, woken, step.logged, step.level,
					step.wakes)
			}
		}
	})
}

// TestLookupGoesByTheShorterTTL: the host is looked up again when the first of its answers is over.
func TestLookupGoesByTheShorterTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, resolver := newSlowBed(t, 0)
		b.hosts["a.example.net"] = [2]Answer{{Addresses: addrs("192.0.2.1"), TTL: time.Hour},
			{Addresses: addrs("2001:db8::1"), TTL: 10 * time.Minute}}
		b.SetPool(pool(t, "a.example.net"))
		defer b.start()()
		wait(time.Hour + time.Minute)
		if n := resolver.counts()["a.example.net"]; n < 6 || n > 8 {
			t.Errorf("looked up %d times in an hour, want one in 10 minutes", n)
		}
	})
}

// TestWhatIsLookedUp: hosts are, addresses are not; each host once, and one that is not named any more never again.
func TestWhatIsLookedUp(t *testing.T) {
	for name, test := range map[string]struct {
		pool      string
		rsync     []string // one after the other
		asked     map[string]int
		addresses string // of rsync
	}{
		"a host":            {"a.example.net", []string{""}, map[string]int{"a.example.net": 1}, ""},
		"an address":        {"192.0.2.5", []string{""}, map[string]int{}, ""},
		"given":             {"a.example.net=192.0.2.5", []string{""}, map[string]int{}, ""},
		"rsync, as the web": {"a.example.net", []string{"A.example.net"}, map[string]int{"a.example.net": 1}, "192.0.2.1"},
		"rsync elsewhere": {"a.example.net", []string{"r.example.net"}, map[string]int{"a.example.net": 1, "r.example.net": 1},
			"192.0.2.2"},
		"rsync at an address": {"a.example.net", []string{"192.0.2.9"}, map[string]int{"a.example.net": 1}, "192.0.2.9"},
		"rsync moves": {"a.example.net=192.0.2.5", []string{"r.example.net", "s.example.net"},
			map[string]int{"r.example.net": 1, "s.example.net": 1}, "192.0.2.3"},
		"rsync comes back": {"a.example.net=192.0.2.5", []string{"r.example.net", "a.example.net"},
			map[string]int{"r.example.net": 1}, "192.0.2.5"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, resolver := newSlowBed(t, 0)
				for host, address := range map[string]string{"a": "192.0.2.1", "r": "192.0.2.2", "s": "192.0.2.3"} {
					b.hosts[host+".example.net"] = [2]Answer{{Addresses: addrs(address), TTL: time.Hour}, {TTL: time.Hour}}
				}
				defer b.start()()
				p := pool(t, test.pool)
				for _, host := range test.rsync {
					p.Mirrors[0].RsyncURL = ""
					if host != "" {
						p.Mirrors[0].RsyncURL = "rsync://" + host + "/tails/"
					}
					b.SetPool(p)
					wait(time.Minute)
				}
				if !maps.Equal(resolver.counts(), test.asked) {
					t.Errorf("looked up %v, want %v", resolver.counts(), test.asked)
				}
				r := b.Report().Mirrors[p.Mirrors[0].URLPrefix].Rsync
				if (r != nil) != (test.addresses != "") || r != nil && r.Address.String() != test.addresses {
					t.Errorf("rsync at %+v, want %q", r, test.addresses)
				}
				asked := resolver.counts()
				wait(3 * time.Hour)
				for host, n := range asked {
					named := host == p.Mirrors[0].URL.Hostname() || p.Mirrors[0].RsyncURL == "rsync://"+host+"/tails/"
					if again := resolver.counts()[host] > n; again != named {
						t.Errorf("%s: looked up again %v, want %v", host, again, named)
					}
				}
			})
		})
	}
}

// TestLostAddresses: a mirror whose name is gone from DNS is reported, with the families that it was of.
// TestControlIsBounded has no more hosts looked up than it takes to judge the resolver.
func TestControlIsBounded(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	hosts := ""
	for i := range 2 * controlHosts {
		hosts += fmt.Sprintf(" h%d.example.net", i)
	}
	b.SetPool(pool(t, hosts[1:]))
	b.mu.Lock()
	defer b.mu.Unlock()
	later := epoch.Add(time.Hour)
	for _, m := range b.mirrors {
		b.schedule.move(m.web.task, later)
	}
	b.controlResolver(b.mirrors["http://h0.example.net/tails/"].web, epoch)
	moved := 0
	for _, m := range b.mirrors {
		if !m.web.task.due.Equal(later) {
			moved++
		}
	}
	if moved != controlHosts {
		t.Errorf("%d hosts are looked up, want %d", moved, controlHosts)
	}
}

func TestLostAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, nil)
		b.knows("a.example.net", "192.0.2.1 2001:db8::1")
		b.knows("b.example.net", "2001:db8::2")
		b.knows("c.example.net", "")
		good := ""
		for i := range 6 {
			host := fmt.Sprintf("good%d.example.net", i)
			b.knows(host, fmt.Sprintf("198.51.100.%d", i+1))
			good += " " + host
		}
		b.SetPool(pool(t, "a.example.net b.example.net c.example.net d.example.net"+good))
		lost := func() string {
			text := ""
			for _, host := range []string{"a", "b", "c", "d"} {
				r := b.Report().Mirrors["http://"+host+".example.net/tails/"]
				if r.LostIPv4 {
					text += host + "4 "
				}
				if r.LostIPv6 {
					text += host + "6 "
				}
			}
			return text
		}
		if got := lost(); got != "" {
			t.Errorf("before the first look-up: %q", got)
		}
		defer b.start()()
		<-b.Swept()
		if got := lost(); got != "c4 d4 " {
			t.Errorf("two have addresses: %q", got)
		}
		b.knows("a.example.net", "")
		b.knows("b.example.net", "")
		wait(10 * time.Minute)
		if got := lost(); got != "a4 a6 b6 c4 d4 " {
			t.Errorf("none has an address: %q", got)
		}
		b.knows("a.example.net", "192.0.2.1")
		wait(10 * time.Minute)
		if got := lost(); got != "b6 c4 d4 " {
			t.Errorf("one is back: %q", got)
		}
	})
}

func TestCheckPublic(t *testing.T) {
	for _, addr := range addrs(`0.0.0.0 0.1.2.3 10.1.2.3 100.64.0.1 127.0.0.1 169.254.169.254 172.16.0.1 192.0.0.8 192.168.1.1
		198.18.0.1 224.0.0.1 240.0.0.1 255.255.255.255 :: ::1 ::10.0.0.1 ::ffff:192.0.2.1 64:ff9b::a00:1 fc00::1 fd00::2 fe80::1 fec0::1
		ff02::1 2001::1 2002:a00:1::1`) {
		if checkPublic(addr) == nil {
			t.Errorf("%v passes for a public address", addr)
		}
	}
	for _, addr := range addrs("192.0.2.1 8.8.8.8 100.63.255.255 172.32.0.1 2001:db8::1 2a00:1450::1") {
		if err := checkPublic(addr); err != nil {
			t.Errorf("%v %v", addr, err)
		}
	}
}

// TestPauseInDoubt: what is in doubt since a moment ago is looked up again sooner than what has been for long.
func TestPauseInDoubt(t *testing.T) {
	t.Parallel()
	long, short := epoch.Add(-controlTime), epoch.Add(-controlTime+1)
	for name, test := range map[string]struct {
		missing time.Time
		fresh   []time.Time
		want    time.Duration
	}{
		"missing for long":            {long, nil, controlTime / 4},
		"missing of late":             {short, nil, controlPause},
		"fresh for long":              {time.Time{}, []time.Time{long}, controlTime / 4},
		"fresh of late":               {time.Time{}, []time.Time{long, short}, controlPause},
		"missing for long, and fresh": {long, []time.Time{short}, controlPause},
		"missing of late, and fresh":  {short, []time.Time{long}, controlPause},
	} {
		l := new(lookup)
		l.claims.missing, l.claims.fresh = test.missing, map[netip.Addr]time.Time{}
		for i, began := range test.fresh {
			l.claims.fresh[netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})] = began
		}
		if got := l.pauseInDoubt(epoch); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}
