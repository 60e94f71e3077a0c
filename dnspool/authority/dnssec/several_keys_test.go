package dnssec

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"mirrorpool/testdata/testbed"
)

// TestSeveralKeysSignKeys has two keys sign the keys, of which one or both are elsewhere: the parent may have a DS
// record of either, so that both signatures are needed.
func TestSeveralKeysSignKeys(t *testing.T) {
	t.Parallel()
	k, second := newSplitKey(t), newSplitKey(t)
	all := func() []dns.RR { return append(k.both(), dns.Copy(second.ksk)) }
	c := testConfig(k.kskAt, k.zskAt, second.kskAt)
	want := []uint16{k.ksk.KeyTag(), second.ksk.KeyTag()}
	slices.Sort(want)

	k.moveAway(t, ".1", testNow.Add(-backdating), 10, k.both()...)
	refusal := fmt.Sprintf("do not have the key %d, which signs", second.ksk.KeyTag())
	if _, err := Read(c, "", testNow); err == nil || !strings.Contains(err.Error(), refusal) {
		t.Errorf("with a key that signs keys and is not among them: %v", err)
	}
	k.moveAway(t, ".1", testNow.Add(-backdating), 10, all()...)
	for _, away := range []bool{false, true} {
		if away {
			second.moveAway(t, ".1", testNow.Add(-2*backdating), 9, all()...)
		}
		keys, err := Read(c, "", testNow)
		if err != nil {
			t.Fatal(err)
		}
		signers, ofOthers, expires := signersOf(t, keys, testNow)
		if slices.Sort(signers); !slices.Equal(signers, want) || !slices.Equal(ofOthers, []uint16{k.zsk.KeyTag()}) {
			t.Errorf("both away %v: keys are signed by %d, want %d; others by %d", away, signers, want, ofOthers)
		}
		if !expires.Equal(testNow.Add(week)) {
			t.Errorf("both away %v: the first signature expires at %v", away, expires)
		}
		s := newSigner(t)
		s.SetKeys(keys, week)
		for i, made := range []uint64{1, 0} {
			p, err := s.Begin(testNow)
			if err != nil {
				t.Fatal(err)
			}
			before := s.Stats().Made
			p.Add(p.KeyRecords()[dns.TypeDNSKEY])
			if _, err := p.End(); err != nil {
				t.Fatal(err)
			}
			if away {
				made = 0
			}
			if got := s.Stats().Made - before; got != made {
				t.Errorf("both away %v, pass %d: %d signatures were made, want %d", away, i, got, made)
			}
		}
	}

	// The latest file counts, and those of other keys only if they have the same records.
	for _, latest := range []*splitKey{k, second} {
		latest.moveAway(t, ".2", testNow, 8, dns.Copy(latest.ksk), dns.Copy(k.zsk))
		later := testNow.Add(backdating)
		keys, err := Read(c, "", later)
		if err != nil {
			t.Fatal(err)
		}
		if signers, _, _ := signersOf(t, keys, later); !slices.Equal(signers, []uint16{latest.ksk.KeyTag()}) {
			t.Errorf("keys are signed by %d, want the key of the latest file, %d", signers, latest.ksk.KeyTag())
		}
		if err := os.Remove(latest.kskAt + ".2" + signedEnd); err != nil {
			t.Fatal(err)
		}
	}
	k.moveAway(t, ".1", testNow.Add(-3*backdating), 10, k.both()...) // a part of what the second has signed
	keys, err := Read(c, "", testNow)
	if err != nil {
		t.Fatal(err)
	}
	if signers, _, _ := signersOf(t, keys, testNow); !slices.Equal(signers, []uint16{second.ksk.KeyTag()}) {
		t.Errorf("keys are signed by %d, want those that have signed all: %d", signers, second.ksk.KeyTag())
	}
}

// TestRetiredKeyIsLeftOut has a key that signs keys retire beside one whose private part is elsewhere, which may sign
// DNSKEY records without it.
func TestRetiredKeyIsLeftOut(t *testing.T) {
	t.Parallel()
	k, second := newSplitKey(t), newSplitKey(t)
	k.moveAway(t, ".1", testNow.Add(-backdating), 10, k.both()...)
	keys, err := Read(testConfig(k.kskAt, k.zskAt), "", testNow)
	if err != nil {
		t.Fatal(err)
	}
	retired, err := newKey(second.ksk, second.kskPrivate, Times{Publish: testNow.AddDate(0, 0, -9), Activate: testNow.AddDate(0, 0, -9), Inactive: testNow})
	if err != nil {
		t.Fatal(err)
	}
	if signers, _, _ := signersOf(t, keys.with(retired), testNow); !slices.Equal(signers, []uint16{k.ksk.KeyTag()}) {
		t.Errorf("keys are signed by %d", signers)
	}
}

