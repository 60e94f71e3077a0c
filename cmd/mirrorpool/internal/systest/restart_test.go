package systest

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"mirrorpool/health"
	"mirrorpool/testdata/testbed"
)

// TestStartupTimeout has one mirror that accepts connections and then says nothing.
func TestStartupTimeout(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.1.9:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, where := newServerConfig(t)
	c.set("health", "timeout", "30s")
	c.set("health", "startup_timeout", "300ms")
	c.set("health", "dns_url", "http://"+l.Addr().String()+"/") // the same for role dns
	p := c.serve(t, where, fmt.Sprintf(`{"version": 1, "mirrors": [{"url_prefix": "http://%s/", "weight": 1}]}`, l.Addr()))
	if got := p.inDNS(t); !got["127.0.1.9"] {
		t.Errorf("answers %v, want the mirror that was not checked yet: rule 2", got)
	}
	if status := p.status(t); !status.Panic || status.Mirrors[0].State != health.Unknown {
		t.Errorf("status %+v, want panic and an unknown mirror", status)
	}
	p.stop(t)
}

// TestRestart starts the server again, with mirrors that have gone silent meanwhile: it answers at once from the
// verdicts that it remembers.
func TestRestart(t *testing.T) {
	t.Parallel()

	m := &testMirror{root: newTree(t, time.Now().Add(-time.Hour))}
	c, where := newServerConfig(t)
	state := t.TempDir()
	c.json["state_dir"] = state
	c.set("health", "interval", "1s")
	m.address = "127.0.1.21"
	port := testbed.FreePort(t, m.address, "127.0.1.22")
	m.start(t, port)
	c.set("health", "dns_url", "http://{zone}:"+port+"/tails/project/trace")
	c.set("health", "startup_timeout", "60s")
	pool := fmt.Sprintf(`{"version": 1, "mirrors": [{"url_prefix": "http://127.0.1.21:%[1]s/tails/", "weight": 1}, `+
		`{"url_prefix": "http://127.0.1.22:%[1]s/tails/", "weight": 1}]}`, port)
	p := c.serve(t, where, pool)
	var since *time.Time
	testbed.Eventually(t, "the first mirror has been up", func() bool { since = p.status(t).Mirrors[0].Since; return since != nil })
	if got, want := p.inDNS(t), map[string]bool{"127.0.1.21": true}; !maps.Equal(got, want) {
		t.Fatalf("answers %v, want %v", got, want)
	}
	p.stop(t)

	m.stop()
	silent, err := net.Listen("tcp", net.JoinHostPort(m.address, port)) // accepts, and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	c.set("health", "timeout", "30s")
	p = c.serve(t, where, pool)
	if got, want := p.inDNS(t), map[string]bool{"127.0.1.21": true}; !maps.Equal(got, want) {
		t.Errorf("answers %v after the restart, want %v", got, want)
	}
	if got := p.status(t).Mirrors[0].Since; got == nil || !got.Equal(*since) {
		t.Errorf("up since %v, want %v, from before the restart", got, since)
	}
	p.stop(t)
	files, err := os.ReadDir(state)
	var names []string
	for _, f := range files {
		names = append(names, f.Name())
	}
	if want := []string{"history", "ledger", "mirrors.kept", "serial", "stats", "verdicts", "zone-version"}; err != nil || !slices.Equal(names, want) {
		t.Errorf("in the state folder are %q, %v; want %q", names, err, want)
	}
}

// TestLeavesAfterFall counts how many failed checks it takes until a mirror is in no answer.
func TestLeavesAfterFall(t *testing.T) {
	t.Parallel()
	const fall = 3 // the default
	var failing atomic.Bool
	var failed sync.Map // how many failed answers, by the host that was asked for
	l, err := net.Listen("tcp", "127.0.1.31:0")
	if err != nil {
		t.Fatal(err)
	}
	mirror := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if failing.Load() {
			n, _ := failed.LoadOrStore(strings.Split(r.Host, ":")[0], new(atomic.Int32))
			n.(*atomic.Int32).Add(1)
			http.NotFound(w, r)
			return
		}
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader("1700000000\n"))
	})}
	go mirror.Serve(l)
	t.Cleanup(func() { mirror.Close() })
	other, err := net.Listen("tcp", net.JoinHostPort("127.0.1.32", fmt.Sprint(l.Addr().(*net.TCPAddr).Port)))
	if err != nil {
		t.Fatal(err)
	}
	good := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader("1700000000\n"))
	})}
	go good.Serve(other)
	t.Cleanup(func() { good.Close() })

	c, where := newServerConfig(t)
	c.set("health", "interval", "1s")
	c.set("health", "dns_url", fmt.Sprintf("http://{zone}:%d/trace", l.Addr().(*net.TCPAddr).Port))
	p := c.serve(t, where, fmt.Sprintf(`{"version": 1, "mirrors": [{"url_prefix": "http://%s/", "weight": 1}, {"url_prefix": `+
		`"http://%s/", "weight": 1}]}`, l.Addr(), other.Addr()))
	failing.Store(true)
	count := func(host string) int32 {
		n, ok := failed.Load(host)
		if !ok {
			return 0
		}
		return n.(*atomic.Int32).Load()
	}
	testbed.Eventually(t, "the mirror leaves the answers", func() bool { return !p.inDNS(t)["127.0.1.31"] })
	// One more check may have begun before we looked.
	if n := count("dl.example.org"); n < fall || n > fall+1 {
		t.Errorf("it left DNS after %d failed checks, want %d", n, fall)
	}
	testbed.Eventually(t, "the mirror leaves the redirects", func() bool {
		return !p.inRedirects(t, "/x")["http://"+l.Addr().String()]
	})
	if n := count("127.0.1.31"); n < fall || n > fall+2 {
		t.Errorf("it left the redirects after %d failed checks, want %d", n, fall)
	}
	p.stop(t)
}

// TestSecondSignalKills has a client that keeps the server from ending at once.
func TestSecondSignalKills(t *testing.T) {
	t.Parallel()
	c, where := newServerConfig(t)
	c.set("health", "enabled", false)
	p := c.serve(t, where, `{"version": 1, "mirrors": [{"url_prefix": "http://127.0.1.7/tails/", "weight": 1}]}`)
	conn, err := net.Dial("tcp", p.web)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("GET / HTTP/1.1\r\n")); err != nil { // and no more of it
		t.Fatal(err)
	}
	p.inRedirects(t, "/x") // connections are accepted in turn, so that ours is one of the server's by now
	p.cmd.Process.Signal(syscall.SIGTERM)
	again := time.NewTicker(50 * time.Millisecond) // the first one may still be on its way
	defer again.Stop()
	for {
		select {
		case <-again.C:
			p.cmd.Process.Signal(syscall.SIGTERM)
		case err := <-p.exited:
			var ended *exec.ExitError
			if !errors.As(err, &ended) || !ended.Sys().(syscall.WaitStatus).Signaled() {
				t.Errorf("after a second signal: %v, want an end by the signal", err)
			}
			return
		}
	}
}
