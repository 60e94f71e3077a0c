package authority

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"mirrorpool/dnspool/listen"
)

const (
	minStreamBuffer = 512      // bytes; all that an idle connection holds
	maxStreamBuffer = 16 << 10 // bytes that are read, or kept to be sent, at a time; more only for a message that is longer
	prefixSize      = 2        // of the length before each message (RFC 1035 section 4.2.2)
)

// A streamListener accepts TCP connections for miekg/dns to serve, which answer plain queries themselves.
type streamListener struct {
	*listen.Listener
	sockets     int // as many listeners share the address
	zone        *atomic.Pointer[zone]
	tally       *tally
	connLimiter *listen.ConnLimiter
}

// Accept waits for the next connection.
func (l streamListener) Accept() (net.Conn, error) {
	conn, err := listen.Accept(l.Listener)
	if err != nil {
		return nil, err
	}
	return newStreamConn(conn, newFastPath(l.zone, l.tally), l.connLimiter), nil
}

// A streamConn is a TCP connection. It reads as much as there is, answers the plain queries in it with one write, and
// lets miekg/dns, which reads from it, see only the other messages. They are answered in order, but for long answers.
type streamConn struct {
	net.Conn
	fast   *fastPath
	peer   netip.Addr
	in     []byte // bytes from the client; in[start:] have not been looked at
	start  int
	out    []byte        // responses that have not been sent
	pass   int           // as many of the next bytes are for miekg/dns
	long   chan struct{} // closed at the end of the answer that is sent alongside; nil if there was none
	ending atomic.Bool
	member *listen.Slot
}

func newStreamConn(conn net.Conn, d *fastPath, connLimiter *listen.ConnLimiter) *streamConn {
	peer := clientOf(conn.RemoteAddr(), time.Time{}).addr
	return &streamConn{Conn: conn, fast: d, peer: peer, member: connLimiter.Admit(networkOf(peer), conn, time.Now())}
}

// Close closes the connection, when a long answer is at its end.
func (c *streamConn) Close() error {
	c.awaitLong()
	c.member.Release()
	return c.Conn.Close()
}

// A streamAddr is a client's address that leads to its connection.
type streamAddr struct {
	net.Addr
	conn *streamConn
}

func (a streamAddr) asClient(now time.Time) client { return clientOf(a.Addr, now) }

// RemoteAddr returns the address of the client.
func (c *streamConn) RemoteAddr() net.Addr { return streamAddr{c.Conn.RemoteAddr(), c} }

// alongside has a long answer sent while the messages after it are read and answered (RFC 7766 section 6.2.1.1). There
// is one at a time on a connection. Its caller reads from the connection, and answer does not read from it.
func (c *streamConn) alongside(answer func()) {
	c.awaitLong()
	done := make(chan struct{})
	c.long = done
	go func() {
		defer close(done)
		answer()
	}()
}

// answering reports whether a long answer has been under way since the last time it was asked.
func (c *streamConn) answering() bool {
	if c.long == nil {
		return false
	}
	select {
	case <-c.long:
		c.long = nil
	default:
	}
	return true
}

// awaitLong waits for the end of the long answer.
func (c *streamConn) awaitLong() {
	if c.long != nil {
		<-c.long
	}
}

// Read reads from the next message that is not a plain query.
func (c *streamConn) Read(p []byte) (int, error) {
	for c.pass == 0 {
		answered := c.answer()
		if err := c.flush(); err != nil {
			return 0, err
		}
		if c.pass > 0 {
			break
		}
		if c.whole() {
			continue // there was no more room for answers
		}
		if answered {
			c.waitForNext()
		}
		switch err := c.fill(); {
		case err == nil:
		case errors.Is(err, os.ErrDeadlineExceeded) && c.answering() && !c.ending.Load():
			c.waitForNext() // a client may be silent while it is being answered
		default:
			c.awaitLong()
			return 0, err
		}
	}
	n := copy(p, c.in[c.start:c.start+c.pass])
	c.start += n
	c.pass -= n
	return n, nil
}