// TestNoneOfSomeSignatures wants nothing to be kept of a set that only one of two keys could sign.
func TestNoneOfSomeSignatures(t *testing.T) {
	t.Parallel()
	s := newSigner(t)
	two, err := s.Keys().Roll("ED25519", testNow, 0)
	if err != nil {
		t.Fatal(err)
	}
	sorted := two.sorted()
	broken := *sorted[1]
	broken.private = brokenKey{broken.private}
	set := manySets(t, 1, 1)[0]
	s.SetKeys(two.with(&broken), week)
	p, err := s.Begin(testNow)
	if err != nil {
		t.Fatal(err)
	}
	p.Add(set)
	if _, err := p.End(); err == nil {
		t.Fatal("signed with a broken key")
	}
	s.SetKeys(two, week)
	if p, err = s.Begin(testNow); err != nil {
		t.Fatal(err)
	}
	signatures := p.Add(set)
	if _, err := p.End(); err != nil || len(signatures.Records) != 2 {
		t.Errorf("the set has %d signatures, want 2: %v", len(signatures.Records), err)
	}
}

// TestSignedAheadAsConfigured wants what the configuration asks for beside a key that is elsewhere to be among the sets
// that this has signed, and an error otherwise.
func TestSignedAheadAsConfigured(t *testing.T) {
	t.Parallel()
	k, other := newSplitKey(t), newSplitKey(t)
	c := testConfig(k.kskAt, k.zskAt)
	check := func(what, want string) {
		t.Helper()
		keys, err := Read(c, "", testNow)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", what, err, want)
		}
		if err == nil {
			signersOf(t, keys, testNow)
		}
	}
	k.moveAway(t, ".1", testNow.Add(-backdating), 10, k.both()...)
	check("as usual", "")

	c.DNSSEC.OtherKeys = []string{other.kskAt + publicEnd}
	check("with another server's key", fmt.Sprintf("do not have the key %d (dns.dnssec.other_keys)", other.ksk.KeyTag()))
	k.moveAway(t, ".1", testNow.Add(-backdating), 10, append(k.both(), dns.Copy(other.ksk))...)
	check("with another server's key that was signed", "")

	c.DNSSEC.Withdraw = true
	check("withdrawn", "for dns.dnssec.withdraw")
	none := []dns.RR{rr(t, testZone+" 7200 IN CDS 0 0 0 00"), rr(t, testZone+" 7200 IN CDNSKEY 0 3 0 AA==")}
	keep := []dns.RR{k.ksk.ToDS(dns.SHA256).ToCDS(), k.ksk.ToCDNSKEY()}
	for name, test := range map[string]struct {
		sets []dns.RR
		want string
	}{
		"withdrawn by CDS alone":       {none[:1], "for dns.dnssec.withdraw"},
		"withdrawn by CDNSKEY alone":   {none[1:], "for dns.dnssec.withdraw"},
		"withdrawn by CDS, not by key": {[]dns.RR{none[0], keep[1]}, "for dns.dnssec.withdraw"},
		"withdrawn by key, not by CDS": {[]dns.RR{keep[0], none[1]}, "for dns.dnssec.withdraw"},
		"withdrawn by both":            {none, ""},
	} {
		k.signAhead(t, ".2", append(k.both(), dns.Copy(other.ksk)), test.sets...)
		check(name, test.want)
	}
}

// signAhead writes DNSKEY records and further sets of one record each to one file.
func (k *splitKey) signAhead(t *testing.T, name string, keys []dns.RR, sets ...dns.RR) {
	t.Helper()
	text := ""
	file := k.kskAt + name + signedEnd
	for _, set := range append([][]dns.RR{keys}, slices.Collect(slices.Chunk(sets, 1))...) {
		k.moveAway(t, name, testNow.Add(-backdating), 10, set...)
		part, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text += string(part)
	}
	testbed.Put(t, file, text)
}

