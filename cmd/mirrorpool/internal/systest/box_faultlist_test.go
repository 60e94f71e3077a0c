//go:build linux

package systest

import (
	"net/http"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"mirrorpool/testdata/testbed"
)

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
		{what: "a mirror's name is gone from DNS", gone: []string{b.hosts["m5"].prefix()}, within: 40 * time.Second,
			note:   "names are looked up every 30 s at most; its addresses work, and stay in DNS answers",
			inject: func() { b.rename("m5") }, mend: func() { b.rename("m5", m5.addresses()...) }},
	}}
}
