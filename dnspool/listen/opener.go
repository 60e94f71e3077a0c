package listen

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"

	"github.com/coreos/go-systemd/v22/activation"
)

// An Opener opens sockets. It takes those that a service manager has opened for the process, which then needs no
// privilege for low ports, and which stay open while it restarts. The nil Opener has none of these. It is safe for
// concurrent use.
type Opener struct {
	mu        sync.Mutex
	listeners []*net.TCPListener // nil where taken
	conns     []*net.UDPConn     // likewise
}

// maxInherited bounds the sockets that a service manager can hand over.
const maxInherited = 1024

// FromEnvironment returns an opener with the sockets that a service manager has handed over (sd_listen_fds(3)), and nil
// where it has not. The environment does not name them any longer afterwards.
func FromEnvironment() (*Opener, error) {
	fds, ours := os.Getenv("LISTEN_FDS"), os.Getenv("LISTEN_PID") == strconv.Itoa(os.Getpid())
	if n, err := strconv.Atoi(fds); ours && fds != "" && (err != nil || n < 0 || n > maxInherited) {
		os.Unsetenv("LISTEN_FDS")
		return nil, fmt.Errorf("LISTEN_FDS is %q, want the number of sockets, at most %d", fds, maxInherited)
	}
	files := activation.Files(true)
	if len(files) == 0 {
		return nil, nil
	}
	o := &Opener{}
	for _, file := range files {
		if err := o.add(file); err != nil {
			return nil, fmt.Errorf("cannot use the socket %s of the service manager: %v; want TCP listeners and UDP sockets",
				file.Name(), err)
		}
	}
	return o, nil
}

// add takes over a socket, and closes file.
func (o *Opener) add(file *os.File) error {
	defer file.Close()
	if l, err := net.FileListener(file); err == nil {
		if tcp, ok := l.(*net.TCPListener); ok {
			o.listeners = append(o.listeners, tcp)
			return nil
		}
		l.Close()
		return fmt.Errorf("it is a listener of another kind: %s", l.Addr().Network())
	}
	c, err := net.FilePacketConn(file)
	if err != nil {
		return err
	}
	udp, ok := c.(*net.UDPConn)
	if !ok {
		c.Close()
		return fmt.Errorf("it is a socket of another kind: %s", c.LocalAddr().Network())
	}
	o.conns = append(o.conns, udp)
	return nil
}

// tcp takes a listener at addr; nil if there is none.
func (o *Opener) tcp(addr string) *net.TCPListener {
	if o == nil {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for i, l := range o.listeners {
		if l != nil && same(l.Addr(), addr) {
			o.listeners[i] = nil
			return l
		}
	}
	return nil
}

// udp takes a socket at addr; nil if there is none.
func (o *Opener) udp(addr string) *net.UDPConn {
	if o == nil {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for i, c := range o.conns {
		if c != nil && same(c.LocalAddr(), addr) {
			o.conns[i] = nil
			return c
		}
	}
	return nil
}

// has reports whether there is a socket at addr that has not been taken.
func (o *Opener) has(network, addr string) bool {
	if o == nil {
		return false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, l := range o.listeners {
		if network == "tcp" && l != nil && same(l.Addr(), addr) {
			return true
		}
	}
	for _, c := range o.conns {
		if network == "udp" && c != nil && same(c.LocalAddr(), addr) {
			return true
		}
	}
	return false
}

// More reports whether the opener holds another UDP socket and another listener at addr.
func (o *Opener) More(addr string) bool { return o.has("tcp", addr) && o.has("udp", addr) }

// Unused names the sockets that were not taken, and closes them: most likely the configuration names other addresses.
func (o *Opener) Unused() (addrs []string) {
	if o == nil {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, l := range o.listeners {
		if l != nil {
			addrs = append(addrs, "tcp "+l.Addr().String())
			l.Close()
		}
	}
	for _, c := range o.conns {
		if c != nil {
			addrs = append(addrs, "udp "+c.LocalAddr().String())
			c.Close()
		}
	}
	o.listeners, o.conns = nil, nil
	return addrs
}

// same reports whether a socket's address is the one that the configuration names. ":53" and "[::]:53" are the same.
func same(addr net.Addr, configured string) bool {
	host, port, err := net.SplitHostPort(configured)
	at, err2 := netip.ParseAddrPort(addr.String())
	if err != nil || err2 != nil || port != strconv.Itoa(int(at.Port())) {
		return false
	}
	if host == "" {
		return at.Addr().IsUnspecified()
	}
	want, err := netip.ParseAddr(host)
	return err == nil && want == at.Addr()
}
