package publish

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"mirrorpool/config"
	"mirrorpool/dnspool"
	"mirrorpool/dnspool/tsig"
	"mirrorpool/health"
	"mirrorpool/testdata/testbed"
)

// pool is a snapshot of mirrors written as "WEIGHT[!] ADDRESS...", one on a line; ! is for one that is down.
func pool(tb testing.TB, text string) *dnspool.Snapshot {
	tb.Helper()
	in := dnspool.Input{
		Pool: &config.Pool{}, Health: &health.Report{Mirrors: map[string]health.MirrorReport{}},
		Policy: dnspool.Policy{PanicThreshold: 0.1, MaxAnswers: 2}, Now: time.Now(), Rand: rand.New(rand.NewPCG(1, 2)),
	}
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		m := config.Mirror{URLPrefix: fmt.Sprintf("http://m%d.example.org/", len(in.Pool.Mirrors))}
		weight, down := strings.CutSuffix(fields[0], "!")
		if _, err := fmt.Sscan(weight, &m.Weight); err != nil {
			tb.Fatal(err)
		}
		m.URL, _ = url.Parse(m.URLPrefix)
		m.DNS.Weight = m.Weight
		state := health.Up
		if down {
			state = health.Down
		}
		var r health.MirrorReport
		for _, addr := range fields[1:] {
			r.Endpoints = append(r.Endpoints, health.Endpoint{Address: netip.MustParseAddr(addr), Role: health.DNS,
				Verdict: health.Verdict{State: state}})
		}
		in.Pool.Mirrors = append(in.Pool.Mirrors, m)
		in.Health.Mirrors[m.URLPrefix] = r
	}
	s := dnspool.Build(in)
	s.Serial = rand.Uint32() // they do not follow each other here
	return s
}

func testTarget() config.Publish {
	return config.Publish{Zone: "example.org.", Names: []string{"dl"}, TTL: time.Minute, MaxAnswers: 2, Reconcile: "enforce"}
}

// show puts sets into words.
func show(s sets) (lines []string) {
	for _, p := range s.places() {
		lines = append(lines, fmt.Sprintf("%v: %v", p, s[p]))
	}
	return lines
}

