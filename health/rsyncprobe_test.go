package health

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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

func TestProbeRsync(t *testing.T) {
	port := startRsync(t)
	hung := serveRaw(t, "127.0.0.7", linger)
	web := serveRaw(t, "127.0.0.7", func(conn net.Conn) {
		fmt.Fprint(conn, "HTTP/1.1 400 Bad Request\r\n\r\n")
		linger(conn)
	})
	for _, test := range []struct {
		name   string
		target Target
		want   string // "...": more of the daemon's own words follow
	}{
		{"works", rsyncTarget(port, "tails", "project/trace"), ""},
		{"no such module", rsyncTarget(port, "debian", "project/trace"), `status: opening module "debian": the daemon has no such module: ...`},
		{"no such file", rsyncTarget(port, "tails", "nowhere/trace"), "status: reading the file list: the daemon lists no such file: ..."},
		{"locked", rsyncTarget(port, "locked", "project/trace"), `status: opening module "locked": the module asks for a password`},
		{"empty", rsyncTarget(port, "tails", "empty/trace"), "body: the trace file has 0 bytes, want an epoch second"},
		{"large", rsyncTarget(port, "tails", "large/trace"), "body: the trace file has 100 bytes, want an epoch second"},
		{"nobody there", rsyncTarget("9", "tails", "project/trace"), "connect: connection refused"},
		{"hung", rsyncTarget(portOf(hung), "tails", "project/trace"), "request: timed out"},
		{"not rsync", rsyncTarget(portOf(web), "tails", "project/trace"), "request: ..."},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := NewRsyncProber(time.Now).Probe(within(t, 2*time.Second), test.target)
			if !matches(o.Reason, test.want) || (o.Result == Up) != (test.want == "") || o.Took <= 0 {
				t.Errorf("saw %v, %q after %v, want %q", o.Result, o.Reason, o.Took, test.want)
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
				return Observation{Reason: "connect: " + errNoRoute.Error()}
			}}},
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

// TestRsyncAddressChanges: a daemon is asked at the address that works until its host has it no more, and then at another
// one, with the verdict that it had.
func TestRsyncAddressChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, nil)
		b.knows("a.example.net", "192.0.2.1 2001:db8::1")
		b.set("192.0.2.1/rsync", func(context.Context, Target) Observation {
			return Observation{Reason: "connect: " + errNoRoute.Error()}
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
