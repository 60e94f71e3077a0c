package health

import (
	"context"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"mirrorpool/config"
	"mirrorpool/health/rsync"
)

// rsyncPool is a mirror at given addresses, with an rsync daemon.
func rsyncPool(t testing.TB, addresses, rsyncURL string) *config.Pool {
	p := pool(t, "a.example.net="+addresses)
	p.Mirrors[0].RsyncURL = rsyncURL
	return p
}

func cannotConnect(why string) func(context.Context, Target) Observation {
	return func(context.Context, Target) Observation {
		return Observation{Result: Down, Reason: "connect: " + why, NoConnection: true}
	}
}

func blackHole(ctx context.Context, t Target) Observation {
	time.Sleep(t.ConnectTimeout) // in the bubble
	return cannotConnect("timed out")(ctx, t)
}

func TestRsyncInTheReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, nil)
		var asked []rsync.URL
		b.set("192.0.2.1/rsync", func(_ context.Context, target Target) Observation {
			asked = append(asked, target.Rsync)
			return Observation{Result: Up}
		})
		b.SetPool(rsyncPool(t, "192.0.2.1,192.0.2.2", "rsync://A.example.net/tails/"))
		defer b.start()()
		<-b.Swept()
		report := func() *MirrorReport {
			r := b.Report().Mirrors["http://a.example.net/tails/"]
			return &r
		}
		r := report()
		if r.Rsync == nil || r.Rsync.State != Up || r.Rsync.Role != Rsync || r.Rsync.Address != netip.MustParseAddr("192.0.2.1") ||
			r.RsyncDown() || len(r.Endpoints) != 4 {
			t.Fatalf("%+v", r)
		}
		if want := (rsync.URL{Host: "A.example.net", Port: "873", Module: "tails", Path: "project/trace"}); !slices.Equal(asked,
			[]rsync.URL{want}) {
			t.Errorf("asked for %+v, want %+v", asked, want)
		}
		b.set("192.0.2.1/rsync", fails("status: the daemon has no such module"))
		wait(time.Minute)
		if r := report(); !r.RsyncDown() || r.Endpoints[0].State != Up {
			t.Errorf("after the module vanished: %+v", r.Rsync)
		}
		b.SetPool(rsyncPool(t, "192.0.2.1,192.0.2.2", ""))
		if r := report(); r.Rsync != nil || r.RsyncDown() {
			t.Errorf("without an rsync URL: %+v", r.Rsync)
		}
		before := b.count("192.0.2.1", Rsync)
		wait(time.Hour)
		if n := b.count("192.0.2.1", Rsync); n != before {
			t.Errorf("asked %d times more", n-before)
		}
	})
}