func TestWanted(t *testing.T) {
	t.Parallel()
	seen := sets{
		{"dl.example.org.", dnspool.IPv4}: {[]netip.Addr{netip.MustParseAddr("192.0.2.98"), netip.MustParseAddr("192.0.2.99")}, 30},
		{"dl.example.org.", dnspool.IPv6}: {[]netip.Addr{netip.MustParseAddr("2001:db8::99")}, 30},
	}
	const before, beforeV6 = "dl.example.org. A: [192.0.2.98 192.0.2.99] with a TTL of 30", "dl.example.org. AAAA: " +
		"[2001:db8::99] with a TTL of 30"
	tests := map[string]struct {
		pool    string
		names   []string
		patient bool
		none    bool // has an address to publish
		want    []string
	}{
		"the heaviest": {pool: "1 192.0.2.1\n9 192.0.2.3\n5 192.0.2.2",
			want: []string{"dl.example.org. A: [192.0.2.2 192.0.2.3] with a TTL of 60", "dl.example.org. AAAA: nothing"}},
		"of the same weight, lower addresses": {pool: "5 192.0.2.3\n5 192.0.2.1\n5 192.0.2.2",
			want: []string{"dl.example.org. A: [192.0.2.1 192.0.2.2] with a TTL of 60", "dl.example.org. AAAA: nothing"}},
		"one fails, the next one follows": {pool: "5 192.0.2.3\n5! 192.0.2.1\n5 192.0.2.2",
			want: []string{"dl.example.org. A: [192.0.2.2 192.0.2.3] with a TTL of 60", "dl.example.org. AAAA: nothing"}},
		"a disabled mirror is in no update": {pool: "0 192.0.2.1\n5 192.0.2.2 2001:db8::2",
			want: []string{"dl.example.org. A: [192.0.2.2] with a TTL of 60", "dl.example.org. AAAA: [2001:db8::2] with a TTL of 60"}},
		"all are down: never nothing": {pool: "5! 192.0.2.1",
			want: []string{"dl.example.org. A: [192.0.2.1] with a TTL of 60", "dl.example.org. AAAA: nothing"}},
		"several names": {pool: "5 192.0.2.1 2001:db8::1", names: []string{"@", "*"}, want: []string{
			"*.example.org. A: [192.0.2.1] with a TTL of 60", "*.example.org. AAAA: [2001:db8::1] with a TTL of 60",
			"example.org. A: [192.0.2.1] with a TTL of 60", "example.org. AAAA: [2001:db8::1] with a TTL of 60"}},
		"no address is known": {pool: "5", patient: true, none: true, want: []string{before, beforeV6}},
		"nor later":           {pool: "5", none: true, want: []string{before, beforeV6}},
		"there is no enabled mirror": {pool: "0 192.0.2.1", none: true,
			want: []string{before, beforeV6}},
		"and what it had is still there": {pool: "0 192.0.2.98\n0 2001:db8::99", none: true,
			want: []string{"dl.example.org. A: [192.0.2.99] with a TTL of 30", "dl.example.org. AAAA: nothing"}},
		"some address is not known": {pool: "5\n5 192.0.2.2", patient: true,
			want: []string{"dl.example.org. A: [192.0.2.2] with a TTL of 60", beforeV6}},
		"and a disabled one is": {pool: "5\n5 192.0.2.2\n0 2001:db8::99", patient: true,
			want: []string{"dl.example.org. A: [192.0.2.2] with a TTL of 60", "dl.example.org. AAAA: nothing"}},
		"and is not after long": {pool: "5\n5 192.0.2.2",
			want: []string{"dl.example.org. A: [192.0.2.2] with a TTL of 60", "dl.example.org. AAAA: nothing"}},
		"a disabled one is not known": {pool: "0\n5 192.0.2.2", patient: true,
			want: []string{"dl.example.org. A: [192.0.2.2] with a TTL of 60", "dl.example.org. AAAA: nothing"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := testTarget()
			if test.names != nil {
				c.Names = test.names
			}
			got, err := wanted(c, pool(t, test.pool), test.patient, seen)
			if test.none && err != errNoAddress || !test.none && err != nil {
				t.Errorf("without an address: %v", err)
			}
			if diff := cmp.Diff(test.want, show(got)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestDisabled: an address that an enabled mirror has too is not gone, whatever the order.
func TestDisabled(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"0 192.0.2.1 2001:db8::1\n5! 192.0.2.1", "5! 192.0.2.1\n0 192.0.2.1 2001:db8::1"} {
		s := pool(t, text)
		for i := range s.Mirrors {
			s.Mirrors[i].DNS.Addresses = []netip.Addr{netip.MustParseAddr(fmt.Sprintf("192.0.2.1%d", s.Mirrors[i].Weight))}
		}
		var gone []string
		for addr, is := range disabled(s) {
			if is {
				gone = append(gone, addr.String())
			}
		}
		slices.Sort(gone)
		if want := []string{"192.0.2.10", "2001:db8::1"}; !slices.Equal(gone, want) {
			t.Errorf("%q: %v are gone, want %v", text, gone, want)
		}
	}
}

// TestWantedIsStable has mirrors in another order, and builds the snapshot with other randomness.
func TestWantedIsStable(t *testing.T) {
	t.Parallel()
	lines := []string{"1 192.0.2.1", "1 192.0.2.2", "2 192.0.2.3", "2 192.0.2.4", "2 192.0.2.5"}
	first, err := wanted(testTarget(), pool(t, strings.Join(lines, "\n")), false, nil)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		r.Shuffle(len(lines), func(i, j int) { lines[i], lines[j] = lines[j], lines[i] })
		if again, _ := wanted(testTarget(), pool(t, strings.Join(lines, "\n")), false, nil); !again.equal(first) {
			t.Fatalf("%v became %v", show(first), show(again))
		}
	}
}

func TestUpdateAndScript(t *testing.T) {
	t.Parallel()
	addrs := func(texts ...string) (s set) {
		for _, text := range texts {
			s.addrs = append(s.addrs, netip.MustParseAddr(text))
		}
		s.ttl = 60
		return s
	}
	changes := []change{
		{place{"dl.example.org.", dnspool.IPv4}, addrs("192.0.2.1", "192.0.2.2"), addrs("192.0.2.3")},
		{place{"dl.example.org.", dnspool.IPv6}, addrs(), addrs("2001:db8::1")},
	}
	want := `zone example.org.
prereq yxrrset dl.example.org. A 192.0.2.1
prereq yxrrset dl.example.org. A 192.0.2.2
prereq nxrrset dl.example.org. AAAA
update delete dl.example.org. A
update add dl.example.org. 60 A 192.0.2.3
update delete dl.example.org. AAAA
update add dl.example.org. 60 AAAA 2001:db8::1
send
`
	if got := script("example.org.", changes); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	wire, err := update("example.org.", changes).Pack()
	if err != nil {
		t.Fatal(err)
	}
	m := new(dns.Msg)
	if err := m.Unpack(wire); err != nil {
		t.Fatal(err)
	}
	// RFC 2136 sections 2.4 and 2.5: of prerequisites the TTL is 0.
	for name, section := range map[string][2]string{
		"prerequisites": {fmt.Sprint(m.Answer),
			"[dl.example.org.\t0\tIN\tA\t192.0.2.1 dl.example.org.\t0\tIN\tA\t192.0.2.2 dl.example.org.\t0\tNONE\tAAAA\t]"},
		"updates": {fmt.Sprint(m.Ns),
			"[dl.example.org.\t0\tCLASS255\tA\t dl.example.org.\t60\tIN\tA\t192.0.2.3 dl.example.org.\t0\tCLASS255\tAAAA\t " +
				"dl.example.org.\t60\tIN\tAAAA\t2001:db8::1]"},
	} {
		if section[0] != section[1] {
			t.Errorf("%s: got %q, want %q", name, section[0], section[1])
		}
	}
}

// A primary is a server that takes updates, and can be made to misbehave.
type primary struct {
	addr string
	key  *tsig.Key

	mu      sync.Mutex
	sets    map[string][]dns.RR            // by owner and type
	updates int                            // carried out
	notes   []string                       // the NOTIFY messages that came
	before  func(p *primary, req *dns.Msg) // called with the lock, before a request is looked at
	instead func(w dns.ResponseWriter, req *dns.Msg) bool
}

func startPrimary(t *testing.T, key *tsig.Key) *primary {
	t.Helper()
	p := &primary{key: key, sets: map[string][]dns.RR{}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	pc, err := net.ListenPacket("udp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	p.addr = l.Addr().String()
	var g sync.WaitGroup
	for _, srv := range []*dns.Server{{Listener: l}, {PacketConn: pc}} {
		srv.Handler, srv.TsigProvider, srv.MsgAcceptFunc = p, key.Ring(), func(dns.Header) dns.MsgAcceptAction { return dns.MsgAccept }
		started := make(chan struct{})
		srv.NotifyStartedFunc = func() { close(started) }
		g.Go(func() { srv.ActivateAndServe() })
		<-started
		t.Cleanup(func() { srv.Shutdown() })
	}
	return p
}

func (p *primary) ServeDNS(w dns.ResponseWriter, req *dns.Msg) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.before != nil {
		p.before(p, req)
	}
	if p.instead != nil && p.instead(w, req) {
		return
	}
	resp := new(dns.Msg).SetReply(req)
	signature := req.IsTsig()
	if p.key != nil && (signature == nil || w.TsigStatus() != nil) {
		resp.Rcode = dns.RcodeRefused
		if signature != nil {
			tsig.Refuse(resp, signature, tsig.ErrorCode(w.TsigStatus()), time.Now())
		}
		w.WriteMsg(resp)
		return
	}
	switch req.Opcode {
	case dns.OpcodeNotify:
		p.notes = append(p.notes, req.Question[0].Name)
	case dns.OpcodeUpdate:
		resp.Rcode = p.update(req)
	default:
		resp.Authoritative = true
		resp.Answer = p.sets[key(req.Question[0].Name, req.Question[0].Qtype)]
	}
	if signature != nil {
		p.key.Sign(resp, time.Now())
	}
	w.WriteMsg(resp)
}

func key(name string, rrtype uint16) string { return name + dns.TypeToString[rrtype] }

// update carries out an update, as far as we send it.
func (p *primary) update(req *dns.Msg) int {
	want := map[string][]string{}
	for _, rr := range req.Answer {
		h := rr.Header()
		k := key(h.Name, h.Rrtype)
		if h.Class == dns.ClassNONE && len(p.sets[k]) > 0 {
			return dns.RcodeYXRrset
		}
		if h.Class == dns.ClassINET {
			want[k] = append(want[k], fmt.Sprint(data(rr)))
		}
	}
	for k, addrs := range want {
		var have []string
		for _, rr := range p.sets[k] {
			have = append(have, fmt.Sprint(data(rr)))
		}
		slices.Sort(have)
		slices.Sort(addrs)
		if !slices.Equal(have, addrs) {
			return dns.RcodeNXRrset
		}
	}
	for _, rr := range req.Ns {
		k := key(rr.Header().Name, rr.Header().Rrtype)
		if rr.Header().Class == dns.ClassANY {
			delete(p.sets, k)
		} else {
			p.sets[k] = append(p.sets[k], rr)
		}
	}
	p.updates++
	return dns.RcodeSuccess
}

func data(rr dns.RR) net.IP {
	if a, ok := rr.(*dns.A); ok {
		return a.A
	}
	return rr.(*dns.AAAA).AAAA
}

// set puts records into the primary, as another program would. With the lock.
func (p *primary) set(t *testing.T, texts ...string) {
	t.Helper()
	p.sets = map[string][]dns.RR{}
	for _, text := range texts {
		rr, err := dns.NewRR(text)
		if err != nil {
			t.Fatal(err)
		}
		k := key(rr.Header().Name, rr.Header().Rrtype)
		p.sets[k] = append(p.sets[k], rr)
	}
}

// holds returns all that the primary holds, and how many updates it has carried out.
func (p *primary) holds() (lines []string, updates int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, rrs := range p.sets {
		for _, rr := range rrs {
			lines = append(lines, strings.ReplaceAll(rr.String(), "\t", " "))
		}
	}
	slices.Sort(lines)
	return lines, p.updates
}

// behave makes the primary misbehave.
func (p *primary) behave(instead func(dns.ResponseWriter, *dns.Msg) bool, before func(*primary, *dns.Msg)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.instead, p.before = instead, before
}

func (p *primary) change(f func(p *primary)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f(p)
}

func testKey(t *testing.T, fill byte) *tsig.Key {
	t.Helper()
	k, err := tsig.NewKey("update.", "hmac-sha256", bytes.Repeat([]byte{fill}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// targetAt is a target that has no patience.
func targetAt(t *testing.T, addr string, key *tsig.Key, log *zap.Logger) *target {
	t.Helper()
	c := testTarget()
	c.Server = addr
	target, err := newTarget(c, log)
	if err != nil {
		t.Fatal(err)
	}
	target.key = key
	target.schedule = schedule{pause: time.Millisecond, first: 10 * time.Millisecond, last: 50 * time.Millisecond}
	target.reconcile = 20 * time.Millisecond
	return target
}

func TestKeep(t *testing.T) {
	t.Parallel()
	key := testKey(t, 1)
	p := startPrimary(t, key)
	kept := targetAt(t, p.addr, key, zap.NewNop())
	const a, b, c = "dl.example.org. 60 IN A 192.0.2.1", "dl.example.org. 60 IN A 192.0.2.2", "dl.example.org. 60 IN A 192.0.2.3"
	p.set(t, "dl.example.org. 3600 IN A 192.0.2.99", "dl.example.org. 60 IN TXT left-alone")
	for _, step := range []struct {
		pool    string
		want    []string
		updates int
	}{
		{"5 192.0.2.1\n5 192.0.2.2\n1 192.0.2.3", []string{a, b}, 1},
		{"5 192.0.2.1\n5 192.0.2.2\n1 192.0.2.3", []string{a, b}, 1},  // nothing new
		{"5 192.0.2.1\n5 192.0.2.2\n4! 192.0.2.3", []string{a, b}, 1}, // of no concern here
		{"5 192.0.2.1\n5! 192.0.2.2\n1 192.0.2.3", []string{a, c}, 2},
		{"5! 192.0.2.1\n5! 192.0.2.2\n1! 192.0.2.3", []string{a, b}, 3}, // panic
		{"5", []string{a, b}, 3},           // none: left as it is
		{"5\n0 192.0.2.2", []string{a}, 4}, // but for a disabled mirror
		{"5\n0 192.0.2.2", []string{a}, 4},
		{"5 2001:db8::1", []string{"dl.example.org. 60 IN AAAA 2001:db8::1"}, 5},
	} {
		_, err := kept.keep(t.Context(), pool(t, step.pool))
		if err != nil && !errors.Is(err, errNoAddress) {
			t.Fatalf("%q: %v", step.pool, err)
		}
		got, updates := p.holds()
		if diff := cmp.Diff(append(step.want, `dl.example.org. 60 IN TXT "left-alone"`), got); diff != "" || updates != step.updates {
			t.Errorf("%q: %d updates, want %d (-want +got):\n%s", step.pool, updates, step.updates, diff)
		}
	}
}

// TestFailures wants errors that name the server, the step and the code, and nothing changed.
func TestFailures(t *testing.T) {
	t.Parallel()
	key, other := testKey(t, 1), testKey(t, 2)
	unknown, _ := tsig.NewKey("unknown.", "hmac-sha256", bytes.Repeat([]byte{1}, 32))
	code := func(opcode, rcode int) func(dns.ResponseWriter, *dns.Msg) bool {
		return func(w dns.ResponseWriter, req *dns.Msg) bool {
			if req.Opcode != opcode {
				return false
			}
			resp := new(dns.Msg).SetRcode(req, rcode)
			key.Sign(resp, time.Now())
			w.WriteMsg(resp)
			return true
		}
	}
	var writes atomic.Uint32 // by a faster writer
	tests := map[string]struct {
		key     *tsig.Key
		skew    time.Duration
		set     string
		instead func(dns.ResponseWriter, *dns.Msg) bool
		before  func(p *primary, req *dns.Msg)
		want    string
		rcode   int
	}{
		"SERVFAIL for an update": {instead: code(dns.OpcodeUpdate, dns.RcodeServerFailure),
			want: "update of example.org.: SERVFAIL: it cannot do this now", rcode: dns.RcodeServerFailure},
		"REFUSED for an update": {instead: code(dns.OpcodeUpdate, dns.RcodeRefused),
			want: "update of example.org.: REFUSED: it does not permit us this", rcode: dns.RcodeRefused},
		"NOTIMP": {instead: code(dns.OpcodeUpdate, dns.RcodeNotImplemented),
			want: "update of example.org.: NOTIMP: it does not know", rcode: dns.RcodeNotImplemented},
		"SERVFAIL for a query": {instead: code(dns.OpcodeQuery, dns.RcodeServerFailure),
			want: "query for dl.example.org. A: SERVFAIL", rcode: dns.RcodeServerFailure},
		"not the primary": {instead: code(dns.OpcodeQuery, dns.RcodeSuccess),
			want: "query for dl.example.org. A: it has no authority", rcode: 0},
		"silence": {instead: func(dns.ResponseWriter, *dns.Msg) bool {
			return true
		}, want: "query for dl.example.org. A: no answer in time", rcode: -1},
		"cut": {instead: func(w dns.ResponseWriter, _ *dns.Msg) bool { w.Close(); return true },
			want: "query for dl.example.org. A: EOF", rcode: -1},
		"an answer that is not signed": {instead: func(w dns.ResponseWriter, req *dns.Msg) bool {
			w.WriteMsg(new(dns.Msg).SetReply(req))
			return true
		}, want: "query for dl.example.org. A: NOERROR, without a signature", rcode: 0},
		"an answer signed otherwise": {instead: func(w dns.ResponseWriter, req *dns.Msg) bool {
			resp := new(dns.Msg).SetReply(req)
			other.Sign(resp, time.Now())
			wire, _, _ := dns.TsigGenerateWithProvider(resp, other.Ring(), req.IsTsig().MAC, false)
			w.Write(wire)
			return true
		}, want: "query for dl.example.org. A: the response is not signed with our key update.", rcode: 0},
		"a CNAME record": {before: func(p *primary, req *dns.Msg) {
			p.sets["dl.example.org.A"] = []dns.RR{&dns.CNAME{Hdr: dns.RR_Header{Name: "dl.example.org.", Rrtype: dns.TypeCNAME,
				Class: 1}, Target: "x."}}
		}, want: "there is a CNAME record", rcode: 0},
		"an unknown key": {key: unknown,
			want: "query for dl.example.org. A: NOTAUTH, BADKEY: the server does not have our key unknown.", rcode: dns.RcodeNotAuth},
		"another secret": {key: other, want: "query for dl.example.org. A: NOTAUTH, BADSIG: the server has another secret",
			rcode: dns.RcodeNotAuth},
		"a clock that is slow": {skew: -time.Hour, want: "query for dl.example.org. A: NOTAUTH, BADTIME: the server's clock is ",
			rcode: dns.RcodeNotAuth},
		"a faster writer": {before: func(p *primary, req *dns.Msg) {
			if req.Opcode == dns.OpcodeUpdate {
				p.sets["dl.example.org.A"] = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: "dl.example.org.", Rrtype: dns.TypeA, Class: 1},
					A: net.IPv4(192, 0, 2, byte(100+writes.Add(1)))}}
			}
		}, want: "another program changes them all the time", rcode: dns.RcodeNXRrset},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := startPrimary(t, key)
			p.set(t, "dl.example.org. 60 IN A 192.0.2.99")
			p.behave(test.instead, test.before)
			if test.key == nil {
				test.key = key
			}
			kept := targetAt(t, p.addr, test.key, zap.NewNop())
			kept.timeout = 300 * time.Millisecond
			kept.now = func() time.Time { return time.Now().Add(test.skew) }
			_, err := kept.keep(t.Context(), pool(t, "1 192.0.2.1"))
			var failure *Error
			if !errors.As(err, &failure) || failure.Server != p.addr || failure.Rcode != test.rcode ||
				!strings.HasPrefix(err.Error(), p.addr+": ") || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q with code %d", err, test.want, test.rcode)
			}
			if _, updates := p.holds(); updates > 0 {
				t.Error("an update was carried out")
			}
		})
	}
	t.Run("no server is there", func(t *testing.T) {
		t.Parallel()
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		kept := targetAt(t, l.Addr().String(), nil, zap.NewNop())
		if _, err := kept.keep(t.Context(), pool(t, "1 192.0.2.1")); err == nil ||
			!strings.Contains(err.Error(), "connection: connect: connection refused") {
			t.Error(err)
		}
	})
}

// TestConflict has another program change the set between our look and our update, once: we look again.
func TestConflict(t *testing.T) {
	t.Parallel()
	p := startPrimary(t, nil)
	once := sync.OnceFunc(func() { p.set(t, "dl.example.org. 60 IN A 192.0.2.99") })
	p.behave(nil, func(_ *primary, req *dns.Msg) {
		if req.Opcode == dns.OpcodeUpdate {
			once()
		}
	})
	kept := targetAt(t, p.addr, nil, zap.NewNop())
	if _, err := kept.keep(t.Context(), pool(t, "1 192.0.2.1")); err != nil {
		t.Fatal(err)
	}
	if got, updates := p.holds(); updates != 1 || !slices.Equal(got, []string{"dl.example.org. 60 IN A 192.0.2.1"}) ||
		kept.counts.conflicts.Load() != 1 {
		t.Errorf("%v after %d updates and %d conflicts", got, updates, kept.counts.conflicts.Load())
	}
}

// start runs targets until the test ends.
func start(t *testing.T, run func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(10 * time.Second):
			t.Error("Run does not end")
		}
	})
}

