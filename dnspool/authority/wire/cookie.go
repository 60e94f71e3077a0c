package wire

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"time"

	"github.com/dchest/siphash"
	"github.com/miekg/dns"
)

// Sizes of DNS cookies, in bytes (RFC 7873 section 4, RFC 9018 section 4).
const (
	clientCookieSize = 8
	serverCookieSize = 16
	CookieSize       = clientCookieSize + serverCookieSize
	minServerCookie  = 8  // of other servers: what a client may send back to the wrong one
	maxServerCookie  = 32 // likewise
)

// A server cookie is good for so long (RFC 9018 section 4.3), and given back as it is while it is young.
const (
	cookieLife  = time.Hour
	CookieYoung = 30 * time.Minute
	cookieSkew  = 5 * time.Minute // that the clocks of servers with one secret may be apart
)

// A cookieKey is a secret of 128 bits, as SipHash-2-4 takes it.
type cookieKey [2]uint64

// A CookieJar makes and checks server cookies as RFC 9018 describes them, so that servers with the same secret know
// each other's. The first key makes them; all are accepted, which lets a secret be replaced without a client's notice.
type CookieJar []cookieKey

// NewCookieJar returns a jar with the given secrets, 32 hexadecimal digits each.
func NewCookieJar(secrets []string) CookieJar {
	jar := make(CookieJar, 0, len(secrets))
	for _, secret := range secrets {
		key, err := hex.DecodeString(secret)
		if err != nil || len(key) != 16 {
			continue // config lets none pass
		}
		jar = append(jar, cookieKey{binary.LittleEndian.Uint64(key), binary.LittleEndian.Uint64(key[8:])})
	}
	return jar
}

// RandomCookieJar returns a jar whose cookies no other server knows.
func RandomCookieJar() CookieJar {
	var key [16]byte
	rand.Read(key[:]) // never fails
	return CookieJar{{binary.LittleEndian.Uint64(key[:]), binary.LittleEndian.Uint64(key[8:])}}
}

// CookieShaped reports whether an option's data may be a cookie: a client's, alone or with a server's.
func CookieShaped(data []byte) bool {
	server := len(data) - clientCookieSize
	return server == 0 || minServerCookie <= server && server <= maxServerCookie
}

// Valid reports whether a client has shown a cookie that one of the servers with our secrets gave to its address, and
// how old that is.
func (j CookieJar) Valid(cookie []byte, addr netip.Addr, now time.Time) (age time.Duration, ok bool) {
	if len(cookie) != CookieSize || cookie[clientCookieSize] != 1 {
		return 0, false
	}
	// Serial number arithmetic (RFC 1982), so that 2106 is not an end.
	made := binary.BigEndian.Uint32(cookie[clientCookieSize+4:])
	age = time.Duration(int32(uint32(now.Unix())-made)) * time.Second
	if age > cookieLife || age < -cookieSkew {
		return 0, false
	}
	hash := binary.LittleEndian.Uint64(cookie[CookieSize-8:])
	for _, key := range j {
		if key.hash(cookie, addr) == hash {
			return age, true
		}
	}
	return 0, false
}

// hash is the last part of a server cookie, whose other parts stand in cookie already.
func (k cookieKey) hash(cookie []byte, addr netip.Addr) uint64 {
	var input [clientCookieSize + 8 + 16]byte
	n := copy(input[:], cookie[:clientCookieSize+8])
	if addr = addr.Unmap(); addr.Is4() {
		ip := addr.As4()
		n += copy(input[n:], ip[:])
	} else {
		ip := addr.As16()
		n += copy(input[n:], ip[:])
	}
	// A forger learns nothing from how long a comparison of one word takes.
	return siphash.Hash(k[0], k[1], input[:n])
}

// AppendTo appends the cookie to give to a client: the one it has shown, if that is good and young, or a new one.
func (j CookieJar) AppendTo(dst, cookie []byte, addr netip.Addr, now time.Time) []byte {
	if age, ok := j[:1].Valid(cookie, addr, now); ok && 0 <= age && age < CookieYoung {
		return append(dst, cookie...)
	}
	start := len(dst)
	dst = append(dst, cookie[:clientCookieSize]...)
	dst = append(dst, 1, 0, 0, 0) // version, reserved
	dst = binary.BigEndian.AppendUint32(dst, uint32(now.Unix()))
	return binary.LittleEndian.AppendUint64(dst, j[0].hash(dst[start:], addr))
}

// AppendOption appends a COOKIE option for the client that has sent q from addr to the OPT record without options at
// the end of a message.
func (j CookieJar) AppendOption(dst []byte, q *Query, addr netip.Addr, now time.Time) []byte {
	dst[len(dst)-1] = OptionHead + CookieSize
	dst = append(dst, 0, byte(dns.EDNS0COOKIE), 0, CookieSize)
	return j.AppendTo(dst, q.Cookie, addr, now)
}

// AppendReply appends the response to a query that has no question, but asks for a cookie or whether the one it brings
// is still good (RFC 7873 section 5.4).
func (j CookieJar) AppendReply(
	dst, msg []byte, q *Query, udpSize uint16, addr netip.Addr, now time.Time,
) (response []byte, rcode int) {
	const flagQR, flagRD = 0x80, 0x01
	if _, good := j.Valid(q.Cookie, addr, now); !good && len(q.Cookie) > clientCookieSize {
		rcode = dns.RcodeBadCookie
	}
	if q.Version != 0 {
		rcode = dns.RcodeBadVers
	}
	dst = append(dst, msg[0], msg[1], flagQR|msg[2]&flagRD, byte(rcode&0xf), 0, 0, 0, 0, 0, 0, 0, 1)
	dst = q.AppendOPT(dst, udpSize, byte(rcode>>4))
	return j.AppendOption(dst, q, addr, now), rcode
}
