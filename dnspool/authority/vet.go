package authority

import (
	"encoding/binary"

	"github.com/miekg/dns"
)

// wellFormed reports whether a message is what its header announces: so many whole records, with names that
// end, and at most one OPT record, where and as RFC 6891 section 6.1.1 wants it. miekg/dns is more generous: it
// takes messages whose records are missing, pointers that lead forward (RFC 9267), and any number of OPT records.
//
// Only queries with one question are looked at. The others have their answers from the header alone.
func wellFormed(msg []byte) bool {
	const additional = 3 // the last of the four sections
	if len(msg) < headerSize || msg[2]&0xf8 != 0 || binary.BigEndian.Uint16(msg[4:]) != 1 {
		return true
	}
	at := skipName(msg, headerSize)
	if at == 0 || at+4 > len(msg) {
		return false
	}
	at += 4
	opts := 0
	for section := 1; section <= additional; section++ {
		for range binary.BigEndian.Uint16(msg[4+2*section:]) {
			owner := at
			if at = skipName(msg, at); at == 0 || at+10 > len(msg) {
				return false
			}
			data := at + 10
			end := data + int(binary.BigEndian.Uint16(msg[at+8:]))
			if end > len(msg) {
				return false
			}
			if binary.BigEndian.Uint16(msg[at:]) == dns.TypeOPT {
				opts++
				if section != additional || opts > 1 || msg[owner] != 0 || !wholeOptions(msg[data:end]) {
					return false
				}
			}
			at = end
		}
	}
	return true
}

// skipName returns where the name at the given place ends, or 0 if it is none. A compression pointer has to lead
// to what was before the name, so that no name can run in circles.
func skipName(msg []byte, at int) int {
	size, end, limit := 0, 0, at
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
			if to < headerSize || to >= limit {
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

// wholeOptions reports whether the data of an OPT record is a list of whole options.
func wholeOptions(data []byte) bool {
	for len(data) > 0 {
		if len(data) < 4 {
			return false
		}
		size := 4 + int(binary.BigEndian.Uint16(data[2:]))
		if size > len(data) {
			return false
		}
		data = data[size:]
	}
	return true
}

// appendFormErr appends the response to a message that is not well formed: its header, and nothing that may have
// been meant by the rest.
func appendFormErr(dst, msg []byte) []byte {
	const response = 0x80
	return append(dst, msg[0], msg[1], response|msg[2]&0x01, dns.RcodeFormatError, 0, 0, 0, 0, 0, 0, 0, 0)
}
