//go:build !race

// The race detector makes a sync.Pool lose what is put into it.

package geo

import (
	"net/netip"
	"testing"

	"go.uber.org/zap"
)

func TestPlaceDoesNotAllocate(t *testing.T) {
	r := Open(testConfig("city", "asn"), zap.NewNop())
	for _, text := range []string{"198.18.1.1", "2001:db8:1::1", "203.0.113.1"} {
		addr := netip.MustParseAddr(text)
		if n := testing.AllocsPerRun(1000, func() { r.Place(addr) }); n >= 1 { // a pool may lose its content to the collector
			t.Errorf("to look up %s allocates %v times, want 0", text, n)
		}
	}
}
