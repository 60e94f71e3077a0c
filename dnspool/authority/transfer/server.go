package transfer

import (
	"encoding/binary"
	"fmt"
	"iter"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"mirrorpool/config"
	"mirrorpool/dnspool/authority/wire"
	"mirrorpool/dnspool/listen"
	"mirrorpool/dnspool/tsig"
)

const (
	rememberOthers  = time.Hour        // after a start, those of the journal
	MaxTransfers    = 4                // at a time; the others wait, so that answers have a CPU
	transferWait    = 30 * time.Second // for one's turn
	transferTime    = 2 * time.Minute  // for all messages of one
	transferMessage = 16 << 10         // bytes of records in a message: compression pointers reach 16 KiB (RFC 1035 section 4.1.4)
)

// A Server serves transfers of one zone. The nil Server has none. It keeps the zone's history, and gives it to the
// servers that may have it.
type Server struct {
	log    *zap.Logger
	dir    string // for state; "" for none
	origin string
	keys   *tsig.Ring
	access atomic.Pointer[Access]
	turns  chan struct{}

	latest  atomic.Pointer[ZoneVersion] // nil: no version has been taken in
	history atomic.Pointer[history]     // nil if no server may transfer, or before the first snapshot
	changed chan struct{}               // there is something to save

	began time.Time
	known []string // the other servers when the journal was saved

	withheld atomic.Bool // see Withhold

	requests *prometheus.CounterVec
}

// NewServer makes a server for the zone that c configures. keys are those that transfers may be signed with. It goes
// on with the history of the zone that dir holds.
func NewServer(c config.DNS, keys *tsig.Ring, dir string, log *zap.Logger) (*Server, error) {
	s := &Server{
		log: log, dir: dir, origin: c.Zone, keys: keys,
		turns: make(chan struct{}, MaxTransfers), changed: make(chan struct{}, 1), began: time.Now(),
		requests: newRequests(),
	}
	a, err := NewAccess(c.AllowTransfer, keys)
	if err != nil {
		return nil, err
	}
	s.access.Store(a)
	if dir != "" && s.enabled() {
		if h := loadHistory(dir, c.Zone, log); h != nil {
			s.known = h.known
			s.history.Store(h)
		}
	}
	return s, nil
}

// enabled reports whether any server may transfer.
func (s *Server) enabled() bool {
	if s == nil {
		return false
	}
	a := s.access.Load()
	return len(a.networks)+len(a.keyNames) > 0
}

// A Version is a version of the zone.
type Version struct {
	SOA     *dns.SOA
	Records func() Records
	Expires time.Time // the first of its signatures; zero if it has none

	// Content is a hash of what the version tells, the same at servers that have the same records; 0 if no other server
	// has them.
	Content uint64
	// Others are the versions that other servers give, by the servers' names, as far as they are known; nil if there
	// are never any.
	Others map[string]ZoneVersion
}

// A ZoneVersion is a version of the zone, as servers compare theirs.
type ZoneVersion struct {
	Serial  uint32
	Content uint64 // a hash of what it tells; 0: no other server has the same records, or it is not known
}

// Publish takes in the version of the zone that is going to be in force. Its records are asked for only if a server may
// transfer them, and the serial is a new one. It is given until the first of its signatures expires. It is not called
// concurrently.
func (s *Server) Publish(next Version) {
	if s == nil {
		return
	}
	h := s.history.Load()
	before := s.latest.Swap(&ZoneVersion{next.SOA.Serial, next.Content})
	isNew := before == nil || before.Serial != next.SOA.Serial
	if isNew && s.enabled() {
		h = h.next(version{soa: next.SOA, records: next.Records(), expires: next.Expires, identity: identity{content: next.Content}})
	}
	heard := false
	if h != nil {
		h, heard = h.hear(next.Others, s.unheard(next.Others))
		s.history.Store(h)
	}
	if isNew || heard {
		s.toSave()
	}
}

// unheard are the other servers that have to be reckoned with after a start, until they are heard of: those of the
// journal, and without any, one without a name, so that no delta leads from what another one may have otherwise.
func (s *Server) unheard(others map[string]ZoneVersion) []string {
	switch {
	case others == nil || time.Since(s.began) > rememberOthers:
		return nil
	case len(s.known) == 0 && len(others) == 0:
		return []string{""}
	}
	return s.known
}

