package authority

import (
	"errors"
	"net"
	"net/netip"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	batchSize     = 64      // messages for one system call at most
	receiveBuffer = 4 << 20 // bytes that the kernel may hold for us, if net.core.rmem_max lets it
)

// A batchConn is a UDP socket for miekg/dns to serve on. It takes many messages out of the kernel at a time and
// answers the plain queries among them itself, as many at a time. The others it passes up, one by one.
type batchConn struct {
	*net.UDPConn
	fd     int // of UDPConn, which stays open while ReadFrom runs
	dealer *dealer

	in, out   *mmsgs
	queries   [][]byte // buffers of in
	responses [][]byte // buffers of out
	next, n   int      // of in, those from next to n have not been looked at
	ready     int      // of out, as many have not been sent
}

// canBatch says whether UDP queries are answered in batches.
const canBatch = true

// newBatchConn puts a batchConn on conn. It answers from what zone holds, and counts in t.
func newBatchConn(conn *net.UDPConn, zone *atomic.Pointer[zone], t *tally) (net.PacketConn, error) {
	local := conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr()
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	if err := conn.SetReadBuffer(receiveBuffer); err != nil {
		return nil, err
	}
	c := &batchConn{UDPConn: conn, dealer: newDealer(zone, t)}
	var failed error
	err = raw.Control(func(fd uintptr) {
		c.fd = int(fd)
		failed = prepareSocket(c.fd, local)
	})
	if err := errors.Join(err, failed); err != nil {
		return nil, err
	}
	c.in, c.out = newMmsgs(batchSize, local.IsUnspecified()), newMmsgs(batchSize, false)
	for range batchSize {
		c.queries = append(c.queries, make([]byte, maxQuery))
		c.responses = append(c.responses, make([]byte, 0, maxResponse))
	}
	return c, nil
}

// prepareSocket makes reads wait in the kernel, which is cheaper than to wait for the runtime's poller; and
// makes a socket at the wildcard address tell which address was asked, so that the answer can come from it.
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
	peer    netip.AddrPort
	control []byte // makes the kernel send from the address that was asked
}

// Network and String are for net.Addr.

func (batchAddr) Network() string  { return "udp" }
func (a batchAddr) String() string { return a.peer.String() }

// ReadFrom returns the next message that is not a plain query.
func (c *batchConn) ReadFrom(p []byte) (int, net.Addr, error) {
	for {
		for c.next < c.n {
			i := c.next
			c.next++
			answerFrom(c.in.controlOf(i))
			msg := c.queries[i][:c.in.size(i)]
			response, ok := c.dealer.answer(c.responses[c.ready][:0], msg, false)
			if ok {
				c.out.reply(c.ready, c.in, i, response)
				c.ready++
				continue
			}
			addr := batchAddr{c.in.peer(i), append([]byte(nil), c.in.controlOf(i)...)}
			return copy(p, msg), addr, nil
		}
		c.out.write(c.fd, c.ready)
		c.ready = 0
		for i, buf := range c.queries {
			c.in.receive(i, buf)
		}
		n, err := c.in.read(c.fd)
		if err != nil {
			return 0, nil, err
		}
		c.next, c.n = 0, n
	}
}

// WriteTo sends an answer to where a message from ReadFrom came from.
func (c *batchConn) WriteTo(p []byte, addr net.Addr) (int, error) {
	a, ok := addr.(batchAddr)
	if !ok {
		return 0, errors.New("not an address from ReadFrom")
	}
	n, _, err := c.WriteMsgUDPAddrPort(p, a.control, a.peer)
	return n, err
}

// SetReadDeadline with a time in the past ends reading, as miekg/dns does to shut a server down. Other times are
// ignored: a socket has no reason to give up waiting for the next query.
func (c *batchConn) SetReadDeadline(t time.Time) error {
	if t.After(time.Now()) {
		return nil
	}
	// It says that the socket is not connected, and wakes the reader all the same.
	if err := unix.Shutdown(c.fd, unix.SHUT_RD); err != nil && !errors.Is(err, unix.ENOTCONN) {
		return err
	}
	return nil
}

// answerFrom turns a control message that tells to which address a message came into one that makes the
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

// zoneName returns the name of a network interface, or its number.
func zoneName(index uint32) string {
	if i, err := net.InterfaceByIndex(int(index)); err == nil {
		return i.Name
	}
	return strconv.FormatUint(uint64(index), 10)
}