// TestReconcile edits by hand what is kept.
func TestReconcile(t *testing.T) {
	t.Parallel()
	const ours, theirs = "dl.example.org. 60 IN A 192.0.2.1", "dl.example.org. 60 IN A 192.0.2.99"
	for _, mode := range []string{"enforce", "report"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			core, logs := observer.New(zapcore.WarnLevel)
			p := startPrimary(t, nil)
			kept := targetAt(t, p.addr, nil, zap.New(core))
			kept.config.Reconcile = mode
			holds := func(want string) func() bool {
				return func() bool { got, _ := p.holds(); return slices.Equal(got, []string{want}) }
			}
			start(t, (&Publisher{[]*target{kept}}).Run)
			kept.follow(pool(t, "1 192.0.2.1"))
			testbed.Eventually(t, "the first update", func() bool { return holds(ours)() && kept.counts.checked.Load() > 0 })
			p.change(func(p *primary) { p.set(t, theirs) })
			if mode == "enforce" {
				testbed.Eventually(t, "it is put back", holds(ours))
				testbed.Eventually(t, "it is counted", func() bool {
					return kept.counts.foreign.Load() == 1 && kept.counts.updates.Load() == 2
				})
			} else {
				testbed.Eventually(t, "it is reported", func() bool { return logs.Len() == 1 })
				if text := fmt.Sprint(logs.All()[0].ContextMap()["error"]); !strings.Contains(text,
					"changed by another program: dl.example.org. A holds [192.0.2.99] with a TTL of 60, not [192.0.2.1]") {
					t.Errorf("it is reported as %s", text)
				}
				if !holds(theirs)() {
					t.Error("it was put back")
				}
			}
			// A new set goes there in either case.
			kept.follow(pool(t, "1 192.0.2.2"))
			testbed.Eventually(t, "the new set", holds("dl.example.org. 60 IN A 192.0.2.2"))
		})
	}
}

