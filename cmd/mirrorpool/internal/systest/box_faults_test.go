//go:build linux

package systest

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"mirrorpool/testdata/testbed"

	"golang.org/x/sys/unix"
)

// deadline is when no client may be sent to a dead mirror any more, with checks every 2 s: 7 s, and the time for
// which clients keep an answer.
const deadline = 7*time.Second + boxTTL

// A fault is something that goes wrong, and what has to come of it.
type fault struct {
	what         string
	inject, mend func()

	gone   []string      // addresses and prefixes where clients must not be sent while it lasts
	family string        // only clients over this family are wrong there: "v4", "v6"; empty: all
	within time.Duration // when no client may be sent there any more; 0: that is not promised
	back   []string      // what has to be answered again once it is mended; nil: gone

	note  string    // for the table
	began time.Time // when it was injected
}

// wrong reports whether a client was sent where it cannot be served.
func (f *fault) wrong(e *event) bool { return f.sent(e, f.gone) }

func (f *fault) sent(e *event, where []string) bool {
	if f.family != "" && strings.HasPrefix(e.client, "redirect ") && !strings.HasSuffix(e.client, f.family) {
		return false
	}
	return slices.ContainsFunc(e.to, func(to string) bool { return slices.Contains(where, to) })
}

// of returns what a mirror is answered as: addresses of a family (all if it is empty), and its prefix.
func (b *box) of(name, family string) []string {
	h := b.hosts[name]
	var found []string
	for _, addr := range h.addresses() {
		if family == "" || addr.Is4() == (family == "v4") {
			found = append(found, addr.String())
		}
	}
	return append(found, h.prefix())
}

// dead is a mirror that is of no use to any client.
func (b *box) dead(what, name string, inject, mend func()) *fault {
	return &fault{what: what, inject: inject, mend: mend, gone: b.of(name, ""), within: deadline}
}

// instead has a mirror's nginx do something else for a while.
func (b *box) instead(what, name string, servers func(*host) string) *fault {
	h := b.hosts[name]
	return b.dead(what, name, func() { h.serveNginx(servers(h)) }, func() { h.serveNginx(h.normal()) })
}

// filtered has a host drop packets for a while.
func (b *box) filtered(what, name, family string, rules ...string) *fault {
	h := b.hosts[name]
	f := b.dead(what, name, func() { h.filter(rules...) }, func() { h.filter() })
	f.gone, f.family = b.of(name, family), family
	return f
}

func (b *box) killed(name string) *fault {
	h := b.hosts[name]
	return b.dead("nginx killed", name, func() { h.web.stop() }, func() { h.serveNginx(h.conf) })
}

func (b *box) status4xx(name string) *fault {
	return b.instead("404 for all", name, func(h *host) string { return h.always("return 404;") })
}

func (b *box) status5xx(name string) *fault {
	return b.instead("500 for all", name, func(h *host) string { return h.always("return 500;") })
}

func (b *box) wrongTree(name string) *fault {
	return b.instead("200 with a wrong tree", name, func(h *host) string { return h.always(`return 200 "<html>It works!</html>";`) })
}

func (b *box) expired(name string) *fault {
	return b.instead("expired certificate", name, func(h *host) string { return h.serving("tree", time.Now().Add(-time.Hour)) })
}

func (b *box) downgrading(name string) *fault {
	f := b.instead("redirects https to http", name, (*host).downgrading)
	f.gone = []string{b.hosts[name].prefix()} // over http it works, as DNS clients ask
	return f
}

func (b *box) stale(name string) *fault {
	return b.instead("stale trace", name, func(h *host) string { return h.serving("old", time.Time{}) })
}

func (b *box) withoutRsync(name string) *fault {
	h := b.hosts[name]
	return &fault{what: "rsync daemon killed", gone: []string{h.prefix()}, within: deadline, note: "stays in DNS",
		inject: func() { h.rsync.stop() }, mend: h.startRsync}
}

// handled has a mirror answer as a handler does, for a while.
func (b *box) handled(what, name string, handler http.HandlerFunc) *fault {
	h := b.hosts[name]
	return b.dead(what, name, func() { h.serveGo(handler) }, func() { h.serveNginx(h.normal()) })
}

