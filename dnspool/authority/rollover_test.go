package authority

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/miekg/dns"

	"mirrorpool/config"
	"mirrorpool/dnspool"
	"mirrorpool/dnspool/authority/dnssec"
	"mirrorpool/testdata/testbed"
)

// A signedWorld is a zone, its parent and all that caches between them and a validator may hold, in simulated time.
type signedWorld struct {
	t      *testing.T
	r      *rand.Rand
	config config.DNS
	keys   *dnssec.Keys
	signer *dnssec.Signer
	pool   dnspool.Input
	before *dnspool.Snapshot
	zone   *zone
	now    time.Time

	ds      []*dns.DS // of the parent
	asked   time.Time // since when CDS asks for other DS records
	cached  struct{ ds, keys, answers []cachedView }
	checked int
	changes int  // of verdicts, in each step
	replace bool // the parent has the DS record of one key only: the latest that is asked for
	changed int
	start   time.Time
	look    func() (goOn bool) // is called when a rollover waits for something new
}

// A cachedView is something that caches may have until a time.
type cachedView struct {
	ds    []*dns.DS
	q     dns.Question
	resp  *dns.Msg
	until time.Time
	made  time.Time
}

const (
	parentTTL   = 24 * time.Hour
	parentDelay = 5 * time.Hour // from a new CDS set to the DS set
	zoneTTL     = 3600 * time.Second
)

func newSignedWorld(t *testing.T) *signedWorld {
	t.Helper()
	return newSignedWorldAt(t, testNow)
}

// newSignedWorldAt returns a world that begins at a time.
func newSignedWorldAt(t *testing.T, start time.Time) *signedWorld {
	t.Helper()
	w := &signedWorld{t: t, r: rand.New(rand.NewPCG(4, 5)), config: testConfig(), start: start, now: start, pool: poolInput(t, 5, 2),
		look: func() bool { return true }}
	for prefix, report := range w.pool.Health.Mirrors { // one family is enough
		report.Endpoints = report.Endpoints[:1]
		w.pool.Health.Mirrors[prefix] = report
	}
	w.config.Names = []string{"@"}
	w.config, w.keys = signedConfig(t, w.config)
	w.signer = newTestSigner(w.keys)
	w.ds = []*dns.DS{w.keys.All[0].DS()}
	w.change()
	return w
}

// change changes a verdict, and makes the zone anew.
func (w *signedWorld) change() {
	w.t.Helper()
	in := withDown(w.pool, w.r.IntN(len(w.pool.Pool.Mirrors)))
	in.Now, in.Previous = w.now, w.before
	w.before = dnspool.Build(in)
	w.signer.SetKeys(w.keys, w.config.DNSSEC.Validity)
	z, err := newSignedZone(w.config, nil, w.before, [2]uint32{w.r.Uint32(), 0}, w.signer)
	if err != nil {
		w.t.Fatalf("at %v: %v", w.now, err)
	}
	w.zone = z
	w.changed++
}

// step lets time pass: caches forget and learn, the parent follows CDS, and the rollover goes on.
func (w *signedWorld) step(d time.Duration) {
	w.t.Helper()
	w.now = w.now.Add(d)
	for _, cache := range []*[]cachedView{&w.cached.ds, &w.cached.keys, &w.cached.answers} {
		*cache = slices.DeleteFunc(*cache, func(v cachedView) bool { return v.until.Before(w.now) })
	}
	for range w.changes {
		w.change()
	}
	w.follow()
	w.keys = w.keys.Advance(&dnssec.View{DS: w.ds, TTL: parentTTL, At: w.now}, zoneTTL)
	if n := len(w.cached.ds); n > 0 && fmt.Sprint(w.cached.ds[n-1].ds) == fmt.Sprint(w.ds) {
		w.cached.ds = w.cached.ds[:n-1]
	}
	w.cached.ds = append(w.cached.ds, cachedView{ds: w.ds, until: w.now.Add(parentTTL)})
	ask := func(name string, qtype uint16, ttl time.Duration) cachedView {
		req := attestedQuery(name, qtype)
		return cachedView{q: req.Question[0], resp: exchange(w.t, w.zone, req, w.client(true)), made: w.now, until: w.now.Add(ttl)}
	}
	w.cached.keys = append(w.cached.keys, ask(w.config.Zone, dns.TypeDNSKEY, dnssec.KeyTTL*time.Second))
	w.cached.answers = append(w.cached.answers, ask(w.config.Zone, dns.TypeSOA, zoneTTL), ask(w.config.Zone, dns.TypeA, time.Minute),
		ask("nothing."+w.config.Zone, dns.TypeA, time.Minute), ask("m1."+w.config.Zone, dns.TypeMX, time.Minute))
	w.validate()
}