// TestTwoWriters lets two publishers that do not agree keep the same set. They must not fight for ever.
func TestTwoWriters(t *testing.T) {
	t.Parallel()
	p := startPrimary(t, nil)
	a, b := targetAt(t, p.addr, nil, zap.NewNop()), targetAt(t, p.addr, nil, zap.NewNop())
	start(t, (&Publisher{[]*target{a, b}}).Run)
	a.follow(pool(t, "1 192.0.2.1"))
	b.follow(pool(t, "1 192.0.2.2"))
	// Each looks half as often as before after each dispute, so that it takes a second for one to have five.
	testbed.Eventually(t, "both have found out", func() bool { return a.counts.foreign.Load() >= 3 && b.counts.foreign.Load() >= 3 })
	if got, _ := p.holds(); len(got) != 1 {
		t.Errorf("%v, want the set of one of them", got)
	}
}

// TestOneFailsOneDoesNot has a target that never answers beside one that does.
func TestOneFailsOneDoesNot(t *testing.T) {
	t.Parallel()
	mute, good := startPrimary(t, nil), startPrimary(t, nil)
	mute.behave(func(dns.ResponseWriter, *dns.Msg) bool { return true }, nil)
	a, b := targetAt(t, mute.addr, nil, zap.NewNop()), targetAt(t, good.addr, nil, zap.NewNop())
	a.timeout = time.Minute // for the rest of the test
	p := &Publisher{[]*target{a, b}}
	start(t, p.Run)
	for i := range 5 {
		p.Publish(pool(t, fmt.Sprintf("1 192.0.2.%d", i+1)))
		testbed.Eventually(t, "the good one has it", func() bool {
			got, _ := good.holds()
			return slices.Equal(got, []string{fmt.Sprintf("dl.example.org. 60 IN A 192.0.2.%d", i+1)})
		})
	}
}