// endless sends a body that never ends, in answer to anything.
func (b *box) endless(name string) *fault {
	chunk := []byte(strings.Repeat("9", 1024))
	return b.handled("a body that never ends", name, func(w http.ResponseWriter, r *http.Request) {
		for {
			if _, err := w.Write(chunk); err != nil {
				return
			}
			w.(http.Flusher).Flush()
			select {
			case <-r.Context().Done():
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	})
}

// slow answers as a good mirror does, after a while.
func (b *box) slow(name string) *fault {
	files := http.FileServer(http.Dir(filepath.Join(b.dir, "tree")))
	return b.handled("answers take 2 s", name, func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(2 * time.Second):
			files.ServeHTTP(w, r)
		case <-r.Context().Done():
		}
	})
}

// A wave is faults that are injected together, each on a mirror of its own.
type wave struct {
	name   string
	hold   time.Duration
	faults []*fault
	alone  bool // the web site misbehaves meanwhile, and leaves the Upgrader without a list
}

// mirrorHold is how long a mirror is broken.
func mirrorHold() time.Duration {
	if testbed.Long() {
		return 20 * time.Second
	}
	return deadline + time.Second
}

// mirrorFaults are those of single mirrors.
func (b *box) mirrorFaults() []wave {
	hold := mirrorHold()
	loss := b.filtered("loses 30 % of packets", "m11", "", "numgen random mod 100 < 30 drop")
	loss.within, loss.note = 0, "in and out of service, as retries by TCP succeed in time or not"
	return []wave{
		{name: "dead", hold: hold, faults: []*fault{
			b.killed("m1"),
			b.filtered("black hole", "m2", "", "iifname eth0 drop"),
			b.status4xx("m9"),
			b.status5xx("m10"),
			b.withoutRsync("m11"),
		}},
		{name: "half dead", hold: hold, faults: []*fault{
			b.filtered("black hole over IPv6", "m3", "v6", "meta nfproto ipv6 drop"),
			b.filtered("black hole over IPv4", "m4", "v4", "iifname eth0 meta nfproto ipv4 drop"),
			b.wrongTree("m9"),
			b.endless("m10"),
			b.delayed("2 s of latency", "m11", time.Second), // there and back
		}},
		{name: "wrong", hold: hold, faults: []*fault{
			b.expired("m1"),
			b.downgrading("m2"),
			b.stale("m9"),
			b.slow("m10"),
			loss,
		}},
		{name: "half of all", hold: hold, faults: []*fault{b.many("5 of 11 mirrors black-holed at once", (*host).blackHole,
			(*host).reachable, "m1", "m2", "m3", "m4", "m9")}},
	}
}

// many breaks some mirrors together.
func (b *box) many(what string, breaks, mends func(*host), names ...string) *fault {
	f := &fault{what: what, within: deadline}
	each := func(do func(*host)) func() {
		return func() {
			for _, name := range names {
				do(b.hosts[name])
			}
		}
	}
	f.inject, f.mend = each(breaks), each(mends)
	for _, name := range names {
		f.gone = append(f.gone, b.of(name, "")...)
	}
	return f
}

func (h *host) blackHole() { h.filter("iifname eth0 drop") }
func (h *host) reachable() { h.filter() }

// nameFaults are those of the mirrors' names. It takes half a minute until these are looked up again.
func (b *box) nameFaults() wave {
	m4, m5 := b.hosts["m4"], b.hosts["m5"]
	elsewhere := netip.MustParseAddr("10.77.0.204")
	return wave{name: "names", hold: 42 * time.Second, faults: []*fault{
		{what: "a mirror moves to another address", gone: []string{m4.v4.String()}, back: []string{m4.v4.String()}, within: deadline,
			inject: func() {
				b.ip("-n", m4.ns, "addr", "add", elsewhere.String()+"/24", "dev", "eth0")
				b.ip("-n", m4.ns, "addr", "del", m4.v4.String()+"/24", "dev", "eth0")
				b.ip("-n", m4.ns, "addr", "replace", elsewhere.String()+"/24", "dev", "eth0")
				b.rename("m4", elsewhere, m4.v6)
			},
			mend: func() {
				b.ip("-n", m4.ns, "addr", "replace", m4.v4.String()+"/24", "dev", "eth0")
				b.ip("-n", m4.ns, "addr", "del", elsewhere.String()+"/24", "dev", "eth0")
				b.ip("-n", m4.ns, "addr", "replace", m4.v4.String()+"/24", "dev", "eth0") // the kernel has taken it away too
				b.rename("m4", m4.v4, m4.v6)
			}},
		{what: "a mirror's name is gone from DNS", gone: b.of("m5", ""), within: 40 * time.Second,
			note:   "names are looked up every 30 s at most",
			inject: func() { b.rename("m5") }, mend: func() { b.rename("m5", m5.addresses()...) }},
	}}
}

