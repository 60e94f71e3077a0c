// Package testbed holds what the tests of several packages share.
package testbed

import (
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"testing"
)

// Ports below those that Linux gives to clients by itself (32768 and above), so that no connection takes one between
// the call and the start of the server.
const (
	firstPort = 10_000
	ports     = 22_000
)

// handedOut are the ports that FreePort has returned. Servers that share an address also share the queries to it, so
// that two tests with one port would disturb each other without a sign.
var handedOut sync.Map

// FreePort returns a port that is free over TCP and UDP at all the addresses, 127.0.0.1 if there are none. Each call
// of a process returns another one.
func FreePort(t testing.TB, addresses ...string) string {
	t.Helper()
	if len(addresses) == 0 {
		addresses = []string{"127.0.0.1"}
	}
	for range 100 {
		port := strconv.Itoa(firstPort + rand.IntN(ports))
		if _, taken := handedOut.LoadOrStore(port, true); !taken && free(port, addresses) {
			return port
		}
	}
	t.Fatalf("no port is free at all of %v", addresses)
	return ""
}

// free reports whether a server can be started at a port.
func free(port string, addresses []string) bool {
	for _, address := range addresses {
		at := net.JoinHostPort(address, port)
		l, err := net.Listen("tcp", at)
		if err != nil {
			return false
		}
		defer l.Close()
		conn, err := net.ListenPacket("udp", at)
		if err != nil {
			return false
		}
		defer conn.Close()
	}
	return true
}
