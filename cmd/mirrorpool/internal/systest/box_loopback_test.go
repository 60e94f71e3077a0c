//go:build linux

package systest

import (
	"net/netip"
	"testing"
	"time"

	"mirrorpool/testdata/testbed"
)

// newLoopbackBox is newBox for who may not make namespaces: hosts are addresses in 127.77.0.0/24, all of which can be
// told apart but not cut off, and share ports that need no privilege. There are no names but in the pool's zone, no
// IPv6, and no parent zone.
func newLoopbackBox(t testing.TB) *box {
	t.Helper()
	b := emptyBox(t)
	b.local = true
	var addrs []string
	for name, number := range boxNumbers() {
		h := &host{box: b, name: name, v4: netip.AddrFrom4([4]byte{127, 77, 0, byte(number)})}
		b.hosts[name] = h
		addrs = append(addrs, h.v4.String())
	}
	for _, port := range []*string{&b.ports.http, &b.ports.https, &b.ports.dns, &b.ports.rsync, &b.ports.admin} {
		*port = testbed.FreePort(t, addrs...)
	}
	b.startServers()
	return b
}

// stopWeb and startWeb are what there is on loopback in place of a black hole.
func (h *host) stopWeb()  { h.web.stop() }
func (h *host) startWeb() { h.serveNginx(h.conf) }

// localFaults are those of mirrors that do not need a network of their own. The first wave has one of each kind.
func (b *box) localFaults() []wave {
	half := b.many("5 of 11 mirrors killed at once", (*host).stopWeb, (*host).startWeb, "m1", "m2", "m3", "m4", "m9")
	return []wave{
		{name: "of each kind", hold: mirrorHold(), faults: []*fault{b.killed("m1"), b.expired("m2"), b.status4xx("m9"),
			b.endless("m10"), b.stale("m11")}},
		{name: "the rest", hold: mirrorHold(), faults: []*fault{b.downgrading("m1"), b.wrongTree("m3"), b.status5xx("m9"),
			b.slow("m10"), b.withoutRsync("m11")}},
		{name: "half of all", hold: mirrorHold(), faults: []*fault{half}},
	}
}

// TestFaultsOnLoopback is TestFaults without root, with fewer faults: no host can be cut off, lose packets or change
// its address, or have a full disk.
func TestFaultsOnLoopback(t *testing.T) {
	t.Parallel()
	testbed.SkipLong(t)
	b := newLoopbackBox(t)
	b.startPool("ns1", nil)
	b.startPool("ns2", nil)
	b.healthy()
	c, stop := b.startClients()
	began := time.Now()
	report := &report{}
	defer func() { t.Logf("%s", report) }()

	waves := b.localFaults()
	c.rideWithoutSite(t, waves[0], report)
	if testbed.Long() {
		c.ride(t, waves[1], report)
		c.ride(t, waves[2], report)
		c.allDown(t, report, "killed", (*host).stopWeb, (*host).startWeb)
		c.healthy()
	}
	hold, _ := serverHold()
	report.rows = append(report.rows, c.quiet(t, "resolver gone", "the last chance is gone with it", hold,
		b.hosts["resolver"].web.stop, b.startResolver))
	c.allUp(t, "after the resolver has failed")
	c.breakPool(t, report)
	c.healthy()
	stop()
	c.never(t, began, time.Now())
	for _, name := range []string{"ns1", "ns2"} {
		if mib := residentOf(t, b.hosts[name].web.cmd.Process.Pid); mib > 100 {
			t.Errorf("%s takes %.0f MiB", name, mib)
		}
	}
}
