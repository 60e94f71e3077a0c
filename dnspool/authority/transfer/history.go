package transfer

import (
	"cmp"
	"iter"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/miekg/dns"
)

const (
	maxDeltas       = 100     // that are kept
	maxDeltaRecords = 100_000 // in all of them
)

// A record is a resource record, with its wire format as a key to sort and compare by. Nothing in it is changed.
type record struct {
	key string
	rr  dns.RR
}

// Sort sorts records by their wire format, which puts those of a set together. rrs stays as it is.
func Sort(rrs []dns.RR) Records {
	records := make([]record, 0, len(rrs))
	scratch := make([]byte, dns.MaxMsgSize)
	for _, rr := range rrs {
		rr = dns.Copy(rr)                                                   // PackRR writes the length into it, which answers are made of meanwhile
		if end, err := dns.PackRR(rr, scratch, 0, nil, false); err == nil { // checkPacks has seen to it
			records = append(records, record{string(scratch[:end]), rr})
		}
	}
	slices.SortFunc(records, compareRecords)
	return slices.CompactFunc(records, func(a, b record) bool { return a.key == b.key })
}

func compareRecords(a, b record) int { return cmp.Compare(a.key, b.key) }

func sameRecords(a, b Records) bool {
	return slices.EqualFunc(a, b, func(x, y record) bool { return x.key == y.key })
}

// Merge returns the records of a and b, both of which are sorted.
func Merge(a, b Records) Records {
	all := make([]record, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		switch c := compareRecords(a[0], b[0]); {
		case c < 0:
			all, a = append(all, a[0]), a[1:]
		case c > 0:
			all, b = append(all, b[0]), b[1:]
		default:
			all, a, b = append(all, a[0]), a[1:], b[1:]
		}
	}
	return append(append(all, a...), b...)
}

// Records are sorted, and each is there once.
type Records []record

// A version is the zone as a transfer gives it.
type version struct {
	soa     *dns.SOA
	records Records   // without the SOA
	expires time.Time // the first signature; zero if there is none
	identity
}

// An identity is what is known of a version besides its serial.
type identity struct {
	content uint64   // a hash of what it tells; 0: no other server has the same records
	others  []string // the other servers that were known since it was made, sorted; also those forgotten since
	shared  []string // those of them that have had the same under the same serial, sorted
}

// holds reports whether no signature has expired at a time.
func (v *version) holds(now time.Time) bool { return v.expires.IsZero() || now.Before(v.expires) }

// A delta leads from one version to the next.
type delta struct {
	from, to       *dns.SOA
	removed, added []record
	identity       // of the version from which it leads
}

// diff returns what leads from one version to another.
func diff(from, to version) delta {
	d := delta{from: from.soa, to: to.soa, identity: from.identity}
	a, b := from.records, to.records
	for len(a) > 0 && len(b) > 0 {
		switch c := compareRecords(a[0], b[0]); {
		case c < 0:
			d.removed, a = append(d.removed, a[0]), a[1:]
		case c > 0:
			d.added, b = append(d.added, b[0]), b[1:]
		default:
			a, b = a[1:], b[1:]
		}
	}
	d.removed, d.added = append(d.removed, a...), append(d.added, b...)
	return d
}

// size is how many records are sent for d.
func (d delta) size() int { return len(d.removed) + len(d.added) + 2 }

// A history is the latest version, and how it came about. Neither is changed once made.
type history struct {
	version
	deltas []delta  // the last one leads to version, and each to the next
	known  []string // other servers of the zone

	packing   sync.Once // fills what follows, at the first request
	packed    [][]byte  // the answer to AXFR
	packError error
}

// next is the history once v has become the latest version. Of old deltas, it forgets those that are too many. It is a
// new one if v is the first version, or if the journal is ahead of its time. After a start, v may be the version that
// was the latest before.
func (h *history) next(v version) *history {
	if h != nil && v.soa.Serial == h.soa.Serial && v.content != 0 && sameRecords(h.records, v.records) {
		v.identity = h.identity
		return &history{version: v, deltas: h.deltas, known: h.known}
	}
	if h == nil || int32(v.soa.Serial-h.soa.Serial) <= 0 {
		return &history{version: v}
	}
	d := diff(h.version, v)
	n := &history{version: v, deltas: append(slices.Clone(h.deltas), d)}
	size := 0
	for i := len(n.deltas) - 1; i >= 0; i-- {
		if size += n.deltas[i].size(); size > maxDeltaRecords || len(n.deltas)-i > maxDeltas {
			n.deltas = slices.Clone(n.deltas[i+1:])
			break
		}
	}
	return n
}

// hear is the history once it is known what other servers of the zone give, and which others there should be. A
// secondary that has been at one of them may have other records under a serial of this server's: both may have made a
// version at the same second. So only a serial under which each of the others has had the same is one from which a
// delta may lead.
func (h *history) hear(others map[string]ZoneVersion, unheard []string) (next *history, news bool) {
	names := union(slices.Collect(maps.Keys(others)), unheard)
	next = &history{version: h.version, deltas: slices.Clone(h.deltas), known: names}
	news = next.version.hear(next.soa.Serial, names, others)
	for i := range next.deltas {
		d := &next.deltas[i]
		news = d.hear(d.from.Serial, names, others) || news
	}
	if !news && slices.Equal(names, h.known) {
		return h, false
	}
	return next, news
}

// hear notes which other servers there are, and which of them have the version, under its serial. It reports whether
// that is news.
func (i *identity) hear(serial uint32, names []string, others map[string]ZoneVersion) (news bool) {
	var agree []string
	for _, name := range names {
		if i.content != 0 && others[name] == (ZoneVersion{serial, i.content}) {
			agree = append(agree, name)
		}
	}
	all, shared := union(i.others, names), union(i.shared, agree)
	news = len(all) > len(i.others) || len(shared) > len(i.shared)
	i.others, i.shared = all, shared
	return news
}

// union is the names of a and b, sorted, each once.
func union(a, b []string) []string {
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}

// agreed reports whether each of the other servers has had the version.
func (i *identity) agreed() bool {
	return !slices.ContainsFunc(i.others, func(name string) bool { return !slices.Contains(i.shared, name) })
}

// since returns the deltas that lead from the version with a serial to the latest one. ok is false if there are none,
// if they are longer than the zone, or if another server may have other records under the serial.
func (h *history) since(serial uint32) (deltas []delta, ok bool) {
	size := 0
	for i := len(h.deltas) - 1; i >= 0; i-- {
		if size += h.deltas[i].size(); size > len(h.records)+2 {
			return nil, false
		}
		if h.deltas[i].from.Serial == serial {
			return h.deltas[i:], h.deltas[i].agreed()
		}
	}
	return nil, false
}

// full is the content of an AXFR response (RFC 5936 section 2.2).
func (h *history) full() iter.Seq[dns.RR] {
	return func(yield func(dns.RR) bool) {
		if !yield(h.soa) {
			return
		}
		for _, r := range h.records {
			if !yield(r.rr) {
				return
			}
		}
		yield(h.soa)
	}
}

// incremental is the content of an IXFR response (RFC 1995 section 4).
func (h *history) incremental(deltas []delta) iter.Seq[dns.RR] {
	return func(yield func(dns.RR) bool) {
		if !yield(h.soa) {
			return
		}
		for _, d := range deltas {
			for _, part := range []struct {
				soa     *dns.SOA
				records []record
			}{{d.from, d.removed}, {d.to, d.added}} {
				if !yield(part.soa) {
					return
				}
				for _, r := range part.records {
					if !yield(r.rr) {
						return
					}
				}
			}
		}
		yield(h.soa)
	}
}
