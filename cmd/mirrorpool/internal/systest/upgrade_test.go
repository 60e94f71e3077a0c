package systest

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"mirrorpool/testdata/testbed"
)

// A load asks a server without a break, in many ways, and tries nothing twice.
type load struct {
	dns, web string
	asked    map[string]*atomic.Int64 // by way
	mu       sync.Mutex
	lost     []string
	stop     context.CancelFunc
	running  sync.WaitGroup
}

// patience is how long an answer may take on a machine that does much else. UDP answers that are lost do not come
// later.
const patience = 20 * time.Second

func startLoad(ctx context.Context, p *program, workers int) *load {
	ctx, stop := context.WithCancel(ctx)
	l := &load{dns: p.dns, web: p.web, stop: stop, asked: map[string]*atomic.Int64{}}
	request := new(dns.Msg)
	request.SetQuestion("dl.example.org.", dns.TypeA)
	slow := new(dns.Msg)
	slow.SetQuestion("dl.example.org.", dns.TypeA)
	slow.SetEdns0(1232, false)
	slow.IsEdns0().Option = append(slow.IsEdns0().Option, &dns.EDNS0_NSID{Code: dns.EDNS0NSID}) // for miekg/dns to answer
	keepAlive := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: workers}, CheckRedirect: noRedirect, Timeout: patience}
	oneShot := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, CheckRedirect: noRedirect, Timeout: patience}
	for way, ask := range map[string]func() error{
		"udp":             func() error { return exchange("udp", l.dns, request, 10) },
		"udp, windows":    func() error { return askWindow(l.dns, request, upgradeWindow) },
		"udp, slow path":  func() error { return exchange("udp", l.dns, slow, 1) },
		"tcp":             func() error { return exchange("tcp", l.dns, request, 1) },
		"tcp, a stream":   func() error { return exchange("tcp", l.dns, request, 10) },
		"http":            func() error { return get(oneShot, "http://"+l.web+"/x") },
		"http, keepalive": func() error { return get(keepAlive, "http://"+l.web+"/x") },
	} {
		count := new(atomic.Int64)
		l.asked[way] = count
		for range workers {
			l.running.Go(func() {
				for ctx.Err() == nil {
					if err := ask(); err != nil {
						l.mu.Lock()
						l.lost = append(l.lost, way+": "+err.Error())
						l.mu.Unlock()
					}
					count.Add(1)
				}
			})
		}
	}
	return l
}

// upgradeWindow is how many queries are under way at a time over one socket, where one after the other is too slow.
const upgradeWindow = 32

// askWindow sends so many queries at once, and wants each answered.
func askWindow(server string, request *dns.Msg, n int) error {
	msg, err := request.Pack()
	if err != nil {
		return err
	}
	conn, err := net.Dial("udp", server)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	for id := range n {
		binary.BigEndian.PutUint16(msg, uint16(id))
		if _, err := conn.Write(msg); err != nil {
			return err
		}
	}
	seen := make([]bool, n)
	buf := make([]byte, 1500)
	for range n {
		size, err := conn.Read(buf)
		if err != nil {
			return err
		}
		id := int(binary.BigEndian.Uint16(buf))
		if size < 12 || id >= n || seen[id] || buf[7] == 0 {
			return fmt.Errorf("the answer %x", buf[:size])
		}
		seen[id] = true
	}
	return nil
}

func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// exchange asks so often over one socket, each time only once. Over a stream that the server closes between two
// queries it asks over another one, as RFC 7766 has it.
func exchange(network, server string, request *dns.Msg, times int) error {
	conn, err := dns.DialTimeout(network, server, patience)
	if err != nil {
		return err
	}
	defer func() { conn.Close() }()
	for i := range times {
		req := request.Copy()
		req.Id = dns.Id()
		conn.SetDeadline(time.Now().Add(patience))
		err := conn.WriteMsg(req)
		var resp *dns.Msg
		if err == nil {
			resp, err = conn.ReadMsg()
		}
		if err != nil && network == "tcp" && i > 0 {
			return exchange(network, server, request, 1)
		}
		if err != nil {
			return err
		}
		if resp.Id != req.Id || resp.Rcode != dns.RcodeSuccess || len(resp.Answer) == 0 {
			return fmt.Errorf("the answer %v", resp)
		}
	}
	return nil
}

func get(client *http.Client, url string) error {
	resp, err := client.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusFound {
		return fmt.Errorf("status %s", resp.Status)
	}
	return nil
}

// TestUpgrade starts a second copy of the server beside the first, under load, then ends the first, and the same once
// more. Nothing may be lost. See BenchmarkUpgrade for a larger load.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	upgrade(t, 2, 2)
}

