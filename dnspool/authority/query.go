package authority

import (
	"encoding/binary"

	"github.com/miekg/dns"
)

// Offsets and lengths in a DNS message (RFC 1035 section 4.1.1).
const (
	headerSize   = 12
	maxNameSize  = 255 // of a name in wire format
	maxLabelSize = 63
	optSize      = 11 // an OPT record without options (RFC 6891 section 6.1.2)
	optionHead   = 4  // an option without data
)

// A query is what has to be known of a message to answer it from prepared answers.
type query struct {
	name    []byte // in wire format and lower case
	end     int    // where the question ends in the message
	qtype   uint16
	edns    bool
	do      bool // DNSSEC OK, which is echoed (RFC 3225 section 3)
	version byte // of EDNS
	size    int  // of a UDP response, at most, as the asker says; 512 without EDNS

	options []byte // the data of the OPT record, in the message
	cookie  []byte // the data of the first COOKIE option, in the message; nil without one
}

// parse reads a plain query: one question of class IN without compression, no records but an OPT of version 0, of whose
// options none is answered but COOKIE, no flags but RD, AD and CD, and nothing behind it. Of all else it
// says that it is not plain, which leaves the verdict on it to miekg/dns. The query's name is written to buf.
func parse(msg []byte, buf *[maxNameSize]byte) (q query, plain bool) {
	const question1, noAnswer, noAuthority = 1, 0, 0
	if len(msg) < headerSize ||
		msg[2]&^0x01 != 0 || msg[3]&^0x30 != 0 ||
		binary.BigEndian.Uint16(msg[4:]) != question1 ||
		binary.BigEndian.Uint16(msg[6:]) != noAnswer ||
		binary.BigEndian.Uint16(msg[8:]) != noAuthority {
		return q, false
	}
	end := lowerName(msg[headerSize:], buf)
	if end == 0 || len(msg) < headerSize+end+4 {
		return q, false
	}
	q.name = buf[:end]
	q.end = headerSize + end + 4
	q.qtype = binary.BigEndian.Uint16(msg[q.end-4:])
	if binary.BigEndian.Uint16(msg[q.end-2:]) != dns.ClassINET {
		return q, false
	}
	q.size = dns.MinMsgSize
	switch binary.BigEndian.Uint16(msg[10:]) {
	case 0:
		return q, len(msg) == q.end
	case 1:
		return q, q.parseOPT(msg[q.end:])
	default:
		return q, false
	}
}

// lowerName copies an uncompressed name to buf, in lower case (RFC 4343), and returns its length, or 0 if
// there is no such name.
func lowerName(from []byte, buf *[maxNameSize]byte) int {
	for i := 0; i < len(from) && i < maxNameSize; {
		size := int(from[i])
		buf[i] = from[i]
		i++
		switch {
		case size == 0:
			return i
		case size > maxLabelSize || i+size >= len(from) || i+size >= maxNameSize:
			return 0
		}
		for end := i + size; i < end; i++ {
			c := from[i]
			if 'A' <= c && c <= 'Z' {
				c += 'a' - 'A'
			}
			buf[i] = c
		}
	}
	return 0
}

// parseOPT reads an OPT record that is the rest of a message.
func (q *query) parseOPT(rest []byte) (plain bool) {
	if len(rest) < optSize || rest[0] != 0 || binary.BigEndian.Uint16(rest[1:]) != dns.TypeOPT ||
		rest[5] != 0 || rest[6] != 0 { // extended rcode, version
		return false
	}
	q.edns = true
	q.size = max(dns.MinMsgSize, int(binary.BigEndian.Uint16(rest[3:])))
	q.do = rest[7]&0x80 != 0
	options := rest[optSize:]
	q.options = options
	if len(options) != int(binary.BigEndian.Uint16(rest[9:])) {
		return false
	}
	for len(options) > 0 {
		code, data, next, ok := nextOption(options)
		switch {
		case !ok:
			return false
		case code == dns.EDNS0COOKIE && cookieShaped(data):
			if q.cookie == nil { // RFC 7873 section 5.2: only the first counts
				q.cookie = data
			}
		case !ignored(code, data):
			return false
		}
		options = next
	}
	return true
}

// ignored reports whether an option makes no difference, whatever is in it (RFC 6891 section 6.1.2).
func ignored(option uint16, data []byte) bool {
	switch option {
	case dns.EDNS0NSID, dns.EDNS0SUBNET, dns.EDNS0COOKIE:
		return false
	case dns.EDNS0TCPKEEPALIVE:
		return len(data) != 0 // RFC 7828 section 3.2.1
	}
	return true
}

// appendOPT appends the OPT record of the response to q, without options. rcode is the upper part of the response's code
// (RFC 6891 section 6.1.3).
func (q *query) appendOPT(dst []byte, udpSize uint16, rcode byte) []byte {
	dst = append(dst, 0, 0, byte(dns.TypeOPT), byte(udpSize>>8), byte(udpSize), rcode, 0, 0, 0, 0, 0)
	if q.do {
		dst[len(dst)-4] = 0x80
	}
	return dst
}

// appendCookie appends an option to the OPT record without options at the end of a message.
func (z *zone) appendCookie(dst []byte, q *query, from asker) []byte {
	dst[len(dst)-1] = optionHead + cookieSize
	dst = append(dst, 0, byte(dns.EDNS0COOKIE), 0, cookieSize)
	return z.cookies.appendTo(dst, q.cookie, from.addr, from.now)
}
