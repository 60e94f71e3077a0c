package transfer

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
	"go.uber.org/zap"
)

// randomVersion is a zone of some of few records, so that two of them have much in common.
func randomVersion(r *rand.Rand, serial uint32) version {
	var rrs []dns.RR
	for i := range 40 {
		if r.IntN(2) == 0 {
			rr, err := dns.NewRR(fmt.Sprintf("n%d.dl.example.org. %d IN A 192.0.2.%d", i%7, 60+60*r.IntN(2), i))
			if err != nil {
				panic(err)
			}
			rrs = append(rrs, rr)
		}
	}
	r.Shuffle(len(rrs), func(i, j int) { rrs[i], rrs[j] = rrs[j], rrs[i] })
	return version{soa: &dns.SOA{Hdr: testHeader("dl.example.org.", dns.TypeSOA, 3600), Ns: "ns1.example.org.",
		Mbox: "x.example.org.", Serial: serial}, records: Sort(rrs)}
}

// apply is what a secondary makes of a version when it gets d.
func (d delta) apply(v version) version {
	removed := map[string]bool{}
	for _, r := range d.removed {
		removed[r.key] = true
	}
	kept := slices.DeleteFunc(slices.Clone(v.records), func(r record) bool { return removed[r.key] })
	return version{soa: d.to, records: Merge(kept, d.added)}
}

func keysOf(records []record) (keys []string) {
	for _, r := range records {
		keys = append(keys, r.key)
	}
	return keys
}

// TestDiff applies the difference of two versions to the one, and wants the other; and wants nothing in it twice.
func TestDiff(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 1000 {
		from, to := randomVersion(r, 1), randomVersion(r, 2)
		if i%10 == 0 {
			to.records = slices.Clone(from.records)
		}
		d := diff(from, to)
		got := d.apply(from)
		if !slices.Equal(keysOf(got.records), keysOf(to.records)) || got.soa.Serial != 2 {
			t.Fatalf("from %v to %v: %+v gives %v", from, to, d, got)
		}
		for _, removed := range d.removed {
			if slices.ContainsFunc(d.added, func(a record) bool { return a.key == removed.key }) {
				t.Fatalf("%v is removed and added", removed.rr)
			}
		}
	}
}

// TestHistory makes many versions, and follows the deltas from each that is kept to the latest.
func TestHistory(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(3, 4))
	versions := map[uint32]version{1: randomVersion(r, 1)}
	h := &history{version: versions[1]}
	const last = maxDeltas + 50
	for serial := uint32(2); serial <= last; serial++ {
		versions[serial] = randomVersion(r, serial)
		h = h.next(versions[serial])
	}
	if len(h.deltas) != maxDeltas || h.deltas[0].from.Serial != last-maxDeltas {
		t.Fatalf("%d versions are kept, from %d", len(h.deltas), h.deltas[0].from.Serial)
	}
	body, err := encodeHistory(h)
	if err != nil {
		t.Fatal(err)
	}
	restored, err := decodeHistory(body, "dl.example.org.")
	if err != nil {
		t.Fatal(err)
	}
	for i := range restored.deltas {
		v := versions[restored.deltas[i].from.Serial]
		for _, d := range restored.deltas[i:] {
			v = d.apply(v)
		}
		if !slices.Equal(keysOf(v.records), keysOf(versions[last].records)) || v.soa.Serial != last {
			t.Fatalf("the deltas from %d do not lead to %d", restored.deltas[i].from.Serial, last)
		}
	}
	for _, serial := range []uint32{0, 1, last - maxDeltas - 1, last, last + 1} {
		if deltas, ok := h.since(serial); ok {
			t.Errorf("there are %d deltas since %d", len(deltas), serial)
		}
	}
	if deltas, ok := h.since(last - 1); ok != (len(h.records)+2 >= h.deltas[maxDeltas-1].size()) || ok && len(deltas) != 1 {
		t.Errorf("since the version before the latest: %d deltas, %v", len(deltas), ok)
	}
	if _, err := decodeHistory(body, "other.example.org."); err == nil {
		t.Error("the history of another zone was taken")
	}
}

