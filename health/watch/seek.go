package watch

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
	"golang.org/x/sync/errgroup"
)

// seek joins the group, and looks for members that are missing until ctx ends: those of the configuration, and those
// that were lost.
func (g *Group) seek(ctx context.Context, list *memberlist.Memberlist) error {
	ticker := time.NewTicker(rejoinEvery)
	defer ticker.Stop()
	for {
		g.join(ctx, list)
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// join tries to reach the members that are missing, all at once. Where one was stopped that is no problem.
func (g *Group) join(ctx context.Context, list *memberlist.Memberlist) {
	var mu sync.Mutex
	failed := ""
	var trying sync.WaitGroup
	for _, peer := range g.missing(ctx, list) {
		trying.Go(func() {
			if problem := joinAt(list, lookup(ctx, peer.address)); problem != "" && !peer.stopped {
				mu.Lock()
				defer mu.Unlock()
				failed = fmt.Sprintf("cannot reach %s: %s", peer.address, problem)
			}
		})
	}
	trying.Wait()
	g.setProblem(failed)
}

// joinAt tries to reach a member at its addresses, and returns what keeps it from doing so, or "". memberlist does not
// get names: it would go on looking them up for many seconds after the watcher is to stop.
func joinAt(list *memberlist.Memberlist, at []netip.AddrPort) (problem string) {
	if len(at) == 0 {
		return "its name has no address: look at watch.join"
	}
	var addresses []string
	for _, addr := range at {
		addresses = append(addresses, addr.String())
	}
	if _, err := list.Join(addresses); err != nil {
		return joinError(err, addresses[0])
	}
	return ""
}

// joinAdvice is what to do about what memberlist says of a member that could not be joined. Its errors keep only the
// text of those that caused them.
var joinAdvice = []struct{ sign, advice string }{
	{"connection refused", "nothing listens there: is mirrorpool running, with watch.listen on that port?"},
	{"i/o timeout", "no answer: let the port through between the two, over UDP and TCP"},
	{"delegate protocol version", "it speaks another version of the protocol: run the same version of mirrorpool on both"},
	{"decrypt", "its keys are others: look at watch.key_file of both"},
	{"EOF", hangsUp},
	{"connection reset", hangsUp},
}

// hangsUp is the advice where a member closes the connection: it does so without a word for both of these reasons.
const hangsUp = "it hangs up: its keys are others (look at watch.key_file of both), or it has too many connections (look again later)"

// joinError says why a member could not be joined, and what to do, in a line.
func joinError(err error, peer string) string {
	for _, a := range joinAdvice {
		if strings.Contains(err.Error(), a.sign) {
			return a.advice
		}
	}
	if inner := errors.Unwrap(err); inner != nil { // the first of a list of one
		err = inner
	}
	return strings.TrimPrefix(err.Error(), "failed to join "+peer+": ")
}

// An absent member is to be looked for.
type absent struct {
	address string // host:port
	stopped bool   // it has said that it stops
}

// missing are the members that are expected, and not known to live.
func (g *Group) missing(ctx context.Context, list *memberlist.Memberlist) []absent {
	there := map[string]bool{}
	for _, node := range list.Members() {
		there[node.Address()] = true
	}
	found := lookupAll(ctx, g.o.Config.Join)
	g.mu.Lock()
	defer g.mu.Unlock()
	stopped := map[string]bool{}
	for _, m := range g.members {
		stopped[m.address] = m.stopped && !m.alive
	}
	var peers []absent
	g.sought = map[netip.Addr]bool{}
	for i, peer := range g.o.Config.Join {
		one := absent{address: peer}
		lives := false
		for _, addr := range found[i] {
			g.sought[addr.Addr()] = true
			lives = lives || there[addr.String()]
			one.stopped = one.stopped || stopped[addr.String()]
		}
		if !lives {
			peers = append(peers, one)
		}
	}
	for _, m := range g.members {
		known := slices.ContainsFunc(peers, func(p absent) bool { return p.address == m.address })
		if !m.alive && !g.goneForLong(m) && m.address != "" && !there[m.address] && !known {
			peers = append(peers, absent{m.address, m.stopped})
		}
	}
	return peers
}

// lookUpAtOnce is how many names are looked up side by side.
const lookUpAtOnce = 8

// lookupAll returns the addresses of each peer.
func lookupAll(ctx context.Context, peers []string) [][]netip.AddrPort {
	found := make([][]netip.AddrPort, len(peers))
	var looking errgroup.Group
	looking.SetLimit(lookUpAtOnce)
	for i, peer := range peers {
		looking.Go(func() error {
			found[i] = lookup(ctx, peer)
			return nil
		})
	}
	_ = looking.Wait() // none fails
	return found
}

// lookup returns the addresses of host:port, each with the port.
func lookup(ctx context.Context, peer string) []netip.AddrPort {
	host, text, err := net.SplitHostPort(peer)
	if err != nil {
		return nil
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil
	}
	list := make([]netip.AddrPort, len(found))
	for i, addr := range found {
		list[i] = netip.AddrPortFrom(addr.Unmap(), uint16(port))
	}
	return list
}
