//go:build linux

package systest

import (
	"context"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/net/ipv4"

	"mirrorpool/dnspool/listen"
)

// wireQuery is a query for a name's IPv4 addresses.
func wireQuery(name string) []byte {
	wire, err := new(dns.Msg).SetQuestion(name, dns.TypeA).Pack()
	if err != nil {
		panic(err) // the names are ours
	}
	return wire
}

var plain = wireQuery("dl.example.org.")

func plainQuery(r *rand.Rand, buf []byte) []byte {
	buf = append(buf[:0], plain...)
	binary.BigEndian.PutUint16(buf, uint16(r.Uint32()))
	return buf
}

var subdomain = wireQuery("xxxxxxxxxxxx.dl.example.org.")

func randomSubdomain(r *rand.Rand, buf []byte) []byte {
	buf = append(buf[:0], subdomain...)
	for i := range 12 {
		buf[13+i] = byte('a' + r.IntN(26))
	}
	return buf
}

// malformed is noise, or a query with some bytes wrong.
func malformed(r *rand.Rand, buf []byte) []byte {
	buf = append(buf[:0], subdomain...)
	switch r.IntN(3) {
	case 0:
		for i := range buf {
			buf[i] = byte(r.Uint32())
		}
	case 1:
		buf = buf[:r.IntN(len(buf))]
	}
	for range r.IntN(6) {
		if len(buf) > 0 {
			buf[r.IntN(len(buf))] = byte(r.Uint32())
		}
	}
	return buf
}

// send sends datagrams as fast as two threads can, from a few addresses of one network.
func (f *flooded) send(ctx context.Context, packet func(r *rand.Rand, buf []byte) []byte) int64 {
	var sent atomic.Int64
	var senders sync.WaitGroup
	for i := range 2 {
		senders.Go(func() {
			r := rand.New(rand.NewPCG(uint64(i), 3))
			var conns []net.Conn
			for range 8 { // so that all of the server's sockets get some
				conn, err := (&net.Dialer{LocalAddr: &net.UDPAddr{IP: net.IPv4(127, 0, 66, byte(1+i))}}).Dial("udp", f.dns)
				if err != nil {
					f.t.Error(err)
					return
				}
				defer conn.Close()
				conns = append(conns, conn)
			}
			buf := make([]byte, 0, 512)
			for n := 0; ctx.Err() == nil; n++ {
				buf = packet(r, buf)
				if _, err := conns[n%len(conns)].Write(buf); err == nil {
					sent.Add(1)
				}
			}
		})
	}
	senders.Wait()
	return sent.Load()
}

// manySources sends queries from as many addresses as a flood with forged ones would, which is more than any table may
// hold that is kept by address.
func (f *flooded) manySources(ctx context.Context) int64 {
	raw, err := net.ListenPacket("udp4", "0.0.0.0:0")
	if err != nil {
		f.t.Error(err)
		return 0
	}
	defer raw.Close()
	conn := ipv4.NewPacketConn(raw)
	to, err := net.ResolveUDPAddr("udp4", f.dns)
	if err != nil {
		f.t.Error(err)
		return 0
	}
	r := rand.New(rand.NewPCG(4, 4))
	buf := make([]byte, 0, 512)
	const sources = 50_000
	n := 0
	for ; n < sources || ctx.Err() == nil; n++ {
		source := n%sources + 1
		buf = plainQuery(r, buf)
		from := net.IPv4(127, byte(1+source>>8&0x3f), byte(source>>14), byte(source)) // each in a network of its own, nearly
		conn.WriteTo(buf, &ipv4.ControlMessage{Src: from}, to)
	}
	return int64(n)
}

// connect opens connections and says nothing, from many addresses of one network. Those that are closed it opens anew.
func (f *flooded) connect(ctx context.Context, addr string) int64 {
	const most = 2000
	var conns []net.Conn
	opened := int64(0)
	for ctx.Err() == nil {
		if len(conns) == most {
			conns[0].Close()
			conns = conns[1:]
		}
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 66, byte(1+opened%200))}, Timeout: time.Second}
		if conn, err := d.DialContext(ctx, "tcp", addr); err == nil {
			conns = append(conns, conn)
			opened++
		}
	}
	for _, conn := range conns {
		conn.Close()
	}
	return opened
}

// hold opens more connections than there may be, from many networks, asks once over each, and keeps it. Those that are
// closed it opens anew.
func (f *flooded) hold(ctx context.Context, addr string) int64 {
	holders, perNetwork := min(4800, listen.MaxDescriptors()/3), 400 // a server has fewer places
	var opened atomic.Int64
	var crowd sync.WaitGroup
	for i := range holders {
		crowd.Go(func() {
			d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, byte(66+i/perNetwork), byte(1+i%200))}, Timeout: time.Second}
			for ctx.Err() == nil {
				conn, err := d.DialContext(ctx, "tcp", addr)
				if err != nil {
					continue
				}
				opened.Add(1)
				io.WriteString(conn, "GET /x HTTP/1.1\r\nHost: dl.example.org\r\n\r\n")
				end := context.AfterFunc(ctx, func() { conn.Close() })
				io.Copy(io.Discard, conn)
				end()
				conn.Close()
			}
		})
	}
	crowd.Wait()
	return opened.Load()
}

// slowly opens connections, says how a request begins, and then a byte of it now and then.
func (f *flooded) slowly(ctx context.Context, addr, begin string) int64 {
	const victims = 1500
	var opened atomic.Int64
	var crowd sync.WaitGroup
	for i := range victims {
		crowd.Go(func() {
			d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, byte(66+i/500), byte(1+i%200))}, Timeout: time.Second}
			for ctx.Err() == nil {
				conn, err := d.DialContext(ctx, "tcp", addr)
				if err != nil {
					return
				}
				opened.Add(1)
				f.dribble(ctx, conn, begin)
			}
		})
	}
	crowd.Wait()
	return opened.Load()
}

// dribble speaks slowly until it is cut off.
func (f *flooded) dribble(ctx context.Context, conn net.Conn, begin string) {
	defer conn.Close()
	io.WriteString(conn, begin)
	tick := time.NewTicker(300 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if _, err := io.WriteString(conn, "x"); err != nil {
				return
			}
		}
	}
}
