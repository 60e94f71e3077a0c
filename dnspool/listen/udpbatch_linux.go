package listen

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	batchSize     = 64      // messages for one system call at most
	receiveBuffer = 4 << 20 // bytes that the kernel may hold for us, if net.core.rmem_max lets it

	// After a batch of fewSome to fewMost messages, the reader rests for a moment, to which the kernel adds up to
	// readerTimerSlack. Each system call and wake-up is then for more messages: with two sockets at 60,000 queries a
	// second, an answer takes a fifth less CPU time. Single messages are too rare for that, and larger batches enough
	// without.
	restTime = 100 * time.Microsecond
	fewSome  = 2
	fewMost  = 7

	drainPause       = 50 * time.Millisecond  // for messages that the kernel is just handing over
	stopPollInterval = 200 * time.Millisecond // how often a reader of an inherited socket checks for shutdown
)

// CanBatch says whether UDP messages are answered in batches on this system.
const CanBatch = true

// A batchConn is a UDP socket that takes many messages out of the kernel at a time, and has a Responder answer them, as
// many at a time. Those that it leaves are passed up by ReadFrom, one by one.
//
// It waits in the kernel and not for the runtime's poller, which would be woken for each message, too.
type batchConn struct {
	local     *net.UDPAddr
	responder Responder
	ours      bool        // no other process has the socket open
	ending    atomic.Bool // no more is to be read

	open sync.RWMutex // held for reading during system calls, so that Close does not pull fd away from under them
	fd   int          // -1 once closed

	in, out   *mmsgs
	queries   [][]byte  // buffers of in
	responses [][]byte  // buffers of out
	next, n   int       // of in, those from next to n have not been looked at
	now       time.Time // when they came
	ready     int       // of out, as many have not been sent
	passed    int       // messages that were passed up since the others had their turn
}

// UDPBatch takes the place of conn, which it closes. ours says that no other process has the socket open. Messages
// longer than sizes.Query are cut; responses up to sizes.Response do not allocate.
func UDPBatch(conn *net.UDPConn, ours bool, r Responder, sizes BatchSizes) (net.PacketConn, error) {
	defer conn.Close()
	if err := conn.SetReadBuffer(receiveBuffer); err != nil {
		return nil, err
	}
	local := conn.LocalAddr().(*net.UDPAddr)
	file, err := conn.File() // another descriptor of the socket, which the poller does not know
	if err != nil {
		return nil, err
	}
	defer file.Close()
	fd, err := unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	if err := prepareSocket(fd, local.AddrPort().Addr()); err != nil {
		unix.Close(fd)
		return nil, err
	}
	if !ours { // it cannot be shut down to wake the reader
		wake := unix.NsecToTimeval(int64(stopPollInterval))
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wake); err != nil {
			unix.Close(fd)
			return nil, err
		}
	}
	c := &batchConn{local: local, fd: fd, ours: ours, responder: r}
	c.in, c.out = newMmsgs(batchSize, local.IP.IsUnspecified()), newMmsgs(batchSize, false)
	c.queries, c.responses = buffers(batchSize, sizes.Query), buffers(batchSize, sizes.Response)
	return c, nil
}

// buffers returns n buffers. They are of one piece, of which the kernel makes memory only where it is used: most
// messages are short, and most batches small.
func buffers(n, size int) [][]byte {
	return slices.Collect(slices.Chunk(make([]byte, n*size), size))
}

// prepareSocket makes system calls wait, and makes a socket at the wildcard address say which address was asked, so
// that the answer can come from it.
func prepareSocket(fd int, local netip.Addr) error {
	if err := unix.SetNonblock(fd, false); err != nil {
		return err
	}
	switch {
	case !local.IsUnspecified():
		return nil
	case local.Is4():
		return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
	default:
		return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
	}
}

// A batchAddr is where a message came from, and to which of our addresses.
type batchAddr struct {
	peer    unix.RawSockaddrInet6 // or a RawSockaddrInet4, at its front
	control []byte                // makes the kernel send from the address that was asked
	size    int                   // of the message, bytes
}

// Network and String are for net.Addr.

func (*batchAddr) Network() string { return "udp" }

func (a *batchAddr) String() string { return a.Peer().String() }

// Peer and Size are for MessageAddr.

func (a *batchAddr) Peer() netip.AddrPort { return peerOf(&a.peer) }
func (a *batchAddr) Size() int            { return a.size }

// ReadFrom returns the next message that the responder leaves. Its address is a [MessageAddr].
func (c *batchConn) ReadFrom(p []byte) (int, net.Addr, error) {
	c.open.RLock()
	defer c.open.RUnlock()
	for {
		for c.next < c.n {
			i := c.next
			c.next++
			answerFrom(c.in.controlOf(i))
			msg := c.queries[i][:c.in.size(i)]
			response, ok := c.responder.Respond(c.responses[c.ready][:0], msg, peerOf(&c.in.peers[i]), c.now)
			if ok {
				if len(response) > 0 {
					c.out.reply(c.ready, c.in, i, response)
					c.ready++
				}
				continue
			}
			return c.passUp(p, msg, i)
		}
		if c.fd < 0 {
			return 0, nil, net.ErrClosed
		}
		c.flush()
		if c.n > 0 {
			c.responder.Answered(c.now)
		}
		if fewSome <= c.n && c.n <= fewMost {
			rest := unix.NsecToTimespec(int64(restTime))
			_ = unix.Nanosleep(&rest, nil) // if a signal ends it, so much the better
		}
		for i, buf := range c.queries {
			c.in.receive(i, buf)
		}
		n, err := c.in.read(c.fd, &c.ending)
		if err != nil {
			return 0, nil, err
		}
		if n == 0 {
			return 0, nil, net.ErrClosed
		}
		c.next, c.n, c.now = 0, n, time.Now()
	}
}

