//go:build unix

package listen

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// CanShare says whether several sockets can share an address, the kernel spreading the load.
const CanShare = true

// share prepares a socket to share its address.
func share(_, _ string, c syscall.RawConn) error {
	return control(c, func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) })
}

func control(c syscall.RawConn, do func(fd int) error) error {
	var failed error
	if err := c.Control(func(fd uintptr) { failed = do(int(fd)) }); err != nil {
		return err
	}
	return failed
}
