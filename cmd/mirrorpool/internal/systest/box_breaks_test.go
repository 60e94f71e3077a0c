//go:build linux

package systest

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"mirrorpool/testdata/testbed"

	"golang.org/x/sys/unix"
)

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

// allUp wants no mirror to have been judged by a fault that is not its own; except those of some prefixes and
// addresses.
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

// allDown has all mirrors die. No answer can help then, but answers go on, and the mirrors are back as soon as they
// are.
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
