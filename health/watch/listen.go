package watch

import (
	"context"
	"errors"
	"log"
	"net"
	"net/netip"
	"time"

	"github.com/hashicorp/memberlist"
	"go.uber.org/zap"
)

// listen opens the listener, again and again until it can be opened: the copy of the program that is replaced may still
// have it. It fails only if ctx ends.
func (g *Group) listen(ctx context.Context) (*memberlist.Memberlist, error) {
	for said := ""; ; {
		list, err := g.open(ctx)
		if err == nil {
			g.setProblem("")
			return list, nil
		}
		g.setProblem(err.Error())
		if said != err.Error() {
			said = err.Error()
			g.o.Log.Warn("cannot listen for other watchers", zap.String("address", g.o.Config.Listen), zap.Error(err))
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(retryListen):
		}
	}
}

// open opens the listener.
func (g *Group) open(ctx context.Context) (*memberlist.Memberlist, error) {
	settings, err := g.settings(ctx)
	if err != nil {
		return nil, err
	}
	t, err := newTransport(ctx, &memberlist.NetTransportConfig{BindAddrs: []string{settings.BindAddr},
		BindPort: settings.BindPort, Logger: settings.Logger}, g.expects)
	if err != nil {
		return nil, err
	}
	settings.Transport = t
	list, err := memberlist.Create(settings)
	if err != nil {
		return nil, errors.Join(err, t.Shutdown())
	}
	return list, nil
}

// expects reports whether there is a member at an address, or was, or one is to be looked for there.
func (g *Group) expects(addr netip.Addr) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.sought[addr] {
		return true
	}
	for _, m := range g.members {
		if at, err := netip.ParseAddrPort(m.address); err == nil && at.Addr().Unmap().WithZone("") == addr {
			return true
		}
	}
	return false
}

// settings are memberlist's: those for networks across the Internet where it matters, but quicker to notice what is
// lost.
func (g *Group) settings(ctx context.Context) (*memberlist.Config, error) {
	listen, err := netip.ParseAddrPort(g.o.Config.Listen)
	if err != nil {
		return nil, err
	}
	advertise, err := g.advertised(ctx, listen)
	if err != nil {
		return nil, err
	}
	c := memberlist.DefaultLANConfig()
	c.Name = g.o.Config.Name
	c.BindAddr, c.BindPort = listen.Addr().String(), int(listen.Port())
	c.AdvertiseAddr, c.AdvertisePort = advertise.Addr().String(), int(advertise.Port())
	c.Keyring = g.keyring
	c.ProbeTimeout = time.Second // Tor and other continents are slow
	c.TCPTimeout = dialTimeout
	c.GossipInterval = gossipEvery
	c.PushPullInterval = syncEvery
	c.DeadNodeReclaimTime = retryListen // a watcher may come back at another address
	c.DelegateProtocolVersion, c.DelegateProtocolMin, c.DelegateProtocolMax = protocol, protocol, protocol
	c.Delegate, c.Events, c.Alive, c.Conflict = (*delegate)(g), (*delegate)(g), (*delegate)(g), (*delegate)(g)
	c.Logger = log.New(logWriter{g}, "", 0)
	return c, nil
}

// advertised is the address at which the others reach this watcher: watch.advertise, or that of the listener, or if it
// listens everywhere, the address from which it reaches the first of the others.
func (g *Group) advertised(ctx context.Context, listen netip.AddrPort) (netip.AddrPort, error) {
	if g.o.Config.Advertise.IsValid() {
		return g.o.Config.Advertise, nil
	}
	if !listen.Addr().IsUnspecified() {
		return listen, nil
	}
	for _, peer := range g.o.Config.Join {
		conn, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, "udp", peer) // this sends nothing
		if err != nil {
			continue
		}
		local := conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
		conn.Close()
		if !local.IsLoopback() || len(g.o.Config.Join) == 1 {
			return netip.AddrPortFrom(local, listen.Port()), nil
		}
	}
	return netip.AddrPort{}, errors.New("cannot tell at which address the others reach this watcher: set watch.advertise")
}
