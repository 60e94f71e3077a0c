//go:build linux

package systest

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"mirrorpool/testdata/testbed"
)

// deadline is when no client may be sent to a dead mirror any more, with checks every 2 s: 7 s, and the time for
// which clients keep an answer.
const deadline = 7*time.Second + boxTTL

// wait lets time pass, and the clients go on.
func (b *box) wait(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	<-timer.C
}

// ride injects faults, holds them, mends them, and waits until what was gone is back. Meanwhile no other mirror
// leaves, and a client that tries again, as the Upgrader does, gets the image.
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
	if !w.alone {
		c.upgradersSucceed(t, w, from, to)
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

// upgradersSucceed asserts that each Upgrader got the image whose last try came when no client may be sent to a broken
// mirror any more. One that picked its mirror before the fault was seen, and gave up before, had nothing but broken
// mirrors to ask. One that got bytes too many from an endless body keeps them, and then no mirror has a rest to send.
func (c *clients) upgradersSucceed(t *testing.T, w wave, from, to time.Time) {
	t.Helper()
	var seen time.Time
	for _, f := range w.faults {
		if at := f.began.Add(deadline); at.After(seen) {
			seen = at
		}
	}
	failed, tried := c.failures("upgrader", from, to)
	if 2*failed > tried {
		t.Errorf("%s: %d of %d downloads by the Upgrader fail", w.name, failed, tried)
	}
	for _, e := range c.between(from, to) {
		spoiled := strings.Contains(e.failed, "416 ") || strings.Contains(e.failed, "not those of the image")
		if e.client == "upgrader" && e.failed != "" && !spoiled && e.ended.After(seen) {
			t.Errorf("%s: a download by the Upgrader fails %v after the fault: %s", w.name, e.ended.Sub(seen)+deadline, e.failed)
		}
	}
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

// TestFaults breaks one thing after the other in a pool in a box, while clients go on asking, and measures what they
// see.
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
