//go:build !linux

package authority

import (
	"net"
	"sync/atomic"
)

// canBatch says whether UDP queries are answered in batches.
const canBatch = false

// newBatchConn returns conn as it is: miekg/dns reads and answers one message at a time.
func newBatchConn(conn *net.UDPConn, _ bool, _ *atomic.Pointer[zone], _ *tally) (net.PacketConn, error) {
	return conn, nil
}
