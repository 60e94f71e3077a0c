package dnssec

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/miekg/dns"

	"mirrorpool/dnspool/authority/wire"
)

// TestCanonicalOrder sorts the names of RFC 4034 section 6.1.
func TestCanonicalOrder(t *testing.T) {
	t.Parallel()
	want := []string{"example.", "a.example.", "yljkjljk.a.example.", "z.a.example.", "zabc.a.example.", "z.example.",
		`\001.z.example.`, "*.z.example.", `\200.z.example.`}
	names := map[string][]uint16{}
	for _, name := range want {
		names[name] = []uint16{dns.TypeA}
	}
	c := NewChain(names, 60)
	if !slices.Equal(c.owners, want) {
		t.Errorf("%q, want %q", c.owners, want)
	}
	for i, name := range want {
		rr := c.Record(i)
		if rr.NextDomain != want[(i+1)%len(want)] || !slices.Equal(rr.TypeBitMap, []uint16{dns.TypeA, dns.TypeRRSIG, dns.TypeNSEC}) ||
			rr.Hdr.Ttl != 60 {
			t.Errorf("%v", rr)
		}
		if at, same := c.FindName(name); at != i || !same {
			t.Errorf("%s is found at %d, %v", name, at, same)
		}
	}
	for name, want := range map[string]int{"b.example.": 4, "zz.z.example.": 7, `\255.z.example.`: 8, `\000.example.`: 0, "zz.example.": 8} {
		if at, same := c.FindName(name); at != want || same {
			t.Errorf("%s is found at %d, %v; want %d", name, at, same, want)
		}
	}
}

// TestCanonicalOrderOfControls sorts labels with the bytes that a sort key uses itself.
func TestCanonicalOrderOfControls(t *testing.T) {
	t.Parallel()
	names := map[string][]uint16{}
	want := []string{"example.", `\000.example.`, `\000\000.example.`, `\000\001.example.`, `\001.example.`, `\002.example.`, "x.example.",
		"a.x.example.", `x\000.example.`, `a.x\000.example.`, `x\001.example.`, `x\002.example.`}
	for _, name := range want {
		names[name] = nil
	}
	if c := NewChain(names, 60); !slices.Equal(c.owners, want) {
		t.Errorf("%q, want %q", c.owners, want)
	}
}

// FuzzSortKey compares two names by their sort keys and label by label.
func FuzzSortKey(f *testing.F) {
	for _, pair := range [][2]string{{"\x01a\x00", "\x01a\x01a\x00"}, {"\x02a\x00\x00", "\x01a\x00"}, {"\x01\x00\x01z\x00", "\x01\x01\x01z\x00"},
		{"\x03www\x07example\x00", "\x07example\x00"}, {"\x00", "\x01\xff\x00"}} {
		f.Add([]byte(pair[0]), []byte(pair[1]))
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		x, y := labels(a), labels(b)
		if x == nil || y == nil {
			return
		}
		want := slices.CompareFunc(x, y, bytes.Compare)
		if got := bytes.Compare(AppendSortKey(nil, a), AppendSortKey(nil, b)); got != want {
			t.Errorf("%q and %q: %d, want %d", a, b, got, want)
		}
	})
}

// labels returns the labels of a name in wire format, the last first, or nil if it is none.
func labels(name []byte) [][]byte {
	found := [][]byte{}
	if len(name) > wire.MaxNameSize {
		return nil
	}
	for i := 0; i < len(name); {
		size := int(name[i])
		if size == 0 {
			if i+1 != len(name) {
				return nil
			}
			slices.Reverse(found)
			return found
		}
		if size > 63 || i+1+size > len(name) {
			return nil
		}
		found = append(found, name[i+1:i+1+size])
		i += 1 + size
	}
	return nil
}

// FuzzChain makes a chain of random names, and wants each name to be at itself or between two neighbours.
func FuzzChain(f *testing.F) {
	for seed := range uint64(4) {
		f.Add(seed, "a.b")
	}
	f.Fuzz(func(t *testing.T, seed uint64, query string) {
		r := rand.New(rand.NewPCG(seed, 1))
		names := map[string][]uint16{testZone: nil}
		known := map[string]bool{wire.Name(testZone): true} // a name has several spellings
		for range 1 + r.IntN(20) {
			name := testZone
			for range 1 + r.IntN(3) {
				name = string(rune('a'+r.IntN(4))) + "." + name
			}
			names[name] = []uint16{uint16(r.IntN(300))}
			known[wire.Name(name)] = true
		}
		c := NewChain(names, 60)
		name := dns.CanonicalName(query + "." + testZone)
		if _, ok := dns.IsDomainName(name); !ok || wire.Name(name) == "" || !dns.IsSubDomain(testZone, name) {
			return
		}
		i, same := c.FindName(name)
		if want := known[wire.Name(name)]; same != want {
			t.Errorf("%q: found %v, want %v", name, same, want)
		}
		key := string(AppendSortKey(nil, []byte(wire.Name(name))))
		if c.keys[i] > key || i+1 < c.Len() && c.keys[i+1] <= key {
			t.Errorf("%q is not between %q and its successor", name, c.owners[i])
		}
	})
}