// A row of the table of results.
type row struct {
	*fault
	last           [3]time.Duration // when a client was last sent there: by DNS, by redirect, by the resolver; 0: never
	wrong, answers int              // given while it lasted
	failed, tried  int              // downloads
	recovered      time.Duration    // until it is answered again; 0: not measured
}

// A report is what a run has found.
type report struct {
	rows []row
}

func (r *report) String() string {
	var b strings.Builder
	b.WriteString("| fault | last sent there: DNS | redirect | by a resolver | wrong answers | failed downloads | back after |  |\n")
	b.WriteString("|---|---:|---:|---:|---:|---:|---:|---|\n")
	seconds := func(d time.Duration) string {
		if d == 0 {
			return ""
		}
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	for _, row := range r.rows {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %d of %d | %d of %d | %s | %s |\n", row.what, seconds(row.last[0]),
			seconds(row.last[1]), seconds(row.last[2]),
			row.wrong, row.answers, row.failed, row.tried, seconds(row.recovered), row.note)
	}
	return b.String()
}

// faceOf says which way a client was sent: 0 by DNS, 1 by a redirect, 2 by the resolver; -1 if it is none of those that look.
func faceOf(e *event) int {
	switch {
	case strings.HasPrefix(e.client, "dns resolver"):
		return 2
	case strings.HasPrefix(e.client, "dns "):
		return 0
	case strings.HasPrefix(e.client, "redirect "):
		return 1
	}
	return -1
}

// measure works out what has come of a fault that lasted from one time to another.
func (c *clients) measure(f *fault, from, to time.Time) row {
	r := row{fault: f}
	for _, e := range c.between(from, to) {
		if e.download() {
			r.tried++
			if e.failed != "" {
				r.failed++
			}
			continue
		}
		if len(e.to) == 0 {
			continue
		}
		r.answers++
		if f.wrong(&e) {
			r.wrong++
			face := faceOf(&e)
			r.last[face] = max(r.last[face], e.at.Sub(from))
		}
	}
	return r
}

// wait lets time pass, and the clients go on.
func (b *box) wait(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	<-timer.C
}

// ride injects faults, holds them, mends them, and waits until what was gone is back. Meanwhile no other mirror leaves, and
// a client that tries again, as the Upgrader does, gets the image.
func (c *clients) ride(t *testing.T, w wave, report *report) {
	t.Helper()
	c.healthy()
	from := time.Now()
	for _, f := range w.faults {
		f.inject()
		f.began = time.Now()
	}
	c.wait(w.hold)
	var gone []string
	for _, f := range w.faults {
		gone = append(gone, f.gone...)
	}
	c.allUp(t, "while others are broken ("+w.name+")", gone...)
	to := time.Now()
	for _, f := range w.faults {
		f.mend()
	}
	// One may have picked its mirror and its address just before the fault, and a short wave has fewer than ten in all.
	if failed, tried := c.failures("upgrader", from, to); !w.alone && 10*(failed-1) >= tried {
		t.Errorf("%s: %d of %d downloads by the Upgrader fail", w.name, failed, tried)
	}
	rows := make([]row, len(w.faults))
	for i, f := range w.faults {
		rows[i] = c.measure(f, f.began, to)
	}
	for i, f := range w.faults {
		back := f.back
		if back == nil {
			back = f.gone
		}
		c.await(t, f.what+" is over", 60*time.Second, func() bool {
			for _, e := range c.between(to.Add(300*time.Millisecond), time.Now()) {
				if face := faceOf(&e); (face == 0 || face == 1) && f.sent(&e, back) {
					rows[i].recovered = e.at.Sub(to)
					return true
				}
			}
			return false
		})
		for face, last := range rows[i].last {
			if f.within > 0 && last > f.within {
				t.Errorf("%s: a client was sent there (%s) after %v, want none after %v", f.what,
					[]string{"dns", "redirect", "resolver"}[face], last, f.within)
			}
		}
	}
	report.rows = append(report.rows, rows...)
	c.never(t, from, time.Now())
}

// rideWithoutSite does so while the web site misbehaves.
func (c *clients) rideWithoutSite(t *testing.T, w wave, report *report) {
	t.Helper()
	var site []row
	var running sync.WaitGroup
	running.Go(func() { site = c.breakSite(t) })
	defer running.Wait()
	w.alone = true
	c.ride(t, w, report)
	running.Wait()
	report.rows = append(report.rows, site...)
}

