package wire

import (
	"encoding/binary"

	"github.com/miekg/dns"
)

// OwnerPointer is a compressed name: the one at the message's offset 12, which is the question's.
const OwnerPointer = 0xc000 | HeaderSize

// Name returns a valid name in wire format.
func Name(name string) string {
	buf := make([]byte, MaxNameSize)
	n, err := dns.PackDomainName(dns.CanonicalName(name), buf, 0, nil, false)
	if err != nil {
		return "" // the name of no query: config and the zone's parser let none pass
	}
	return string(buf[:n])
}

// lowerName copies an uncompressed name to buf, in lower case (RFC 4343), and returns its length, or 0 if
// there is no such name.
func lowerName(from []byte, buf *[MaxNameSize]byte) int {
	for i := 0; i < len(from) && i < MaxNameSize; {
		size := int(from[i])
		buf[i] = from[i]
		i++
		switch {
		case size == 0:
			return i
		case size > maxLabelSize || i+size >= len(from) || i+size >= MaxNameSize:
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
			if size += 1 + c; size >= MaxNameSize {
				return 0
			}
		case c >= 0xc0 && at+1 < len(msg):
			to := int(binary.BigEndian.Uint16(msg[at:]) & 0x3fff)
			if pointers++; to < HeaderSize || to >= limit || pointers > maxPointers {
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

// Pointers returns where the names in count records, which begin at off, have a compression pointer to
// anything but the whole of the question's name; as offsets from off.
func Pointers(wire []byte, off, count int) []int {
	var found []int
	name := func(i int) int {
		for wire[i] != 0 {
			if wire[i] >= 0xc0 {
				if binary.BigEndian.Uint16(wire[i:]) != OwnerPointer {
					found = append(found, i-off)
				}
				return i + 2
			}
			i += 1 + int(wire[i])
		}
		return i + 1
	}
	i := off
	for range count {
		i = name(i)
		rrtype := binary.BigEndian.Uint16(wire[i:])
		data := i + 10
		i = data + int(binary.BigEndian.Uint16(wire[i+8:]))
		switch rrtype {
		case dns.TypeNS:
			name(data)
		case dns.TypeSOA:
			name(name(data))
		}
	}
	return found
}
