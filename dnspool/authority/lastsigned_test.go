package authority

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"mirrorpool/config"
	"mirrorpool/dnspool"
	"mirrorpool/dnspool/authority/dnssec"
	"mirrorpool/dnspool/authority/transfer"
	"mirrorpool/dnspool/tsig"
)

// A signedServer is a server of a zone whose keys a test takes away. It answers from both paths.
type signedServer struct {
	*Server
	t      *testing.T
	config config.DNS
	keys   *dnssec.Keys
	now    time.Time
}

func newSignedServer(t *testing.T) *signedServer {
	t.Helper()
	c, keys := signedConfig(t, testConfig())
	signer := dnssec.NewSigner(rand.New(rand.NewPCG(1, 2))) // without keys
	return &signedServer{t: t, config: c, keys: keys, now: testNow, Server: &Server{
		o: Options{Config: c, Signer: signer, Log: zap.NewNop()}, limiter: newLimiter(testNow)}}
}

// sign has the zone made with the keys, or without them.
func (s *signedServer) sign(can bool, snapshot *dnspool.Snapshot) {
	s.t.Helper()
	s.o.Signer.SetKeys(nil, 0)
	if can {
		s.o.Signer.SetKeys(s.keys, s.config.DNSSEC.Validity)
	}
	s.Publish(s.config, nil, snapshot)
}

// ask asks on the slow path, and makes sure that the fast one, if it has an answer, has the same records.
func (s *signedServer) ask(name string, qtype uint16, do bool) *dns.Msg {
	s.t.Helper()
	req := attestedQuery(name, qtype)
	req.IsEdns0().SetDo(do)
	from := overTCP
	from.addr, from.now = netip.MustParseAddr("127.0.0.1"), s.now
	for _, z := range []*zone{s.zone.Load(), s.zone.Load().signed} {
		if z != nil {
			z.next[0].Store(3)
			z.next[1].Store(3)
		}
	}
	packed, _, err := s.respond(req, from)
	if err != nil {
		s.t.Fatal(err)
	}
	msg, err := req.Pack()
	if err != nil {
		s.t.Fatal(err)
	}
	fast := newFastPath(&s.zone, new(tally))
	fast.next = [2]uint32{3, 3}
	var slow, other dns.Msg
	if err := slow.Unpack(packed); err != nil {
		s.t.Fatal(err)
	}
	if packed, ok := fast.respond(nil, msg, from); ok {
		if err := other.Unpack(packed); err != nil || !strings.EqualFold(slow.String(), other.String()) {
			s.t.Errorf("fast: %v %v\nslow: %v", &other, err, &slow)
		}
	}
	return &slow
}

// TestUnsignableZone has a zone lose its keys. Clients without DO get the health of the mirrors as it is; those with DO
// the last version that was signed.
func TestUnsignableZone(t *testing.T) {
	t.Parallel()
	s := newSignedServer(t)
	zone := s.config.Zone
	s.sign(false, snapshotAt(t, 1, 7))
	if resp := s.ask(zone, dns.TypeA, true); resp.Rcode != dns.RcodeServerFailure {
		t.Errorf("with DO, and without keys from the start: %v", resp)
	}
	if resp := s.ask(zone, dns.TypeA, false); resp.Rcode != dns.RcodeSuccess || len(resp.Answer) != 1 {
		t.Errorf("without DO, and without keys from the start: %v", resp)
	}
	s.sign(true, snapshotAt(t, 1, 8))
	before := s.ask(zone, dns.TypeA, true)
	if !hasType(before.Answer, dns.TypeRRSIG) {
		t.Fatalf("with keys: %v", before)
	}
	s.sign(false, snapshotAt(t, 6, 9))
	if after := s.ask(zone, dns.TypeA, true); after.Rcode != dns.RcodeSuccess || fmt.Sprint(after.Answer) != fmt.Sprint(before.Answer) {
		t.Errorf("with DO, after the keys were lost: %v", after)
	}
	if after := s.ask(zone, dns.TypeA, false); len(after.Answer) != 2 {
		t.Errorf("without DO, after the keys were lost: %v", after)
	}
	for _, qtype := range []uint16{dns.TypeDNSKEY, dns.TypeNSEC, dns.TypeRRSIG, dns.TypeSOA} {
		resp := s.ask(zone, qtype, false)
		if !hasType(resp.Answer, qtype) {
			t.Errorf("%s without DO, after the keys were lost: %v", dns.Type(qtype), resp)
		}
		if soa, ok := resp.Answer[0].(*dns.SOA); ok && soa.Serial != 8 {
			t.Errorf("the serial is %d, and transfers have that of the last signed version, 8", soa.Serial)
		}
	}
	s.sign(true, snapshotAt(t, 6, 10))
	if after := s.ask(zone, dns.TypeA, true); len(after.Answer) != 3 {
		t.Errorf("with the keys back: %v", after)
	}
}

// TestSigningFailureIsLoggedOnce logs why the zone cannot be signed when that begins or changes, and not each time the
// zone is made.
func TestSigningFailureIsLoggedOnce(t *testing.T) {
	t.Parallel()
	s := newSignedServer(t)
	core, logs := observer.New(zap.ErrorLevel)
	s.o.Log = zap.New(core)
	ended := *s.keys.All[0]
	ended.Times.Delete = testNow
	other := *s.keys
	other.All = []*dnssec.Key{&ended}
	for i, step := range []struct {
		keys *dnssec.Keys
		want int
	}{{nil, 1}, {nil, 1}, {&other, 2}, {&other, 2}, {s.keys, 2}, {nil, 3}} {
		s.o.Signer.SetKeys(step.keys, s.config.DNSSEC.Validity)
		s.Publish(s.config, nil, snapshotAt(t, 6, uint32(i+1)))
		if got := logs.FilterMessageSnippet("cannot sign the zone").Len(); got != step.want {
			t.Errorf("after step %d, the log has %d lines, want %d", i, got, step.want)
		}
		if failed := s.o.Signer.Stats().Failure != ""; failed != (step.keys != s.keys) {
			t.Errorf("step %d: failed %v", i, failed)
		}
	}
}

