package health

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// claimBed is a bed with mirrors a to e, whose addresses come from DNS, after some minutes.
func claimBed(t *testing.T) (b *bed, stop func()) {
	b = newBed(t, func(o *Options) {
		o.Settings.AddressGrace, o.Settings.MaxUnresolved = time.Hour, 10*time.Minute
	})
	b.resolve()
	b.SetPool(pool(t, "a.example.net b.example.net c.example.net d.example.net e.example.net"))
	stop = b.start()
	<-b.Swept()
	wait(5 * time.Minute)
	return b, stop
}

// resolve makes the resolver know all hosts of a claimBed.
func (b *bed) resolve() {
	for i, host := range []string{"a", "b", "c", "d", "e"} {
		addr := "192.0.2.1" // of a; the others are in other networks
		if i > 0 {
			addr = "198.51." + string(rune('0'+i)) + ".1"
		}
		b.knows(host+".example.net", addr)
	}
}

// stands says how mirror a stands in a role: for each address its state, in brackets if it does not count.
func (b *bed) stands(role Role) string {
	var parts []string
	for _, e := range b.Report().Mirrors["http://a.example.net/tails/"].Endpoints {
		if e.Role != role {
			continue
		}
		part := strings.TrimPrefix(e.Address.String(), "192.0.2.") + " " + e.State.String()
		if e.ExcludedBecause != "" {
			part = "(" + part + ")"
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, ", ")
}

// TestClaims changes what DNS says of mirror a, which is at address 1, and looks how it stands after a while.
func TestClaims(t *testing.T) {
	for _, test := range []struct {
		name      string
		change    func(b *bed)
		after     time.Duration
		http, dns string
	}{
		{"it moves, and works there", func(b *bed) { b.knows("a.example.net", "192.0.2.9") }, 2 * time.Minute, "9 up", "9 up"},
		{"it moves, and does not work there yet", func(b *bed) {
			b.knows("a.example.net", "192.0.2.9")
			b.set("192.0.2.9", fails("connect: connection refused"))
		}, 2 * time.Minute, "(1 up), 9 down", "1 up, 9 down"},
		{"it moves, works there for redirects only", func(b *bed) {
			b.knows("a.example.net", "192.0.2.9")
			b.set("192.0.2.9/dns", fails("status: 404 Not Found"))
		}, 2 * time.Minute, "(1 up), 9 up", "1 up, 9 down"},
		{"another address is added, which does not work", func(b *bed) {
			b.knows("a.example.net", "192.0.2.1 192.0.2.9")
			b.set("192.0.2.9", fails("connect: connection refused"))
		}, 2 * time.Minute, "1 up, 9 down", "1 up, 9 down"},
		{"its name is gone", func(b *bed) { b.knows("a.example.net", "") }, 2 * time.Minute, "1 down", "1 up"},
		{"for longer than address_grace", func(b *bed) { b.knows("a.example.net", "") }, 62 * time.Minute, "", ""},
		{"its name is gone, and it dies", func(b *bed) {
			b.knows("a.example.net", "")
			b.set("192.0.2.1", fails("connect: connection refused"))
		}, 3 * time.Minute, "", ""},
		{"its name cannot be resolved for a while", func(b *bed) { b.forgets("a.example.net") }, 9 * time.Minute, "1 up", "1 up"},
		{"for longer than max_unresolved", func(b *bed) { b.forgets("a.example.net") }, 12 * time.Minute, "1 down", "1 up"},
		{"all move to one address, which works", func(b *bed) {
			for _, host := range []string{"a", "b", "c", "d", "e"} {
				b.knows(host+".example.net", "192.0.2.9")
			}
		}, 8 * time.Minute, "1 up, (9 up)", "1 up, (9 up)"},
		{"for longer than ten minutes", func(b *bed) {
			for _, host := range []string{"a", "b", "c", "d", "e"} {
				b.knows(host+".example.net", "192.0.2.9")
			}
		}, 15 * time.Minute, "9 up", "9 up"},
		{"two move to one address", func(b *bed) {
			b.knows("a.example.net", "192.0.2.9")
			b.knows("b.example.net", "192.0.2.9")
		}, 8 * time.Minute, "1 up, (9 up)", "1 up, (9 up)"},
		{"all names are gone", func(b *bed) {
			for _, host := range []string{"a", "b", "c", "d", "e"} {
				b.knows(host+".example.net", "")
			}
		}, 5 * time.Hour, "1 up", "1 up"},
		{"all get private addresses", func(b *bed) {
			for _, host := range []string{"a", "b", "c", "d", "e"} {
				b.knows(host+".example.net", "127.0.0.1 0.0.0.0 10.1.2.3")
			}
		}, 5 * time.Hour, "1 up", "1 up"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, stop := claimBed(t)
				defer stop()
				test.change(b)
				wait(test.after)
				if http, dns := b.stands(HTTP), b.stands(DNS); http != test.http || dns != test.dns {
					t.Errorf("after %v: http %q, dns %q; want %q, %q", test.after, http, dns, test.http, test.dns)
				}
				b.resolve()
				for _, addr := range []string{"192.0.2.1", "192.0.2.9", "192.0.2.9/dns"} {
					b.set(addr, nil)
				}
				wait(15 * time.Minute) // where all moved, all that move back are suspicious for ten
				if http, dns := b.stands(HTTP), b.stands(DNS); http != "1 up" || dns != "1 up" {
					t.Errorf("after it was mended: http %q, dns %q", http, dns)
				}
			})
		})
	}
}

