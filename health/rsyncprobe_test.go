package health

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mirrorpool/config"
	"mirrorpool/health/rsync"
)

const rsyncdConf = `
use chroot = no
%[1]s
[tails]
  path = %[2]s/tree
[locked]
  path = %[2]s/tree
  auth users = someone
  secrets file = %[2]s/secrets
[hook]
  path = %[2]s/tree
  pre-xfer exec = false
[full]
  path = %[2]s/tree
  max connections = 1
  lock file = %[2]s/lock
`

// startRsync runs the rsync daemon until the test ends, and returns its port at 127.0.0.7.
func startRsync(t testing.TB) (port string) {
	t.Helper()
	bin := needs(t, "rsync", "rsync")
	dir := t.TempDir()
	ids := ""
	if os.Getuid() == 0 { // or it would become nobody, who cannot enter dir
		ids = "uid = 0\ngid = 0"
	}
	for name, content := range map[string]string{
		"rsyncd.conf": fmt.Sprintf(rsyncdConf, ids, dir), "secrets": "someone:secret\n",
		"tree/project/trace": trace, "tree/empty/trace": "", "tree/large/trace": fmt.Sprintf("%100s", trace),
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	port = freePort(t)
	cmd := exec.Command(bin, "--daemon", "--no-detach", "--config", filepath.Join(dir, "rsyncd.conf"), "--address", "127.0.0.7", "--port", port)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	awaitPort(t, "127.0.0.7:"+port)
	return port
}

// rsyncTarget is what a probe at 127.0.0.7 asks for.
func rsyncTarget(port, module, path string) Target {
	return Target{Role: Rsync, Address: netip.MustParseAddr("127.0.0.7"),
		Rsync: rsync.URL{Host: mirrorHost, Port: port, Module: module, Path: path}}
}

// occupyRsync holds a connection to a module of the daemon at 127.0.0.7 until the test ends.
func occupyRsync(t testing.TB, port, module string) {
	t.Helper()
	conn, err := net.Dial("tcp", "127.0.0.7:"+port)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	fmt.Fprintf(conn, "@RSYNCD: 29\n%s\n", module)
	in := bufio.NewReader(conn)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if line == "@RSYNCD: OK\n" {
			return
		}
	}
}

func TestProbeRsync(t *testing.T) {
	port := startRsync(t)
	hung := serveRaw(t, "127.0.0.7", linger)
	web := serveRaw(t, "127.0.0.7", func(conn net.Conn) {
		fmt.Fprint(conn, "HTTP/1.1 400 Bad Request\r\n\r\n")
		linger(conn)
	})
	closed := serveRaw(t, "127.0.0.7", func(conn net.Conn) { conn.Close() })
	occupyRsync(t, port, "full")
	for _, test := range []struct {
		name   string
		target Target
		want   string // "...": more of the daemon's own words follow
	}{
		{"works", rsyncTarget(port, "tails", "project/trace"), ""},
		{"no such module", rsyncTarget(port, "debian", "project/trace"), `status: opening module "debian": the daemon has no such module: ...`},
		{"no such file", rsyncTarget(port, "tails", "nowhere/trace"), "status: reading the file list: the daemon lists no such file: ..."},
		{"locked", rsyncTarget(port, "locked", "project/trace"), `status: opening module "locked": the module asks for a password`},
		{"a hook says no", rsyncTarget(port, "hook", "project/trace"), "status: the daemon refused for now: pre-xfer exec returned failure ..."},
		{"full", rsyncTarget(port, "full", "project/trace"), `status: opening module "full": the daemon refused for now: @ERROR: max connections (1) reached...`},
		{"no greeting", rsyncTarget(portOf(closed), "tails", "project/trace"), "status: waiting for the daemon's greeting: the daemon refused for now: it hung up before its greeting: ..."},
		{"empty", rsyncTarget(port, "tails", "empty/trace"), "body: the trace file has 0 bytes, want an epoch second"},
		{"large", rsyncTarget(port, "tails", "large/trace"), "body: the trace file has 100 bytes, want an epoch second"},
		{"nobody there", rsyncTarget("9", "tails", "project/trace"), "connect: connection refused"},
		{"hung", rsyncTarget(portOf(hung), "tails", "project/trace"), "request: timed out"},
		{"not rsync", rsyncTarget(portOf(web), "tails", "project/trace"), "request: ..."},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := NewRsyncProber(time.Now).Probe(within(t, 2*time.Second), test.target)
			state := Down
			switch {
			case test.want == "":
				state = Up
			case strings.Contains(test.want, "refused for now"):
				state = Unknown
			}
			if !matches(o.Reason, test.want) || o.Result != state || o.Took <= 0 || o.NoConnection != strings.HasPrefix(test.want, "connect: ") {
				t.Errorf("saw %+v, want %v, %q", o, state, test.want)
			}
		})
	}
}