// await waits until ok.
func (b *box) await(t testing.TB, what string, limit time.Duration, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Errorf("it does not come to pass that %s", what)
			return
		case <-tick.C:
		}
	}
}

// TestFaults breaks one thing after the other in a pool in a box, while clients go on asking, and measures what they see.
func TestFaults(t *testing.T) {
	t.Parallel()
	testbed.SkipLong(t)
	b := newBox(t)
	b.startPool("ns1", nil)
	b.startPool("ns2", nil, "GOMEMLIMIT=64MiB")
	limited := b.limitMemory("ns2")
	b.healthy()
	c, stop := b.startClients()
	began := time.Now()
	report := &report{}
	defer func() { t.Logf("%s", report) }()

	for _, w := range b.mirrorFaults() {
		c.ride(t, w, report)
	}
	c.rideWithoutSite(t, b.nameFaults(), report)
	c.breakServers(t, report)
	c.breakPool(t, report)
	c.allDown(t, report, "black-holed", (*host).blackHole, (*host).reachable)
	c.healthy()
	stop()
	c.never(t, began, time.Now())
	for _, name := range []string{"ns1", "ns2"} {
		mib := residentOf(t, b.hosts[name].web.cmd.Process.Pid)
		if mib > 100 {
			t.Errorf("%s takes %.0f MiB", name, mib)
		}
		if name == "ns2" {
			r := c.measure(&fault{what: "64 MiB of memory (GOMEMLIMIT)",
				note: fmt.Sprintf("all the time, in a cgroup of as much: %v; %.0f MiB resident at the end", limited, mib)}, began, time.Now())
			report.rows = append(report.rows, r)
		}
		if strings.Contains(b.hosts[name].web.log.String(), b.hosts["client"].v4.String()) {
			t.Errorf("rule 7: the client's address is in the log of %s", name)
		}
	}
}

// limitMemory puts mirrorpool on a host into a cgroup of 64 MiB, if that is permitted.
func (b *box) limitMemory(name string) bool {
	pid := fmt.Sprint(b.hosts[name].web.cmd.Process.Pid)
	for dir, file := range map[string]string{"/sys/fs/cgroup/memory": "memory.limit_in_bytes", "/sys/fs/cgroup": "memory.max"} {
		group := filepath.Join(dir, b.id+"-"+name)
		if os.Mkdir(group, 0o755) != nil {
			continue
		}
		b.t.Cleanup(func() { b.hosts[name].web.stop(); os.Remove(group) })
		if os.WriteFile(filepath.Join(group, file), []byte("67108864"), 0o644) == nil &&
			os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte(pid), 0o644) == nil {
			return true
		}
	}
	return false
}

// residentOf is the resident memory of a process, in MiB.
func residentOf(t testing.TB, pid int) float64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Error(err)
		return 0
	}
	var kib float64
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	fmt.Sscan(rest, &kib)
	return kib / 1024
}

// quiet lets something go wrong that must not change what is answered.
func (c *clients) quiet(t *testing.T, what, note string, hold time.Duration, inject func(), mend func()) row {
	t.Helper()
	from := time.Now()
	inject()
	c.wait(hold)
	mend()
	return c.measure(&fault{what: what, note: note}, from, time.Now())
}

// breakSite has the web site misbehave in all ways. No mirror leaves by that, but by yesterday's file.
func (c *clients) breakSite(t *testing.T) (rows []row) {
	web := c.hosts["web"]
	good := c.pool()
	hold := 3 * time.Second
	refused := func(what string) func() {
		return func() {
			for _, name := range []string{"ns1", "ns2"} {
				c.await(t, name+" tells that "+what, 10*time.Second, func() bool {
					status, err := c.status(name)
					return err == nil && status.Pool.Error != "" && len(status.Mirrors) == boxMirrors
				})
			}
		}
	}
	after := func(check, mend func()) func() { return func() { check(); mend() } }
	mend := func() { c.publish(good) }
	disabled := strings.ReplaceAll(string(mustJSON(t, good)), `"weight":10`, `"weight":0`)
	rows = append(rows,
		c.quiet(t, "web site gone", "", hold, web.web.stop, after(refused("the web site is gone"), func() {
			web.serveNginx(web.site())
		})),
		c.quiet(t, "web site serves garbage", "", hold, func() {
			c.publish("<html>It works!</html>")
		}, after(refused("the list is garbage"), mend)),
		c.quiet(t, "web site serves a list with all disabled", "", hold, func() {
			c.publish(disabled)
		}, after(refused("all are disabled"), mend)),
		c.quiet(t, "web site serves an empty list", "", hold, func() {
			c.publish(`{"version": 1, "mirrors": []}`)
		}, after(refused("the list is empty"), mend)),
	)
	yesterday := &fault{what: "web site serves yesterday's list, without one of the mirrors", gone: c.of("m8", "")}
	from := time.Now()
	c.publish(c.pool("m8"))
	c.wait(hold + time.Second)
	to := time.Now()
	mend()
	r := c.measure(yesterday, from, to)
	if last := max(r.last[0], r.last[1]); last > deadline {
		t.Errorf("%s: it was answered after %v", yesterday.what, last)
	}
	r.note = "it is a good list; with mirrors_key an older one is refused"
	c.await(t, "m8 is back", 20*time.Second, func() bool {
		for _, e := range c.between(to.Add(time.Second/2), time.Now()) {
			if yesterday.wrong(&e) && faceOf(&e) == 0 {
				r.recovered = e.at.Sub(to)
				return true
			}
		}
		return false
	})
	return append(rows, r)
}