// TestConfirmAddresses has a person say that the resolver is right.
func TestConfirmAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, stop := claimBed(t)
		defer stop()
		for _, host := range []string{"a", "b", "c", "d", "e"} {
			b.knows(host+".example.net", "192.0.2.9")
		}
		wait(2 * time.Minute)
		if got, suspect := b.stands(DNS), b.Report().SuspectNames(); got != "1 up, (9 up)" || suspect != SuspectResolver {
			t.Errorf("before: %q, suspected: %q", got, suspect)
		}
		b.ConfirmAddresses()
		if got := b.stands(DNS); got != "9 up" {
			t.Errorf("after: %q", got)
		}
		wait(time.Minute)
		if suspect := b.Report().SuspectNames(); suspect != "" {
			t.Errorf("suspected: %q", suspect)
		}
	})
}

// TestLiesAreNotBelievedAfterwards has a resolver lie about all hosts while the mirrors fail for another reason, and
// tell the truth again, host by host: what it said before is not believed once it is no longer suspected.
func TestLiesAreNotBelievedAfterwards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, stop := claimBed(t)
		defer stop()
		hosts := []string{"a", "b", "c", "d", "e"}
		for i := range hosts {
			addr := "192.0.2.1"
			if i > 0 {
				addr = fmt.Sprintf("198.51.%d.1", i)
			}
			b.set(addr, fails("connect: connection refused"))
		}
		wait(5 * time.Minute)
		for _, host := range hosts {
			b.knows(host+".example.net", "192.0.2.9")
		}
		b.set("192.0.2.9", fails("connect: connection refused"))
		wait(10 * time.Minute)
		if suspect := b.Report().SuspectNames(); !strings.Contains(suspect, SuspectResolver) {
			t.Fatalf("suspected: %q", suspect)
		}
		b.resolve()
		for range 600 { // until the last host was looked up again
			wait(100 * time.Millisecond)
			if got := b.stands(DNS); strings.Contains(got, "9 down") && !strings.Contains(got, "(9 down)") {
				t.Fatalf("the lie is believed: %q", got)
			}
		}
		if got := b.stands(DNS); got != "1 down" {
			t.Errorf("in the end: %q", got)
		}
	})
}

// TestClaimsOutliveARestart has a server that is stopped while the resolver lies.
func TestClaimsOutliveARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, stop := claimBed(t)
		for _, host := range []string{"a", "b", "c", "d", "e"} {
			b.knows(host+".example.net", "192.0.2.9")
		}
		b.set("192.0.2.9", fails("connect: connection refused"))
		wait(2 * time.Minute)
		stop()
		var saved strings.Builder
		if err := b.Save(&saved); err != nil {
			t.Fatal(err)
		}
		next := newBed(t, func(o *Options) { o.Settings.AddressGrace, o.Settings.MaxUnresolved = time.Hour, 10*time.Minute })
		next.hosts, next.behave = b.hosts, b.behave
		if err := next.Restore(strings.NewReader(saved.String())); err != nil {
			t.Fatal(err)
		}
		next.SetPool(pool(t, "a.example.net b.example.net c.example.net d.example.net e.example.net"))
		defer next.start()()
		<-next.Swept()
		wait(5 * time.Minute)
		if got := next.stands(DNS); got != "1 up, (9 down)" {
			t.Errorf("after a restart: %q", got)
		}
	})
}

