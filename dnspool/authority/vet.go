package authority

import (
	"encoding/binary"

	"github.com/miekg/dns"
)

// A fault is what is wrong with a message.
type fault int

const (
	noFault   fault = iota
	malformed       // it is not what its header announces
	badOption       // an EDNS option breaks the rules of its RFC
)

// A shape is where the parts of a query are.
type shape struct {
	end int    // of the question
	opt []byte // the OPT record without its owner, or nil
}

// options returns the data of the OPT record, which is whole.
func (s *shape) options() []byte {
	if s.opt == nil {
		return nil
	}
	return s.opt[optSize-1:]
}

// vet tells whether a message is what its header announces: so many whole records, with names that end, and at most one
// OPT record, where and as RFC 6891 section 6.1.1 wants it, with whole and sensible options. miekg/dns is more generous:
// it takes messages whose records are missing, pointers that lead forward (RFC 9267), and any number of OPT records.
//
// Only queries with one question are looked at. The others have their answers from the header alone.
func vet(msg []byte) (s shape, f fault) {
	const additional = 3 // the last of the four sections
	if len(msg) < headerSize || msg[2]&0xf8 != 0 || binary.BigEndian.Uint16(msg[4:]) != 1 {
		return s, noFault
	}
	at := skipName(msg, headerSize)
	if at == 0 || at+4 > len(msg) {
		return s, malformed
	}
	at += 4
	s.end = at
	for section := 1; section <= additional; section++ {
		for range binary.BigEndian.Uint16(msg[4+2*section:]) {
			owner := at
			if at = skipName(msg, at); at == 0 || at+10 > len(msg) {
				return s, malformed
			}
			end := at + 10 + int(binary.BigEndian.Uint16(msg[at+8:]))
			if end > len(msg) {
				return s, malformed
			}
			if binary.BigEndian.Uint16(msg[at:]) == dns.TypeOPT {
				if section != additional || s.opt != nil || msg[owner] != 0 {
					return s, malformed
				}
				s.opt = msg[at:end]
			}
			at = end
		}
	}
	return s, vetOptions(s.options())
}

// maxPointers bounds the compression pointers in a name: it has no more labels.
const maxPointers = 127

// skipName returns where the name at the given place ends, or 0 if it is none. A compression pointer has to lead
// to what was before the name, so that no name can run in circles.
func skipName(msg []byte, at int) int {
	size, end, limit, pointers := 0, 0, at, 0
	for at < len(msg) {
		switch c := int(msg[at]); {
		case c == 0:
			if end == 0 {
				end = at + 1
			}
			return end
		case c <= maxLabelSize:
			at += 1 + c
			if size += 1 + c; size >= maxNameSize {
				return 0
			}
		case c >= 0xc0 && at+1 < len(msg):
			to := int(binary.BigEndian.Uint16(msg[at:]) & 0x3fff)
			if pointers++; to < headerSize || to >= limit || pointers > maxPointers {
				return 0
			}
			if end == 0 {
				end = at + 2
			}
			at, limit = to, to
		default: // reserved kinds of label (RFC 6891 section 5), or a cut one
			return 0
		}
	}
	return 0
}

// nextOption returns the first of a list of options, and the others. ok is false if it is not whole.
func nextOption(options []byte) (code uint16, data, rest []byte, ok bool) {
	if len(options) < optionHead {
		return 0, nil, nil, false
	}
	size := optionHead + int(binary.BigEndian.Uint16(options[2:]))
	if size > len(options) {
		return 0, nil, nil, false
	}
	return binary.BigEndian.Uint16(options), options[optionHead:size], options[size:], true
}

// vetOptions tells whether the data of an OPT record is a list of whole options, and those that are answered make sense.
func vetOptions(options []byte) fault {
	found := noFault
	for len(options) > 0 {
		code, data, rest, ok := nextOption(options)
		if !ok {
			return malformed
		}
		if code == dns.EDNS0COOKIE && !cookieShaped(data) || code == dns.EDNS0SUBNET && !subnetShaped(data) {
			found = badOption
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

// appendFormErr appends the response to a message with a fault. To one that is malformed that is a header, and nothing
// that may have been meant by the rest; else EDNS is spoken, and shall not be taken for unknown (RFC 6891 section 7).
func appendFormErr(dst, msg []byte, s shape, f fault, udpSize uint16) []byte {
	const response = 0x80
	counts := [8]byte{}
	rest := []byte(nil)
	if f == badOption {
		counts[1], counts[7] = 1, 1
		rest = msg[headerSize:s.end]
	}
	dst = append(dst, msg[0], msg[1], response|msg[2]&0x01, dns.RcodeFormatError)
	dst = append(append(dst, counts[:]...), rest...)
	if f == badOption {
		q := query{do: s.opt[6]&0x80 != 0}
		dst = q.appendOPT(dst, udpSize, 0)
	}
	return dst
}