// TestPeriodsFollowEachOther has keys signed ahead for periods that overlap by an hour, as they should. The end of one
// is no trouble while the next is there, and the zone can be signed then.
func TestPeriodsFollowEachOther(t *testing.T) {
	t.Parallel()
	k := newSplitKey(t)
	k.moveAway(t, ".1", testNow.Add(-time.Hour), 1, k.both()...)
	k.moveAway(t, ".2", testNow.Add(22*time.Hour), 1, k.both()...)
	k.moveAway(t, ".3", testNow.Add(45*time.Hour), 1, k.ksk) // without the key that signs the zone
	keys, err := Read(testConfig(k.kskAt, k.zskAt), "", testNow)
	if err != nil {
		t.Fatal(err)
	}
	s := newSigner(t)
	s.SetKeys(keys, week)
	for _, test := range []struct {
		hours   int
		trouble bool
	}{{0, false}, {20, false}, {22, false}, {34, false}, {35, true}, {45, true}, {46, true}} {
		now := testNow.Add(time.Duration(test.hours) * time.Hour)
		p, err := s.Begin(now)
		if err == nil {
			signatures := p.Add(p.KeyRecords()[dns.TypeDNSKEY])
			p.Add(manySets(t, 1, 1)[0])
			_, err = p.End()
			if !signatures.Records[0].ValidityPeriod(now) {
				t.Errorf("after %d hours, keys have the signature of another period: %v", test.hours, signatures.Records[0])
			}
		}
		if (err != nil) != (test.hours == 46) {
			t.Fatalf("after %d hours: %v", test.hours, err)
		}
		status := Status{Expires: keys.HoldsUntil(s.Stats(), now)}
		if want := testNow.Add(46 * time.Hour); !status.Expires.Equal(want) {
			t.Errorf("after %d hours, signatures hold until %v, want %v", test.hours, status.Expires, want)
		}
		if got := status.Trouble(now); (got != "") != test.trouble {
			t.Errorf("after %d hours: trouble %q", test.hours, got)
		}
	}
	if until := keys.HoldsUntil(Stats{}, testNow); !until.IsZero() {
		t.Errorf("before the first pass, signatures hold until %v", until)
	}
	here, err := read(testConfig(), "", testNow)
	if err != nil {
		t.Fatal(err)
	}
	if stats := (Stats{Expires: testNow.Add(time.Hour)}); !here.HoldsUntil(stats, testNow).Equal(stats.Expires) {
		t.Error("signatures of a key that is here hold as long as they do")
	}
	if stats := (Stats{Expires: testNow.Add(time.Hour), Failure: "no key"}); !keys.HoldsUntil(stats, testNow).Equal(stats.Expires) {
		t.Error("nothing follows where the zone cannot be signed")
	}
	if stats := (Stats{Expires: testNow.Add(time.Hour), Ours: testNow.Add(2 * time.Hour)}); !keys.HoldsUntil(stats, testNow).Equal(stats.Ours) {
		t.Error("signatures that were made here hold as long as they do")
	}
}

// TestAlgorithmsSignAll wants an error for an algorithm that signs the DNSKEY set alone, or all but that, where the
// key for that is elsewhere.
func TestAlgorithmsSignAll(t *testing.T) {
	t.Parallel()
	k, zone := newSplitKey(t), newListedKeys(t, "E1", "E2")
	ed, err := dns.NewRR(readText(t, zone.files["E1"]+publicEnd))
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		set   []dns.RR
		files []string
		want  string
	}{
		"another algorithm for the zone": {[]dns.RR{k.ksk, ed}, []string{k.kskAt, zone.files["E1"]},
			"no published key of its algorithm ECDSAP256SHA256 signs the records of"},
		"and one of the same": {[]dns.RR{k.ksk, k.zsk, ed}, []string{k.kskAt, k.zskAt, zone.files["E1"]},
			"no published key of its algorithm ED25519 signs the DNSKEY set of"},
		"published ahead": {[]dns.RR{k.ksk, k.zsk, ed}, []string{k.kskAt, k.zskAt}, "no published key of its algorithm ED25519 signs the records of"},
	} {
		k.moveAway(t, ".1", testNow.Add(-backdating), 10, test.set...)
		if _, err := Read(testConfig(test.files...), "", testNow); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}

func readText(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestNewAlgorithmAhead has a key of another algorithm sign the zone before DNSKEY records that were signed elsewhere
// have it. Such records that begin too early are refused.
func TestNewAlgorithmAhead(t *testing.T) {
	t.Parallel()
	k, l := newSplitKey(t), newListedKeys(t, "C1")
	k.moveAway(t, ".1", testNow.Add(-backdating), 10, k.both()...)
	c := testConfig(k.kskAt, k.zskAt)
	before, err := Read(c, "", testNow)
	if err != nil {
		t.Fatal(err)
	}
	c.DNSSEC.Keys = append(c.DNSSEC.Keys, l.files["C1"])
	l.set("C1", "Activate 0, Publish 6")
	csk, err := dns.NewRR(readText(t, l.files["C1"]+publicEnd))
	if err != nil {
		t.Fatal(err)
	}
	for hours, want := range map[int]string{3: "would be published", 5: ""} {
		k.moveAway(t, ".2", l.at(hours), 10, append(k.both(), dns.Copy(csk))...)
		keys, err := Read(c, "", testNow)
		if err != nil {
			t.Fatal(err)
		}
		if _, ofOthers, _ := signersOf(t, keys, testNow); len(ofOthers) != 2 {
			t.Errorf("the zone is signed by %d, want both algorithms", ofOthers)
		}
		err = keys.Follow(before, testNow).CheckReplaced(&Seen{}, 4*time.Hour, testNow)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("in the DNSKEY records after %d hours: %v, want %q", hours, err, want)
		}
	}
}

