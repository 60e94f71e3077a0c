package listen

import (
	"net/netip"
	"testing"
)

func TestLimit(t *testing.T) {
	t.Parallel()
	l := NewLimit(5, 3)
	a, b, c := netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/56"), netip.MustParsePrefix("198.51.100.0/24")
	enter := func(network netip.Prefix, want bool) (leave func()) {
		t.Helper()
		leave, ok := l.Enter(network)
		if ok != want {
			t.Errorf("another connection of %v may enter: %t", network, ok)
		}
		return leave
	}
	leaveA := enter(a, true)
	enter(a, true)
	enter(a, true)
	enter(a, false) // too many of this network
	leaveB := enter(b, true)
	enter(b, true)
	enter(c, false) // too many in all
	if connections, networks := l.Open(); connections != 5 || networks != 2 {
		t.Errorf("%d connections of %d networks are open, want 5 of 2", connections, networks)
	}
	leaveA()
	leaveA() // counts once
	enter(c, true)
	enter(a, false)
	leaveB()
	enter(a, true)
	if connections, networks := l.Open(); connections != 5 || networks != 3 {
		t.Errorf("%d connections of %d networks are open, want 5 of 3", connections, networks)
	}
}

// TestLimitForgets: networks of which no connection is left take no memory.
func TestLimitForgets(t *testing.T) {
	t.Parallel()
	l := NewLimit(5, 3)
	for i := range 100 {
		network := netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, byte(i), 0}), 24)
		first, ok := l.Enter(network)
		second, also := l.Enter(network)
		if !ok || !also {
			t.Fatalf("connections of network %d may not enter", i)
		}
		first()
		second()
	}
	if connections, networks := l.Open(); connections != 0 || networks != 0 {
		t.Errorf("%d connections of %d networks are still counted", connections, networks)
	}
}
