package listen

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
)

// firstInherited is the first descriptor that a service manager hands over (sd_listen_fds(3)).
const firstInherited = 3

// Inherited are sockets that the service manager has opened for us, so that we need no privilege for low ports, and that
// it keeps while we restart. The nil Inherited are none. They are safe for concurrent use.
type Inherited struct {
	mu        sync.Mutex
	listeners []*net.TCPListener
	conns     []*net.UDPConn
}

// FromEnvironment takes over the sockets that a service manager says it has handed over, or returns nil if it has not. The
// environment does not tell anybody else of them afterwards.
func FromEnvironment() (*Inherited, error) {
	pid, fds := os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDS")
	os.Unsetenv("LISTEN_PID")
	os.Unsetenv("LISTEN_FDS")
	os.Unsetenv("LISTEN_FDNAMES")
	if fds == "" || pid != strconv.Itoa(os.Getpid()) {
		return nil, nil
	}
	n, err := strconv.Atoi(fds)
	if err != nil || n < 0 || n > 1024 {
		return nil, fmt.Errorf("LISTEN_FDS is %q, want the number of sockets", fds)
	}
	f := &Inherited{}
	for fd := firstInherited; fd < firstInherited+n; fd++ {
		if err := f.add(os.NewFile(uintptr(fd), "inherited socket")); err != nil {
			return nil, fmt.Errorf("cannot use socket %d of the service manager: %v; want TCP listeners and UDP sockets", fd, err)
		}
	}
	return f, nil
}

// add takes over a socket, and closes file.
func (f *Inherited) add(file *os.File) error {
	defer file.Close()
	if l, err := net.FileListener(file); err == nil {
		if tcp, ok := l.(*net.TCPListener); ok {
			f.listeners = append(f.listeners, tcp)
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
	f.conns = append(f.conns, udp)
	return nil
}

type inheritedKey struct{}

// With returns a context with which TCP and UDP take what f holds.
func With(ctx context.Context, f *Inherited) context.Context {
	return context.WithValue(ctx, inheritedKey{}, f)
}

func inherited(ctx context.Context) *Inherited {
	f, _ := ctx.Value(inheritedKey{}).(*Inherited)
	return f
}

// tcp hands out a listener at addr, once; nil if there is none.
func (f *Inherited) tcp(addr string) *net.TCPListener {
	if f == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, l := range f.listeners {
		if l != nil && same(l.Addr(), addr) {
			f.listeners[i] = nil
			return l
		}
	}
	return nil
}

// udp is what tcp is, for UDP.
func (f *Inherited) udp(addr string) *net.UDPConn {
	if f == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, c := range f.conns {
		if c != nil && same(c.LocalAddr(), addr) {
			f.conns[i] = nil
			return c
		}
	}
	return nil
}

// has reports whether there is a socket at addr that nobody has taken.
func (f *Inherited) has(network, addr string) bool {
	if f == nil {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, l := range f.listeners {
		if network == "tcp" && l != nil && same(l.Addr(), addr) {
			return true
		}
	}
	for _, c := range f.conns {
		if network == "udp" && c != nil && same(c.LocalAddr(), addr) {
			return true
		}
	}
	return false
}

// More reports whether ctx brings another UDP socket and another listener at addr.
func More(ctx context.Context, addr string) bool {
	f := inherited(ctx)
	return f.has("tcp", addr) && f.has("udp", addr)
}

// Unused names the sockets that nobody has taken, and closes them: most likely the configuration names other addresses.
func (f *Inherited) Unused() (addrs []string) {
	if f == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, l := range f.listeners {
		if l != nil {
			addrs = append(addrs, "tcp "+l.Addr().String())
			l.Close()
		}
	}
	for _, c := range f.conns {
		if c != nil {
			addrs = append(addrs, "udp "+c.LocalAddr().String())
			c.Close()
		}
	}
	f.listeners, f.conns = nil, nil
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
