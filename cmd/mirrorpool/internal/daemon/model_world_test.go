package daemon

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"net/url"
	"sync"
	"time"

	"mirrorpool/health"
)

// modelHosts is how many hosts the model's world has. The pool holds a mirror on some of them.
const modelHosts = 8

// A mood is how an address behaves in a role.
type mood int

const (
	passes mood = iota
	fails
	hangs
	lags       // carries an old trace
	blind      // cannot be judged, for a reason of ours
	distrusted // fails in a way that a fault of ours would explain: over https, where most mirrors do
	flaky      // fails every third time
	moods

	// These are in no random sequence: whether they count depends on all others.
	unreachable // no connection can be made
	expired     // its certificate is not valid by this host's clock
)

// A world is what a pool's checks meet: hosts with addresses, what DNS says of them, and how each behaves. It stands in
// for the network, so that a sequence of events is the same each time that it is run.
type world struct {
	now func() time.Time

	mu       sync.Mutex
	moods    map[string]mood     // by ADDRESS/ROLE, or HOST/rsync; absent: passes
	dns      [modelHosts]dnsMood // what name servers say
	lie      lie                 // what the resolver makes of it
	watched  map[string]bool     // hosts that may be probed; nil before there is a pool
	strays   []string            // probes of hosts that may not be
	underway map[string]int      // probes, by host
	probed   map[string]int      // probes that have ended, by ADDRESS/ROLE
	ahead    time.Duration       // by which this host's clock is ahead of the servers'
}

// A dnsMood is what DNS says of a host.
type dnsMood int

const (
	both dnsMood = iota
	onlyV4
	onlyV6
	moved // both, at other addresses
	noAddress
	servfail
	dnsMoods
)

// A lie is what a resolver says of all hosts.
type lie int

const (
	truth   lie = iota
	nowhere     // no host has an address
	private     // all have private ones
	portal      // all have the same one
	dead        // nothing
	lies
)

// portalAddress is where a captive portal sends all clients. No mirror is there.
var portalAddress = netip.MustParseAddr("203.0.113.80")

func newWorld() *world {
	return &world{moods: map[string]mood{}, underway: map[string]int{}, probed: map[string]int{}}
}

// reference is the trace that all should carry. A mirror that lags has one that is an hour older.
func reference() time.Time { return time.Unix(946_600_000, 0) } // a bubble's time begins at 2000-01-01

// hostAddresses are the addresses of a host, in the family order; all that it may ever have, if it is allowed to move.
func hostAddresses(host int, move bool) []netip.Addr {
	addrs := []netip.Addr{
		netip.AddrFrom4([4]byte{198, 51, 100, byte(host + 1)}),
		netip.MustParseAddr(fmt.Sprintf("2001:db8:100::%d", host+1)),
	}
	if move {
		addrs = append(addrs, netip.AddrFrom4([4]byte{198, 51, 101, byte(host + 1)}),
			netip.MustParseAddr(fmt.Sprintf("2001:db8:101::%d", host+1)))
	}
	return addrs
}

func hostName(host int) string { return fmt.Sprintf("m%d.example.net", host) }

// hostOf is the number of a host by its name.
func hostOf(name string) int {
	var host int
	fmt.Sscanf(name, "m%d.example.net", &host)
	return host
}

// resolved is what DNS says of a host, or false if it says nothing.
func (w *world) resolved(host int) (addrs []netip.Addr, ok bool) {
	all := hostAddresses(host, true)
	switch w.dns[host] {
	case both:
		return all[:2], true
	case onlyV4:
		return all[:1], true
	case onlyV6:
		return all[1:2], true
	case moved:
		return all[2:], true
	case noAddress:
		return nil, true
	default:
		return nil, false
	}
}

// Lookup is the resolver.
func (w *world) Lookup(_ context.Context, name string) (v4, v6 health.Answer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	addrs, ok := w.resolved(hostOf(name))
	switch w.lie {
	case nowhere:
		addrs, ok = nil, true
	case private:
		addrs, ok = []netip.Addr{netip.MustParseAddr("0.0.0.0")}, true
	case portal:
		addrs, ok = []netip.Addr{portalAddress}, true
	case dead:
		addrs, ok = nil, false
	}
	v4.TTL, v6.TTL = time.Minute, time.Minute
	if !ok {
		v4.Err = fmt.Errorf("asking 192.0.2.53:53 for %s A: SERVFAIL", name)
		v6.Err = v4.Err
	}
	for _, addr := range addrs {
		if addr.Is4() {
			v4.Addresses = append(v4.Addresses, addr)
		} else {
			v6.Addresses = append(v6.Addresses, addr)
		}
	}
	return v4, v6
}

