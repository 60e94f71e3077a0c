package redirector

import (
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// coarse is how exact the deadlines for writes are.
	coarse = time.Second
	// soon is when a connection without a deadline for reads is woken, to see whether it has one by then.
	soon = readTime
)

// A lazyConn is a connection whose deadlines cost little: net/http moves them several times in each request, which takes
// more time than to choose a mirror.
//
// Reads: what is set underneath is never later than what is wanted, and most often earlier, because it was wanted in a
// request before. A read that ends too early for what is wanted by then goes on.
type lazyConn struct {
	net.Conn

	reads  sync.Mutex // guards wanted and set
	wanted time.Time  // zero: no deadline
	set    time.Time  // underneath; zero: none

	writeBy atomic.Int64 // the deadline for writes, nanoseconds since 1970; 0 if there is none
}

// Read reads until the deadline.
func (c *lazyConn) Read(p []byte) (int, error) {
	for {
		n, err := c.Conn.Read(p)
		if n > 0 || err == nil || !errors.Is(err, os.ErrDeadlineExceeded) || !c.early() {
			return n, err
		}
	}
}

// early reports whether a read has ended before its deadline. Then another may begin.
func (c *lazyConn) early() bool {
	c.reads.Lock()
	defer c.reads.Unlock()
	if !c.wanted.IsZero() && !c.wanted.After(time.Now()) {
		return false
	}
	c.set = c.wanted
	return c.Conn.SetReadDeadline(c.set) == nil
}

// SetReadDeadline sets the time at which reads end.
func (c *lazyConn) SetReadDeadline(t time.Time) error {
	c.reads.Lock()
	defer c.reads.Unlock()
	c.wanted = t
	passed := !c.set.IsZero() && c.set.Before(longAgo)
	switch {
	case passed && !t.IsZero() && t.Before(longAgo), !passed && !c.set.IsZero() && (t.IsZero() || !t.Before(c.set)),
		c.set.IsZero() && t.IsZero():
		return nil // what is set will do
	case passed && t.IsZero():
		t = time.Now().Add(soon)
	}
	c.set = t
	return c.Conn.SetReadDeadline(t)
}

// longAgo is after the times in the past with which net/http ends a read at once.
var longAgo = time.Unix(1<<20, 0)

// SetWriteDeadline leaves a deadline that is only a little earlier.
func (c *lazyConn) SetWriteDeadline(t time.Time) error {
	by, old := int64(0), c.writeBy.Load()
	if !t.IsZero() {
		by = t.UnixNano()
		if old != 0 && old <= by && by <= old+int64(coarse) {
			return nil
		}
	}
	c.writeBy.Store(by)
	return c.Conn.SetWriteDeadline(t)
}

// SetDeadline sets both deadlines.
func (c *lazyConn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}
