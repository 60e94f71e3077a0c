package dnssec

import (
	"crypto"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"mirrorpool/testdata/testbed"
)

// A splitKey is a key that signs keys (KSK) and one that signs the zone (ZSK), as files.
type splitKey struct {
	ksk, zsk     *dns.DNSKEY
	kskAt, zskAt string // without the ends of the files
	kskPrivate   crypto.Signer
}

func newSplitKey(t *testing.T) *splitKey {
	t.Helper()
	k := &splitKey{}
	dir := t.TempDir()
	make := func(flags uint16) (*dns.DNSKEY, crypto.Signer, string) {
		record := &dns.DNSKEY{Hdr: dns.RR_Header{Name: testZone, Rrtype: dns.TypeDNSKEY, Class: dns.ClassINET, Ttl: KeyTTL},
			Flags: flags, Protocol: 3, Algorithm: dns.ECDSAP256SHA256}
		private, err := record.Generate(256)
		if err != nil {
			t.Fatal(err)
		}
		stem := filepath.Join(dir, fmt.Sprintf("K%s+013+%05d", testZone, record.KeyTag()))
		testbed.Put(t, stem+publicEnd, record.String()+"\n")
		testbed.Put(t, stem+privateEnd, record.PrivateKeyString(private))
		if err := os.Chmod(stem+privateEnd, 0o600); err != nil {
			t.Fatal(err)
		}
		return record, private.(crypto.Signer), stem
	}
	k.ksk, k.kskPrivate, k.kskAt = make(dns.ZONE | dns.SEP)
	k.zsk, _, k.zskAt = make(dns.ZONE)
	return k
}

// moveAway signs both keys ahead for some days from a time, and takes the private part of the KSK away.
func (k *splitKey) moveAway(t *testing.T, name string, from time.Time, days int, records ...dns.RR) {
	t.Helper()
	s := &dns.RRSIG{Algorithm: k.ksk.Algorithm, KeyTag: k.ksk.KeyTag(), SignerName: testZone, Inception: uint32(from.Unix()),
		Expiration: uint32(from.AddDate(0, 0, days).Unix())}
	s.Hdr.Ttl = 7200
	for _, rr := range records {
		rr.Header().Ttl = 7200
	}
	if err := s.Sign(k.kskPrivate, records); err != nil {
		t.Fatal(err)
	}
	text := s.String() + "\n"
	for _, rr := range records {
		text += rr.String() + "\n"
	}
	testbed.Put(t, k.kskAt+name+signedEnd, text)
	if err := os.Remove(k.kskAt + privateEnd); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
}

func (k *splitKey) both() []dns.RR { return []dns.RR{dns.Copy(k.ksk), dns.Copy(k.zsk)} }

// signersOf has a signer sign the keys and another set, and returns the tags of the keys that sign each.
func signersOf(t *testing.T, keys *Keys, now time.Time) (ofKeys, ofOthers []uint16, expires time.Time) {
	t.Helper()
	s := newSigner(t)
	s.SetKeys(keys, week)
	p, err := s.Begin(now)
	if err != nil {
		t.Fatal(err)
	}
	set := p.KeyRecords()[dns.TypeDNSKEY]
	signatures, other := p.Add(set), p.Add([]dns.RR{rr(t, "dl.example.org. 60 IN A 192.0.2.1")})
	if expires, err = p.End(); err != nil {
		t.Fatal(err)
	}
	for _, s := range signatures.Records {
		i := slices.IndexFunc(set, func(rr dns.RR) bool { return rr.(*dns.DNSKEY).KeyTag() == s.KeyTag })
		if i < 0 || s.Verify(set[i].(*dns.DNSKEY), set) != nil || !s.ValidityPeriod(now) {
			t.Errorf("a bad signature: %v", s)
		}
		ofKeys = append(ofKeys, s.KeyTag)
	}
	for _, s := range other.Records {
		ofOthers = append(ofOthers, s.KeyTag)
	}
	return ofKeys, ofOthers, expires
}

