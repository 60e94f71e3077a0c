package wire

import (
	"encoding/binary"

	"github.com/miekg/dns"
)

// A Fault is why a message is answered with an error, whatever it asks for.
type Fault int

const (
	NoFault        Fault = iota
	NotImplemented       // it is no QUERY
	Malformed            // it is not what its header announces
	BadOption            // an EDNS option breaks the rules of its RFC
)

// A Shape is where the parts of a query are.
type Shape struct {
	Questions int    // 0 or 1
	end       int    // of the question; of the header if there is none
	opt       []byte // the OPT record without its owner, or nil
	Signed    bool   // the last record is a TSIG record
}

// Options returns the data of the OPT record, which is whole.
func (s *Shape) Options() []byte {
	if s.opt == nil {
		return nil
	}
	return s.opt[OptSize-1:]
}

// Query returns what has to be known of a Query that is not plain, of which miekg/dns reads the name and the type.
func (s *Shape) Query() Query {
	q := Query{End: s.end, EDNS: s.opt != nil, Options: s.Options(), Cookie: cookieIn(s.Options())}
	if q.EDNS {
		q.DO, q.Version = s.opt[6]&0x80 != 0, s.opt[5]
	}
	return q
}

// IsResponse reports whether a message of at least a header is a response.
func IsResponse(msg []byte) bool { return msg[2]&0x80 != 0 }

// Vet reports whether a query is what its header announces: one question, so many whole records, with names that end,
// at most one OPT record, where and as RFC 6891 section 6.1.1 wants it, with whole and sensible options, and at most
// one TSIG record, at the end (RFC 8945 section 5.1). miekg/dns is more generous: it takes messages whose records are
// missing, pointers that lead forward (RFC 9267), and any number of OPT and TSIG records.
//
// A query without a question is one for a cookie (RFC 7873 section 5.4), and not malformed if it brings one.
func Vet(msg []byte) (s Shape, f Fault) {
	const opcodes = 0x78
	switch {
	case len(msg) < HeaderSize || IsResponse(msg):
		return s, NoFault
	case msg[2]&opcodes != dns.OpcodeQuery:
		return s, NotImplemented
	case !s.read(msg):
		return s, Malformed
	}
	f = vetOptions(s.Options())
	if f == NoFault && s.Questions == 0 && (s.Signed || cookieIn(s.Options()) == nil) {
		f = Malformed
	}
	return s, f
}

// read finds the parts of a query. It reports whether they are there.
func (s *Shape) read(msg []byte) bool {
	const additional = 3 // the last of the four sections
	s.Questions, s.end = int(binary.BigEndian.Uint16(msg[4:])), HeaderSize
	if s.Questions > 1 { // RFC 9619
		return false
	}
	if s.Questions == 1 {
		at := skipName(msg, HeaderSize)
		if at == 0 || at+4 > len(msg) {
			return false
		}
		s.end = at + 4
	}
	at := s.end
	for section := 1; section <= additional; section++ {
		for range binary.BigEndian.Uint16(msg[4+2*section:]) {
			if at = s.readRecord(msg, at, section == additional); at == 0 {
				return false
			}
		}
	}
	return true
}

// readRecord returns where the record at the given place ends, or 0 if it is not whole or out of place.
func (s *Shape) readRecord(msg []byte, owner int, additional bool) (end int) {
	at := skipName(msg, owner)
	if at == 0 || at+10 > len(msg) || s.Signed { // nothing is behind a TSIG record
		return 0
	}
	data := at + 10
	end = data + int(binary.BigEndian.Uint16(msg[at+8:]))
	if end > len(msg) {
		return 0
	}
	switch binary.BigEndian.Uint16(msg[at:]) {
	case dns.TypeOPT:
		if !additional || s.opt != nil || msg[owner] != 0 {
			return 0
		}
		s.opt = msg[at:end]
	case dns.TypeTSIG:
		if !additional || !tsigShaped(msg[:end], data) {
			return 0
		}
		s.Signed = true
	}
	return end
}

