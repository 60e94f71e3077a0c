//go:build unix

package listen

import (
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// bindShared binds a TCP socket to addr as TCP does, and closes it without having listened, so that no client reaches
// it. It fails where a process that does not share the address is there.
func bindShared(addr string) error {
	tcp, err := net.ResolveTCPAddr(familyNetwork("tcp", addr), addr)
	if err != nil {
		return err
	}
	at := tcp.AddrPort()
	family := unix.AF_INET6
	if at.Addr().Is4() {
		family = unix.AF_INET
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return err
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
		return err
	}
	return unix.Bind(fd, sockaddr(at))
}

func sockaddr(at netip.AddrPort) unix.Sockaddr {
	if at.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}
	}
	addr := netip.IPv6Unspecified()
	if at.Addr().IsValid() {
		addr = at.Addr()
	}
	return &unix.SockaddrInet6{Port: int(at.Port()), Addr: addr.As16()}
}
