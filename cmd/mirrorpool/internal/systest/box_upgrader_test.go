//go:build linux

package systest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mirrorpool/testdata/testbed"
)

// upgraderPool are the mirrors of the pool that Upgraders are tried against: two with https, three without.
var upgraderPool = []string{"m1", "m2", "m5", "m9", "m10"}

// upgraderFaults are ways in which a mirror is broken.
var upgraderFaults = []struct {
	what         string
	inject, mend func(*host)
}{
	{"nginx killed", func(h *host) { h.web.stop() }, func(h *host) { h.serveNginx(h.normal()) }},
	{"black hole", (*host).blackHole, (*host).reachable},
	{"404 for all", func(h *host) { h.serveNginx(h.always("return 404;")) }, func(h *host) { h.serveNginx(h.normal()) }},
	{"500 for all", func(h *host) { h.serveNginx(h.always("return 500;")) }, func(h *host) { h.serveNginx(h.normal()) }},
}

// TestUpgraderDownloads has runs of both kinds of Upgrader against a pool of five mirrors, k of which are broken and
// known to be, in several ways; and the old kind against a list and a name that know nothing of health. The long form
// prints README's table of all; the short form has two of its rows.
func TestUpgraderDownloads(t *testing.T) {
	t.Parallel()
	testbed.SkipLong(t)
	b := newBox(t)
	var others []string
	for i := 1; i <= boxMirrors; i++ {
		if name := fmt.Sprint("m", i); !slices.Contains(upgraderPool, name) {
			others = append(others, name)
		}
	}
	b.publish(b.pool(others...))
	b.startPool("ns1", nil)
	b.startPool("ns2", nil)
	c := b.newClients()
	runs, faults, broken := 40, upgraderFaults[:2], map[int]bool{2: true}
	if testbed.Long() {
		runs, faults, broken = 100, upgraderFaults, map[int]bool{1: true, 2: true, 3: true, 4: true}
	}
	var table strings.Builder
	table.WriteString("| of 5 mirrors | up to 5.8 | from 5.9 on | static list, round robin |\n|---|---:|---:|---:|\n")
	first := 0 // of those that are broken: each has its turn, or flap damping would keep the same ones down for longer
	for k := 1; k < len(upgraderPool); k++ {
		if !broken[k] {
			continue
		}
		for _, f := range faults {
			var victims []string
			for i := range k {
				victims = append(victims, upgraderPool[(first+i)%len(upgraderPool)])
			}
			first += k
			for _, name := range victims {
				f.inject(b.hosts[name])
			}
			b.awaitDown(victims)
			share := c.upgraderRuns(t, runs, upgraderPool)
			fmt.Fprintf(&table, "| %d: %s | %.0f %% | %.0f %% | %.0f %% |\n", k, f.what, 100*share[0], 100*share[1], 100*share[2])
			if k <= 2 && (share[0] < 0.95 || share[1] < 0.95) {
				t.Errorf("%d of 5 mirrors, %s: %.0f %% and %.0f %% of the downloads succeed, want nearly all", k, f.what, 100*share[0],
					100*share[1])
			}
			for _, name := range victims {
				f.mend(b.hosts[name])
			}
			b.awaitUp(upgraderPool)
		}
	}
	t.Logf("%s", table.String())
}

// upgraderRuns has each kind of Upgrader run so many times, and returns the shares that end with the image.
func (c *clients) upgraderRuns(t *testing.T, runs int, pool []string) (share [3]float64) {
	t.Helper()
	const atOnce = 25
	var static []netip.Addr
	for _, name := range pool {
		static = append(static, c.hosts[name].v4)
	}
	site := "https://" + c.hosts["web"].at(c.ports.https)
	kinds := [3]func(context.Context, *tailsUpgrader) error{
		func(ctx context.Context, u *tailsUpgrader) error { return u.upTo58(ctx, site+"/legacy/mirrors.json") },
		func(ctx context.Context, u *tailsUpgrader) error {
			ns := []string{"ns1", "ns2"}[rand.IntN(2)]
			return u.from59(ctx, "http://"+net.JoinHostPort(c.hosts[ns].v4.String(), c.ports.http)+"/")
		},
		func(ctx context.Context, u *tailsUpgrader) error {
			u.cache.addrs["dl.example.org"] = static[rand.IntN(len(static))] // any of the records may come first
			u.cache.until["dl.example.org"] = time.Now().Add(time.Hour)
			return u.upTo58(ctx, site+"/mirrors.json")
		},
	}
	for kind, run := range kinds {
		var mu sync.Mutex
		good := 0
		var running sync.WaitGroup
		slots := make(chan struct{}, atOnce)
		for range runs {
			slots <- struct{}{}
			running.Go(func() {
				defer func() { <-slots }()
				u := &tailsUpgrader{clients: c, unit: 20 * time.Millisecond, cache: newResolverCache()}
				if err := run(t.Context(), u); err == nil {
					mu.Lock()
					good++
					mu.Unlock()
				}
			})
		}
		running.Wait()
		share[kind] = float64(good) / float64(runs)
	}
	return share
}

// awaitDown waits until both mirrorpools know that mirrors are down, and awaitUp until they know of none that is.
func (b *box) awaitDown(names []string) { b.awaitStates("mirrors are known to be down", names, false) }