// TestClockLeaps signs anew whatever the clock shows.
func TestClockLeaps(t *testing.T) {
	t.Parallel()
	s := newSignedServer(t)
	s.sign(true, testSnapshot(t, 1, 2))
	leap := *testSnapshot(t, 1, 2)
	for _, days := range []int{400, -300} {
		s.now = testNow.AddDate(0, 0, days)
		leap.Built = s.now
		s.sign(true, &leap)
		v := &validator{zone: s.config.Zone, keys: []*dns.DNSKEY{s.keys.All[0].Record}, now: s.now, good: map[string]bool{}}
		if err := v.sets(s.ask(s.config.Zone, dns.TypeA, true).Answer, nil); err != nil {
			t.Errorf("after the clock went by %d days: %v", days, err)
		}
	}
}

// TestSigningBegins has a zone that was not signed before stay so, for all clients, while it cannot be signed.
func TestSigningBegins(t *testing.T) {
	t.Parallel()
	s := newSignedServer(t)
	unsigned := s.config
	unsigned.DNSSEC = nil
	s.Publish(unsigned, nil, testSnapshot(t, 1, 2))
	s.sign(false, testSnapshot(t, 6, 2))
	if resp := s.ask(s.config.Zone, dns.TypeA, true); resp.Rcode != dns.RcodeSuccess || len(resp.Answer) != 2 {
		t.Errorf("with DO: %v", resp)
	}
}

// TestLastSignaturesExpire has signing fail for longer than signatures hold. Then no client gets one.
func TestLastSignaturesExpire(t *testing.T) {
	t.Parallel()
	s := newSignedServer(t)
	zone := s.config.Zone
	s.sign(true, testSnapshot(t, 1, 2))
	s.now = testNow.Add(8 * 24 * time.Hour)
	for _, lost := range []bool{false, true} {
		if lost {
			s.sign(false, testSnapshot(t, 6, 2))
		}
		for _, test := range []struct {
			name  string
			qtype uint16
			do    bool
			rcode int
		}{
			{zone, dns.TypeA, true, dns.RcodeServerFailure},
			{"nothing." + zone, dns.TypeA, true, dns.RcodeServerFailure},
			{zone, dns.TypeRRSIG, false, dns.RcodeServerFailure},
			{zone, dns.TypeRRSIG, true, dns.RcodeServerFailure},
			{zone, dns.TypeA, false, dns.RcodeSuccess},
			{"nothing." + zone, dns.TypeA, false, dns.RcodeNameError},
			{"_status." + zone, dns.TypeTXT, true, dns.RcodeSuccess},
			{"other.example.", dns.TypeA, true, dns.RcodeRefused},
		} {
			if resp := s.ask(test.name, test.qtype, test.do); resp.Rcode != test.rcode {
				t.Errorf("keys lost %v: %+v: %v", lost, test, resp)
			}
		}
	}
	// Secondaries, which ask for the SOA, are to give the zone up.
	if resp := s.ask(zone, dns.TypeSOA, false); resp.Rcode != dns.RcodeServerFailure {
		t.Errorf("SOA: %v", resp)
	}
}

// TestExpiredTransfer refuses to give a zone to secondaries whose signatures have expired, and says so.
func TestExpiredTransfer(t *testing.T) {
	t.Parallel()
	c, keys := signedConfig(t, transferConfig("127.0.0.1/32"))
	core, logs := observer.New(zap.WarnLevel)
	feed, err := transfer.NewServer(c, (*tsig.Key)(nil).Ring(), "", zap.New(core))
	if err != nil {
		t.Fatal(err)
	}
	s, addr := startServer(t, "127.0.0.1:0", func(s *Server) {
		s.o.Config, s.o.Transfers, s.o.Signer = c, feed, newTestSigner(keys)
	})
	at := func(built time.Time, serial uint32) *dnspool.Snapshot {
		snapshot := *testSnapshot(t, 6, 2)
		snapshot.Built, snapshot.Serial = built, serial
		return &snapshot
	}
	s.publish(at(time.Now().Add(-6*24*time.Hour), 7))
	s.o.Signer.SetKeys(nil, 0)
	s.publish(at(time.Now(), 8))
	messages, err := fetchZone(t, addr, axfrRequest(), nil)
	if err != nil || messages[0][0].(*dns.SOA).Serial != 7 {
		t.Fatalf("while its signatures hold: %v, %v", messages, err)
	}
	s.o.Signer.SetKeys(keys, c.DNSSEC.Validity)
	s.publish(at(time.Now().Add(-8*24*time.Hour), 9))
	for _, req := range []*dns.Msg{axfrRequest(), ixfrRequest(7), ixfrRequest(9)} {
		resp, _, err := (&dns.Client{Net: "tcp"}).Exchange(req, addr)
		if err != nil || resp.Rcode != dns.RcodeServerFailure || len(resp.Answer) > 0 {
			t.Errorf("once they have expired: %v, %v; want SERVFAIL", resp, err)
		}
	}
	if !slices.ContainsFunc(logs.All(), func(e observer.LoggedEntry) bool {
		return e.Message == "zone not transferred: its signatures have expired"
	}) {
		t.Errorf("the log does not say so: %v", logs.All())
	}
}