// TestRetry has a server fail several times.
func TestRetry(t *testing.T) {
	t.Parallel()
	p := startPrimary(t, nil)
	failures := 0
	p.behave(func(w dns.ResponseWriter, req *dns.Msg) bool {
		if failures++; failures > 4 {
			return false
		}
		w.WriteMsg(new(dns.Msg).SetRcode(req, dns.RcodeServerFailure))
		return true
	}, nil)
	core, logs := observer.New(zapcore.InfoLevel)
	kept := targetAt(t, p.addr, nil, zap.New(core))
	start(t, (&Publisher{[]*target{kept}}).Run)
	kept.follow(pool(t, "1 192.0.2.1"))
	testbed.Eventually(t, "it succeeds", func() bool { return kept.counts.checked.Load() > 0 })
	testbed.Eventually(t, "that is logged", func() bool { return logs.FilterMessage("publishing works again").Len() == 1 })
	if n := logs.FilterLevelExact(zapcore.WarnLevel).Len(); n != 1 || kept.counts.failures.Load() != 4 {
		t.Errorf("%d warnings of %d failures, want one of 4", n, kept.counts.failures.Load())
	}
}

func TestPlanAndOnce(t *testing.T) {
	t.Parallel()
	p := startPrimary(t, nil)
	kept := targetAt(t, p.addr, nil, zap.NewNop())
	publisher := &Publisher{[]*target{kept}}
	host, port, _ := net.SplitHostPort(p.addr)
	script := "by nsupdate -v\nserver " + host + " " + port + "\nzone example.org.\nprereq nxrrset dl.example.org. A\n" +
		"update delete dl.example.org. A\nupdate add dl.example.org. 60 A 192.0.2.1\nsend\n"
	for _, step := range []struct {
		do      func(context.Context, *dnspool.Snapshot, *strings.Builder) error
		want    string
		updates int
	}{
		{func(ctx context.Context, s *dnspool.Snapshot, w *strings.Builder) error {
			return publisher.Plan(ctx, s, w)
		}, "; to be done, " + script, 0},
		{func(ctx context.Context, s *dnspool.Snapshot, w *strings.Builder) error {
			return publisher.Once(ctx, s, w)
		}, "; done, " + script, 1},
		{func(ctx context.Context, s *dnspool.Snapshot, w *strings.Builder) error {
			return publisher.Once(ctx, s, w)
		}, "; " + p.addr + ": example.org. is up to date\n", 1},
	} {
		var out strings.Builder
		if err := step.do(t.Context(), pool(t, "1 192.0.2.1"), &out); err != nil {
			t.Fatal(err)
		}
		if _, updates := p.holds(); out.String() != step.want || updates != step.updates {
			t.Errorf("%d updates, and\n%s\nwant\n%s", updates, out.String(), step.want)
		}
	}
}