// toSave says that there is something to save.
func (s *Server) toSave() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// Withhold has the zone not transferred while withheld, because the version that there is has mirrors that have been
// disabled since, and no later one can be signed.
func (s *Server) Withhold(withheld bool) {
	if s != nil {
		s.withheld.Store(withheld)
	}
}

// Published reports whether the zone has been published, not only restored from the journal.
func (s *Server) Published() bool { return s != nil && s.latest.Load() != nil }

// Serve answers a request for a transfer by send, which sends a message, and returns the code of the response. err is
// that of the network.
func (s *Server) Serve(send Sender, req *dns.Msg, stream bool) (rcode int, err error) {
	h := s.history.Load()
	if h == nil || !s.Published() {
		return s.deny(send, req, dns.RcodeServerFailure, "not ready")
	}
	if !h.holds(time.Now()) { // a secondary that has them gives the zone up in the end, which it would not after an answer
		s.log.Warn("zone not transferred: its signatures have expired", zap.Uint32("serial", h.soa.Serial),
			zap.Time("expired", h.expires), zap.String("key", keyName(req)))
		return s.deny(send, req, dns.RcodeServerFailure, "expired")
	}
	if s.withheld.Load() {
		s.log.Warn("zone not transferred: it has mirrors that have been disabled since it was signed", zap.Uint32("serial", h.soa.Serial),
			zap.String("key", keyName(req)))
		return s.deny(send, req, dns.RcodeServerFailure, "withheld")
	}
	kind, records := "axfr", iter.Seq[dns.RR](nil)
	if req.Question[0].Qtype == dns.TypeIXFR {
		serial, ok := serialOf(req)
		if !ok {
			return s.deny(send, req, dns.RcodeFormatError, "malformed")
		}
		kind, records = h.answerIXFR(serial, stream)
	}
	if stream && kind != "soa" {
		done, ok := s.TakeTurn()
		if !ok {
			return s.deny(send, req, dns.RcodeServerFailure, "busy")
		}
		defer done()
	}
	started := time.Now()
	messages, err := h.messages(records)
	if err != nil {
		return s.deny(send, req, dns.RcodeServerFailure, "failed")
	}
	err = send.all(messages, req, s.keys.Key(keyName(req)))
	result := "ok"
	if err != nil {
		result = "failed"
	}
	s.requests.WithLabelValues(kind, result).Inc()
	if kind != "soa" {
		s.log.Info("zone transferred", zap.String("kind", kind), zap.Uint32("serial", h.soa.Serial), zap.Int("messages", len(messages)),
			zap.Duration("took", time.Since(started)), zap.String("key", keyName(req)), zap.Error(listen.HideAddresses(err)))
	}
	return dns.RcodeSuccess, err
}

// TakeTurn waits until fewer than MaxTransfers are under way, and counts one more until done is called. ok is false if
// it has waited too long.
func (s *Server) TakeTurn() (done func(), ok bool) {
	timer := time.NewTimer(transferWait)
	defer timer.Stop()
	select {
	case s.turns <- struct{}{}:
		return func() { <-s.turns }, true
	case <-timer.C:
		return nil, false
	}
}

// answerIXFR chooses the reply to a secondary that has serial: the changes since; the SOA alone if it is current or
// asks over UDP (RFC 1995 section 2); or the whole zone (nil).
func (h *history) answerIXFR(serial uint32, stream bool) (kind string, records iter.Seq[dns.RR]) {
	if !stream || int32(h.soa.Serial-serial) <= 0 {
		return "soa", func(yield func(dns.RR) bool) { yield(h.soa) }
	}
	if deltas, ok := h.since(serial); ok {
		return "ixfr", h.incremental(deltas)
	}
	return "full", nil
}

// messages packs records. If they are nil, it packs the whole zone, once for all requests.
func (h *history) messages(records iter.Seq[dns.RR]) ([][]byte, error) {
	if records != nil {
		return pack(h.soa.Hdr.Name, records)
	}
	h.packing.Do(func() { h.packed, h.packError = pack(h.soa.Hdr.Name, h.full()) })
	return h.packed, h.packError
}

