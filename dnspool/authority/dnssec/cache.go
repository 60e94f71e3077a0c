package dnssec

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"
)

const (
	backdating = time.Hour // of signatures, for clocks that are behind
	minKept    = 1024      // signatures that no zone uses at the moment, kept for when a mirror comes back
)

// Signatures are those of one record set. They are set when the pass that they were added to ends, and not changed
// after that.
type Signatures struct {
	Records []*dns.RRSIG // with the owner and the TTL that the set was added with
	Wire    [][]byte     // the data of each record

	made, due, expires time.Time
	used               uint64 // the latest pass
}

// fresh reports whether s may be used in a zone that is made now, with signatures that hold for validity.
func (s *Signatures) fresh(now time.Time, validity time.Duration) bool {
	return s.expires.After(now) && now.Before(s.due) && !now.Before(s.made.Add(-backdating)) &&
		!s.expires.After(now.Add(validity+backdating)) // as after a reload with a lower one
}

// A Signer makes signatures and keeps them from one pass to the next. It is used by one goroutine at a time, but for
// Stats and SetKeys.
type Signer struct {
	random *rand.Rand
	kept   map[string]*Signatures
	passes uint64
	packed []byte // scratch space; nil before the first signature

	mu       sync.Mutex // guards what follows
	keys     *Keys
	validity time.Duration
	stats    Stats
}

// Stats are what a signer has done.
type Stats struct {
	Made    uint64    // signatures
	Expires time.Time // the first of those in force; zero before the first pass
	Ours    time.Time // the same of those that were not made ahead elsewhere
	Failure string    // of the latest pass; "" if it succeeded
}

// NewSigner returns a signer, which spreads what falls due by random.
func NewSigner(random *rand.Rand) *Signer {
	return &Signer{random: random, kept: map[string]*Signatures{}}
}

// SetKeys has the next pass sign with keys, for validity; nil signs nothing.
func (s *Signer) SetKeys(keys *Keys, validity time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys, s.validity = keys, validity
	if keys == nil {
		s.stats.Expires, s.stats.Ours = time.Time{}, time.Time{}
	}
}

// Keys are those that the next pass signs with, or nil.
func (s *Signer) Keys() *Keys {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keys
}

// Stats returns what has been done.
func (s *Signer) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}

// A Pass signs the record sets of one zone.
type Pass struct {
	signer   *Signer
	now      time.Time
	validity time.Duration
	roles    *roles
	jobs     []job
	used     int
	expires  time.Time // of what was kept or made ahead
	ours     time.Time // of what was kept
	failed   error

	zoneID, keysID [sha256.Size]byte // of roles.signZone and roles.signKeys

	data, key []byte // scratch space
	records   [][]byte
}

// A job is a set that has no fresh signatures yet, but for those that were made ahead elsewhere.
type job struct {
	set        []dns.RR
	keys       []*Key
	signatures *Signatures
}

// Begin begins a pass. It returns an error if no key signs at that time.
func (s *Signer) Begin(now time.Time) (*Pass, error) {
	s.mu.Lock()
	keys, validity := s.keys, s.validity
	s.mu.Unlock()
	if keys == nil {
		return nil, s.fail(errors.New("there is no key to sign the zone with"))
	}
	// By the wall clock, which may be set while the monotonic one goes on, and in whole seconds, as signatures have it.
	now = now.Truncate(time.Second)
	roles, err := keys.at(now)
	if err != nil {
		return nil, s.fail(err)
	}
	s.passes++
	return &Pass{
		signer: s, now: now, validity: validity, roles: roles, zoneID: idOf(roles.signZone), keysID: idOf(roles.signKeys),
	}, nil
}

// idOf is another one for other keys.
func idOf(keys []*Key) [sha256.Size]byte {
	var ids strings.Builder
	for _, k := range keys {
		ids.WriteString(k.id)
		ids.WriteByte('\n')
	}
	return sha256.Sum256([]byte(ids.String()))
}

// KeyRecords returns the DNSKEY, CDS and CDNSKEY sets of the zone.
func (p *Pass) KeyRecords() map[uint16][]dns.RR { return p.roles.records() }

// Add has a set signed. All records have the same owner, type and TTL, which is the one that the signatures cover:
// in an answer it may be lower (RFC 4035 section 5.3.3).
func (p *Pass) Add(set []dns.RR) *Signatures {
	keys, id, ahead := p.roles.signZone, &p.zoneID, []*signedSet(nil)
	if rrtype := set[0].Header().Rrtype; slices.Contains(keyTypes, rrtype) {
		keys, id, ahead = p.roles.signKeys, &p.keysID, p.roles.signed[rrtype]
	}
	p.key = p.appendKey(append(p.key[:0], id[:]...), set)
	for _, s := range ahead {
		p.expires = first(p.expires, s.until())
		p.key = append(p.key, s.signature.Signature...)
	}
	kept := p.signer.kept[string(p.key)]
	switch {
	case kept != nil && kept.used == p.signer.passes:
		return kept // it has been added to this pass before
	case kept != nil && kept.fresh(p.now, p.validity):
		p.expires, p.ours = first(p.expires, kept.expires), first(p.ours, kept.expires)
	default:
		kept = &Signatures{}
		for _, s := range ahead {
			p.failed = errors.Join(p.failed, kept.add(dns.Copy(s.signature).(*dns.RRSIG)))
		}
		p.signer.kept[string(p.key)] = kept
		p.jobs = append(p.jobs, job{set, keys, kept})
	}
	kept.used = p.signer.passes
	p.used++
	return kept
}