// TestSplitKeys has one key sign the keys and another one all else, with both here, and with the first elsewhere.
func TestSplitKeys(t *testing.T) {
	t.Parallel()
	k := newSplitKey(t)
	c := testConfig(k.kskAt, k.zskAt)
	for _, away := range []bool{false, true} {
		if away {
			k.moveAway(t, ".1", testNow.Add(-time.Hour), 3, k.both()...)
			k.moveAway(t, ".2", testNow.AddDate(0, 0, 2), 20, k.both()...)
		}
		for _, days := range []int{0, 2, 10} {
			now := testNow.AddDate(0, 0, days)
			keys, err := Read(c, "", now)
			if err != nil {
				t.Fatal(err)
			}
			ofKeys, ofOthers, expires := signersOf(t, keys, now)
			if !slices.Equal(ofKeys, []uint16{k.ksk.KeyTag()}) || !slices.Equal(ofOthers, []uint16{k.zsk.KeyTag()}) {
				t.Errorf("away %v, day %d: keys are signed by %d, others by %d", away, days, ofKeys, ofOthers)
			}
			want := now.Add(week)
			if away && days <= 2 {
				want = testNow.AddDate(0, 0, 3).Add(-time.Hour) // the end of the first file
			}
			if !expires.Equal(want) {
				t.Errorf("away %v, day %d: the first signature expires at %v, want %v", away, days, expires, want)
			}
		}
	}
	for at, want := range map[time.Time]string{testNow.Add(-time.Hour - time.Second): "has signed DNSKEY records for",
		testNow.AddDate(0, 0, 22): "has signed DNSKEY records for", testNow.AddDate(0, 0, 22).Add(-time.Second): ""} {
		_, err := Read(c, "", at)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("at %v: %v, want %q", at, err, want)
		}
	}
}

// TestTwoAlgorithms has keys of two algorithms sign all.
func TestTwoAlgorithms(t *testing.T) {
	t.Parallel()
	k, err := read(testConfig(), "", testNow)
	if err != nil {
		t.Fatal(err)
	}
	if k, err = k.Roll("ED25519", testNow, time.Hour); err != nil {
		t.Fatal(err)
	}
	for hours, keys := range map[int]int{0: 1, 3: 2} { // when the second is published
		now := testNow.Add(time.Duration(hours) * time.Hour)
		if ofKeys, ofOthers, _ := signersOf(t, k, now); len(ofKeys) != keys || len(ofOthers) != 2 || ofOthers[0] == ofOthers[1] {
			t.Errorf("after %d hours: keys are signed by %d, others by %d", hours, ofKeys, ofOthers)
		}
	}
}

