// Package publish feeds other DNS servers: it keeps the pool's addresses at the names of a zone that another server is
// primary for, by dynamic updates (RFC 2136), and notifies the secondaries of our own zone of new versions (RFC 1996).
//
// Each target has a goroutine of its own, so that one that fails or hangs delays no other. The package answers no
// queries, and decides nothing about mirrors: it passes on what a [dnspool.Snapshot] says.
package publish

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"

	"mirrorpool/dnspool/tsig"
)

// exchangeTime is how long a server may take for a connection, and for each answer.
const exchangeTime = 5 * time.Second

// An Error says which server an exchange failed with, and at which step of it.
type Error struct {
	Server string // host:port
	Step   string // such as "update of dl.example.org."
	Rcode  int    // of its response; -1 without one
	Err    error
}

func (e *Error) Error() string { return fmt.Sprintf("%s: %s: %v", e.Server, e.Step, e.Err) }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// A peer is another server, and the key that it shares with us.
type peer struct {
	addr    string
	sources []netip.Addr // to connect from, at most one of each family; none: as the system likes
	key     *tsig.Key    // nil for none
	timeout time.Duration
	now     func() time.Time
}

func newPeer(addr string, sources []netip.Addr, key *tsig.Key) peer {
	return peer{addr: addr, sources: sources, key: key, timeout: exchangeTime, now: time.Now}
}

// dial connects to the peer over "udp" or "tcp".
func (p *peer) dial(ctx context.Context, network string) (conn net.Conn, err error) {
	networks := []string{network}
	if len(p.sources) > 0 { // which are of one family each
		networks = []string{network + "4", network + "6"}
	}
	for _, network := range networks {
		conn, dialErr := p.dialFrom(ctx, network)
		if dialErr == nil {
			return conn, nil
		}
		if noAddress := new(net.AddrError); err == nil || !errors.As(dialErr, &noAddress) {
			err = dialErr // the peer has an address of this family, so that this tells more
		}
	}
	return nil, err
}

// dialFrom connects to the peer, from the source address of the network's family if there is one.
func (p *peer) dialFrom(ctx context.Context, network string) (net.Conn, error) {
	dialer, step := net.Dialer{Timeout: p.timeout}, "connection"
	for _, source := range p.sources {
		if source.Is4() == strings.HasSuffix(network, "4") {
			local := netip.AddrPortFrom(source, 0)
			if dialer.LocalAddr = net.Addr(net.TCPAddrFromAddrPort(local)); strings.HasPrefix(network, "udp") {
				dialer.LocalAddr = net.UDPAddrFromAddrPort(local)
			}
			step += " from " + source.String()
		}
	}
	conn, err := dialer.DialContext(ctx, network, p.addr)
	if err != nil {
		return nil, &Error{p.addr, step, -1, cause(err)}
	}
	return conn, nil
}

// exchange sends a request, signed if there is a key, and returns the response if it is as well. It says what is wrong
// with signatures and clocks; the response's code is for the caller. It ends by the deadline, and when ctx does.
func (p *peer) exchange(ctx context.Context, conn net.Conn, step string, req *dns.Msg) (*dns.Msg, error) {
	// A connection of miekg/dns remembers the signature that it has seen last, which none but a transfer wants.
	c := &dns.Conn{Conn: conn, TsigProvider: p.key.Ring(), UDPSize: dns.DefaultMsgSize}
	if p.key != nil {
		p.key.Sign(req, p.now())
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Now()) })
	defer stop()
	if err := conn.SetDeadline(time.Now().Add(p.timeout)); err != nil {
		return nil, &Error{p.addr, step, -1, cause(err)}
	}
	if ctx.Err() != nil {
		return nil, &Error{p.addr, step, -1, ctx.Err()}
	}
	if err := c.WriteMsg(req); err != nil {
		return nil, &Error{p.addr, step, -1, cause(err)}
	}
	resp, err := c.ReadMsg()
	for err == nil && resp.Id != req.Id && isPacket(conn) { // to an earlier request, which was given up
		resp, err = c.ReadMsg()
	}
	switch {
	case resp == nil || err != nil && resp.Id != req.Id:
		return nil, &Error{p.addr, step, -1, cause(err)}
	case resp.Id != req.Id || !resp.Response || resp.Opcode != req.Opcode:
		return nil, &Error{p.addr, step, -1, errors.New("the response is to another request")}
	}
	if err := tsig.Explain(p.key, resp, err, p.now()); err != nil {
		return nil, &Error{p.addr, step, resp.Rcode, cause(err)}
	}
	return resp, nil
}

func isPacket(conn net.Conn) bool { _, ok := conn.(net.PacketConn); return ok }

// cause is err in words for the person who has to mend it, without what the step and the server say already.
func cause(err error) error {
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return errors.New("no answer in time")
	}
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

// refused is the error that a response's code stands for.
func (p *peer) refused(step string, rcode int) error {
	text, known := dns.RcodeToString[rcode]
	if !known {
		text = fmt.Sprintf("code %d", rcode)
	}
	hint := map[int]string{
		dns.RcodeRefused:        ": it does not permit us this; see its access list and the key",
		dns.RcodeNotAuth:        ": it is not primary for this zone, or wants a key",
		dns.RcodeNotZone:        ": a name is not in this zone",
		dns.RcodeNotImplemented: ": it does not know how to do this",
		dns.RcodeServerFailure:  ": it cannot do this now; see its log",
	}[rcode]
	return &Error{p.addr, step, rcode, errors.New(text + hint)}
}