// serialOf returns the serial that the sender of an IXFR request has (RFC 1995 section 3).
func serialOf(req *dns.Msg) (uint32, bool) {
	if len(req.Ns) != 1 {
		return 0, false
	}
	soa, ok := req.Ns[0].(*dns.SOA)
	if !ok {
		return 0, false
	}
	return soa.Serial, true
}

// keyName is the name of the key that a request is signed with, or "".
func keyName(req *dns.Msg) string {
	if t := req.IsTsig(); t != nil {
		return dns.CanonicalName(t.Hdr.Name)
	}
	return ""
}

func (s *Server) deny(send Sender, req *dns.Msg, rcode int, result string) (int, error) {
	s.requests.WithLabelValues("none", result).Inc()
	message, err := wire.Reply(req, rcode).Pack()
	if err != nil {
		return rcode, err
	}
	return rcode, send.all([][]byte{message}, req, s.keys.Key(keyName(req)))
}

// pack puts records into as many messages as they need, in wire format. What differs from request to request is not
// right yet: Sender.all sees to it.
func pack(origin string, records iter.Seq[dns.RR]) (messages [][]byte, err error) {
	size := 0
	var batch []dns.RR
	flush := func() error {
		m := dns.Msg{Compress: true, Answer: batch, Question: []dns.Question{{Name: origin, Qtype: dns.TypeAXFR,
			Qclass: dns.ClassINET}}}
		m.Response, m.Authoritative = true, true
		message, err := m.Pack()
		messages, batch, size = append(messages, message), nil, 0
		return err
	}
	for rr := range records {
		n := dns.Len(rr)
		if size+n > transferMessage && len(batch) > 0 {
			if err := flush(); err != nil {
				return nil, err
			}
		}
		batch, size = append(batch, rr), size+n
	}
	return messages, flush()
}

// A Sender sends one message.
type Sender func(message []byte) error

// all sends packed messages in answer to req, signed with key if there is one. A secondary that takes them too slowly
// is cut off, by message and in all, so that the others get their turn.
func (send Sender) all(messages [][]byte, req *dns.Msg, key *tsig.Key) error {
	end := time.Now().Add(transferTime)
	mac := ""
	if t := req.IsTsig(); t != nil {
		mac = t.MAC
	}
	for i, packed := range messages {
		if time.Now().After(end) {
			return fmt.Errorf("the transfer takes longer than %v", transferTime)
		}
		message, err := addressed(packed, req, i == 0)
		if err == nil && key != nil {
			message, mac, err = key.Append(message, mac, i > 0, time.Now())
		}
		if err != nil {
			return err
		}
		if err := send(message); err != nil {
			return err
		}
	}
	return nil
}

// addressed is a packed message as the answer to req. Its records are compressed against the question's name, which
// gets the client's letter case, as in any other answer. The first has an OPT record if the request has.
func addressed(packed []byte, req *dns.Msg, first bool) ([]byte, error) {
	message := append(make([]byte, 0, len(packed)+wire.MaxSignature), packed...)
	binary.BigEndian.PutUint16(message, req.Id)
	end, err := dns.PackDomainName(req.Question[0].Name, message, wire.HeaderSize, nil, false)
	if err != nil {
		return nil, err
	}
	binary.BigEndian.PutUint16(message[end:], req.Question[0].Qtype)
	if opt := req.IsEdns0(); opt != nil && first {
		ours := &dns.OPT{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeOPT}}
		ours.SetUDPSize(dns.MinMsgSize)
		ours.SetDo(opt.Do())
		record := make([]byte, wire.OptSize)
		if _, err := dns.PackRR(ours, record, 0, nil, false); err != nil {
			return nil, err
		}
		message = append(message, record...)
		binary.BigEndian.PutUint16(message[10:], 1)
	}
	return message, nil
}

// IsTransfer reports whether a query of this type asks for a transfer.
func IsTransfer(qtype uint16) bool { return qtype == dns.TypeAXFR || qtype == dns.TypeIXFR }
