package watch

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// memberlist reads a message of up to 20 MB into memory before it decrypts it. These bound what hosts that are no
// members can make it hold.
const (
	maxStrangers     = 64       // connections from them at a time
	maxFromStranger  = 4        // of these, from one address, or one network of IPv6
	maxStrangerBytes = 32 << 20 // that all of them have sent at a time; a new member sends up to 20 MB

	// maxFromMember is for connections from one address of members. A message of a few kB may become one of 20 MB, in
	// several copies, so that each connection may take 40 MB.
	maxFromMember = 8

	sendTimeout = 10 * time.Second // for a message
)

var errStrangerBytes = errors.New("too many bytes from hosts that are no members")

// A transport is memberlist's, with limits on connections.
type transport struct {
	*memberlist.NetTransport
	ctx     context.Context // while messages may be sent
	known   func(netip.Addr) bool
	sending time.Duration // for a message
	streams chan net.Conn
	stop    chan struct{}
	done    sync.WaitGroup

	mu        sync.Mutex // guards all below
	from      map[netip.Addr]int
	strangers int
	bytes     int // that strangers have sent over connections that are open
}

// newTransport opens the listener at an address. known reports whether a member is expected at an address.
func newTransport(ctx context.Context, c *memberlist.NetTransportConfig, known func(netip.Addr) bool) (*transport, error) {
	inner, err := memberlist.NewNetTransport(c)
	if err != nil {
		return nil, err
	}
	t := &transport{NetTransport: inner, ctx: ctx, known: known, sending: sendTimeout, streams: make(chan net.Conn), stop: make(chan struct{}),
		from: map[netip.Addr]int{}}
	t.done.Go(t.accept)
	return t, nil
}

// StreamCh delivers the connections that are within the limits.
func (t *transport) StreamCh() <-chan net.Conn { return t.streams }

// accept passes connections on, or closes them, until Shutdown.
func (t *transport) accept() {
	for {
		select {
		case conn := <-t.NetTransport.StreamCh():
			t.admit(conn)
		case <-t.stop:
			return
		}
	}
}

// admit passes a connection on, or closes it. All of it has to have come within the time that memberlist gives it.
func (t *transport) admit(conn net.Conn) {
	s := t.limited(conn)
	if s == nil {
		conn.Close()
		return
	}
	select {
	case t.streams <- s:
	case <-t.stop:
		s.Close()
	case <-time.After(dialTimeout): // memberlist has stopped
		s.Close()
	}
}

// limited counts a connection. It returns nil if there are too many.
func (t *transport) limited(conn net.Conn) *stream {
	tcp, ok := conn.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return nil
	}
	addr := tcp.AddrPort().Addr().Unmap().WithZone("")
	s := &stream{Conn: conn, t: t, from: addr, stranger: !t.known(addr)}
	limit := maxFromMember
	if s.stranger {
		limit = maxFromStranger
		if addr.Is6() {
			s.from = netip.PrefixFrom(addr, 64).Masked().Addr()
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.from[s.from] >= limit || s.stranger && t.strangers >= maxStrangers {
		return nil
	}
	t.from[s.from]++
	t.strangers += count(s.stranger)
	return s
}

// read counts bytes of strangers, and reports whether there is room for them.
func (t *transport) read(s *stream, n int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	s.bytes += n
	t.bytes += n
	return t.bytes <= maxStrangerBytes
}

// release counts a connection that has been closed.
func (t *transport) release(s *stream) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.from[s.from]--; t.from[s.from] == 0 {
		delete(t.from, s.from)
	}
	t.strangers -= count(s.stranger)
	t.bytes -= s.bytes
}

// Shutdown closes the listener.
func (t *transport) Shutdown() error {
	err := t.NetTransport.Shutdown() // waits until its last connection has been taken
	close(t.stop)
	t.done.Wait()
	return err
}

// DialTimeout connects to a member.
func (t *transport) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	return t.DialAddressTimeout(memberlist.Address{Addr: addr}, timeout)
}

// DialAddressTimeout connects to a member. memberlist sets no deadline for messages: one that does not read must not
// keep this watcher from stopping.
func (t *transport) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(t.ctx, timeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", a.Addr)
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Now().Add(t.sending)); err != nil {
		conn.Close()
		return nil, err
	}
	return &outgoing{conn, context.AfterFunc(t.ctx, func() { conn.Close() })}, nil
}

// An outgoing connection is closed when the group stops, at the latest.
type outgoing struct {
	net.Conn
	forget func() bool
}

func (o *outgoing) Close() error {
	o.forget()
	return o.Conn.Close()
}

// A stream is a connection from elsewhere. One goroutine reads it, and closes it.
type stream struct {
	net.Conn
	t        *transport
	from     netip.Addr // or the network, see limited
	stranger bool
	closed   sync.Once
	bytes    int // read; t.mu guards it
}

// Read fails once strangers have sent too much.
func (s *stream) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	if s.stranger && !s.t.read(s, n) {
		return 0, errStrangerBytes
	}
	return n, err
}

// Close closes the connection.
func (s *stream) Close() error {
	err := s.Conn.Close()
	s.closed.Do(func() { s.t.release(s) })
	return err
}