// passUp returns message i from ReadFrom.
func (c *batchConn) passUp(p, msg []byte, i int) (int, net.Addr, error) {
	if c.ending.Load() || len(msg) == 0 {
		c.flush() // the socket may be shut, and ReadFrom not be called again
	}
	// The caller starts a goroutine for each. They have to get their turn before there are too many.
	if c.passed++; c.passed%batchSize == 0 {
		runtime.Gosched()
	}
	return copy(p, msg), &batchAddr{c.in.peers[i], append([]byte(nil), c.in.controlOf(i)...), len(msg)}, nil
}

// flush sends the answers that are ready.
func (c *batchConn) flush() {
	if c.fd >= 0 {
		c.out.write(c.fd, c.ready)
	}
	c.ready = 0
}

// WriteTo sends an answer to where a message from ReadFrom came from.
func (c *batchConn) WriteTo(p []byte, addr net.Addr) (int, error) {
	a, ok := addr.(*batchAddr)
	if !ok {
		return 0, errors.New("not an address from ReadFrom")
	}
	c.open.RLock()
	defer c.open.RUnlock()
	if c.fd < 0 {
		return 0, net.ErrClosed
	}
	return sendTo(c.fd, p, a)
}

// LocalAddr returns the address that the socket is bound to.
func (c *batchConn) LocalAddr() net.Addr { return c.local }

// Drain makes the kernel give new queries to other sockets at the same address, if there are any, and waits for those
// that it was giving to this one just then. It goes on answering.
//
// A socket that is connected gets messages of its peer only, and is passed over for all others (Linux 5.3 or later).
// The peer is the socket itself. Whether the address is a wildcard or not, answers still come from where they were
// asked.
func (c *batchConn) Drain(ctx context.Context) {
	if !c.ours {
		return
	}
	addr := c.local.AddrPort()
	var self unix.Sockaddr
	switch ip := addr.Addr().Unmap(); {
	case c.local.IP.To4() == nil && ip.IsUnspecified():
		self = &unix.SockaddrInet6{Port: int(addr.Port()), Addr: netip.IPv6Loopback().As16()}
	case ip.IsUnspecified():
		self = &unix.SockaddrInet4{Port: int(addr.Port()), Addr: [4]byte{127, 0, 0, 1}}
	case ip.Is4():
		self = &unix.SockaddrInet4{Port: int(addr.Port()), Addr: ip.As4()}
	default:
		self = &unix.SockaddrInet6{Port: int(addr.Port()), Addr: ip.As16(), ZoneId: zoneID(c.local.Zone)}
	}
	c.open.RLock()
	if c.fd >= 0 {
		_ = unix.Connect(c.fd, self) // if it fails, what comes in the moment of closing is lost
	}
	c.open.RUnlock()
	timer := time.NewTimer(drainPause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// zoneID is the number of an interface, 0 if there is none of that name.
func zoneID(name string) uint32 {
	if i, err := net.InterfaceByName(name); name != "" && err == nil {
		return uint32(i.Index)
	}
	return 0
}

// SetReadDeadline with a time in the past, as miekg/dns uses it to shut a server down, ends reading: ReadFrom has the
// messages that have come in answered, and returns an empty one. Other times are ignored: a socket has no reason to
// give up waiting for the next query.
func (c *batchConn) SetReadDeadline(t time.Time) error {
	if t.Unix() > 1 {
		return nil
	}
	c.open.RLock()
	defer c.open.RUnlock()
	return c.shut()
}

// SetDeadline and SetWriteDeadline are for net.PacketConn, and not used here.

func (c *batchConn) SetDeadline(time.Time) error      { return errors.ErrUnsupported }
func (c *batchConn) SetWriteDeadline(time.Time) error { return errors.ErrUnsupported }

// shut wakes the reader, and keeps it from waiting again.
func (c *batchConn) shut() error {
	c.ending.Store(true)
	if c.fd < 0 || !c.ours {
		return nil
	}
	// It says that the socket is not connected, and does it all the same.
	if err := unix.Shutdown(c.fd, unix.SHUT_RD); err != nil && !errors.Is(err, unix.ENOTCONN) {
		return err
	}
	return nil
}

// Close closes the socket once it is no longer in use.
func (c *batchConn) Close() error {
	if err := c.SetReadDeadline(time.Unix(1, 0)); err != nil {
		return err
	}
	c.open.Lock()
	defer c.open.Unlock()
	if c.fd < 0 {
		return nil
	}
	err := unix.Close(c.fd)
	c.fd = -1
	return err
}

// answerFrom turns a control message that says to which address a message came into one that makes the
// kernel send from that address, over whichever interface leads to the client. See ip(7) and ipv6(7).
func answerFrom(control []byte) {
	data := unix.CmsgLen(0)
	switch {
	case len(control) < unix.CmsgLen(unix.SizeofInet4Pktinfo):
	case len(control) < unix.CmsgLen(unix.SizeofInet6Pktinfo):
		clear(control[data : data+4])                  // ipi_ifindex
		copy(control[data+4:data+8], control[data+8:]) // ipi_spec_dst = ipi_addr
	default:
		if to := netip.AddrFrom16([16]byte(control[data : data+16])); !to.IsLinkLocalUnicast() {
			clear(control[data+16 : data+20]) // ipi6_ifindex
		}
	}
}
