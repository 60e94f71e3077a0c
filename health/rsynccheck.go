package health

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// maxRsyncAddresses is at how many addresses one check tries to connect to an rsync daemon.
const maxRsyncAddresses = 4

// observeWithoutAddress returns the observation of an rsync daemon without any address, or nil if k has one.
func (c *Checker) observeWithoutAddress(k *check) *Observation {
	if k.address.IsValid() {
		return nil
	}
	host := k.mirror.rsyncLookup()
	o := &Observation{At: c.now(), Result: Down, Reason: host.problem}
	if host.v4.Err != nil || host.v6.Err != nil {
		o.Result = Unknown // our own resolver failed
	}
	return o
}

// probeRsync probes a daemon at t's address and, if it cannot connect, at the further addresses in turn, as rsync
// clients do. It returns the observation and its address. Connecting to each address may take its share of the time
// that is left; a daemon that accepts the connection may take all of it.
func (c *Checker) probeRsync(ctx context.Context, t Target, further []netip.Addr) (Observation, netip.Addr) {
	var failed []Observation
	addrs := append([]netip.Addr{t.Address}, further...)
	for i, addr := range addrs {
		t.Address = addr
		if deadline, ok := ctx.Deadline(); ok {
			t.ConnectTimeout = time.Until(deadline) / time.Duration(len(addrs)-i)
		}
		o := c.prober.Probe(ctx, t)
		if !o.NoConnection {
			return o, addr
		}
		failed = append(failed, o)
	}
	return unreachableAt(addrs, failed), addrs[0]
}

// unreachableAt is the observation of a daemon that cannot be reached at any of the addresses. It is Down if one of the
// failures is not on our side.
func unreachableAt(addrs []netip.Addr, failed []Observation) Observation {
	if len(failed) == 1 {
		return failed[0]
	}
	o := failed[len(failed)-1]
	reasons := make([]string, len(failed))
	for i := range failed {
		o.Result = max(o.Result, failed[i].Result)
		reasons[i] = fmt.Sprintf("%s at %v", strings.TrimPrefix(failed[i].Reason, StepConnect+": "), addrs[i])
	}
	o.Reason = StepConnect + ": " + strings.Join(reasons, "; ")
	return o
}

// furtherAddresses returns the addresses to try after one of the same host, the other family first, then by turns.
func furtherAddresses(addrs []netip.Addr, after netip.Addr) []netip.Addr {
	var same, other []netip.Addr
	for _, addr := range addrs {
		switch {
		case addr == after:
		case addr.Is4() == after.Is4():
			same = append(same, addr)
		default:
			other = append(other, addr)
		}
	}
	var further []netip.Addr
	for i := range max(len(same), len(other)) {
		if i < len(other) {
			further = append(further, other[i])
		}
		if i < len(same) {
			further = append(further, same[i])
		}
	}
	return further[:min(len(further), maxRsyncAddresses-1)]
}
