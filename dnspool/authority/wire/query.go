package wire

import (
	"encoding/binary"

	"github.com/miekg/dns"
)

// Offsets and lengths in a DNS message (RFC 1035 section 4.1.1).
const (
	HeaderSize   = 12
	MaxNameSize  = 255 // of a name in wire format
	maxLabelSize = 63
	OptSize      = 11 // an OPT record without options (RFC 6891 section 6.1.2)
	OptionHead   = 4  // an option without data
)

// A Query is what has to be known of a message to answer it from prepared answers.
type Query struct {
	Name    []byte // in wire format and lower case
	End     int    // where the question ends in the message
	Type    uint16
	EDNS    bool
	DO      bool // DNSSEC OK, which is echoed (RFC 3225 section 3)
	Version byte // of EDNS
	Size    int  // of a UDP response, at most, as the client says; 512 without EDNS

	Options []byte // the data of the OPT record, in the message
	Cookie  []byte // the data of the first COOKIE option, in the message; nil without one
}

// Parse reads a plain query: one question of class IN without compression, no records but an OPT of version 0, of whose
// options none is answered but COOKIE, no flags but RD, AD and CD, and nothing behind it. Of all else it says that it
// is not plain, which leaves the verdict on it to miekg/dns. The query's name is written to buf. q is to be zero
// before: to return it would copy it for each query.
func (q *Query) Parse(msg []byte, buf *[MaxNameSize]byte) (plain bool) {
	const question1, noAnswer, noAuthority = 1, 0, 0
	if len(msg) < HeaderSize ||
		msg[2]&^0x01 != 0 || msg[3]&^0x30 != 0 ||
		binary.BigEndian.Uint16(msg[4:]) != question1 ||
		binary.BigEndian.Uint16(msg[6:]) != noAnswer ||
		binary.BigEndian.Uint16(msg[8:]) != noAuthority {
		return false
	}
	end := lowerName(msg[HeaderSize:], buf)
	if end == 0 || len(msg) < HeaderSize+end+4 {
		return false
	}
	q.Name = buf[:end]
	q.End = HeaderSize + end + 4
	q.Type = binary.BigEndian.Uint16(msg[q.End-4:])
	if binary.BigEndian.Uint16(msg[q.End-2:]) != dns.ClassINET {
		return false
	}
	q.Size = dns.MinMsgSize
	switch binary.BigEndian.Uint16(msg[10:]) {
	case 0:
		return len(msg) == q.End
	case 1:
		return q.parseOPT(msg[q.End:])
	default:
		return false
	}
}

// parseOPT reads an OPT record that is the rest of a message.
func (q *Query) parseOPT(rest []byte) (plain bool) {
	if len(rest) < OptSize || rest[0] != 0 || binary.BigEndian.Uint16(rest[1:]) != dns.TypeOPT ||
		rest[5] != 0 || rest[6] != 0 { // extended rcode, version
		return false
	}
	q.EDNS = true
	q.Size = max(dns.MinMsgSize, int(binary.BigEndian.Uint16(rest[3:])))
	q.DO = rest[7]&0x80 != 0
	options := rest[OptSize:]
	q.Options = options
	if len(options) != int(binary.BigEndian.Uint16(rest[9:])) {
		return false
	}
	for len(options) > 0 {
		code, data, next, ok := nextOption(options)
		switch {
		case !ok:
			return false
		case code == dns.EDNS0COOKIE && CookieShaped(data):
			if q.Cookie == nil { // RFC 7873 section 5.2: only the first counts
				q.Cookie = data
			}
		case !Ignored(code, data):
			return false
		}
		options = next
	}
	return true
}

// Ignored reports whether an option makes no difference, whatever is in it (RFC 6891 section 6.1.2).
func Ignored(option uint16, data []byte) bool {
	switch option {
	case dns.EDNS0NSID, dns.EDNS0SUBNET, dns.EDNS0COOKIE:
		return false
	case dns.EDNS0TCPKEEPALIVE:
		return len(data) != 0 // RFC 7828 section 3.2.1
	}
	return true
}

// AppendOPT appends the OPT record of the response to q, without options. rcode is the upper part of the response's
// code (RFC 6891 section 6.1.3).
func (q *Query) AppendOPT(dst []byte, udpSize uint16, rcode byte) []byte {
	dst = append(dst, 0, 0, byte(dns.TypeOPT), byte(udpSize>>8), byte(udpSize), rcode, 0, 0, 0, 0, 0)
	if q.DO {
		dst[len(dst)-4] = 0x80
	}
	return dst
}
