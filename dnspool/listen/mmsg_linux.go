package listen

import (
	"encoding/binary"
	"net/netip"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A mmsgs is a batch of UDP messages with what the kernel's recvmmsg(2) and sendmmsg(2) need. It does what
// ReadBatch and WriteBatch of golang.org/x/net do, for one kind of use: nothing is allocated for a message, an
// answer goes back by the very structures that its query came with, and what cannot block is called without
// the scheduler's knowing (see call).
type mmsgs struct {
	headers []mmsghdr
	vectors []unix.Iovec
	peers   []unix.RawSockaddrInet6 // large enough for IPv4, too
	control []byte                  // of all messages, controlSize for each
}

// A mmsghdr is the kernel's struct mmsghdr.
type mmsghdr struct {
	unix.Msghdr
	size uint32
	_    [unsafe.Sizeof(uintptr(0)) - 4]byte
}

// controlSize is enough for one of IP_PKTINFO and IPV6_PKTINFO.
var controlSize = unix.CmsgSpace(unix.SizeofInet6Pktinfo)

func newMmsgs(n int, withControl bool) *mmsgs {
	m := &mmsgs{headers: make([]mmsghdr, n), vectors: make([]unix.Iovec, n), peers: make([]unix.RawSockaddrInet6, n)}
	if withControl {
		m.control = make([]byte, n*controlSize)
	}
	return m
}

// receive makes message i take what comes into buf.
func (m *mmsgs) receive(i int, buf []byte) {
	h := &m.headers[i]
	*h = mmsghdr{}
	m.point(i, buf)
	h.Name = (*byte)(unsafe.Pointer(&m.peers[i]))
	h.Namelen = unix.SizeofSockaddrInet6
	if m.control != nil {
		h.Control = &m.control[i*controlSize]
		h.SetControllen(controlSize)
	}
}

// reply makes message i an answer to message j of received.
func (m *mmsgs) reply(i int, received *mmsgs, j int, answer []byte) {
	m.headers[i] = received.headers[j]
	m.point(i, answer)
}

func (m *mmsgs) point(i int, buf []byte) {
	m.vectors[i].Base = unsafe.SliceData(buf)
	m.vectors[i].SetLen(len(buf))
	m.headers[i].Iov = &m.vectors[i]
	m.headers[i].SetIovlen(1)
}

// size is how long message i is.
func (m *mmsgs) size(i int) int { return int(m.headers[i].size) }

// peerOf returns the address in sa, for people.
func peerOf(sa *unix.RawSockaddrInet6) netip.AddrPort {
	port := (*[2]byte)(unsafe.Pointer(&sa.Port))
	addr := netip.AddrFrom16(sa.Addr)
	if sa.Family == unix.AF_INET {
		addr = netip.AddrFrom4((*unix.RawSockaddrInet4)(unsafe.Pointer(sa)).Addr)
	}
	return netip.AddrPortFrom(addr, binary.BigEndian.Uint16(port[:]))
}

// controlOf returns the control message that came with message i.
func (m *mmsgs) controlOf(i int) []byte {
	if m.control == nil {
		return nil
	}
	return m.control[i*controlSize:][:m.headers[i].Controllen]
}

// read receives messages, and returns how many: none only once ending is true and the socket has a timeout that passes.
// The socket has to be a blocking one.
func (m *mmsgs) read(fd int, ending *atomic.Bool) (int, error) {
	n, errno := m.call(unix.SYS_RECVMMSG, fd, 0, len(m.headers))
	for errno == unix.EAGAIN || errno == unix.EINTR || errno == unix.ENOBUFS || errno == unix.ENOMEM {
		if errno == unix.EAGAIN && ending.Load() {
			return 0, nil
		}
		n, errno = m.wait(unix.SYS_RECVMMSG, fd, 0, len(m.headers))
	}
	if errno != 0 {
		return 0, errno
	}
	return n, nil
}

// write sends the first n messages. One that cannot be sent is given up: its client will ask again.
func (m *mmsgs) write(fd, n int) {
	for sent := 0; sent < n; {
		done, errno := m.call(unix.SYS_SENDMMSG, fd, sent, n-sent)
		for errno == unix.EAGAIN || errno == unix.EINTR {
			done, errno = m.wait(unix.SYS_SENDMMSG, fd, sent, n-sent)
		}
		if errno != 0 {
			done = 1
		}
		sent += done
	}
}

// call makes a system call that does not block. The scheduler is not told: it would take the processor away
// in the middle of a large batch, which costs more than the batch, and then look for work to give it.
func (m *mmsgs) call(number uintptr, fd, first, n int) (int, syscall.Errno) {
	r, _, errno := syscall.RawSyscall6(number, uintptr(fd), uintptr(unsafe.Pointer(&m.headers[first])), uintptr(n),
		unix.MSG_DONTWAIT, 0, 0)
	return int(r), errno
}

// wait makes the same system call, and waits until one message at least has been moved.
func (m *mmsgs) wait(number uintptr, fd, first, n int) (int, syscall.Errno) {
	flags := uintptr(0)
	if number == unix.SYS_RECVMMSG {
		flags = unix.MSG_WAITFORONE // for no more than one
	}
	r, _, errno := syscall.Syscall6(number, uintptr(fd), uintptr(unsafe.Pointer(&m.headers[first])), uintptr(n), flags, 0, 0)
	return int(r), errno
}

// sendTo sends one message.
func sendTo(fd int, msg []byte, to *batchAddr) (int, error) {
	m := newMmsgs(1, false)
	m.point(0, msg)
	h := &m.headers[0]
	h.Name, h.Namelen = (*byte)(unsafe.Pointer(&to.peer)), unix.SizeofSockaddrInet6
	if to.peer.Family == unix.AF_INET {
		h.Namelen = unix.SizeofSockaddrInet4
	}
	if len(to.control) > 0 {
		h.Control = &to.control[0]
		h.SetControllen(len(to.control))
	}
	for {
		switch _, errno := m.wait(unix.SYS_SENDMMSG, fd, 0, 1); errno {
		case 0:
			return len(msg), nil
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}
