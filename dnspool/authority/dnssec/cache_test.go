package dnssec

import (
	"bytes"
	"crypto"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

const week = 7 * 24 * time.Hour

func newSigner(t testing.TB) *Signer {
	t.Helper()
	k, err := read(testConfig(), "", testNow)
	if err != nil {
		t.Fatal(err)
	}
	s := NewSigner(rand.New(rand.NewPCG(1, 2)))
	s.SetKeys(k, week)
	return s
}

func rr(t testing.TB, text string) dns.RR {
	t.Helper()
	rr, err := dns.NewRR(text)
	if err != nil {
		t.Fatal(err)
	}
	return rr
}

// pass signs sets at a time, and returns their signatures and how many were made. Those of the first sets are verified.
func pass(t testing.TB, s *Signer, now time.Time, sets ...[]dns.RR) (signatures []*Signatures, made uint64) {
	t.Helper()
	before := s.Stats().Made
	p, err := s.Begin(now)
	if err != nil {
		t.Fatal(err)
	}
	for _, set := range sets {
		signatures = append(signatures, p.Add(set))
	}
	expires, err := p.End()
	if err != nil {
		t.Fatal(err)
	}
	for i, set := range sets[:min(len(sets), 20)] {
		if len(signatures[i].Records) != 1 || len(signatures[i].Wire) != 1 {
			t.Errorf("%v has %d signatures, want one", set, len(signatures[i].Records))
		}
		for k, rr := range signatures[i].Records {
			packed := make([]byte, dns.MaxMsgSize)
			end, err := dns.PackRR(rr, packed, 0, nil, false)
			data := signatures[i].Wire[k]
			if err != nil || !bytes.HasSuffix(packed[:end], data) || len(data) < 64 ||
				int(binary.BigEndian.Uint16(packed[end-len(data)-2:])) != len(data) {
				t.Errorf("%v, %v: its data is %x", rr, err, data)
			}
			if err := rr.Verify(s.Keys().All[0].Record, set); err != nil || !rr.ValidityPeriod(now) ||
				time.Unix(int64(rr.Expiration), 0).Before(expires) {
				t.Errorf("%v at %v: %v", rr, now, err)
			}
		}
	}
	return signatures, s.Stats().Made - before
}

// TestSignaturesAreKept wants a new signature only where a set is another one.
func TestSignaturesAreKept(t *testing.T) {
	t.Parallel()
	s := newSigner(t)
	a, b := rr(t, "dl.example.org. 60 IN A 192.0.2.1"), rr(t, "dl.example.org. 60 IN A 192.0.2.2")
	for i, test := range []struct {
		set  []dns.RR
		made uint64
	}{
		{[]dns.RR{a, b}, 1}, {[]dns.RR{a, b}, 0}, {[]dns.RR{b, a}, 0}, {[]dns.RR{a}, 1},
		{[]dns.RR{rr(t, "dl.example.org. 30 IN A 192.0.2.1")}, 1}, {[]dns.RR{rr(t, "www.dl.example.org. 60 IN A 192.0.2.1")}, 1},
		{[]dns.RR{rr(t, `dl.example.org. 60 IN TXT "192.0.2.1"`)}, 1}, {[]dns.RR{a, b}, 0}, {[]dns.RR{b}, 1}, {[]dns.RR{a}, 0},
		{[]dns.RR{rr(t, `dl.example.org. 60 IN TXT "192.0.2.2"`)}, 1}, {[]dns.RR{rr(t, `dl.example.org. 60 IN TXT "192.0.2.1"`)}, 0},
		{[]dns.RR{rr(t, "dl.example.org. 60 IN AAAA 2001:db8::1")}, 1}, {[]dns.RR{rr(t, "dl.example.org. 60 IN AAAA 2001:db8::2")}, 1},
	} {
		if _, made := pass(t, s, testNow, test.set); made != test.made {
			t.Errorf("set %d: %d signatures, want %d", i, made, test.made)
		}
	}
	other := newSigner(t)
	s.SetKeys(other.Keys(), week)
	if _, made := pass(t, s, testNow, []dns.RR{a, b}); made != 1 {
		t.Errorf("with another key: %d signatures, want 1", made)
	}
}

// TestSignaturesAreRenewed follows a hundred sets through time: none is older than half of the validity or from the
// future, and they do not all fall due at once.
func TestSignaturesAreRenewed(t *testing.T) {
	t.Parallel()
	s := newSigner(t)
	var sets [][]dns.RR
	for i := range 100 {
		sets = append(sets, []dns.RR{rr(t, fmt.Sprintf("m%d.dl.example.org. 60 IN A 192.0.2.1", i))})
	}
	total, most := uint64(0), uint64(0)
	for i := range 7 * 24 / 4 {
		hour := 4 * i
		now := testNow.Add(time.Duration(hour) * time.Hour)
		signatures, made := pass(t, s, now, sets...)
		for _, x := range signatures {
			if left := x.expires.Sub(now); left < week/2 {
				t.Fatalf("after %d hours a signature holds for %v", hour, left)
			}
		}
		if total += made; hour > 0 {
			most = max(most, made)
		}
	}
	if total < 200 || total > 300 || most > 40 {
		t.Errorf("%d signatures, at most %d at once; want each set to be signed two or three times", total, most)
	}
	if _, made := pass(t, s, testNow.Add(-48*time.Hour), sets...); made != 100 {
		t.Errorf("after the clock was set back: %d signatures, want 100", made)
	}
	if _, made := pass(t, s, testNow.Add(365*24*time.Hour), sets...); made != 100 {
		t.Errorf("after the clock has leapt: %d signatures, want 100", made)
	}
}

// TestLowerValidityTakesHoldAtOnce makes signatures anew that hold for longer than they should since a reload.
func TestLowerValidityTakesHoldAtOnce(t *testing.T) {
	t.Parallel()
	s := newSigner(t)
	set := manySets(t, 1, 1)[0]
	for _, test := range []struct {
		validity time.Duration
		made     uint64
		holds    time.Duration
	}{{week, 1, week}, {week, 0, week}, {2 * week, 0, week}, {week / 2, 1, week / 2}, {week / 2, 0, week / 2}} {
		s.SetKeys(s.Keys(), test.validity)
		if _, made := pass(t, s, testNow, set); made != test.made || !s.Stats().Expires.Equal(testNow.Add(test.holds)) {
			t.Errorf("with a validity of %v, %d signatures were made, want %d; the first expires at %v", test.validity, made, test.made,
				s.Stats().Expires)
		}
	}
}

// TestSignaturesGoByTheWallClock wants no monotonic time in what is kept: compared with another, it would hide that the
// clock was set, or that the machine was suspended.
func TestSignaturesGoByTheWallClock(t *testing.T) {
	t.Parallel()
	s := newSigner(t)
	signatures, _ := pass(t, s, time.Now(), []dns.RR{rr(t, "dl.example.org. 60 IN A 192.0.2.1")})
	for _, at := range []time.Time{signatures[0].made, signatures[0].due, signatures[0].expires, s.Stats().Expires} {
		if at != at.Round(0) {
			t.Errorf("%v has a monotonic time", at)
		}
	}
}

// TestSignaturesAreKeptInAnyOrder adds the same sets twice to one pass, and to another in another order.
func TestSignaturesAreKeptInAnyOrder(t *testing.T) {
	t.Parallel()
	s := newSigner(t)
	a, b := []dns.RR{rr(t, "a.dl.example.org. 60 IN A 192.0.2.1")}, []dns.RR{rr(t, "b.dl.example.org. 60 IN A 192.0.2.2")}
	if _, made := pass(t, s, testNow, a, b, a); made != 2 {
		t.Errorf("%d signatures of two sets", made)
	}
	if _, made := pass(t, s, testNow, b, b, a); made != 0 {
		t.Errorf("%d signatures of the same sets in another order", made)
	}
}

// TestTypesHaveTheirOwnSignatures signs both sets of a name whose records have the same bytes, as an IPv4 address and
// the mapped IPv6 address have in memory.
func TestTypesHaveTheirOwnSignatures(t *testing.T) {
	t.Parallel()
	v4 := []dns.RR{rr(t, "x.dl.example.org. 60 IN A 192.0.2.1")}
	v6 := []dns.RR{rr(t, "x.dl.example.org. 60 IN AAAA ::ffff:192.0.2.1")}
	if _, made := pass(t, newSigner(t), testNow, v4, v6); made != 2 {
		t.Errorf("%d signatures of two sets", made)
	}
}

// manySets are as many sets, of which a number is part of the name.
func manySets(t *testing.T, n, number int) (sets [][]dns.RR) {
	t.Helper()
	for i := range n {
		sets = append(sets, []dns.RR{rr(t, fmt.Sprintf("m%d-%d.dl.example.org. 60 IN A 192.0.2.1", number, i))})
	}
	return sets
}

// TestNothingInUseIsForgotten wants what the latest zone uses to stay, and of others as much as it has itself.
func TestNothingInUseIsForgotten(t *testing.T) {
	t.Parallel()
	s := newSigner(t)
	const size = minKept + 100
	first, second := manySets(t, size, 1), manySets(t, size, 2)
	pass(t, s, testNow, first...)
	pass(t, s, testNow, second...)
	if _, made := pass(t, s, testNow, append(first[:1:1], first...)...); made != 0 {
		t.Errorf("%d of %d signatures are made anew for mirrors that come back", made, size)
	}
	for number := range 2 { // till they are too many
		pass(t, s, testNow, append(manySets(t, size, 3+number), first[0])...)
	}
	if _, made := pass(t, s, testNow, first[0]); made != 0 {
		t.Error("what is in use was forgotten")
	}
	if len(s.kept) > 3*size {
		t.Errorf("%d signatures are kept", len(s.kept))
	}
}

// TestForgetting bounds what is kept of sets that are no more.
func TestForgetting(t *testing.T) {
	t.Parallel()
	s := newSigner(t)
	for i := range 3 * minKept / 2 {
		pass(t, s, testNow, []dns.RR{rr(t, fmt.Sprintf("m%d.dl.example.org. 60 IN A 192.0.2.1", i))})
	}
	if len(s.kept) > minKept+2 {
		t.Errorf("%d signatures are kept, want about %d at most", len(s.kept), minKept)
	}
}

// TestNoKeys wants an error where no key signs.
func TestNoKeys(t *testing.T) {
	t.Parallel()
	if _, err := NewSigner(rand.New(rand.NewPCG(1, 2))).Begin(testNow); err == nil {
		t.Error("without keys: no error")
	}
	later := &Key{Record: newSigner(t).Keys().All[0].Record, Times: Times{Publish: testNow, Activate: testNow}}
	s := NewSigner(rand.New(rand.NewPCG(1, 2)))
	s.SetKeys(&Keys{Zone: testZone, All: []*Key{later}}, week)
	if _, err := s.Begin(testNow.Add(-time.Hour)); err == nil {
		t.Error("before the key is active: no error")
	}
}

// TestExpiryIsUnknownWithoutKeys forgets when signatures expire once there are none, and not before.
func TestExpiryIsUnknownWithoutKeys(t *testing.T) {
	t.Parallel()
	s := newSigner(t)
	pass(t, s, testNow, []dns.RR{rr(t, "dl.example.org. 60 IN A 192.0.2.1")})
	if s.SetKeys(s.Keys(), week); !s.Stats().Expires.Equal(testNow.Add(week)) {
		t.Errorf("with keys: %v", s.Stats())
	}
	if s.SetKeys(nil, 0); !s.Stats().Expires.IsZero() {
		t.Errorf("without keys: %v", s.Stats())
	}
}

// A brokenKey signs nothing.
type brokenKey struct{ crypto.Signer }

func (brokenKey) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, errors.New("the key is broken")
}

