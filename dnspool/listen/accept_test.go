package listen

import (
	"errors"
	"net"
	"syscall"
	"testing"
	"testing/synctest"
)

// A failingListener fails with each of its errors, and then returns a connection.
type failingListener struct {
	net.Listener
	errors []error
}

func (l *failingListener) Accept() (net.Conn, error) {
	if len(l.errors) == 0 {
		return &net.TCPConn{}, nil
	}
	err := l.errors[0]
	l.errors = l.errors[1:]
	return nil, err
}

// TestAccept: a lack of descriptors is waited out, and other errors are returned.
func TestAccept(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		errors []error
		want   error
	}{
		{nil, nil}, {[]error{syscall.EMFILE, syscall.ENFILE, &net.OpError{Op: "accept", Err: syscall.EMFILE}}, nil},
		{[]error{syscall.EMFILE, net.ErrClosed}, net.ErrClosed}, {[]error{syscall.ENOBUFS}, syscall.ENOBUFS},
	} {
		synctest.Test(t, func(t *testing.T) {
			conn, err := Accept(&failingListener{errors: test.errors})
			if !errors.Is(err, test.want) || (conn == nil) != (test.want != nil) {
				t.Errorf("%v: %v, %v", test.errors, conn, err)
			}
		})
	}
}
