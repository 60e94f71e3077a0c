//go:build unix

package authority

import (
	"math"
	"syscall"

	"golang.org/x/sys/unix"
)

// canReusePort says whether several sockets can share an address, the kernel spreading the load.
const canReusePort = true

// reusePort prepares a socket to share its address.
func reusePort(_, _ string, c syscall.RawConn) error {
	var failed error
	err := c.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	})
	if err != nil {
		return err
	}
	return failed
}

// maxDescriptors is how many descriptors the process may have.
func maxDescriptors() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return math.MaxInt
	}
	return int(min(limit.Cur, math.MaxInt32))
}
