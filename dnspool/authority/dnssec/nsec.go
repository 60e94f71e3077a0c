package dnssec

import (
	"slices"
	"sort"
	"strings"

	"github.com/miekg/dns"

	"mirrorpool/dnspool/authority/wire"
)

// A Chain is the names of a zone that have records of the zone, in canonical order (RFC 4034 section 6.1): those at
// which an NSEC record stands. It is not changed once made.
type Chain struct {
	keys   []string // the names as sort keys
	owners []string
	types  [][]uint16
	ttl    uint32
}

// MaxSortKey is the length of the longest sort key, in bytes.
const MaxSortKey = 2 * wire.MaxNameSize

// NewChain returns the chain of names with the types of their records, NSEC and RRSIG aside. The names are in lower
// case. ttl is that of its records: the time for which a denial holds (RFC 9077).
func NewChain(names map[string][]uint16, ttl uint32) *Chain {
	c := &Chain{ttl: ttl}
	type entry struct {
		key, owner string
	}
	entries := make([]entry, 0, len(names))
	for name := range names {
		entries = append(entries, entry{string(AppendSortKey(nil, []byte(wire.Name(name)))), name})
	}
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.key, b.key) })
	for _, e := range entries {
		types := append([]uint16{dns.TypeNSEC, dns.TypeRRSIG}, names[e.owner]...)
		slices.Sort(types)
		c.keys, c.owners = append(c.keys, e.key), append(c.owners, e.owner)
		c.types = append(c.types, slices.Compact(types))
	}
	return c
}

// AppendSortKey appends the sort key of a name in wire format and lower case: that of another name is greater, byte by
// byte, if and only if the other name comes later in canonical order.
//
// The labels come from the last to the first, each with an end that is less than all bytes in it.
func AppendSortKey(dst, name []byte) []byte {
	const end, escape = 0, 1 // a byte 0 or 1 in a label is escaped
	var starts [wire.MaxNameSize / 2]uint8
	labels := 0
	for i := 0; i < len(name) && name[i] != 0 && labels < len(starts); i += 1 + int(name[i]) {
		starts[labels] = uint8(i)
		labels++
	}
	for labels--; labels >= 0; labels-- {
		at := int(starts[labels])
		for _, b := range name[at+1 : at+1+int(name[at])] {
			if b <= escape {
				dst = append(dst, escape, b+1)
			} else {
				dst = append(dst, b)
			}
		}
		dst = append(dst, end)
	}
	return dst
}

// Len is how many names there are.
func (c *Chain) Len() int { return len(c.owners) }

// Find returns the last name of the chain that is not behind the one with a sort key, and whether that is the name
// itself. The key has to be of a name of the zone.
func (c *Chain) Find(key []byte) (i int, same bool) {
	i = sort.Search(len(c.keys), func(i int) bool { return c.keys[i] > string(key) }) - 1
	return max(i, 0), i >= 0 && c.keys[i] == string(key)
}

// FindName is Find for a name.
func (c *Chain) FindName(name string) (i int, same bool) {
	return c.Find(AppendSortKey(nil, []byte(wire.Name(name))))
}

// Record returns the NSEC record of a name. The last one's leads to the first.
func (c *Chain) Record(i int) *dns.NSEC {
	return &dns.NSEC{
		Hdr:        dns.RR_Header{Name: c.owners[i], Rrtype: dns.TypeNSEC, Class: dns.ClassINET, Ttl: c.ttl},
		NextDomain: c.owners[(i+1)%len(c.owners)], TypeBitMap: c.types[i],
	}
}

// Owner returns a name of the chain.
func (c *Chain) Owner(i int) string { return c.owners[i] }