// first returns the earlier of two times, of which a is none if it is zero.
func first(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

// appendKey appends what signatures of a set are kept under, besides their keys: all that they depend on but the time.
func (p *Pass) appendKey(dst []byte, set []dns.RR) []byte {
	h := set[0].Header()
	dst = append(dst, h.Name...)
	dst = append(dst, 0)
	dst = binary.BigEndian.AppendUint16(dst, h.Rrtype)
	dst = binary.BigEndian.AppendUint32(dst, h.Ttl)
	p.records, p.data = p.records[:0], p.data[:0]
	for _, rr := range set {
		start := len(p.data)
		p.data = p.appendData(p.data, rr)
		p.records = append(p.records, p.data[start:])
	}
	slices.SortFunc(p.records, bytes.Compare)
	for _, data := range p.records {
		dst = binary.BigEndian.AppendUint16(dst, uint16(len(data)))
		dst = append(dst, data...)
	}
	return dst
}

// appendData appends what tells a record from others of its set. Of addresses there are thousands of sets.
func (p *Pass) appendData(dst []byte, rr dns.RR) []byte {
	switch rr := rr.(type) {
	case *dns.A:
		return append(dst, rr.A...)
	case *dns.AAAA:
		return append(dst, rr.AAAA...)
	}
	if p.signer.packed == nil {
		p.signer.packed = make([]byte, dns.MaxMsgSize)
	}
	end, err := dns.PackRR(dns.Copy(rr), p.signer.packed, 0, nil, false) // packing writes into the header
	if err != nil {
		return dst // the zone has no record that cannot be packed
	}
	return append(dst, p.signer.packed[:end]...)
}

// End makes the signatures that are not kept, and returns when the first of all that were added expires. After an
// error none of them may be used. More sets may be added after it, for another End.
func (p *Pass) End() (expires time.Time, err error) {
	from := p.now.Add(-backdating)
	to := p.now.Add(p.validity)
	for i := range p.jobs {
		s := p.jobs[i].signatures
		s.made, s.expires = p.now, to
		s.due = p.now.Add(p.validity/2 - time.Duration(p.signer.random.Int64N(int64(p.validity/8))))
	}
	var g errgroup.Group
	workers := min(runtime.NumCPU(), runtime.GOMAXPROCS(0), len(p.jobs))
	for w := range workers {
		g.Go(func() error {
			for i := w; i < len(p.jobs); i += workers {
				if err := p.jobs[i].sign(from, to); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := errors.Join(p.failed, g.Wait()); err != nil {
		for _, job := range p.jobs {
			job.signatures.due = time.Time{} // some may be missing
		}
		return time.Time{}, p.signer.fail(err)
	}
	made := 0
	for _, job := range p.jobs {
		made += len(job.keys)
	}
	if made > 0 {
		p.expires, p.ours = first(p.expires, to), first(p.ours, to)
	}
	p.jobs = nil
	if len(p.signer.kept) > 2*p.used+minKept {
		p.signer.forget(func(s *Signatures) bool { return s.used != p.signer.passes })
	}
	p.signer.note(made, p.expires, p.ours)
	return p.expires, nil
}

// sign makes the signatures of a set.
func (j *job) sign(from, to time.Time) error {
	s := j.signatures
	for _, key := range j.keys {
		rr := key.signature(from, to)
		rr.Hdr.Ttl = j.set[0].Header().Ttl
		if err := rr.Sign(key.private, j.set); err != nil {
			return err
		}
		if err := s.add(rr); err != nil {
			return err
		}
	}
	return nil
}

// add adds a signature.
func (s *Signatures) add(rr *dns.RRSIG) error {
	packed := make([]byte, dns.Len(rr)+1)
	end, err := dns.PackRR(rr, packed, 0, nil, false)
	if err != nil {
		return err
	}
	_, owner, err := dns.UnpackDomainName(packed, 0)
	if err != nil {
		return err
	}
	const fixed = 2 + 2 + 4 + 2 // type, class, TTL, length of the data
	s.Records, s.Wire = append(s.Records, rr), append(s.Wire, packed[owner+fixed:end])
	return nil
}

func (s *Signer) forget(old func(*Signatures) bool) {
	for name, kept := range s.kept {
		if old(kept) {
			delete(s.kept, name)
		}
	}
}

func (s *Signer) note(made int, expires, ours time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats = Stats{Made: s.stats.Made + uint64(made), Expires: expires, Ours: ours}
}

// fail notes that a pass failed, and returns why.
func (s *Signer) fail(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.Failure = err.Error()
	return err
}
