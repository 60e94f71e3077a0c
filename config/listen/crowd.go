package listen

import (
	"io"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// A Crowd is the open connections of some listeners. It is never larger than it may be, in all and of one client network:
// then each new connection takes the place of another, which is closed. That is the one that has waited longest for its
// client: of the network's own, or of all, where networks that have much of what a network may have come first. So who holds
// connections open, however many and from however many networks, keeps nobody out. It is safe for concurrent use.
type Crowd struct {
	most, mostOfNetwork int
	much                int // connections of a network; with twice as many it has twice as much

	mu        sync.Mutex
	members   set
	networks  map[netip.Prefix]set // none is empty
	displaced uint64
}

type set map[*Member]struct{}

// A Member is a connection of a Crowd.
type Member struct {
	crowd   *Crowd
	network netip.Prefix // zero: of none
	conn    io.Closer
	since   atomic.Int64 // when it began to wait for its client, nanoseconds since 1970
}

// NewCrowd returns a crowd of so many connections at most, and so many of one client network. Both are at least 1.
func NewCrowd(most, mostOfNetwork int) *Crowd {
	return &Crowd{most: most, mostOfNetwork: mostOfNetwork, much: max(1, mostOfNetwork/8), members: set{}, networks: map[netip.Prefix]set{}}
}

// Enter adds a connection that a client of a network has opened now. conn may be closed at any time from then on, until
// Leave. The zero Prefix is of those that are limited only together with all others, and make room last: proxies have many
// clients.
func (c *Crowd) Enter(network netip.Prefix, conn io.Closer, now time.Time) *Member {
	m := &Member{crowd: c, network: network, conn: conn}
	m.Wait(now)
	if displaced := c.add(m); displaced != nil {
		displaced.conn.Close()
	}
	return m
}

// add adds a connection, and returns the one that has to make room for it, which is not one of the crowd any longer.
func (c *Crowd) add(m *Member) (displaced *Member) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case len(c.networks[m.network]) >= c.mostOfNetwork:
		displaced = c.dispensable(c.networks[m.network])
	case len(c.members) >= c.most:
		displaced = c.dispensable(c.members)
	}
	if displaced != nil {
		c.remove(displaced)
		c.displaced++
	}
	c.members[m] = struct{}{}
	if m.network.IsValid() {
		if c.networks[m.network] == nil {
			c.networks[m.network] = set{}
		}
		c.networks[m.network][m] = struct{}{}
	}
	return displaced
}

// looks is how many connections are looked at to find one that can make room. Of a larger set they are a sample, as a map
// begins to tell its keys somewhere: who has most of the connections has most of the sample.
const looks = 64

// dispensable returns the connection that should make room. Networks with less than much are alike: behind one there may be
// many clients, and others may hold a connection from each of very many networks.
func (c *Crowd) dispensable(among set) *Member {
	var found *Member
	var share, looked int
	for m := range among {
		if looked++; looked > looks {
			break
		}
		n := len(c.networks[m.network]) / c.much
		if !m.network.IsValid() {
			n = -1
		}
		if found == nil || n > share || n == share && m.since.Load() < found.since.Load() {
			found, share = m, n
		}
	}
	return found
}

func (c *Crowd) remove(m *Member) {
	delete(c.members, m)
	of := c.networks[m.network]
	if delete(of, m); len(of) == 0 {
		delete(c.networks, m.network)
	}
}

// A CrowdSize tells how crowded it is.
type CrowdSize struct {
	Connections, Networks int    // that are open now, and of how many client networks
	Displaced             uint64 // that have been closed to make room, since the start
}

// Size returns how crowded it is.
func (c *Crowd) Size() CrowdSize {
	c.mu.Lock()
	defer c.mu.Unlock()
	return CrowdSize{len(c.members), len(c.networks), c.displaced}
}

// Wait tells that the client is answered, and that it is its turn again.
func (m *Member) Wait(now time.Time) { m.since.Store(now.UnixNano()) }

// Leave tells that the connection has ended. It may be called more than once.
func (m *Member) Leave() {
	m.crowd.mu.Lock()
	defer m.crowd.mu.Unlock()
	m.crowd.remove(m)
}
