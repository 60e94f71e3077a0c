package health

import (
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
		if e.Aside != "" {
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

// TestRsyncHostMoves: what DNS says of the host of an rsync daemon alone is believed at once, but that it has no address only
// while the resolver works.
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
