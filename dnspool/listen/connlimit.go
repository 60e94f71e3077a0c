package listen

import (
	"io"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// A ConnLimiter caps the open connections of a set of listeners, in total and per client network. At a cap, a new
// connection evicts the longest idle one: of the same network if that one is at its cap, otherwise of the networks
// that hold most. Holding connections open therefore cannot lock others out. It is safe for concurrent use.
type ConnLimiter struct {
	most, mostOfNetwork int
	busyThreshold       int // connections of a network; one with twice as many ranks as twice as busy

	mu       sync.Mutex
	slots    set
	networks map[netip.Prefix]set // none is empty
	evicted  uint64
}

type set map[*Slot]struct{}

// A Slot is the place of one connection.
type Slot struct {
	limiter *ConnLimiter
	network netip.Prefix // zero: of none
	conn    io.Closer
	since   atomic.Int64 // when it became idle, nanoseconds since 1970
}

// NewConnLimiter returns a limiter of most connections, and mostOfNetwork of one client network. Both are at least 1.
func NewConnLimiter(most, mostOfNetwork int) *ConnLimiter {
	return &ConnLimiter{most: most, mostOfNetwork: mostOfNetwork, busyThreshold: max(1, mostOfNetwork/8), slots: set{},
		networks: map[netip.Prefix]set{}}
}

// Admit counts a connection that a client of a network has opened now. conn may be closed at any time from then on,
// until Release. The zero Prefix is for clients that count in the total only and are evicted last: a proxy has many
// clients.
func (l *ConnLimiter) Admit(network netip.Prefix, conn io.Closer, now time.Time) *Slot {
	s := &Slot{limiter: l, network: network, conn: conn}
	s.Touch(now)
	if evicted := l.add(s); evicted != nil {
		evicted.conn.Close()
	}
	return s
}

// add counts a connection, and returns the one that it evicts, which is not counted any longer.
func (l *ConnLimiter) add(s *Slot) (evicted *Slot) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case len(l.networks[s.network]) >= l.mostOfNetwork:
		evicted = l.victim(l.networks[s.network])
	case len(l.slots) >= l.most:
		evicted = l.victim(l.slots)
	}
	if evicted != nil {
		l.remove(evicted)
		l.evicted++
	}
	l.slots[s] = struct{}{}
	if s.network.IsValid() {
		if l.networks[s.network] == nil {
			l.networks[s.network] = set{}
		}
		l.networks[s.network][s] = struct{}{}
	}
	return evicted
}

// sampleSize bounds how many connections are examined for eviction. Map iteration starts at a random element, so a
// network is sampled in proportion to what it holds.
const sampleSize = 64

// victim returns the connection to evict. Networks below busyThreshold rank equal: one may hide many clients behind
// NAT, and an attacker may use one connection from each of many.
func (l *ConnLimiter) victim(among set) *Slot {
	var found *Slot
	var share, looked int
	for s := range among {
		if looked++; looked > sampleSize {
			break
		}
		n := len(l.networks[s.network]) / l.busyThreshold
		if !s.network.IsValid() {
			n = -1
		}
		if found == nil || n > share || n == share && s.since.Load() < found.since.Load() {
			found, share = s, n
		}
	}
	return found
}

func (l *ConnLimiter) remove(s *Slot) {
	delete(l.slots, s)
	of := l.networks[s.network]
	if delete(of, s); len(of) == 0 {
		delete(l.networks, s.network)
	}
}

// ConnStats are what a ConnLimiter has counted.
type ConnStats struct {
	Connections, Networks int    // that are open now, and of how many client networks
	Evicted               uint64 // evicted since the start
}

// Stats returns what has been counted.
func (l *ConnLimiter) Stats() ConnStats {
	l.mu.Lock()
	defer l.mu.Unlock()
	return ConnStats{len(l.slots), len(l.networks), l.evicted}
}

// Touch notes that the connection is idle as of now: its client has its answer, and may send the next request.
func (s *Slot) Touch(now time.Time) { s.since.Store(now.UnixNano()) }

// Release ends the counting of a connection. It may be called more than once.
func (s *Slot) Release() {
	s.limiter.mu.Lock()
	defer s.limiter.mu.Unlock()
	s.limiter.remove(s)
}