// client asks now, over TCP or UDP.
func (w *signedWorld) client(stream bool) client {
	return client{addr: overTCP.addr, port: overTCP.port, now: w.now, stream: stream}
}

// status is what an administrator sees.
func (w *signedWorld) status() dnssec.Status {
	return w.keys.Describe(w.now, &dnssec.View{DS: w.ds, At: w.now}, "")
}

// follow has the parent do what CDS asks for, some time after it does, if its own DS records vouch for that.
func (w *signedWorld) follow() {
	w.t.Helper()
	v, err := newValidator(w.config.Zone, w.ds, exchange(w.t, w.zone, attestedQuery(w.config.Zone, dns.TypeDNSKEY), w.client(true)), w.now)
	if err != nil {
		w.t.Fatalf("at %v: %v", w.now, err)
	}
	resp := exchange(w.t, w.zone, attestedQuery(w.config.Zone, dns.TypeCDS), w.client(true))
	if err := v.check(dns.Question{Name: w.config.Zone, Qtype: dns.TypeCDS, Qclass: dns.ClassINET}, resp); err != nil {
		w.t.Fatalf("at %v: CDS: %v", w.now, err)
	}
	var wanted []*dns.DS
	for _, rr := range resp.Answer {
		if cds, ok := rr.(*dns.CDS); ok {
			ds := cds.DS
			ds.Hdr.Rrtype = dns.TypeDS
			wanted = append(wanted, &ds)
		}
	}
	if w.replace && len(wanted) > 1 {
		newest := w.keys.All[len(w.keys.All)-1].Tag
		wanted = slices.DeleteFunc(wanted, func(ds *dns.DS) bool { return ds.KeyTag != newest })
	}
	tags := func(list []*dns.DS) (tags []uint16) {
		for _, ds := range list {
			tags = append(tags, ds.KeyTag)
		}
		slices.Sort(tags)
		return tags
	}
	switch {
	case slices.Equal(tags(wanted), tags(w.ds)):
		w.asked = time.Time{}
	case w.asked.IsZero():
		w.asked = w.now
	case w.now.Sub(w.asked) >= parentDelay:
		w.ds, w.asked = wanted, time.Time{}
	}
}

// validate checks the oldest and the newest of what caches may have against each other, as a strict validator does: by
// each algorithm of a DS record there has to be a signature of the keys, and by each algorithm of a key one of all
// else.
func (w *signedWorld) validate() {
	w.t.Helper()
	ends := func(list []cachedView) []cachedView {
		return append(slices.Clone(list[:1]), list[len(list)-1])
	}
	for _, ds := range ends(w.cached.ds) {
		for _, keys := range ends(w.cached.keys) {
			v, err := newValidator(w.config.Zone, ds.ds, keys.resp, w.now)
			if err != nil {
				w.t.Fatalf("at %v: %v; DS %v", w.now.Sub(w.start), err, ds.ds)
			}
			for _, answer := range w.cached.answers {
				if err := v.check(answer.q, answer.resp); err != nil {
					w.t.Fatalf("at %v, an answer from %v before, keys from %v before: %v\n%v", w.now.Sub(w.start), w.now.Sub(answer.made),
						w.now.Sub(keys.made), err, keys.resp)
				}
				w.checked++
				for _, key := range v.keys {
					if !signedBy(answer.resp, key.Algorithm) {
						w.t.Fatalf("at %v, an answer from %v before has no signature by algorithm %d: %v", w.now.Sub(w.start),
							w.now.Sub(answer.made), key.Algorithm, answer.resp)
					}
				}
			}
			for _, parent := range ds.ds {
				if !signedBy(keys.resp, parent.Algorithm) {
					w.t.Fatalf("at %v, keys have no signature by algorithm %d: %v", w.now.Sub(w.start), parent.Algorithm, keys.resp)
				}
			}
		}
	}
}

func signedBy(resp *dns.Msg, algorithm uint8) bool {
	return slices.ContainsFunc(append(resp.Answer, resp.Ns...), func(rr dns.RR) bool {
		s, ok := rr.(*dns.RRSIG)
		return ok && s.Algorithm == algorithm
	})
}