func TestRsyncAddresses(t *testing.T) {
	for _, test := range []struct {
		name, url, knows string
		set              map[string]func(context.Context, Target) Observation
		address          string
		state            State
		reason           string
	}{
		{name: "another host", url: "rsync://rsync.example.net/tails/", knows: "192.0.2.9 2001:db8::9", address: "192.0.2.9",
			state: Up},
		{name: "an address", url: "rsync://192.0.2.8/tails/", address: "192.0.2.8", state: Up},
		{name: "IPv6 only", url: "rsync://rsync.example.net/tails/", knows: "2001:db8::9", address: "2001:db8::9", state: Up},
		{name: "private", url: "rsync://rsync.example.net/tails/", knows: "10.0.0.1", state: Down,
			reason: `resolve: 10.0.0.1, which DNS gives for "rsync.example.net", is not a public address: set health.allow_private ` +
				`to probe it`},
		{name: "no such host", url: "rsync://rsync.example.net/tails/", knows: " ", state: Down,
			reason: `resolve: "rsync.example.net" has no address`},
		{name: "resolver down", url: "rsync://rsync.example.net/tails/", state: Unknown,
			reason: "resolve: asking 192.0.2.53:53 for rsync.example.net A: SERVFAIL; no address is known"},
		{name: "no route for IPv4", url: "rsync://rsync.example.net/tails/", knows: "192.0.2.9 2001:db8::9", address: "2001:db8::9",
			state: Up,
			set: map[string]func(context.Context, Target) Observation{"192.0.2.9": func(context.Context, Target) Observation {
				return Observation{Reason: "connect: this host has no route to the address", NoConnection: true}
			}}},
		{name: "one family refuses", url: "rsync://rsync.example.net/tails/", knows: "192.0.2.9 2001:db8::9",
			address: "2001:db8::9", state: Up,
			set: map[string]func(context.Context, Target) Observation{"192.0.2.9": cannotConnect("connection refused")}},
		{name: "one address refuses", url: "rsync://rsync.example.net/tails/", knows: "192.0.2.9 192.0.2.10", address: "192.0.2.10",
			state: Up,
			set:   map[string]func(context.Context, Target) Observation{"192.0.2.9": cannotConnect("connection refused")}},
		{name: "all addresses fail", url: "rsync://rsync.example.net/tails/", knows: "192.0.2.9 2001:db8::9", address: "192.0.2.9",
			state:  Down,
			reason: "connect: connection refused at 192.0.2.9; timed out at 2001:db8::9",
			set: map[string]func(context.Context, Target) Observation{
				"192.0.2.9": cannotConnect("connection refused"), "2001:db8::9": cannotConnect("timed out")}},
		// Only what cannot be connected to is tried elsewhere: a daemon that answers has answered.
		{name: "no such module", url: "rsync://rsync.example.net/tails/", knows: "192.0.2.9 2001:db8::9", address: "192.0.2.9",
			state:  Down,
			reason: "status: no such module",
			set:    map[string]func(context.Context, Target) Observation{"192.0.2.9": fails("status: no such module")}},
		// The first takes a fourth of the time at most, so that the last is reached.
		// A daemon that is slow, but there, has all the time.
		{name: "slow", url: "rsync://rsync.example.net/tails/", knows: "192.0.2.9 192.0.2.10", address: "192.0.2.9", state: Up,
			set: map[string]func(context.Context, Target) Observation{"192.0.2.9": slowly(9 * time.Second)}},
		{name: "three hang", url: "rsync://rsync.example.net/tails/", knows: "192.0.2.9 192.0.2.10 192.0.2.11 192.0.2.12",
			address: "192.0.2.12", state: Up,
			set: map[string]func(context.Context, Target) Observation{
				"192.0.2.9": blackHole, "192.0.2.10": blackHole, "192.0.2.11": blackHole}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBed(t, nil)
				if test.knows != "" {
					b.knows("rsync.example.net", test.knows)
				}
				for address, behave := range test.set {
					b.set(address, behave)
				}
				b.SetPool(rsyncPool(t, "192.0.2.1", test.url))
				defer b.start()()
				<-b.Swept()
				wait(2 * time.Minute)
				e := b.Report().Mirrors["http://a.example.net/tails/"].Rsync
				address := ""
				if e != nil && e.Address.IsValid() {
					address = e.Address.String()
				}
				if e == nil || address != test.address || e.State != test.state || e.Reason != test.reason {
					t.Errorf("%+v, want %v at %q, %q", e, test.state, test.address, test.reason)
				}
				if b.count("10.0.0.1", Rsync) > 0 {
					t.Error("asked at a private address")
				}
			})
		})
	}
}

func TestFurtherAddresses(t *testing.T) {
	for _, test := range []struct{ addrs, after, want string }{
		{"192.0.2.1", "192.0.2.1", ""},
		{"192.0.2.1 192.0.2.2 2001:db8::1", "192.0.2.1", "2001:db8::1 192.0.2.2"},
		{"192.0.2.1 2001:db8::1 2001:db8::2", "2001:db8::1", "192.0.2.1 2001:db8::2"},
		{"192.0.2.1 192.0.2.2 192.0.2.3 192.0.2.4 192.0.2.5", "192.0.2.2", "192.0.2.1 192.0.2.3 192.0.2.4"},
		{"192.0.2.1 192.0.2.2 192.0.2.3 2001:db8::1 2001:db8::2 2001:db8::3", "192.0.2.1", "2001:db8::1 192.0.2.2 2001:db8::2"},
	} {
		if got := furtherAddresses(addrs(test.addrs), netip.MustParseAddr(test.after)); !slices.Equal(got, addrs(test.want)) {
			t.Errorf("%s of %s: %v, want %s", test.after, test.addrs, got, test.want)
		}
	}
}