// key names what has a mood.
func key(host int, addr netip.Addr, role health.Role) string {
	if role == health.Rsync {
		return fmt.Sprintf("%d/rsync", host)
	}
	return fmt.Sprintf("%s/%s", addr, role)
}

// Probe is the network.
func (w *world) Probe(ctx context.Context, t health.Target) health.Observation {
	start := w.now()
	k := key(hostOf(t.OwnHost), t.Address, t.Role)
	w.mu.Lock()
	if w.watched != nil && !w.watched[t.OwnHost] && ctx.Err() == nil {
		w.strays = append(w.strays, fmt.Sprintf("%s at %s in role %s", t.OwnHost, t.Address, t.Role))
	}
	w.underway[t.OwnHost]++
	m := w.moods[k]
	if t.Address == portalAddress {
		m = fails
	}
	w.mu.Unlock()
	if m == hangs {
		<-ctx.Done()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.underway[t.OwnHost]--
	w.probed[k]++
	o := health.Observation{Result: health.Up, Trace: reference()}
	switch m {
	case fails, hangs:
		o = health.Observation{Result: health.Down, Reason: "connect: connection refused"}
	case flaky:
		if w.probed[k]%3 == 0 {
			o = health.Observation{Result: health.Down, Reason: "connect: connection reset by the server"}
		}
	case distrusted:
		o = health.Observation{Result: health.Down, Cause: health.CauseTrust,
			Reason: "tls: certificate is signed by an unknown authority"}
	case unreachable:
		o = health.Observation{Result: health.Down, Cause: health.CauseConnect, Reason: "connect: timed out"}
	case expired:
		o = health.Observation{Result: health.Down, Cause: health.CauseClock, Reason: "tls: certificate is not valid now"}
	case lags:
		o.Trace = o.Trace.Add(-time.Hour)
	case blind:
		o = health.Observation{Result: health.Unknown, Cause: health.CauseLocal, Reason: "connect: network is unreachable"}
	}
	o.At = w.now()
	if o.Result == health.Up {
		o.Date = o.At.Add(-w.ahead)
	}
	o.Took = o.At.Sub(start)
	return o
}

// ReadReference is the origin.
func (w *world) ReadReference(context.Context, *url.URL, string) (time.Time, error) {
	return reference(), nil
}

// watch says which hosts may be probed from now on.
func (w *world) watch(hosts map[string]bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.watched = hosts
}

// changeMoods makes some of the world behave otherwise.
func (w *world) changeMoods(r *rand.Rand) {
	w.mu.Lock()
	defer w.mu.Unlock()
	set := func(host int, addr netip.Addr, role health.Role) {
		m := passes
		if r.IntN(2) == 0 {
			m = mood(r.IntN(int(moods)))
		}
		w.moods[key(host, addr, role)] = m
	}
	for range 1 + r.IntN(4) {
		host := r.IntN(modelHosts)
		addrs := hostAddresses(host, true)
		addr, role := addrs[r.IntN(len(addrs))], health.Role(r.IntN(3))
		switch r.IntN(4) {
		case 0: // a whole host
			before := r.Uint64()
			for _, addr := range addrs {
				for _, role := range []health.Role{health.HTTP, health.DNS, health.Rsync} {
					r := rand.New(rand.NewPCG(before, 0))
					w.moods[key(host, addr, role)] = mood(r.IntN(int(moods)))
				}
			}
		case 1: // a family of it
			m := mood(r.IntN(int(moods)))
			for _, other := range addrs {
				if other.Is4() == addr.Is4() {
					w.moods[key(host, other, health.HTTP)], w.moods[key(host, other, health.DNS)] = m, m
				}
			}
		default:
			set(host, addr, role)
		}
	}
}

// changeAll makes everything behave in one way.
func (w *world) changeAll(m mood) {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.moods)
	for host := range modelHosts {
		for _, addr := range hostAddresses(host, true) {
			for _, role := range []health.Role{health.HTTP, health.DNS, health.Rsync} {
				w.moods[key(host, addr, role)] = m
			}
		}
	}
}

// changeDNS makes the resolver say something else of a host.
func (w *world) changeDNS(r *rand.Rand) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dns[r.IntN(modelHosts)] = dnsMood(r.IntN(int(dnsMoods)))
}

// changeResolver makes the resolver lie, or tell the truth.
func (w *world) changeResolver(r *rand.Rand) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lie = truth
	if r.IntN(2) == 0 {
		w.lie = lie(r.IntN(int(lies)))
	}
}