// matches reports whether text is want, where a final "..." in want stands for anything.
func matches(text, want string) bool {
	if n := len(want) - 3; n >= 0 && want[n:] == "..." {
		return len(text) >= n && text[:n] == want[:n]
	}
	return text == want
}

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
		if r.Rsync == nil || r.Rsync.State != Up || r.Rsync.Role != Rsync || r.Rsync.Address != netip.MustParseAddr("192.0.2.1") || r.RsyncDown() || len(r.Endpoints) != 4 {
			t.Fatalf("%+v", r)
		}
		if want := (rsync.URL{Host: "A.example.net", Port: "873", Module: "tails", Path: "project/trace"}); !slices.Equal(asked, []rsync.URL{want}) {
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
		{name: "another host", url: "rsync://rsync.example.net/tails/", knows: "192.0.2.9 2001:db8::9", address: "192.0.2.9", state: Up},
		{name: "an address", url: "rsync://192.0.2.8/tails/", address: "192.0.2.8", state: Up},
		{name: "IPv6 only", url: "rsync://rsync.example.net/tails/", knows: "2001:db8::9", address: "2001:db8::9", state: Up},
		{name: "private", url: "rsync://rsync.example.net/tails/", knows: "10.0.0.1", state: Down,
			reason: `resolve: 10.0.0.1, which DNS gives for "rsync.example.net", is not a public address: set health.allow_private to probe it`},
		{name: "no such host", url: "rsync://rsync.example.net/tails/", knows: " ", state: Down, reason: `resolve: "rsync.example.net" has no address`},
		{name: "resolver down", url: "rsync://rsync.example.net/tails/", state: Unknown,
			reason: "resolve: asking 192.0.2.53:53 for rsync.example.net A: SERVFAIL; no address is known"},
		{name: "no route for IPv4", url: "rsync://rsync.example.net/tails/", knows: "192.0.2.9 2001:db8::9", address: "2001:db8::9", state: Up,
			set: map[string]func(context.Context, Target) Observation{"192.0.2.9": func(context.Context, Target) Observation {
				return Observation{Reason: "connect: " + errNoRoute.Error(), NoConnection: true}
			}}},
		{name: "one family refuses", url: "rsync://rsync.example.net/tails/", knows: "192.0.2.9 2001:db8::9", address: "2001:db8::9", state: Up,
			set: map[string]func(context.Context, Target) Observation{"192.0.2.9": cannotConnect("connection refused")}},
		{name: "one address refuses", url: "rsync://rsync.example.net/tails/", knows: "192.0.2.9 192.0.2.10", address: "192.0.2.10", state: Up,
			set: map[string]func(context.Context, Target) Observation{"192.0.2.9": cannotConnect("connection refused")}},
		{name: "all addresses fail", url: "rsync://rsync.example.net/tails/", knows: "192.0.2.9 2001:db8::9", address: "192.0.2.9", state: Down,
			reason: "connect: connection refused at 192.0.2.9; timed out at 2001:db8::9",
			set: map[string]func(context.Context, Target) Observation{
				"192.0.2.9": cannotConnect("connection refused"), "2001:db8::9": cannotConnect("timed out")}},
		// Only what cannot be connected to is tried elsewhere: a daemon that answers has answered.
		{name: "no such module", url: "rsync://rsync.example.net/tails/", knows: "192.0.2.9 2001:db8::9", address: "192.0.2.9", state: Down,
			reason: "status: no such module",
			set:    map[string]func(context.Context, Target) Observation{"192.0.2.9": fails("status: no such module")}},
		// The first takes a fourth of the time at most, so that the last is reached.
		// A daemon that is slow, but there, has all the time.
		{name: "slow", url: "rsync://rsync.example.net/tails/", knows: "192.0.2.9 192.0.2.10", address: "192.0.2.9", state: Up,
			set: map[string]func(context.Context, Target) Observation{"192.0.2.9": slowly(9 * time.Second)}},
		{name: "three hang", url: "rsync://rsync.example.net/tails/", knows: "192.0.2.9 192.0.2.10 192.0.2.11 192.0.2.12", address: "192.0.2.12", state: Up,
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

// TestRsyncAddressChanges: a daemon is asked at the address that works until its host has it no more, and then at another
// one, with the verdict that it had.
func TestRsyncAddressChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, nil)
		b.knows("a.example.net", "192.0.2.1 2001:db8::1")
		b.set("192.0.2.1/rsync", func(context.Context, Target) Observation {
			return Observation{Reason: "connect: " + errNoRoute.Error(), NoConnection: true}
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

// TestBadRsyncURL, which config lets through to nobody: it is told of, and nothing is asked.
func TestBadRsyncURL(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	b.SetPool(rsyncPool(t, "192.0.2.1", ""))
	if b.logs.Len() > 0 {
		t.Errorf("without a URL: logged %v", b.logs.All())
	}
	b.SetPool(rsyncPool(t, "192.0.2.1", "ftp://a.example.net/tails/"))
	if r := b.Report().Mirrors["http://a.example.net/tails/"].Rsync; r != nil || b.logs.FilterMessage("rsync URL is not checked").Len() != 1 {
		t.Errorf("%+v, logged %v", r, b.logs.All())
	}
}