// tsigShaped reports whether the end of a message, from the given place on, may be the data of a TSIG record (RFC 8945
// section 4.2).
func tsigShaped(msg []byte, data int) bool {
	const timeAndFudge, idAndError = 6 + 2, 2 + 2
	at := skipName(msg, data)
	if at == 0 {
		return false
	}
	for _, fixed := range [...]int{timeAndFudge, idAndError} { // before the MAC, and before the other data
		at += fixed
		if at+2 > len(msg) {
			return false
		}
		at += 2 + int(binary.BigEndian.Uint16(msg[at:]))
	}
	return at == len(msg)
}

// Simplify takes out of an unsigned query what has no meaning for us, and which miekg/dns would copy or stumble over:
// flags of responses, and options that are not answered, whatever their data.
func Simplify(msg, options []byte) {
	const rd = 0x01
	msg[2] &= rd
	msg[3] = 0
	for len(options) > 0 {
		code, data, rest, ok := nextOption(options)
		if !ok {
			return
		}
		if Ignored(code, data) {
			binary.BigEndian.PutUint16(options, dns.EDNS0LOCALSTART) // of which miekg/dns wants nothing
		}
		options = rest
	}
}

// nextOption returns the first of a list of options, and the others. ok is false if it is not whole.
func nextOption(options []byte) (code uint16, data, rest []byte, ok bool) {
	if len(options) < OptionHead {
		return 0, nil, nil, false
	}
	size := OptionHead + int(binary.BigEndian.Uint16(options[2:]))
	if size > len(options) {
		return 0, nil, nil, false
	}
	return binary.BigEndian.Uint16(options), options[OptionHead:size], options[size:], true
}

// vetOptions reports whether the data of an OPT record is a list of whole options, and those that are answered make
// sense.
func vetOptions(options []byte) Fault {
	found := NoFault
	for len(options) > 0 {
		code, data, rest, ok := nextOption(options)
		if !ok {
			return Malformed
		}
		if code == dns.EDNS0COOKIE && !CookieShaped(data) || code == dns.EDNS0SUBNET && !subnetShaped(data) {
			found = BadOption
		}
		options = rest
	}
	return found
}

// subnetShaped reports whether an option's data may be a client's subnet in a query (RFC 7871 section 6): a known
// family, as many bytes of address as the source prefix has, no bit set beyond it, and no scope.
func subnetShaped(data []byte) bool {
	if len(data) < 4 {
		return false
	}
	family, source, scope, addr := binary.BigEndian.Uint16(data), int(data[2]), data[3], data[4:]
	most := map[uint16]int{0: 0, 1: 32, 2: 128} // as dig +subnet=0 asks, the family may be none
	bits, known := most[family]
	if !known || source > bits || scope != 0 || len(addr) != (source+7)/8 {
		return false
	}
	return source%8 == 0 || addr[len(addr)-1]&(0xff>>(source%8)) == 0
}

// cookieIn returns the first cookie among options, or nil.
func cookieIn(options []byte) []byte {
	for len(options) > 0 {
		code, data, rest, ok := nextOption(options)
		if !ok || code == dns.EDNS0COOKIE {
			return data
		}
		options = rest
	}
	return nil
}

// AppendFault appends the response to a message with a fault. A malformed message, or one that is no QUERY, gets a
// bare header. A bad EDNS option gets the question and an OPT record back, as EDNS is supported (RFC 6891 section 7).
// Of the flags, RD alone is copied (RFC 1035 section 4.1.1).
func AppendFault(dst, msg []byte, s Shape, f Fault, udpSize uint16) []byte {
	const response, opcodeAndRD = 0x80, 0x79
	counts := [8]byte{}
	rest := []byte(nil)
	if f == BadOption {
		counts[1], counts[7] = byte(s.Questions), 1
		rest = msg[HeaderSize:s.end]
	}
	dst = append(dst, msg[0], msg[1], response|msg[2]&opcodeAndRD, byte(f.Rcode()))
	dst = append(append(dst, counts[:]...), rest...)
	if f == BadOption {
		q := s.Query()
		dst = q.AppendOPT(dst, udpSize, 0)
	}
	return dst
}

// Rcode is the code of the response to a message with a fault.
func (f Fault) Rcode() int {
	if f == NotImplemented {
		return dns.RcodeNotImplemented
	}
	return dns.RcodeFormatError
}