func TestNewPublisher(t *testing.T) {
	t.Parallel()
	c := testTarget()
	c.Server = "192.0.2.1:53"
	if _, err := NewPublisher([]config.Publish{c, c}, zap.NewNop()); err == nil ||
		!strings.Contains(err.Error(), "publish/1: the zone example.org. at 192.0.2.1:53 is a target already") {
		t.Errorf("the same target twice: %v", err)
	}
	c.TSIG = filepath.Join(t.TempDir(), "key")
	if _, err := NewPublisher([]config.Publish{c}, zap.NewNop()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a key file that is not there: %v", err)
	}
}

func TestPublishMetrics(t *testing.T) {
	t.Parallel()
	p := startPrimary(t, nil)
	publisher := &Publisher{[]*target{targetAt(t, p.addr, nil, zap.NewNop())}}
	start(t, publisher.Run)
	publisher.Publish(pool(t, "1 192.0.2.1"))
	want := fmt.Sprintf(`
		# HELP mirrorpool_publish_up Whether the latest attempt to keep a server up to date was good.
		# TYPE mirrorpool_publish_up gauge
		mirrorpool_publish_up{server="%[1]s",zone="example.org."} 1
		# HELP mirrorpool_publish_updates_total Dynamic updates that a server has carried out.
		# TYPE mirrorpool_publish_updates_total counter
		mirrorpool_publish_updates_total{server="%[1]s",zone="example.org."} 1
	`, p.addr)
	registry := prometheus.NewRegistry()
	if err := registry.Register(unchecked{publisher}); err != nil {
		t.Fatal(err)
	}
	testbed.Eventually(t, "the metrics are right", func() bool {
		return testutil.GatherAndCompare(registry, strings.NewReader(want), "mirrorpool_publish_up",
			"mirrorpool_publish_updates_total") == nil
	})
	if problems, err := testutil.GatherAndLint(registry); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
}

// unchecked is a collector that says nothing of what it collects.
type unchecked struct{ *Publisher }

func (unchecked) Describe(chan<- *prometheus.Desc) {}