// upgrade replaces a server under load so many times.
func upgrade(t testing.TB, workers, times int) {
	t.Helper()
	c, where := newServerConfig(t)
	c.set("health", "enabled", false)
	c.set("dns", "nsid", "test")
	c.json["state_dir"] = t.TempDir()
	old := c.serve(t, where, `{"version": 1, "mirrors": [{"url_prefix": "http://192.0.2.1/tails/", "weight": 1}, `+
		`{"url_prefix": "http://192.0.2.2/tails/", "weight": 1}]}`)
	start := time.Now()
	l := startLoad(t.Context(), old, workers)
	defer l.stop()
	enough := func(since map[string]int64) bool {
		for way, n := range l.asked {
			if n.Load() < since[way]+50 {
				return false
			}
		}
		return true
	}
	wait := func(what string) {
		since := map[string]int64{}
		for way, n := range l.asked {
			since[way] = n.Load()
		}
		testbed.Eventually(t, what, func() bool { return enough(since) })
	}
	for range times {
		wait("the load is on")
		next := c.start(t, where)
		testbed.Eventually(t, "the next copy answers", func() bool { return strings.Contains(next.log.String(), `"msg":"answering"`) })
		if !strings.Contains(next.log.String(), "address is shared with another process") {
			t.Error("the next copy does not tell that it is not alone")
		}
		wait("both answer")
		old.stop(t)
		wait("the next copy answers alone")
		old = next
	}
	took := time.Since(start)
	l.stop()
	l.running.Wait()
	queries, requests := int64(0), int64(0)
	for way, n := range l.asked {
		switch {
		case strings.HasPrefix(way, "http"):
			requests += n.Load()
		case way == "udp, windows":
			queries += upgradeWindow * n.Load()
		case way == "udp" || way == "tcp, a stream":
			queries += 10 * n.Load()
		default:
			queries += n.Load()
		}
	}
	if b, ok := t.(*testing.B); ok {
		b.ReportMetric(float64(queries)/took.Seconds(), "queries/s")
		b.ReportMetric(float64(requests)/took.Seconds(), "requests/s")
	}
	t.Logf("%d queries (%.0f/s) and %d requests (%.0f/s) in %d upgrades", queries, float64(queries)/took.Seconds(), requests,
		float64(requests)/took.Seconds(), times)
	if len(l.lost) > 0 {
		t.Errorf("%d were lost: %s", len(l.lost), strings.Join(l.lost[:min(len(l.lost), 10)], "\n"))
	}
	if s := old.status(t); s.Process.PID != old.cmd.Process.Pid {
		t.Errorf("process %d answers the administrator, want %d", s.Process.PID, old.cmd.Process.Pid)
	}
	old.stop(t)
}

// BenchmarkUpgrade is TestUpgrade with as much load as the machine bears.
func BenchmarkUpgrade(b *testing.B) {
	for b.Loop() {
		upgrade(b, 16, 3)
	}
}

// TestActivation has the server take its sockets as a service manager gives them, keep none when it ends, and answer
// what came in while no process was there.
func TestActivation(t *testing.T) {
	t.Parallel()
	c, where := newServerConfig(t)
	c.set("health", "enabled", false)
	c.write(t, "mirrors.json", `{"version": 1, "mirrors": [{"url_prefix": "http://192.0.2.1/tails/", "weight": 1}]}`)
	c.write(t, "mirrorpool.json", c.json)
	var sockets []*os.File
	file := func(f *os.File, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		sockets = append(sockets, f)
	}
	udp, err := net.ListenPacket("udp4", where.dns)
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	file(udp.(*net.UDPConn).File())
	for _, addr := range []string{where.dns, where.web, "127.0.0.1:0"} {
		l, err := net.Listen("tcp4", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		file(l.(*net.TCPListener).File())
	}
	manager := newManager(t)
	run := func() *program {
		t.Helper()
		p := startActivated(t, sockets, manager.env(), "serve", "--config", filepath.Join(c.dir, "mirrorpool.json"))
		p.dns, p.web, p.admin = where.dns, where.web, where.admin
		manager.expect(t, "READY=1")
		return p
	}
	p := run()
	if got := p.ask(t, "dl.example.org.", dns.TypeA); len(got) != 1 || got[0] != "192.0.2.1" {
		t.Errorf("answer %v", got)
	}
	p.inRedirects(t, "/x")
	if !strings.Contains(p.log.String(), "inherited socket matches no configured address") {
		t.Error("the log does not name the socket that is not used")
	}
	manager.expect(t, "WATCHDOG=1")
	p.stop(t)
	manager.expect(t, "STOPPING=1")

	// No process is there now. What is asked meanwhile waits in the sockets.
	errs := make(chan error, 3)
	request := new(dns.Msg)
	request.SetQuestion("dl.example.org.", dns.TypeA)
	go func() { errs <- exchange("udp", where.dns, request, 1) }()
	go func() { errs <- exchange("tcp", where.dns, request, 1) }()
	go func() {
		errs <- get(&http.Client{CheckRedirect: noRedirect, Timeout: patience}, "http://"+where.web+"/x")
	}()
	p = run()
	for range 3 {
		if err := <-errs; err != nil {
			t.Errorf("while no process was there: %v", err)
		}
	}
	p.stop(t)
}