// TestRollovers rolls the key twice, and then to another algorithm, while verdicts change all the time. A validator
// that has old parts of the chain in its cache takes each answer for good.
func TestRollovers(t *testing.T) {
	t.Parallel()
	rollOver(t, newSignedWorld(t))
}

// TestRolloversWithOneDS is TestRollovers at a parent whose DS record is replaced by hand.
func TestRolloversWithOneDS(t *testing.T) {
	t.Parallel()
	w := newSignedWorld(t)
	w.replace = true
	rollOver(t, w)
}

func rollOver(t *testing.T, w *signedWorld) {
	t.Helper()
	pause := 20 * time.Minute
	if w.changes = 1; testbed.Long() {
		w.changes, pause = 8, 6*time.Minute
	}
	for i, algorithm := range []string{"", "ECDSAP256SHA256", "ED25519"} {
		w.step(pause)
		first := w.keys.All[len(w.keys.All)-1].Tag
		keys, err := w.keys.Roll(algorithm, w.now, zoneTTL)
		if err != nil {
			t.Fatal(err)
		}
		w.keys = keys
		if _, err := w.keys.Roll("", w.now, zoneTTL); err == nil {
			t.Fatal("a second rollover began while the first was under way")
		}
		begun, waits := w.now, map[string]bool{}
		status := w.status()
		for ; status.Next != ""; status = w.status() {
			if w.now.Sub(begun) > 20*24*time.Hour {
				t.Fatalf("rollover %d does not end: %+v", i, status)
			}
			if !waits[status.Next] && !w.look() {
				return
			}
			waits[status.Next] = true
			w.step(pause)
		}
		if len(w.ds) != 1 || w.ds[0].KeyTag == first || len(status.DS) != 1 || status.Parent.Problem != "" {
			t.Errorf("rollover %d has ended with %+v", i, status)
		}
		if len(waits) < 4 {
			t.Errorf("rollover %d: it waits for %v only", i, waits)
		}
	}
	if w.ds[0].Algorithm != dns.ED25519 {
		t.Errorf("in the end the parent has %v", w.ds)
	}
	t.Logf("%v of simulated time, %d changes of verdicts, %d answers validated", w.now.Sub(w.start), w.changed, w.checked)
}

// TestAbortedRollovers gives rollovers up at several times. Some parents add the DS record of the new key nevertheless,
// and remove it later.
func TestAbortedRollovers(t *testing.T) {
	t.Parallel()
	const pause = time.Hour
	for _, algorithm := range []string{"ECDSAP256SHA256", "ED25519"} {
		w := newSignedWorld(t)
		w.changes = 1
		for _, test := range []struct{ after, lateDS time.Duration }{{0, 0}, {4 * time.Hour, 0}, {7 * time.Hour, 3 * time.Hour},
			{7 * time.Hour, 40 * time.Hour}} {
			w.step(pause)
			keys, err := w.keys.Roll(algorithm, w.now, zoneTTL)
			if err != nil {
				t.Fatal(err)
			}
			w.keys = keys
			for begun := w.now; w.now.Sub(begun) < test.after; {
				w.step(pause)
			}
			view := &dnssec.View{DS: w.ds, TTL: parentTTL, At: w.now}
			if w.keys, err = w.keys.Abort(view, w.now); err != nil {
				t.Fatalf("%s, after %v: %v", algorithm, test.after, err)
			}
			w.change()
			w.asked = time.Time{}
			before, aborted, late := w.ds, w.now, test.lateDS > 0
			for ; w.status().Next != ""; w.step(pause) {
				if late && w.now.Sub(aborted) >= test.lateDS {
					late = false
					w.ds = append(slices.Clone(w.ds), w.keys.All[len(w.keys.All)-1].DS())
				}
				if w.now.Sub(aborted) > 20*24*time.Hour {
					t.Fatalf("%s, after %v: it does not end: %+v", algorithm, test.after, w.status())
				}
			}
			if status := w.status(); late || !slices.EqualFunc(w.ds, before, func(a, b *dns.DS) bool { return a.KeyTag == b.KeyTag }) ||
				len(status.DS) != 1 {
				t.Errorf("%s, after %v: %+v", algorithm, test.after, status)
			}
		}
	}
}
