package listen

import (
	"errors"
	"net"
	"syscall"
	"time"
)

// acceptPause is how long to wait before accepting again when file descriptors have run out.
const acceptPause = 20 * time.Millisecond

// Accept waits for a connection at l. While file descriptors are lacking, it waits until another connection ends, and
// the clients wait in the kernel.
func Accept(l net.Listener) (net.Conn, error) {
	for {
		conn, err := l.Accept()
		if !errors.Is(err, syscall.EMFILE) && !errors.Is(err, syscall.ENFILE) {
			return conn, err
		}
		time.Sleep(acceptPause)
	}
}