// TestBusyRsyncIsNotDown: a daemon that refuses because of its load, from now on, is asked no more often for that, and
// does not take the mirror out.
func TestBusyRsyncIsNotDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, nil)
		b.SetPool(rsyncPool(t, "192.0.2.1", "rsync://a.example.net/tails/"))
		defer b.start()()
		<-b.Swept()
		wait(time.Minute)
		const reason = "status: the daemon refused for now: max connections (5) reached"
		b.set("192.0.2.1/rsync", func(context.Context, Target) Observation { return Observation{Reason: reason} })
		before := len(b.startsAt("192.0.2.1", Rsync))
		for _, step := range []struct {
			after time.Duration
			state State
		}{{30 * time.Second, Up}, {2 * time.Minute, Unknown}, {10 * time.Hour, Unknown}} {
			wait(step.after)
			r := b.Report().Mirrors["http://a.example.net/tails/"]
			if r.Rsync.State != step.state || r.Rsync.Reason != reason || r.RsyncDown() {
				t.Errorf("%v later: %v, %q, want %v", step.after, r.Rsync.State, r.Rsync.Reason, step.state)
			}
		}
		starts := b.startsAt("192.0.2.1", Rsync)[before:]
		for i := 1; i < len(starts); i++ {
			if pause := starts[i].Sub(starts[i-1]); pause < 20*time.Second {
				t.Fatalf("asked again after %v", pause)
			}
		}
		b.set("192.0.2.1/rsync", fails("status: the daemon has no such module"))
		wait(10 * time.Minute)
		if r := b.Report().Mirrors["http://a.example.net/tails/"]; !r.RsyncDown() {
			t.Errorf("a daemon without the module: %+v", r.Rsync)
		}
	})
}

// TestRsyncAddressChanges: a daemon is asked at the address that works until its host has it no more, and then at
// another one, with the verdict that it had.
func TestRsyncAddressChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, nil)
		b.knows("a.example.net", "192.0.2.1 2001:db8::1")
		b.set("192.0.2.1/rsync", func(context.Context, Target) Observation {
			return Observation{Reason: "connect: this host has no route to the address", NoConnection: true}
		})
		p := pool(t, "a.example.net")
		p.Mirrors[0].RsyncURL = "rsync://a.example.net/tails/"
		b.SetPool(p)
		defer b.start()()
		<-b.Swept()
		wait(10 * time.Minute)
		v := b.verdictAt("2001:db8::1", Rsync)
		if n := b.count("192.0.2.1", Rsync); v.State != Up || n != 1 {
			t.Errorf("%v at the address that works; asked %d times at the other one, want once", v.State, n)
		}
		b.knows("a.example.net", "192.0.2.7")
		wait(10 * time.Minute)
		if next := b.verdictAt("192.0.2.7", Rsync); next.State != Up || !next.Since.Equal(v.Since) {
			t.Errorf("at a new address: %v since %v, want since %v", next.State, next.Since, v.Since)
		}
		before := b.count("2001:db8::1", Rsync)
		wait(10 * time.Minute)
		if n, old := b.count("192.0.2.7", Rsync), b.count("2001:db8::1", Rsync); old != before || n < 20 {
			t.Errorf("asked %d times at the new address, and %d times more at the one before", n, old-before)
		}
	})
}

// TestBadRsyncURL: a URL that package config would refuse is logged, and no daemon is probed.
func TestBadRsyncURL(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	b.SetPool(rsyncPool(t, "192.0.2.1", ""))
	if b.logs.Len() > 0 {
		t.Errorf("without a URL: logged %v", b.logs.All())
	}
	b.SetPool(rsyncPool(t, "192.0.2.1", "ftp://a.example.net/tails/"))
	if r := b.Report().Mirrors["http://a.example.net/tails/"].Rsync; r != nil ||
		b.logs.FilterMessage("ignoring a bad rsync_url").Len() != 1 {
		t.Errorf("%+v, logged %v", r, b.logs.All())
	}
}
