package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"golang.org/x/net/proxy"

	"mirrorpool/health"
)

// A route is how to connect to one mirror.
type route struct {
	health.Route
	mirror string // its host name, by which a proxy may keep its streams apart from others
}

type routeKey struct{} // of the context value that holds the route

// withRoute has connections made under the context it returns take t's route.
func withRoute(ctx context.Context, t *health.Target) context.Context {
	return context.WithValue(ctx, routeKey{}, route{t.Route, t.OwnHost})
}

// A routeError is why this host's own part of a route fails. It says nothing of the mirror.
type routeError struct {
	part string // the key of the configuration that it comes from
	err  error
}

func (e *routeError) Error() string {
	err := e.err
	for errors.Unwrap(err) != nil { // what is between says where it connects to
		err = errors.Unwrap(err)
	}
	return e.part + ": " + err.Error()
}

func (e *routeError) Unwrap() error { return e.err }

// dialer connects to an address from where the route begins.
func (r *route) dialer(to netip.Addr) (*net.Dialer, error) {
	d := new(net.Dialer)
	if len(r.Source) == 0 {
		return d, nil
	}
	sources, err := r.sources()
	if err != nil {
		return nil, &routeError{"health.source", err}
	}
	for _, from := range sources {
		if from.Is4() == to.Is4() {
			d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
			return d, nil
		}
	}
	return nil, &routeError{"health.source", errors.New("no address of this family")}
}

// sources are the addresses from which connections come: those that are given, or those of the interface.
func (r *route) sources() (list []netip.Addr, err error) {
	for _, text := range r.Source {
		addr, err := netip.ParseAddr(text)
		if err != nil {
			return interfaceAddresses(text)
		}
		list = append(list, addr)
	}
	return list, nil
}

// interfaceAddresses are those by which others can reach an interface.
func interfaceAddresses(name string) (list []netip.Addr, err error) {
	i, err := net.InterfaceByName(name)
	if err != nil {
		return nil, fmt.Errorf("no interface %s", name)
	}
	addrs, err := i.Addrs()
	if err != nil {
		return nil, err
	}
	for _, a := range addrs {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil && !prefix.Addr().IsLinkLocalUnicast() {
			list = append(list, prefix.Addr())
		}
	}
	return list, nil
}

// mirrorsFault are the ends of what a SOCKS5 proxy answers (RFC 1928 section 6) where it could not reach the mirror.
// What else it answers is its own trouble.
var mirrorsFault = [...]string{"network unreachable", "host unreachable", "connection refused", "TTL expired"}

// dialProxy connects to an address through the proxy.
func (r *route) dialProxy(ctx context.Context, address string) (net.Conn, error) {
	// The password is of no use, but some proxies want one beside a user.
	socks, err := proxy.SOCKS5("tcp", r.Proxy, &proxy.Auth{User: r.mirror, Password: "mirrorpool"}, new(net.Dialer))
	if err != nil {
		return nil, &routeError{"health.proxy", err}
	}
	conn, err := socks.(proxy.ContextDialer).DialContext(ctx, "tcp", address)
	if err == nil || ctx.Err() != nil {
		return conn, err
	}
	for _, end := range mirrorsFault {
		if strings.HasSuffix(err.Error(), "unknown error "+end) {
			return nil, errors.New(end + ", as the proxy says")
		}
	}
	return nil, &routeError{"health.proxy", err}
}
