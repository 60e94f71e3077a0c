package config

import (
	"net"
	"net/netip"
	"slices"
	"strconv"
)

// Watch has several mirrorpools share what they see of the mirrors.
type Watch struct {
	Name      string         // of this one; each has another
	Listen    string         // address:port, UDP and TCP
	Advertise netip.AddrPort // where the others reach it; not valid: found by itself
	Join      []string       // host:port of others
	KeyFile   string
	Quorum    float64 // above 0, below 1: more than this share has to find a mirror unfit
	Only      bool    // it serves no clients: there is no DNS server and no redirector
	// Challenges says that TXT records by which a certificate authority sees whose a name is count when another server
	// of the group has set them.
	Challenges bool
	Counts     []string // roles for which what it sees counts: "dns", "http", "rsync"; empty: all
}

// watch reads the section of that name.
func (c *checker) watch(root object, s *Server) {
	o := root.object("watch")
	if o.node == nil || !o.node.isObject() {
		return
	}
	w := &Watch{Quorum: 0.5, Listen: "0.0.0.0:7946"}
	s.Watch = w
	o.string("name", &w.Name)
	if n := o.string("listen", &w.Listen); n != nil {
		if addr, err := netip.ParseAddrPort(w.Listen); err != nil || addr.Port() == 0 {
			c.fail(n, `want an IP address and a port such as "0.0.0.0:7946", got %s`, quote(w.Listen))
		}
	}
	if n := o.get("advertise"); n != nil {
		addr, err := netip.ParseAddrPort(n.text())
		if err != nil || addr.Port() == 0 || addr.Addr().IsUnspecified() {
			c.fail(n, `want the IP address and port at which the others reach it, such as "192.0.2.7:7946", got %s`, quote(n.text()))
		}
		w.Advertise = addr
	}
	for _, n := range o.items("join") {
		host, port, err := net.SplitHostPort(n.text())
		if number, bad := strconv.ParseUint(port, 10, 16); err != nil || host == "" || bad != nil || number == 0 {
			c.fail(n, `want a host and a port such as "ams.example.org:7946", got %s`, quote(n.text()))
		}
		w.Join = append(w.Join, n.text())
	}
	c.watchAddress(o, w)
	o.path("key_file", &w.KeyFile)
	o.float("quorum", &w.Quorum)
	o.bool("only", &w.Only)
	o.bool("challenges", &w.Challenges)
	for _, n := range o.items("counts") {
		w.Counts = append(w.Counts, n.text())
	}
	slices.Sort(w.Counts)
	c.watchOnly(root, s)
}

// watchAddress warns where the others could not be told at which address they reach this server: then it does not
// listen for them.
func (c *checker) watchAddress(o object, w *Watch) {
	listen, err := netip.ParseAddrPort(w.Listen)
	if err == nil && listen.Addr().IsUnspecified() && !w.Advertise.IsValid() && len(w.Join) == 0 {
		c.warn(o.node, WarnNoAddress, `this server will not watch with others: it listens at %s, and cannot tell at which address `+
			`they reach it; want "join" with others, or "advertise"`, w.Listen)
	}
}

// watchOnly turns the faces off where mirrors are only watched.
func (c *checker) watchOnly(root object, s *Server) {
	if !s.Watch.Only {
		return
	}
	for _, face := range [...]string{"dns", "http"} {
		if n := root.object(face).get("listen"); n != nil && n.text() != Off {
			c.fail(n, `want "-" or no listener: this server only watches (watch.only)`)
		}
	}
	s.DNS.Listen, s.HTTP.Listen = nil, nil
}
