package systest

import (
	"bufio"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mirrorpool/health"
	"mirrorpool/testdata/testbed"
)

// TestBusyRsyncDaemon runs the program on a mirror whose rsync daemon is full from some time on. The mirror stays.
func TestBusyRsyncDaemon(t *testing.T) {
	t.Parallel()
	const address = "127.0.6.9"
	tree := newTree(t, time.Now())
	web, port := testbed.FreePort(t, address), testbed.FreePort(t, address)
	(&testMirror{address: address, root: tree}).start(t, web)
	daemon := net.JoinHostPort(address, port)
	lock := filepath.Join(t.TempDir(), "lock")
	testbed.Rsync(t, daemon, fmt.Sprintf("log file = /dev/null\nlock file = %s\nmax connections = 1\n[tails]\npath = %s/tails\n",
		lock, tree))

	c, where := newServerConfig(t)
	c.json["dns"] = map[string]any{"listen": "-"}
	prefix := "http://" + net.JoinHostPort(address, web) + "/tails/"
	p := c.serve(t, where, map[string]any{"version": 1, "mirrors": []any{
		map[string]any{"url_prefix": prefix, "rsync_url": "rsync://" + daemon + "/tails/", "weight": 10}}})
	rsync := func(state health.State, reason string) func() bool {
		return func() bool {
			for _, e := range p.status(t).Mirrors[0].Endpoints {
				if e.Role == health.Rsync && e.State == state && strings.Contains(e.Reason, reason) {
					return true
				}
			}
			return false
		}
	}
	testbed.Eventually(t, "the daemon is up", rsync(health.Up, ""))
	occupy(t, daemon)
	testbed.Eventually(t, "the daemon is unknown", rsync(health.Unknown, "max connections (1) reached"))
	if m := p.status(t).Mirrors[0]; !slices.Contains(m.Eligible, "http") {
		t.Errorf("the mirror is eligible for %v, want http", m.Eligible)
	}
	if got := p.inRedirects(t, "/stable/x.img"); !got[strings.TrimSuffix(prefix, "/")] {
		t.Errorf("redirected to %v", got)
	}
}

// occupy takes the only connection to the daemon's module as soon as no probe has it, and holds it until the test ends.
func occupy(t *testing.T, daemon string) {
	t.Helper()
	testbed.Eventually(t, "the daemon's connection can be taken", func() bool {
		conn, err := net.Dial("tcp", daemon)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		fmt.Fprint(conn, "@RSYNCD: 29\ntails\n")
		for lines := bufio.NewScanner(conn); lines.Scan(); {
			if lines.Text() == "@RSYNCD: OK" {
				return true
			}
		}
		return false
	})
}
