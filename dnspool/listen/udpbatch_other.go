//go:build !linux

package listen

import "net"

// CanBatch says whether UDP messages are answered in batches on this system.
const CanBatch = false

// UDPBatch returns conn as it is: its reader gets one message at a time.
func UDPBatch(conn *net.UDPConn, _ bool, _ Responder, _ BatchSizes) (net.PacketConn, error) {
	return conn, nil
}