// serverHold is how long a server is broken, and how long it is stopped.
func serverHold() (broken, stopped time.Duration) {
	if testbed.Long() {
		return 15 * time.Second, 30 * time.Second
	}
	return 5 * time.Second, 5 * time.Second
}

// breakServers has what mirrorpool lives on fail.
func (c *clients) breakServers(t *testing.T, report *report) {
	c.healthy()
	hold, _ := serverHold()
	from := time.Now()
	resolver := c.hosts["resolver"]
	report.rows = append(report.rows,
		c.quiet(t, "resolver gone", "the last chance is gone with it", hold, resolver.web.stop, c.startResolver),
		c.breakDisk(t, "disk full", hold, func(dir string) {
			fillDisk(dir)
		}, func(dir string) { os.Remove(filepath.Join(dir, "filler")) }),
		c.breakDisk(t, "state_dir read-only", hold,
			func(dir string) { unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, "size=256k") },
			func(dir string) { unix.Mount("", dir, "", unix.MS_REMOUNT, "size=256k") }),
		c.exhaust(t, hold),
	)
	c.allUp(t, "after what mirrorpool lives on has failed")
	c.never(t, from, time.Now())
}

// breakPool has one of the mirrorpools die, and then stand still.
func (c *clients) breakPool(t *testing.T, report *report) {
	hold, stopped := serverHold()
	ns1 := c.hosts["ns1"]
	killed := time.Now()
	ns1.web.stop()
	c.wait(hold)
	back := time.Now()
	c.startPool("ns1", nil)
	r := c.measure(&fault{what: "one of two mirrorpools killed with -9, and started again", note: c.lost(killed, back)}, killed,
		back)
	r.recovered = c.firstAnswer(t, "dns ns1", back)
	report.rows = append(report.rows, r)
	c.never(t, killed, time.Now())

	c.healthy()
	frozen := time.Now()
	ns1.web.cmd.Process.Signal(syscall.SIGSTOP)
	c.wait(stopped)
	thawed := time.Now()
	ns1.web.cmd.Process.Signal(syscall.SIGCONT)
	r = c.measure(&fault{what: fmt.Sprintf("one of two mirrorpools stopped for %v", stopped), note: c.lost(frozen, thawed)},
		frozen, thawed)
	r.recovered = c.firstAnswer(t, "dns ns1", thawed)
	report.rows = append(report.rows, r)
	c.never(t, frozen, time.Now())
}

// failures counts what some clients got nothing from.
func (c *clients) failures(who string, from, to time.Time) (failed, tried int) {
	for _, e := range c.between(from, to) {
		if strings.HasPrefix(e.client, who) {
			tried++
			if e.failed != "" {
				failed++
			}
		}
	}
	return failed, tried
}

// lost says how many queries to the resolver got no answer.
func (c *clients) lost(from, to time.Time) string {
	lost, all := c.failures("dns resolver", from, to)
	return fmt.Sprintf("%d of %d queries to the resolver failed", lost, all)
}

// firstAnswer is how long after a time a client got its first answer.
func (c *clients) firstAnswer(t testing.TB, client string, from time.Time) (after time.Duration) {
	c.await(t, client+" is answered again", 20*time.Second, func() bool {
		for _, e := range c.between(from, time.Now()) {
			if strings.HasPrefix(e.client, client) && len(e.to) > 0 {
				after = e.at.Sub(from)
				return true
			}
		}
		return false
	})
	return after
}