// TestSignedAheadIsRefused wants an error for keys that were signed elsewhere and do not go with the zone.
func TestSignedAheadIsRefused(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		spoil func(k *splitKey, text string) string
		files func(k *splitKey) []string
		want  string
	}{
		"of another zone": {func(_ *splitKey, text string) string { return strings.ReplaceAll(text, testZone, "other.example.") }, nil,
			"has a record of other.example., want those of dl.example.org."},
		"another type": {func(_ *splitKey, text string) string { return text + "dl.example.org. 60 IN A 192.0.2.1\n" }, nil,
			"want DNSKEY, CDS, CDNSKEY and RRSIG records, got A"},
		"without signatures": {func(k *splitKey, _ string) string { return k.ksk.String() + "\n" }, nil, "want DNSKEY records and their signatures"},
		"without keys": {func(_ *splitKey, text string) string { return strings.SplitAfter(text, "\n")[0] }, nil,
			"is not one of those in this file by the key"},
		"a key less": {func(_ *splitKey, text string) string { return strings.Join(strings.SplitAfter(text, "\n")[:2], "") }, nil,
			"is not one of those in this file by the key"},
		"signed by the ZSK, too": {func(k *splitKey, text string) string {
			return text + strings.Replace(strings.SplitAfter(text, "\n")[0], fmt.Sprintf(" %d ", k.ksk.KeyTag()), fmt.Sprintf(" %d ", k.zsk.KeyTag()), 1)
		}, nil, "as dnssec-signzone -x makes them"},
		"no records": {func(*splitKey, string) string { return "" }, nil, "want DNSKEY records and their signatures"},
		"garbage":    {func(*splitKey, string) string { return "garbage (\n" }, nil, "dns: "},
		"without the other key": {nil, func(k *splitKey) []string { return []string{k.kskAt} },
			"want one more key without the flag SEP (256)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := newSplitKey(t)
			k.moveAway(t, ".1", testNow.Add(-time.Hour), 10, k.both()...)
			file := k.kskAt + ".1" + signedEnd
			if test.spoil != nil {
				text, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				testbed.Put(t, file, test.spoil(k, string(text)))
			}
			files := []string{k.kskAt, k.zskAt}
			if test.files != nil {
				files = test.files(k)
			}
			if _, err := Read(testConfig(files...), "", testNow); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
	k := newSplitKey(t)
	k.moveAway(t, ".1", testNow.Add(-time.Hour), 10, k.ksk) // without the ZSK
	if _, err := Read(testConfig(k.kskAt, k.zskAt), "", testNow); err == nil ||
		!strings.Contains(err.Error(), fmt.Sprintf("do not have the key %d, which signs", k.zsk.KeyTag())) {
		t.Errorf("a key that was not signed: %v", err)
	}
}

// TestSignedAheadDS publishes CDS records that were signed elsewhere, with the TTL that they were signed with.
func TestSignedAheadDS(t *testing.T) {
	t.Parallel()
	k := newSplitKey(t)
	k.moveAway(t, ".1", testNow.Add(-time.Hour), 10, k.both()...)
	k.moveAway(t, ".2", testNow.Add(-time.Hour), 10, k.ksk.ToDS(dns.SHA256).ToCDS())
	text := ""
	for _, file := range []string{k.kskAt + ".1" + signedEnd, k.kskAt + ".2" + signedEnd} {
		part, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text += string(part)
	}
	testbed.Put(t, k.kskAt+".2"+signedEnd, text) // DNSKEY records have to be in each file
	keys, err := Read(testConfig(k.kskAt, k.zskAt), "", testNow)
	if err != nil {
		t.Fatal(err)
	}
	r, err := keys.at(testNow)
	if err != nil {
		t.Fatal(err)
	}
	sets := r.records()
	if len(sets) != 2 || len(sets[dns.TypeCDS]) != 1 || len(sets[dns.TypeDNSKEY]) != 2 || sets[dns.TypeCDS][0].Header().Ttl != 7200 {
		t.Errorf("%v", sets)
	}
}

// TestSignedAheadAsWritten reads records in another letter case and without a TTL, and no folder.
func TestSignedAheadAsWritten(t *testing.T) {
	t.Parallel()
	k := newSplitKey(t)
	k.moveAway(t, ".1", testNow.Add(-time.Hour), 10, k.both()...)
	file := k.kskAt + ".1" + signedEnd
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	first, rest, _ := strings.Cut(string(text), "\n") // a record takes the TTL of the one before
	written := strings.ReplaceAll(rest+first+"\n", "7200\tIN\tDNSKEY", "IN\tDNSKEY")
	written = strings.ReplaceAll(written, testZone+"\tIN\tDNSKEY", strings.ToUpper(testZone)+"\tIN\tDNSKEY")
	if strings.Count(written, strings.ToUpper(testZone)) != 2 {
		t.Fatalf("%s", written)
	}
	testbed.Put(t, file, written)
	keys, err := Read(testConfig(k.kskAt, k.zskAt), "", testNow)
	if err != nil {
		t.Fatal(err)
	}
	if ofKeys, _, _ := signersOf(t, keys, testNow); !slices.Equal(ofKeys, []uint16{k.ksk.KeyTag()}) {
		t.Errorf("keys are signed by %d", ofKeys)
	}
	if err := os.Mkdir(k.kskAt+".2"+signedEnd, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(testConfig(k.kskAt, k.zskAt), "", testNow); err == nil || !strings.Contains(err.Error(), "cannot read signed keys") {
		t.Errorf("with a folder: %v", err)
	}
}

// TestPrivateKeyIsMissing takes what was signed elsewhere only if there is no private key here.
func TestPrivateKeyIsMissing(t *testing.T) {
	t.Parallel()
	k := newSplitKey(t)
	text, err := os.ReadFile(k.kskAt + privateEnd)
	if err != nil {
		t.Fatal(err)
	}
	refused := func(what, want string) {
		t.Helper()
		if _, err := Read(testConfig(k.kskAt, k.zskAt), "", testNow); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", what, err, want)
		}
	}
	if err := os.Remove(k.kskAt + privateEnd); err != nil {
		t.Fatal(err)
	}
	refused("without a private key", "cannot read a DNSSEC key: ")
	k.moveAway(t, ".1", testNow.Add(-time.Hour), 10, k.both()...)
	testbed.Put(t, k.kskAt+privateEnd, string(text))
	if err := os.Chmod(k.kskAt+privateEnd, 0o644); err != nil {
		t.Fatal(err)
	}
	refused("with a private key that others can read", "chmod 600")
}

// TestNextPeriod lists when records of the keys that were signed ahead begin to hold, or end.
func TestNextPeriod(t *testing.T) {
	t.Parallel()
	k := newSplitKey(t)
	k.moveAway(t, ".1", testNow.AddDate(0, 0, -1), 3, k.both()...)
	k.moveAway(t, ".2", testNow.AddDate(0, 0, 1), 3, k.both()...)
	keys, err := Read(testConfig(k.kskAt, k.zskAt), "", testNow)
	if err != nil {
		t.Fatal(err)
	}
	now := testNow
	for _, hours := range []time.Duration{24, 25, 48, 96} {
		if now = keys.NextPeriod(now); !now.Equal(testNow.Add(hours * time.Hour)) {
			t.Errorf("the next period begins or ends at %v, want it after %d hours", now, hours)
		}
	}
	if at := keys.NextPeriod(now); !at.IsZero() {
		t.Errorf("after the last, there is one at %v", at)
	}
}

// TestPeriodIsTakenLate keeps what was signed for an earlier period until clocks that are behind take the next one for
// good, while it holds.
func TestPeriodIsTakenLate(t *testing.T) {
	t.Parallel()
	for days, late := range map[int]time.Duration{3: backdating, 1: backdating / 2} {
		k := newSplitKey(t)
		next := testNow.AddDate(0, 0, 1)
		k.moveAway(t, ".1", testNow.Add(-24*time.Hour*time.Duration(days-1)+late), days, k.both()...)
		k.moveAway(t, ".2", next, 8, k.both()...)
		keys, err := Read(testConfig(k.kskAt, k.zskAt), "", next)
		if err != nil {
			t.Fatal(err)
		}
		for after, taken := range map[time.Duration]bool{0: false, late - time.Second: false, late: true, 2 * late: true} {
			set := keys.signedAt(next.Add(after))[dns.TypeDNSKEY][0]
			if set.from().Equal(next) != taken {
				t.Errorf("%v after the next period has begun, with %d days before, the set is from %v", after, days, set.from())
			}
		}
	}
}

// TestTwoPeriodsInOneFile serves each record once, with signatures of the records' TTL.
func TestTwoPeriodsInOneFile(t *testing.T) {
	t.Parallel()
	k := newSplitKey(t)
	text := ""
	for i, name := range []string{".1", ".2"} {
		k.moveAway(t, name, testNow.AddDate(0, 0, i-1), 3, k.both()...)
		part, err := os.ReadFile(k.kskAt + name + signedEnd)
		if err != nil {
			t.Fatal(err)
		}
		text += strings.Replace(string(part), "\t7200\t", "\t60\t", 1) // of the signature, which comes first
	}
	if err := os.Remove(k.kskAt + ".2" + signedEnd); err != nil {
		t.Fatal(err)
	}
	testbed.Put(t, k.kskAt+".1"+signedEnd, text)
	keys, err := Read(testConfig(k.kskAt, k.zskAt), "", testNow)
	if err != nil {
		t.Fatal(err)
	}
	for days := range 3 {
		set := keys.signedAt(testNow.AddDate(0, 0, days))[dns.TypeDNSKEY][0]
		if len(set.records) != 2 || set.records[0].Header().Ttl != 7200 || set.signature.Hdr.Ttl != 7200 {
			t.Errorf("on day %d, the set is %v with %v", days, set.records, set.signature)
		}
	}
}

// TestHoldsUntilCDSEnds has CDS and CDNSKEY records that were signed ahead end before the DNSKEY records do. That is
// said in time, whether they ask for DS records or have them withdrawn, and is no trouble any more once they have ended
// and the configuration does not ask for them.
func TestHoldsUntilCDSEnds(t *testing.T) {
	t.Parallel()
	for withdraw, sets := range map[bool]func(k *splitKey) []dns.RR{
		true: func(*splitKey) []dns.RR {
			return []dns.RR{rr(t, testZone+" CDS 0 0 0 00"), rr(t, testZone+" CDNSKEY 0 3 0 AA==")}
		},
		false: func(k *splitKey) []dns.RR { return []dns.RR{k.ksk.ToDS(dns.SHA256).ToCDS()} },
	} {
		k := newSplitKey(t)
		k.signAhead(t, ".1", k.both(), sets(k)...)
		k.moveAway(t, ".2", testNow.AddDate(0, 0, 8), 30, k.both()...)
		c := testConfig(k.kskAt, k.zskAt)
		c.DNSSEC.Withdraw = withdraw
		keys, err := Read(c, "", testNow)
		if err != nil {
			t.Fatal(err)
		}
		stats := Stats{Expires: testNow.AddDate(0, 0, 7), Ours: testNow.AddDate(1, 0, 0)}
		end := testNow.Add(-backdating).AddDate(0, 0, 10)
		if got := keys.HoldsUntil(stats, testNow); !got.Equal(end) {
			t.Errorf("withdraw %v: it holds until %v, want %v", withdraw, got, end)
		}
		if withdraw {
			continue
		}
		if got := keys.HoldsUntil(stats, end); !got.Equal(testNow.AddDate(0, 0, 38)) {
			t.Errorf("once CDS has ended, it holds until %v", got)
		}
	}
}
