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

// join tries to reach the members that are missing, all at once.
func (g *Group) join(ctx context.Context, list *memberlist.Memberlist) {
	var mu sync.Mutex
	failed := ""
	var trying sync.WaitGroup
	for _, peer := range g.missing(ctx, list) {
		trying.Go(func() {
			if _, err := list.Join([]string{peer}); err != nil {
				mu.Lock()
				defer mu.Unlock()
				failed = fmt.Sprintf("cannot reach %s: %s", peer, joinError(err, peer))
			}
		})
	}
	trying.Wait()
	g.setProblem(failed)
}

// joinAdvice is what to do about what memberlist says of a member that could not be joined. Its errors keep only the
// text of those that caused them.
var joinAdvice = []struct{ sign, advice string }{
	{"failed to resolve", "its name has no address: look at watch.join"},
	{"connection refused", "nothing listens there: is mirrorpool running, with watch.listen on that port?"},
	{"i/o timeout", "no answer: let the port through between the two, over UDP and TCP"},
	{"delegate protocol version", "it speaks another version of the protocol: run the same version of mirrorpool on both"},
	{"decrypt", "its keys are others: look at watch.key_file of both"},
	{"EOF", "its keys are others: look at watch.key_file of both"},
	{"connection reset", "it hangs up: look at watch.key_file of both, and at its log"},
}

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

// missing are the addresses at which a member is expected, and none is known to live.
func (g *Group) missing(ctx context.Context, list *memberlist.Memberlist) []string {
	there := map[string]bool{}
	for _, node := range list.Members() {
		there[node.Address()] = true
	}
	var peers []string
	sought := map[netip.Addr]bool{}
	for _, peer := range g.o.Config.Join {
		found := lookup(ctx, peer)
		if !slices.ContainsFunc(found, func(addr netip.AddrPort) bool { return there[addr.String()] }) {
			peers = append(peers, peer)
		}
		for _, addr := range found {
			sought[addr.Addr()] = true
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sought = sought
	for _, m := range g.members {
		if !m.alive && !g.goneForLong(m) && m.address != "" && !there[m.address] && !slices.Contains(peers, m.address) {
			peers = append(peers, m.address)
		}
	}
	return peers
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