// allUp wants no mirror to have been judged by a fault that is not its own; except those of some prefixes and addresses.
func (c *clients) allUp(t testing.TB, when string, except ...string) {
	t.Helper()
	for _, name := range []string{"ns1", "ns2"} {
		status, err := c.status(name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, m := range status.Mirrors {
			for _, e := range m.Endpoints {
				if slices.Contains(except, m.URLPrefix) || slices.Contains(except, e.Address.String()) {
					continue
				}
				if m.Weight > 0 && (e.State.String() == "down" || e.State.String() == "stale") {
					t.Errorf("%s, %s has %s %s in role %s as %s: %s", when, name, m.URLPrefix, e.Address, e.Role, e.State, e.Reason)
				}
			}
		}
	}
}

// fillDisk leaves no room on a disk.
func fillDisk(dir string) {
	f, err := os.Create(filepath.Join(dir, "filler"))
	if err != nil {
		return
	}
	defer f.Close()
	for chunk := make([]byte, 1024); ; {
		if _, err := f.Write(chunk); err != nil {
			return
		}
	}
}

// breakDisk has ns2 unable to write its state, while there is something to write.
func (c *clients) breakDisk(t *testing.T, what string, hold time.Duration, inject, mend func(dir string)) row {
	t.Helper()
	dir := filepath.Join(c.dir, "ns2", "state")
	ns2 := c.hosts["ns2"]
	before := len(ns2.web.log.String())
	m1 := c.hosts["m1"]
	r := c.quiet(t, what, "told in the log", hold, func() {
		inject(dir)
		m1.web.stop() // so that the serial changes
		c.await(t, what+": the log tells", 20*time.Second, func() bool {
			return strings.Contains(ns2.web.log.String()[before:], "cannot be saved")
		})
	}, func() { mend(dir); m1.serveNginx(m1.conf) })
	c.healthy()
	c.await(t, what+": the state is saved again", 20*time.Second, func() bool {
		status, err := c.status("ns2")
		saved, readErr := os.ReadFile(filepath.Join(dir, "serial"))
		return err == nil && readErr == nil && strings.Contains(string(saved), fmt.Sprint(status.Serial))
	})
	return r
}

// exhaust leaves ns2 without free descriptors, by connections that are open and say nothing.
func (c *clients) exhaust(t *testing.T, hold time.Duration) row {
	t.Helper()
	pid := c.hosts["ns2"].web.cmd.Process.Pid
	var old unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &old); err != nil {
		t.Error(err)
	}
	var conns []net.Conn
	r := c.quiet(t, "no free file descriptors", "DNS over UDP goes on, and checks judge no mirror", hold, func() {
		open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
		if err != nil {
			t.Error(err)
		}
		limit := unix.Rlimit{Cur: uint64(len(open)) + 8, Max: old.Max}
		if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &limit, nil); err != nil {
			t.Error(err)
		}
		for _, port := range []string{c.ports.http, c.ports.dns} {
			for range 60 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				conn, err := c.hosts["client"].dial(ctx, "tcp", net.JoinHostPort(c.hosts["ns2"].v4.String(), port))
				cancel()
				if err == nil {
					conns = append(conns, conn)
				}
			}
		}
	}, func() {
		unix.Prlimit(pid, unix.RLIMIT_NOFILE, &old, nil)
		for _, conn := range conns {
			conn.Close()
		}
	})
	return r
}

// allDown has all mirrors die. No answer can help then, but answers go on, and the mirrors are back as soon as they are.
func (c *clients) allDown(t *testing.T, report *report, how string, breaks, mends func(*host)) {
	c.healthy()
	var names []string
	for i := 1; i <= boxMirrors; i++ {
		names = append(names, fmt.Sprint("m", i))
	}
	f := c.many("all mirrors "+how+" at once", breaks, mends, names...)
	f.within, f.note = 0, "answers go on: the best there is"
	const hold = 9 * time.Second
	from := time.Now()
	f.inject()
	c.wait(hold)
	to := time.Now()
	f.mend()
	r := c.measure(f, from, to)
	c.await(t, "downloads work again", 60*time.Second, func() bool {
		events := c.between(to, time.Now())
		slices.SortFunc(events, func(a, b event) int { return cmp.Compare(a.at.UnixNano(), b.at.UnixNano()) })
		for _, e := range events {
			if e.client == "last chance" && e.failed == "" {
				r.recovered = e.at.Sub(to)
				return true
			}
		}
		return false
	})
	report.rows = append(report.rows, r)
	c.never(t, from, time.Now())
}
