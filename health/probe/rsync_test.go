package probe

import (
	"bufio"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mirrorpool/health"
	"mirrorpool/health/rsync"
	"mirrorpool/testdata/testbed"
)

// rsyncModules are what is served, in terms of a folder.
const rsyncModules = `
[tails]
  path = %[1]s/tree
[locked]
  path = %[1]s/tree
  auth users = someone
  secrets file = %[1]s/secrets
[hook]
  path = %[1]s/tree
  pre-xfer exec = false
[full]
  path = %[1]s/tree
  max connections = 1
  lock file = %[1]s/lock
`

// startRsync runs the rsync daemon until the test ends, and returns its port at 127.0.0.7.
func startRsync(t testing.TB) (port string) {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{
		"secrets": "someone:secret\n", "tree/project/trace": trace, "tree/empty/trace": "",
		"tree/large/trace": fmt.Sprintf("%100s", trace),
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	port = testbed.FreePort(t, "0.0.0.0")
	testbed.Rsync(t, "127.0.0.7:"+port, fmt.Sprintf(rsyncModules, dir))
	return port
}

// rsyncTarget is what a probe at 127.0.0.7 asks for.
func rsyncTarget(port, module, path string) health.Target {
	return health.Target{Role: health.Rsync, Address: netip.MustParseAddr("127.0.0.7"),
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
		target health.Target
		want   string // "...": more of the daemon's own words follow
	}{
		{"works", rsyncTarget(port, "tails", "project/trace"), ""},
		{"no such module", rsyncTarget(port, "debian", "project/trace"),
			`status: opening module "debian": the daemon has no such module: ...`},
		{"no such file", rsyncTarget(port, "tails", "nowhere/trace"),
			"status: reading the file list: the daemon lists no such file: ..."},
		{"locked", rsyncTarget(port, "locked", "project/trace"), `status: opening module "locked": the module asks for a password`},
		{"a hook says no", rsyncTarget(port, "hook", "project/trace"),
			"status: the daemon refused for now: pre-xfer exec returned failure ..."},
		{"full", rsyncTarget(port, "full", "project/trace"),
			`status: opening module "full": the daemon refused for now: @ERROR: max connections (1) reached...`},
		{"no greeting", rsyncTarget(portOf(closed), "tails", "project/trace"),
			"status: waiting for the daemon's greeting: the daemon refused for now: it hung up before its greeting: ..."},
		{"empty", rsyncTarget(port, "tails", "empty/trace"), "body: the trace file has 0 bytes, want an epoch second"},
		{"large", rsyncTarget(port, "tails", "large/trace"), "body: the trace file has 100 bytes, want an epoch second"},
		{"no daemon", rsyncTarget("9", "tails", "project/trace"), "connect: connection refused"},
		{"hung", rsyncTarget(portOf(hung), "tails", "project/trace"), "request: timed out"},
		{"not rsync", rsyncTarget(portOf(web), "tails", "project/trace"), "request: ..."},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := New(nil, time.Now).Probe(within(t, 2*time.Second), test.target)
			state := health.Down
			switch {
			case test.want == "":
				state = health.Up
			case strings.Contains(test.want, "refused for now"):
				state = health.Unknown
			}
			if !matches(o.Reason, test.want) || o.Result != state || o.Took <= 0 ||
				o.NoConnection != strings.HasPrefix(test.want, "connect: ") {
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