// TestShared: changes are given since a version that all other servers have had, too, and since no other.
func TestShared(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(5, 6))
	var h *history
	publish := func(serial uint32, others map[string]ZoneVersion) {
		v := randomVersion(r, serial)
		v.records = Merge(largeVersion.records, v.records) // so that the changes are never longer than the zone
		v.content = uint64(serial)
		if h == nil || serial != h.soa.Serial {
			h = h.next(v)
		}
		h, _ = h.hear(others, nil)
	}
	want := func(when string, since ...uint32) {
		t.Helper()
		body, err := encodeHistory(h)
		if err != nil {
			t.Fatal(err)
		}
		restored, err := decodeHistory(body, "dl.example.org.")
		if err != nil {
			t.Fatal(err)
		}
		for serial := uint32(1); serial <= h.soa.Serial; serial++ {
			_, ok := h.since(serial)
			if _, kept := restored.since(serial); ok != slices.Contains(since, serial) || kept != ok {
				t.Errorf("%s: changes since %d: %v, after a restart %v", when, serial, ok, kept)
			}
		}
	}
	publish(1, nil)
	publish(2, nil)
	want("alone", 1)
	publish(3, map[string]ZoneVersion{"ams": {3, 3}})
	publish(4, map[string]ZoneVersion{"ams": {3, 3}})
	want("another one has come", 3)
	publish(4, map[string]ZoneVersion{"ams": {4, 99}})
	publish(5, map[string]ZoneVersion{"ams": {5, 5}})
	publish(6, map[string]ZoneVersion{"ams": {6, 6}})
	want("both have made a version 4", 3, 5)
	publish(7, map[string]ZoneVersion{"ams": {6, 6}, "nyc": {6, 6}})
	want("a third one has come late", 6)
	publish(8, map[string]ZoneVersion{"ams": {8, 8}, "nyc": {7, 7}}) // and so it is known what it had
	want("the third one is behind", 6)
	publish(9, map[string]ZoneVersion{"ams": {9, 9}, "nyc": {8, 8}})
	publish(9, map[string]ZoneVersion{"ams": {7, 7}, "nyc": {8, 8}}) // late news
	want("the other is behind", 6, 7, 8)
	publish(9, map[string]ZoneVersion{"ams": {9, 9}})
	want("the third is gone, and may be at work out of reach", 6, 7, 8)
	publish(10, nil)
	want("all are gone", 6, 7, 8)
}

// largeVersion has records that stay.
var largeVersion = func() version {
	var rrs []dns.RR
	for i := range 1000 {
		rrs = append(rrs, &dns.TXT{Hdr: testHeader(fmt.Sprintf("t%d.dl.example.org.", i), dns.TypeTXT, 60), Txt: []string{"x"}})
	}
	return version{records: Sort(rrs)}
}()

// TestHistoryIsBounded changes a zone wholly, again and again.
func TestHistoryIsBounded(t *testing.T) {
	t.Parallel()
	h := &history{version: version{soa: &dns.SOA{Hdr: testHeader("dl.example.org.", dns.TypeSOA, 1)}}}
	full := version{soa: h.soa, records: make([]record, maxDeltaRecords/4)}
	for i := range full.records {
		full.records[i].key = fmt.Sprintf("%08d", i)
	}
	for i := range 20 {
		v := full
		if i%2 == 1 {
			v.records = nil
		}
		v.soa = dns.Copy(v.soa).(*dns.SOA)
		v.soa.Serial = uint32(i + 1)
		h = h.next(v)
	}
	size := 0
	for _, d := range h.deltas {
		size += d.size()
	}
	if size > maxDeltaRecords || len(h.deltas) == 0 {
		t.Errorf("%d deltas with %d records are kept", len(h.deltas), size)
	}
}

func TestSavedState(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if got := loadSerial(dir, zap.NewNop()); got != 0 {
		t.Errorf("serial %d out of nothing", got)
	}
	if err := saveState(dir, serialName, []byte("1800000007\n")); err != nil {
		t.Fatal(err)
	}
	if got := loadSerial(dir, zap.NewNop()); got != 1_800_000_007 {
		t.Errorf("serial %d, want what was saved", got)
	}
	path := filepath.Join(dir, serialName)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	for name, damaged := range map[string]string{
		"cut": string(text[:len(text)-3]), "edited": strings.Replace(string(text), "1800000007", "1800000008", 1),
		"empty": "", "another version": strings.Replace(string(text), "serial 1", "serial 2", 1), "something else": "1800000007\n",
	} {
		if err := os.WriteFile(path, []byte(damaged), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := loadSerial(dir, zap.NewNop()); got != 0 {
			t.Errorf("%s: serial %d", name, got)
		}
		if _, err := os.Stat(path + ".bad"); err != nil {
			t.Errorf("%s: not set aside: %v", name, err)
		}
	}
}

// FuzzDecodeHistory reads random files. What it takes has to survive being written again.
func FuzzDecodeHistory(f *testing.F) {
	r := rand.New(rand.NewPCG(5, 6))
	h := &history{version: randomVersion(r, 1)}
	body, err := encodeHistory(h.next(randomVersion(r, 2)))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(body)
	f.Add([]byte(`{"zone":"dl.example.org."}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		h, err := decodeHistory(body, "dl.example.org.")
		if err != nil {
			return
		}
		again, err := encodeHistory(h)
		if err != nil {
			t.Fatal(err)
		}
		if h.soa.Hdr.Name != "dl.example.org." {
			t.Fatalf("took the SOA record of %s", h.soa.Hdr.Name)
		}
		if _, err := decodeHistory(again, "dl.example.org."); err != nil {
			t.Fatalf("%v of what was written from what was read", err)
		}
	})
}

func testHeader(owner string, rrtype uint16, ttl uint32) dns.RR_Header {
	return dns.RR_Header{Name: owner, Rrtype: rrtype, Class: dns.ClassINET, Ttl: ttl}
}
