package listen

import (
	"net/netip"
	"sync"
)

// A Limit counts open connections, so that neither all clients together nor one network of them can take what the process
// has of descriptors and memory. It is safe for concurrent use.
type Limit struct {
	most, mostOfNetwork int

	mu       sync.Mutex
	open     int
	networks map[netip.Prefix]int // never 0
}

// NewLimit returns a limit of so many connections, and so many of one client network.
func NewLimit(most, mostOfNetwork int) *Limit {
	return &Limit{most: most, mostOfNetwork: mostOfNetwork, networks: map[netip.Prefix]int{}}
}

// Enter counts a connection of a client network until leave is called, of which only the first call counts. If ok is false
// there are too many already, and it is not counted.
func (l *Limit) Enter(network netip.Prefix) (leave func(), ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open >= l.most || l.networks[network] >= l.mostOfNetwork {
		return nil, false
	}
	l.open++
	l.networks[network]++
	return sync.OnceFunc(func() { l.leave(network) }), true
}

func (l *Limit) leave(network netip.Prefix) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
	if l.networks[network]--; l.networks[network] == 0 {
		delete(l.networks, network)
	}
}

// Open returns how many connections are open, and of how many networks they are.
func (l *Limit) Open() (connections, networks int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.open, len(l.networks)
}