// TestRsyncHostMoves: what DNS says of the host of an rsync daemon alone is believed at once, but that it has no
// address only while the resolver works.
func TestRsyncHostMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, nil)
		b.resolve()
		b.knows("rsync.example.net", "203.0.113.1")
		p := pool(t, "a.example.net b.example.net c.example.net d.example.net e.example.net")
		p.Mirrors[0].RsyncURL = "rsync://rsync.example.net/tails/"
		b.SetPool(p)
		defer b.start()()
		<-b.Swept()
		at := func() string { return b.Report().Mirrors["http://a.example.net/tails/"].Rsync.Address.String() }
		b.knows("rsync.example.net", "203.0.113.2")
		wait(3 * time.Minute)
		if got := at(); got != "203.0.113.2" {
			t.Errorf("it has moved, and is checked at %s", got)
		}
		for _, host := range []string{"a", "b", "c", "d", "e", "rsync"} {
			b.knows(host+".example.net", "")
		}
		wait(time.Hour)
		if r := b.Report().Mirrors["http://a.example.net/tails/"]; at() != "203.0.113.2" || r.RsyncDown() {
			t.Errorf("the resolver knows no host: it is checked at %s, and is %v", at(), r.Rsync.State)
		}
	})
}

// TestClaimsWithoutChecks: where checks are off, what DNS says is believed.
func TestClaimsWithoutChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, func(o *Options) { o.Settings.Enabled = false })
		b.resolve()
		b.SetPool(pool(t, "a.example.net b.example.net c.example.net d.example.net e.example.net"))
		defer b.start()()
		<-b.Swept()
		b.knows("a.example.net", "192.0.2.9")
		wait(2 * time.Minute)
		if got := b.stands(DNS); got != "9 up" {
			t.Errorf("it stands as %q", got)
		}
	})
}

// TestLearnLocal: addresses of this host's own files are trusted, whichever family they are of.
func TestLearnLocal(t *testing.T) {
	local := func(text string) Answer { return Answer{Addresses: addrs(text), Local: true} }
	found := func(text string) Answer { return Answer{Addresses: addrs(text)} }
	for name, test := range map[string]struct {
		before, now [2]Answer
		want        string
	}{
		"both":      {[2]Answer{local("10.0.0.1"), local("fd00::1")}, [2]Answer{local("10.0.0.2"), local("fd00::2")}, "10.0.0.2 fd00::2"},
		"IPv4 only": {[2]Answer{local("10.0.0.1"), found("")}, [2]Answer{local("10.0.0.2"), found("")}, "10.0.0.2"},
		"more than are used of DNS": {[2]Answer{found(""), found("")}, [2]Answer{found(""),
			local("fd00::1 fd00::2 fd00::3 fd00::4 fd00::5 fd00::6 fd00::7 fd00::8 fd00::9 fd00::a")},
			"fd00::1 fd00::2 fd00::3 fd00::4 fd00::5 fd00::6 fd00::7 fd00::8 fd00::9 fd00::a"},
		"IPv6 only": {[2]Answer{found(""), local("fd00::1")}, [2]Answer{found(""), local("fd00::2")}, "fd00::2"},
	} {
		l := lookup{host: "a.example.net", v4: test.before[0], v6: test.before[1]}
		l.learn(test.now[0], test.now[1], false, epoch)
		if got := l.addresses(false); !slices.Equal(got, addrs(test.want)) || len(l.claims.fresh)+len(l.claims.withdrawn) > 0 {
			t.Errorf("%s: %v with %+v, want %s", name, got, l.claims, test.want)
		}
	}
}

// TestGivenFamilies: a mirror whose addresses are given has had their families.
func TestGivenFamilies(t *testing.T) {
	for text, want := range map[string][2]bool{"192.0.2.1": {true, false}, "2001:db8::1": {false, true}, "192.0.2.1 2001:db8::1": {true, true}} {
		l := lookup{host: "a.example.net"}
		if l.give(addrs(text)); [2]bool{l.hadV4, l.hadV6} != want {
			t.Errorf("%s: IPv4 %v, IPv6 %v", text, l.hadV4, l.hadV6)
		}
	}
}

