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
	// writeGranularity is how much earlier than asked for a write deadline may be.
	writeGranularity = time.Second
	// maxReadNap is after how long a read without a deadline is woken, to see whether there is one by then.
	maxReadNap = readTime
)

// A coarseDeadlineConn is a connection whose deadlines are cheap to move. net/http moves them several times in each
// request, which would take more time than choosing a mirror.
//
// The read deadline on the socket is never later than the requested one. It may be an older, earlier one: a read that
// it interrupts too early is resumed.
type coarseDeadlineConn struct {
	net.Conn

	reads  sync.Mutex // guards wanted and set
	wanted time.Time  // requested; zero: none
	set    time.Time  // on the socket; zero: none

	writeBy atomic.Int64 // the write deadline, nanoseconds since 1970; 0 if there is none
}

// Read reads until the deadline.
func (c *coarseDeadlineConn) Read(p []byte) (int, error) {
	for {
		n, err := c.Conn.Read(p)
		if n > 0 || err == nil || !errors.Is(err, os.ErrDeadlineExceeded) || !c.endedEarly() {
			return n, err
		}
	}
}

// endedEarly reports whether a read was interrupted before the requested deadline. If so, it may be resumed.
func (c *coarseDeadlineConn) endedEarly() bool {
	c.reads.Lock()
	defer c.reads.Unlock()
	if !c.wanted.IsZero() && !c.wanted.After(time.Now()) {
		return false
	}
	c.set = c.wanted
	return c.Conn.SetReadDeadline(c.set) == nil
}

// SetReadDeadline sets the time at which reads end.
func (c *coarseDeadlineConn) SetReadDeadline(t time.Time) error {
	c.reads.Lock()
	defer c.reads.Unlock()
	c.wanted = t
	passed := !c.set.IsZero() && c.set.Before(longAgo)
	switch {
	case passed && !t.IsZero() && t.Before(longAgo), !passed && !c.set.IsZero() && (t.IsZero() || !t.Before(c.set)),
		c.set.IsZero() && t.IsZero():
		return nil // the deadline on the socket will do
	case passed && t.IsZero():
		t = time.Now().Add(maxReadNap)
	}
	c.set = t
	return c.Conn.SetReadDeadline(t)
}

// longAgo is later than the times in the past that net/http sets to interrupt a read at once.
var longAgo = time.Unix(1<<20, 0)

// SetWriteDeadline sets the time at which writes end. It keeps a deadline that is only a little earlier.
func (c *coarseDeadlineConn) SetWriteDeadline(t time.Time) error {
	by, old := int64(0), c.writeBy.Load()
	if !t.IsZero() {
		by = t.UnixNano()
		if old != 0 && old <= by && by <= old+int64(writeGranularity) {
			return nil
		}
	}
	c.writeBy.Store(by)
	return c.Conn.SetWriteDeadline(t)
}

// SetDeadline sets both deadlines.
func (c *coarseDeadlineConn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}
