package dnspool

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"net/netip"
	"time"
)

// Sticky makes the choices for a client network the same for a while: it derives their seed from a secret, the
// network and the time. So nothing has to be stored, and all servers that know the secret choose alike.
type Sticky struct {
	key    [sha256.Size]byte
	window time.Duration
}

// NewSticky returns choices that last for a window, which must be above 0.
func NewSticky(secret string, window time.Duration) *Sticky {
	return &Sticky{key: sha256.Sum256([]byte("mirrorpool sticky\x00" + secret)), window: window}
}

// ClientNetwork returns the network that is taken for one client: /24 over IPv4, /48 over IPv6. A provider gives
// each of its customers another address from time to time, but seldom of another network.
func ClientNetwork(addr netip.Addr) netip.Prefix {
	addr = addr.Unmap().WithZone("")
	bits := 48
	if addr.Is4() {
		bits = 24
	}
	p, _ := addr.Prefix(bits) // the zero Prefix of the zero Addr
	return p
}

// Seed returns the seed for a client's choices at a time. Each network's windows begin at times of its own, so that
// not all the world moves at once.
func (s *Sticky) Seed(client netip.Addr, now time.Time) uint64 {
	base, offset := s.network(client)
	index := uint64(now.UnixNano()+int64(offset)) / uint64(s.window)
	return mix(base + index*golden)
}

// Window returns when the window of a client's network that a time is in begins and ends.
func (s *Sticky) Window(client netip.Addr, now time.Time) (begin, end time.Time) {
	_, offset := s.network(client)
	in := time.Duration(uint64(now.UnixNano()+int64(offset)) % uint64(s.window))
	return now.Add(-in), now.Add(s.window - in)
}

// network returns what the seeds of a client's network are made of, and by how much its windows begin early.
func (s *Sticky) network(client netip.Addr) (base uint64, offset time.Duration) {
	var text [sha256.Size + 16]byte // shorter than one block of SHA-256
	copy(text[:], s.key[:])
	addr := ClientNetwork(client).Addr().As16() // no /48 is in ::ffff:0:0/96, where the /24 are
	copy(text[sha256.Size:], addr[:])
	sum := sha256.Sum256(text[:])
	return binary.LittleEndian.Uint64(sum[:]), time.Duration(binary.LittleEndian.Uint64(sum[8:]) % uint64(s.window))
}

// golden is 2^64 divided by the golden ratio: its multiples are spread evenly.
const golden = 0x9e3779b97f4a7c15

// mix scrambles the bits of x: it is the finalizer of SplitMix64.
func mix(x uint64) uint64 {
	x = mixTop(x)
	return x ^ x>>mixTopBits
}

// mixTopBits is how many of the upper bits mixTop returns as mix does.
const mixTopBits = 31

// mixTop is mix without its last step. The lower bits are not those of mix.
func mixTop(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	return x * 0x94d049bb133111eb
}

// mirrorID returns the number that stands for a mirror in draws.
func mirrorID(urlPrefix string) uint64 {
	sum := sha256.Sum256([]byte(urlPrefix))
	return binary.LittleEndian.Uint64(sum[:])
}

// wait returns how long a mirror with the given number, of weight 1, takes to come up in a draw: a random number from
// the exponential distribution, the same for the same seed and mirror. One of weight w takes w times less; the first to
// come up is a given mirror with a chance in proportion to its weight.
func wait(seed, id uint64) float64 { return -math.Log(uniform(seed ^ id)) }

// uniformBits is how exact random numbers are: as float64 is.
const uniformBits = 53

// uniform returns a random number between 0 and 1, and neither, the same for the same seed.
func uniform(seed uint64) float64 {
	return (float64(int64(mix(seed)>>(64-uniformBits))) + 0.5) / (1 << uniformBits)
}
