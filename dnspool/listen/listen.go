package listen

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"
)

// handshakeTime is how long a client that has begun to connect gets to finish. It has answered within one round trip.
const handshakeTime = 500 * time.Millisecond

// familyNetwork returns the network to listen at addr with, such as "tcp4" for base "tcp": IPv4 where addr is an IPv4
// address, 0.0.0.0 too, and IPv6 where it is an IPv6 one. At an address without a host, such as ":53", it is both.
func familyNetwork(base, addr string) string {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return base
	}
	switch ip, err := netip.ParseAddr(host); {
	case err != nil:
		return base
	case ip.Is4():
		return base + "4"
	default:
		return base + "6"
	}
}

// TCP opens a listener at addr. It shares the address with others that are opened here by the same user, also in other
// processes. If the service manager has handed one over for the address, it is taken.
func (o *Opener) TCP(ctx context.Context, addr string) (*Listener, error) {
	if l := o.tcp(addr); l != nil {
		return newListener(l, false), nil
	}
	lc := net.ListenConfig{Control: share}
	lc.KeepAlive = -1         // connections have deadlines; to set up probes takes four system calls for each
	lc.SetMultipathTCP(false) // the kernel lets no program choose among such listeners; see giveWay
	l, err := lc.Listen(ctx, familyNetwork("tcp", addr), addr)
	if err != nil {
		return nil, err
	}
	return newListener(l.(*net.TCPListener), true), nil
}

// UDP opens a socket at addr, as TCP does. ours is false if the service manager has handed it over: it goes on using
// the socket, which must neither be connected nor shut down.
func (o *Opener) UDP(ctx context.Context, addr string) (conn *net.UDPConn, ours bool, err error) {
	if c := o.udp(addr); c != nil {
		return c, false, nil
	}
	lc := net.ListenConfig{Control: share}
	pc, err := lc.ListenPacket(ctx, familyNetwork("udp", addr), addr)
	if err != nil {
		return nil, false, err
	}
	return pc.(*net.UDPConn), true, nil
}

// Check tries whether a socket can be opened at addr, over "tcp" or "udp", before this process has opened one there.
// taken says that another process has the address. Then err is nil if that process shares it, as another copy of this
// program does; over UDP that is not known, and err is nil.
func (o *Opener) Check(ctx context.Context, network, addr string) (taken bool, err error) {
	if path, ok := UnixPath(addr); ok {
		return unixTaken(ctx, path), checkUnix(path)
	}
	if o.has(network, addr) {
		return false, nil
	}
	err = bindAlone(ctx, network, addr)
	if !errors.Is(err, syscall.EADDRINUSE) {
		return false, err
	}
	if network == "tcp" {
		return true, bindShared(addr)
	}
	return true, nil
}

// bindAlone opens a socket that shares its address with no other, and closes it.
func bindAlone(ctx context.Context, network, addr string) error {
	var lc net.ListenConfig // without SO_REUSEPORT
	if network == "tcp" {
		l, err := lc.Listen(ctx, familyNetwork("tcp", addr), addr)
		if err == nil {
			l.Close()
		}
		return err
	}
	c, err := lc.ListenPacket(ctx, familyNetwork("udp", addr), addr)
	if err == nil {
		c.Close()
	}
	return err
}

// A Listener is a listener that can be closed without dropping clients.
//
// To close a socket in which clients wait drops them: the kernel resets them, although another process is there to take
// them. So Close first has the kernel give new clients to the other sockets at the address, where it supports that,
// and waits for those that have begun to connect; Accept returns them meanwhile.
type Listener struct {
	*net.TCPListener
	ours  bool // no other process has this socket open
	close sync.Once
	err   error
}

func newListener(l *net.TCPListener, ours bool) *Listener {
	return &Listener{TCPListener: l, ours: ours}
}

// Accept returns the next connection.
func (l *Listener) Accept() (net.Conn, error) {
	c, err := l.TCPListener.AcceptTCP()
	if err != nil {
		return nil, ended(err)
	}
	return c, nil
}

// ended returns net.ErrClosed for an error of Accept with which Drain ends it, and other errors as they are.
func ended(err error) error {
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return net.ErrClosed
	}
	return err
}

// Close closes the listener at once. Clients that wait in it are dropped, unless Drain has been called before.
func (l *Listener) Close() error {
	l.close.Do(func() { l.err = l.TCPListener.Close() })
	return l.err
}

// Drain makes the listener the last choice for new clients, and returns when those that came before have been accepted,
// or ctx ends. Then Accept returns net.ErrClosed. sockets is how many listeners the process has at the address.
func (l *Listener) Drain(ctx context.Context, sockets int) {
	if !l.ours {
		l.TCPListener.SetDeadline(time.Now()) // waiting clients are served by the next process
		return
	}
	giveWay(l.TCPListener, sockets)
	timer := time.NewTimer(handshakeTime)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	l.TCPListener.SetDeadline(time.Now())
}
