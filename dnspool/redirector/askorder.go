package redirector

import (
	"net/netip"

	"mirrorpool/dnspool"
	"mirrorpool/health/files"
)

// maxDoubted is how many mirrors are asked for a file that they, or the origin, lack as far as is known.
const maxDoubted = 12

// An askOrder says which mirrors are asked for a file, one after the other, for one request.
type askOrder struct {
	handler  *Handler
	snapshot *dnspool.Snapshot
	scratch  *scratch
	resumes  bool
	plain    string
	encoded  string   // not as the client spells it: servers refuse some spellings of what they have
	tried    []uint64 // mirrors that were returned, in a bit for each
	left     []uint64 // the others
	doubted  int      // how many that lack the file as far as is known
	few      bool     // the origin lacks the file as far as is known
}

func (h *Handler) newAskOrder(snapshot *dnspool.Snapshot, s *scratch, plain string, resumes bool) *askOrder {
	return &askOrder{handler: h, snapshot: snapshot, scratch: s, resumes: resumes, plain: plain, encoded: encodedPath(plain)}
}

// next returns the best of the mirrors that may carry the file and were not returned before; and when these are all, a
// few that lack it as far as is known, as listings may be wrong. It returns none if no other is left.
func (o *askOrder) next() []files.Candidate {
	for !o.few || o.doubted < maxDoubted {
		k := o.handler.Catalog.Find(o.plain, o.handler.Now())
		picked := o.pick(func(word int) uint64 { return k.Any[word] }, len(k.Any))
		if isDoubted := picked == nil && o.doubted < maxDoubted; isDoubted || o.few {
			o.doubted += files.MaxAsked
			if isDoubted {
				picked = o.pick(func(int) uint64 { return ^uint64(0) }, len(k.Any))
			}
		}
		if picked == nil {
			return nil
		}
		choice := &o.scratch.choice
		for i := range min(len(choice.RunnersUp)+1, files.MaxAsked) {
			o.try(nth(choice, i).Number)
		}
		if list := candidates(choice, k, o.encoded); len(list) > 0 {
			return list
		}
	}
	return nil
}

// pick chooses among mirrors that were not returned before.
func (o *askOrder) pick(among func(word int) uint64, words int) *dnspool.Mirror {
	o.left = o.left[:0]
	for word := range words {
		bits := among(word)
		if word < len(o.tried) {
			bits &^= o.tried[word]
		}
		o.left = append(o.left, bits)
	}
	s := o.scratch
	s.request.Carriers, s.request.Verified = o.left, nil
	o.snapshot.Choose(&s.choice, &s.request)
	if o.resumes {
		o.handler.pickAnother(o.snapshot, s)
	}
	return s.choice.Picked
}

// try takes in that a mirror is returned.
func (o *askOrder) try(number int) {
	for len(o.tried) <= number/64 {
		o.tried = append(o.tried, 0)
	}
	o.tried[number/64] |= 1 << (number % 64)
}

// candidates are the first mirrors of a choice, less those that are known to carry a file, to ask for it.
func candidates(c *dnspool.Choice, k *files.Carriers, path string) (list []files.Candidate) {
	for i := range min(len(c.RunnersUp)+1, files.MaxAsked) {
		if m := nth(c, i); m != nil && !files.Contains(k.Has, m.Number) {
			if addr, ok := upAddress(m); ok {
				list = append(list, candidate(m, addr, path))
			}
		}
	}
	return list
}

// nth returns the mirror that is picked, or the runner-up of a number, from 1; or nil.
func nth(c *dnspool.Choice, i int) *dnspool.Mirror {
	if i == 0 {
		return c.Picked
	}
	return c.RunnersUp[i-1]
}

func candidate(m *dnspool.Mirror, addr netip.Addr, path string) files.Candidate {
	return files.Candidate{Number: m.Number, URL: m.URLPrefix + path, Addr: addr}
}