// TestSigningFails wants an error for a set that could not be signed, and nothing of it to be kept.
func TestSigningFails(t *testing.T) {
	t.Parallel()
	s := newSigner(t)
	good := s.Keys()
	broken := *good.All[0]
	broken.private = brokenKey{broken.private}
	sets := manySets(t, 10, 1)
	pass(t, s, testNow, sets[0])
	s.SetKeys(good.with(&broken), week)
	p, err := s.Begin(testNow)
	if err != nil {
		t.Fatal(err)
	}
	for _, set := range sets {
		p.Add(set)
	}
	if _, err := p.End(); err == nil || !strings.Contains(err.Error(), "the key is broken") {
		t.Errorf("signed with a broken key: %v", err)
	}
	if stats := s.Stats(); stats.Made != 1 || !stats.Expires.Equal(testNow.Add(week)) {
		t.Errorf("%+v", stats)
	}
	s.SetKeys(good, week)
	if _, made := pass(t, s, testNow, sets...); made != 9 { // all but the first
		t.Errorf("%d signatures were made once the key was good again, want 9", made)
	}
}

// TestAddAfterEnd adds a set that depends on the signatures of others, as the digest of a zone does.
func TestAddAfterEnd(t *testing.T) {
	t.Parallel()
	s := newSigner(t)
	p, err := s.Begin(testNow)
	if err != nil {
		t.Fatal(err)
	}
	sets := manySets(t, 2, 1)
	for i, set := range sets {
		signatures := p.Add(set)
		if expires, err := p.End(); err != nil || !expires.Equal(testNow.Add(week)) {
			t.Fatal(expires, err)
		}
		if made := s.Stats().Made; made != uint64(i+1) || len(signatures.Records) != 1 || len(signatures.Wire) != 1 {
			t.Errorf("after %d sets: %d signatures; the set has %v", i+1, made, signatures.Records)
		}
		if h := signatures.Records[0].Hdr; h.Ttl != 60 || h.Name != set[0].Header().Name || h.Rrtype != dns.TypeRRSIG {
			t.Errorf("%v", h)
		}
	}
	if first := p.Add(sets[0]); len(first.Records) != 1 {
		t.Errorf("the first set has %v", first.Records)
	}
}