func (b *box) awaitUp(names []string) { b.awaitStates("all mirrors are up again", names, true) }

func (b *box) awaitStates(what string, names []string, up bool) {
	b.t.Helper()
	b.await(b.t, what, 3*time.Minute, func() bool {
		for _, ns := range []string{"ns1", "ns2"} {
			status, err := b.status(ns)
			if err != nil {
				return false
			}
			for _, m := range status.Mirrors {
				concerned := slices.ContainsFunc(names, func(name string) bool { return m.URLPrefix == b.hosts[name].prefix() })
				for _, e := range m.Endpoints {
					if concerned && e.Address.Is4() && e.Role.String() != "rsync" && (e.State.String() == "up") != up {
						return false
					}
				}
			}
		}
		return true
	})
}

// TestUpgraderReplay holds the replay to what the real client sends.
func TestUpgraderReplay(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	image := bytes.Repeat([]byte("image "), 100)
	var requests []string
	go func() {
		for i := 0; ; i++ {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			r := bufio.NewReader(conn)
			var head strings.Builder
			for {
				line, err := r.ReadString('\n')
				if err != nil || line == "\r\n" {
					break
				}
				head.WriteString(line)
			}
			requests = append(requests, head.String())
			switch i {
			case 0: // half of it, and away
				fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(image), image[:200])
			case 1:
				io.WriteString(conn, "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
			default:
				fmt.Fprintf(conn, "HTTP/1.1 206 Partial Content\r\nContent-Length: %d\r\n\r\n%s", len(image)-200, image[200:])
			}
			conn.Close()
		}
	}()
	b := &box{t: t, local: true, serve: image, ports: ports{http: "80", https: "443"}}
	u := &tailsUpgrader{unit: time.Millisecond, cache: newResolverCache(), clients: &clients{box: b, host: &host{box: b}}}
	u.unit = 5 * time.Millisecond
	at := l.Addr().String()
	if err := u.from59(t.Context(), "http://"+at+"/"); err != nil {
		t.Fatal(err)
	}
	common := "TE: deflate,gzip;q=0.3\r\nConnection: TE, close\r\nHost: " + at + "\r\n"
	const agent = "User-Agent: libwww-perl/6.68\r\n"
	for i, want := range []string{
		common + agent, common + "Range: bytes=200-\r\n" + agent, common + "Range: bytes=200-\r\n" + agent,
	} {
		if want = "GET /" + boxImage + " HTTP/1.1\r\n" + want; requests[i] != want {
			t.Errorf("request %d is\n%swant\n%s", i, requests[i], want)
		}
	}
}

// TestUpgraderList has the old Upgrader fetch lists over https: one that is good, and ones that it refuses. Then its
// mirror refuses it five times, and the sixth request goes to the pool's name; where there is no list, none goes
// anywhere.
func TestUpgraderList(t *testing.T) {
	t.Parallel()
	image := []byte("the image")
	var asked []string // hosts and ranges, in order
	var mu sync.Mutex
	pool := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, r.Host+" "+r.Header.Get("Range"))
		if r.Host == "dl.example.org" {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes 0-%d/%[1]d", len(image)-1))
			w.WriteHeader(http.StatusPartialContent)
			w.Write(image)
			return
		}
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer pool.Close()
	mirror := fmt.Sprintf(`{"mirrors": [{"url_prefix": "%s/", "weight": 1}]}`, pool.URL)
	var fetched http.Header
	site := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/good":
			fetched = r.Header
			io.WriteString(w, mirror)
		case "/moved":
			http.Redirect(w, r, "/good", http.StatusFound)
		case "/long":
			io.WriteString(w, mirror+strings.Repeat(" ", maxListBytes))
		case "/accepted":
			w.WriteHeader(http.StatusAccepted)
			io.WriteString(w, mirror)
		}
	}))
	defer site.Close()
	_, port, err := net.SplitHostPort(pool.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(site.Certificate())
	b := &box{t: t, local: true, serve: image, ports: ports{http: port}}
	run := func(list string) error {
		u := &tailsUpgrader{unit: 10 * time.Millisecond, cache: newResolverCache(),
			clients: &clients{box: b, host: &host{box: b}, roots: roots}}
		u.cache.addrs["dl.example.org"], u.cache.until["dl.example.org"] = netip.MustParseAddr("127.0.0.1"), time.Now().Add(time.Hour)
		return u.upTo58(t.Context(), site.URL+list)
	}
	for _, list := range []string{"/moved", "/long", "/accepted", "/empty"} {
		if err := run(list); err == nil || len(asked) > 0 {
			t.Errorf("%s: %v, and it asks %v; want an error, and no request", list, err, asked)
		}
	}
	if err := run("/good"); err != nil {
		t.Fatal(err)
	}
	if agent, sent := fetched["User-Agent"]; sent || fetched.Get("Accept") != "*/*" {
		t.Errorf("the list is asked for with Accept %q and User-Agent %q", fetched.Get("Accept"), agent)
	}
	at := pool.Listener.Addr().String()
	const again = " bytes=0-"
	if want := []string{at + " ", at + again, at + again, at + again, at + again, "dl.example.org" + again}; !slices.Equal(asked,
		want) {
		t.Errorf("it asks\n%q, want\n%q", asked, want)
	}
}