// TestMissing: a host is missing since the first look-up without an address, and it is known whether one failed.
func TestMissing(t *testing.T) {
	failed := Answer{Err: errors.New("SERVFAIL")}
	for name, test := range map[string]struct {
		v4, v6          Answer
		missing, failed bool
	}{
		"none":                  {Answer{}, Answer{}, true, false},
		"both failed":           {failed, failed, true, true},
		"IPv4 failed":           {failed, Answer{}, true, true},
		"IPv6 failed":           {Answer{}, failed, true, true},
		"IPv4, and IPv6 failed": {Answer{Addresses: addrs("192.0.2.1")}, failed, false, true},
		"private":               {Answer{Addresses: addrs("10.0.0.1")}, Answer{}, true, false},
	} {
		l := lookup{host: "a.example.net"}
		l.learn(test.v4, test.v6, false, epoch)
		l.learn(test.v4, test.v6, false, epoch.Add(time.Minute))
		if got := l.claims; got.missing.Equal(epoch) != test.missing || got.missing.IsZero() == test.missing || got.failed != test.failed {
			t.Errorf("%s: missing since %v, failed %v", name, got.missing, got.failed)
		}
	}
}

// TestServing: what is saved are the addresses that serve, by family.
func TestServing(t *testing.T) {
	l := lookup{host: "a.example.net", v4: Answer{Addresses: addrs("192.0.2.1 192.0.2.2")}, v6: Answer{Addresses: addrs("2001:db8::1 2001:db8::2")}}
	l.claims.fresh = with(with(nil, addrs("192.0.2.2")[0], epoch), addrs("2001:db8::2")[0], epoch)
	l.claims.withdrawn = with(with(nil, addrs("192.0.2.9")[0], epoch), addrs("2001:db8::9")[0], epoch)
	v4, v6 := l.serving()
	if !slices.Equal(v4, addrs("192.0.2.1 192.0.2.9")) || !slices.Equal(v6, addrs("2001:db8::1 2001:db8::9")) {
		t.Errorf("%v, %v", v4, v6)
	}
}

// TestGivenAddressesProveNothing: mirrors whose addresses are given say nothing of the resolver, and are not waited
// for.
func TestGivenAddressesProveNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, func(o *Options) { o.Settings.AddressGrace, o.Settings.MaxUnresolved = time.Hour, 10*time.Minute })
		b.resolve()
		b.SetPool(pool(t, "a.example.net b.example.net c.example.net d.example.net e.example.net x.example.net=203.0.113.1 "+
			"y.example.net=203.0.113.2"))
		defer b.start()()
		<-b.Swept()
		wait(5 * time.Minute)
		b.knows("a.example.net", "")
		wait(100 * time.Second) // to be looked up, a minute later at most, and again; less than controlTime
		if got := b.stands(HTTP); got != "1 down" {
			t.Errorf("its name is gone, others are resolved: %q", got)
		}
	})
}

// TestEndOfClaimIsAnnounced: an address that is believed for having waited long enough changes what is eligible.
func TestEndOfClaimIsAnnounced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, stop := claimBed(t)
		stop()
		select {
		case <-b.Changed():
		default:
		}
		m := b.mirrors["http://a.example.net/tails/"]
		m.web.claims.fresh = with(nil, addrs("192.0.2.9")[0], time.Now().Add(-time.Hour))
		b.settleAddresses(m, time.Now())
		select {
		case <-b.Changed():
		default:
			t.Error("no change is announced")
		}
	})
}

// TestResolverIsControlled: while a host's addresses are in doubt, hosts whose addresses hold for long are looked up as
// well, and the doubt ends soon.
func TestResolverIsControlled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, func(o *Options) { o.Settings.AddressGrace, o.Settings.MaxUnresolved = time.Hour, 10*time.Minute })
		b.resolve()
		for _, host := range []string{"b", "c", "d", "e"} {
			found := b.hosts[host+".example.net"]
			found[0].TTL, found[1].TTL = 10*time.Hour, 10*time.Hour
			b.hosts[host+".example.net"] = found
		}
		b.SetPool(pool(t, "a.example.net b.example.net c.example.net d.example.net e.example.net"))
		defer b.start()()
		<-b.Swept()
		wait(5 * time.Minute)
		b.knows("a.example.net", "")
		wait(100 * time.Second)
		if got, suspect := b.stands(HTTP), b.Report().SuspectNames(); got != "1 down" || suspect != "" {
			t.Errorf("its name is gone, others are resolved: %q, suspected: %q", got, suspect)
		}
	})
}

// TestNoProblemBeforeTheLookup: of a host that was not looked up yet nothing is wrong.
func TestNoProblemBeforeTheLookup(t *testing.T) {
	for _, l := range []lookup{{host: "a.example.net"}, {host: "a.example.net", task: new(task)}} {
		if l.findProblems(false); l.problem != "" {
			t.Errorf("%q", l.problem)
		}
	}
}