// answer answers the messages at the front of the input, until one is incomplete or for miekg/dns. It reports
// whether it answered any.
func (c *streamConn) answer() (any bool) {
	from := client{addr: c.peer, stream: true, now: time.Now()}
	for {
		rest := c.in[c.start:]
		if len(rest) < prefixSize {
			return any
		}
		size := prefixSize + int(binary.BigEndian.Uint16(rest))
		if len(rest) < size || len(c.out) >= maxStreamBuffer {
			return any
		}
		at := len(c.out)
		response, ok := c.fast.respond(append(c.out, 0, 0), rest[prefixSize:size], from)
		if !ok {
			c.pass = size
			return any
		}
		binary.BigEndian.PutUint16(response[at:], uint16(len(response)-at-prefixSize))
		c.out = response
		c.start += size
		any = true
	}
}

// flush sends the responses.
func (c *streamConn) flush() error {
	if len(c.out) == 0 {
		return nil
	}
	_, err := c.Write(c.out)
	c.out = c.out[:0]
	if cap(c.out) > 2*maxStreamBuffer { // after very long answers
		c.out = nil
	}
	return err
}

// Write sends p, a response of miekg/dns too. A client that does not read has writeTime for it. It may be called
// concurrently. Nothing can follow what was sent in part only, so that the connection ends with it.
func (c *streamConn) Write(p []byte) (int, error) {
	now := time.Now()
	c.member.Touch(now)
	if err := c.SetWriteDeadline(now.Add(writeTime)); err != nil {
		return 0, err
	}
	n, err := c.Conn.Write(p)
	if err != nil {
		c.Conn.Close()
	}
	return n, err
}

// send sends one message.
func (c *streamConn) send(message []byte) error {
	framed := binary.BigEndian.AppendUint16(make([]byte, 0, prefixSize+len(message)), uint16(len(message)))
	_, err := c.Write(append(framed, message...))
	return err
}

// whole reports whether the next message is there.
func (c *streamConn) whole() bool {
	rest := c.in[c.start:]
	return len(rest) >= prefixSize && len(rest) >= prefixSize+int(binary.BigEndian.Uint16(rest))
}

// fill reads more. A message that does not fit makes the buffer grow, as far as it has come in: what a client announces
// takes no memory.
func (c *streamConn) fill() error {
	kept := copy(c.in, c.in[c.start:])
	c.in, c.start = c.in[:kept], 0
	switch size := cap(c.in); {
	case kept == size:
		most := maxStreamBuffer
		if kept >= prefixSize {
			most = max(most, prefixSize+int(binary.BigEndian.Uint16(c.in)))
		}
		c.in = append(make([]byte, 0, min(max(minStreamBuffer, 8*size), most)), c.in...)
	case size > maxStreamBuffer && kept < minStreamBuffer: // after a long message
		c.in = append(make([]byte, 0, minStreamBuffer), c.in...)
	}
	n, err := c.Conn.Read(c.in[kept:cap(c.in)])
	c.in = c.in[:kept+n]
	if n > 0 {
		return nil
	}
	return err
}

// lastTime is how long a query that has been sent, but not read yet, can still be read when the server shuts down.
const lastTime = 100 * time.Millisecond

// SetReadDeadline is called by miekg/dns before each message; and with a time in the past to shut down. Then what the
// client has sent by now is still answered.
func (c *streamConn) SetReadDeadline(t time.Time) error {
	if now := time.Now(); !t.After(now) {
		c.ending.Store(true)
		t = now.Add(lastTime)
	}
	return c.Conn.SetReadDeadline(t)
}

// waitForNext gives the client new time for its next message, unless the server is being shut down.
func (c *streamConn) waitForNext() {
	c.Conn.SetReadDeadline(time.Now().Add(idleTime)) // if it fails, so will the read
	if c.ending.Load() {
		c.Conn.SetReadDeadline(time.Now().Add(lastTime))
	}
}