// TestFilesOthersCanChange refuses public files that other users can write: these could publish a key of their own.
func TestFilesOthersCanChange(t *testing.T) {
	t.Parallel()
	k, other := newSplitKey(t), newSplitKey(t)
	k.moveAway(t, ".1", testNow.Add(-time.Hour), 10, append(k.both(), dns.Copy(other.ksk))...)
	c := testConfig(k.kskAt, k.zskAt)
	c.DNSSEC.OtherKeys = []string{other.kskAt + publicEnd}
	for _, file := range []string{k.kskAt + ".1" + signedEnd, k.kskAt + publicEnd, k.zskAt + publicEnd, c.DNSSEC.OtherKeys[0]} {
		for mode, want := range map[os.FileMode]string{0o664: "chmod go-w " + file, 0o644: ""} {
			if err := os.Chmod(file, mode); err != nil {
				t.Fatal(err)
			}
			_, err := Read(c, "", testNow)
			if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
				t.Errorf("%s, mode %o: %v, want %q", file, mode, err, want)
			}
			if err := os.Chmod(file, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestSignedAheadCDS wants CDS and CDNSKEY records that were signed ahead to name a key that has signed the keys, and
// says what is missing without them.
func TestSignedAheadCDS(t *testing.T) {
	t.Parallel()
	k, other := newSplitKey(t), newSplitKey(t)
	cds, cdnskey := k.ksk.ToDS(dns.SHA384).ToCDS(), k.ksk.ToCDNSKEY()
	for name, test := range map[string]struct {
		sets    []dns.RR
		refused bool
		asks    bool // the parent
	}{
		"none":                 {nil, false, false},
		"both":                 {[]dns.RR{cds, cdnskey}, false, true},
		"CDS alone":            {[]dns.RR{cds}, false, false},
		"CDNSKEY alone":        {[]dns.RR{cdnskey}, false, false},
		"of another key":       {[]dns.RR{other.ksk.ToDS(dns.SHA256).ToCDS(), cdnskey}, true, false},
		"CDNSKEY of another":   {[]dns.RR{cds, other.ksk.ToCDNSKEY()}, true, false},
		"of the zone's key":    {[]dns.RR{k.zsk.ToDS(dns.SHA256).ToCDS()}, true, false},
		"of an unknown digest": {[]dns.RR{&dns.CDS{DS: dns.DS{Hdr: cds.Hdr, KeyTag: cds.KeyTag, Algorithm: 13, DigestType: 99, Digest: "00"}}}, true, false},
	} {
		k.signAhead(t, ".1", k.both(), test.sets...)
		keys, err := Read(testConfig(k.kskAt, k.zskAt), "", testNow)
		if (err != nil) != test.refused || err != nil && !strings.Contains(err.Error(), "name no key that has signed the DNSKEY records") {
			t.Errorf("%s: %v, want it refused: %v", name, err, test.refused)
		}
		if err != nil {
			continue
		}
		if next := keys.Describe(testNow, nil, "").Next; strings.Contains(next, "mirrorpool dnssec ds") == test.asks {
			t.Errorf("%s: next is %q", name, next)
		}
		if next := keys.Describe(testNow, &View{At: testNow, DS: []*dns.DS{k.ksk.ToDS(dns.SHA256)}}, "").Next; next != "" {
			t.Errorf("%s, and the parent has the DS record: next is %q", name, next)
		}
	}
}

// TestWithdrawnAhead has CDS and CDNSKEY records that were signed ahead ask for no DS record, without the
// configuration. The status does not ask for one either, and says when dns.dnssec can go.
func TestWithdrawnAhead(t *testing.T) {
	t.Parallel()
	k := newSplitKey(t)
	k.signAhead(t, ".1", k.both(), rr(t, testZone+" 7200 IN CDS 0 0 0 00"), rr(t, testZone+" 7200 IN CDNSKEY 0 3 0 AA=="))
	keys, err := Read(testConfig(k.kskAt, k.zskAt), "", testNow)
	if err != nil {
		t.Fatal(err)
	}
	for want, view := range map[string]*View{
		"the parent is to remove its DS records":                                                 {At: testNow, DS: []*dns.DS{k.ksk.ToDS(dns.SHA256)}},
		"dns.dnssec can be taken out of the configuration: the parent has no DS record any more": {At: testNow},
	} {
		if s := keys.Describe(testNow, view, ""); len(s.DS) > 0 || s.Next != want {
			t.Errorf("the parent is to have %v, and next is %q, want %q", s.DS, s.Next, want)
		}
	}
}
