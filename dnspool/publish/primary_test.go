package publish

import (
	"bytes"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"mirrorpool/dnspool/tsig"
)

// A primary is a server that takes updates, and can be made to misbehave.
type primary struct {
	addr string
	key  *tsig.Key

	mu      sync.Mutex
	sets    map[string][]dns.RR            // by owner and type
	updates int                            // carried out
	notes   []string                       // the NOTIFY messages that came
	before  func(p *primary, req *dns.Msg) // called with the lock, before a request is looked at
	instead func(w dns.ResponseWriter, req *dns.Msg) bool
}

func startPrimary(t *testing.T, key *tsig.Key) *primary {
	t.Helper()
	p := &primary{key: key, sets: map[string][]dns.RR{}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	pc, err := net.ListenPacket("udp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	p.addr = l.Addr().String()
	var g sync.WaitGroup
	for _, srv := range []*dns.Server{{Listener: l}, {PacketConn: pc}} {
		srv.Handler, srv.TsigProvider, srv.MsgAcceptFunc = p, key.Ring(), func(dns.Header) dns.MsgAcceptAction { return dns.MsgAccept }
		started := make(chan struct{})
		srv.NotifyStartedFunc = func() { close(started) }
		g.Go(func() { srv.ActivateAndServe() })
		<-started
		t.Cleanup(func() { srv.Shutdown() })
	}
	return p
}

func (p *primary) ServeDNS(w dns.ResponseWriter, req *dns.Msg) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.before != nil {
		p.before(p, req)
	}
	if p.instead != nil && p.instead(w, req) {
		return
	}
	resp := new(dns.Msg).SetReply(req)
	signature := req.IsTsig()
	if p.key != nil && (signature == nil || w.TsigStatus() != nil) {
		resp.Rcode = dns.RcodeRefused
		if signature != nil {
			tsig.Refuse(resp, signature, tsig.ErrorCode(w.TsigStatus()), time.Now())
		}
		w.WriteMsg(resp)
		return
	}
	switch req.Opcode {
	case dns.OpcodeNotify:
		p.notes = append(p.notes, req.Question[0].Name)
	case dns.OpcodeUpdate:
		resp.Rcode = p.update(req)
	default:
		resp.Authoritative = true
		resp.Answer = p.sets[key(req.Question[0].Name, req.Question[0].Qtype)]
	}
	if signature != nil {
		p.key.Sign(resp, time.Now())
	}
	w.WriteMsg(resp)
}

func key(name string, rrtype uint16) string { return name + dns.TypeToString[rrtype] }

// update carries out an update, as far as we send it.
func (p *primary) update(req *dns.Msg) int {
	want := map[string][]string{}
	for _, rr := range req.Answer {
		h := rr.Header()
		k := key(h.Name, h.Rrtype)
		if h.Class == dns.ClassNONE && len(p.sets[k]) > 0 {
			return dns.RcodeYXRrset
		}
		if h.Class == dns.ClassINET {
			want[k] = append(want[k], fmt.Sprint(data(rr)))
		}
	}
	for k, addrs := range want {
		var have []string
		for _, rr := range p.sets[k] {
			have = append(have, fmt.Sprint(data(rr)))
		}
		slices.Sort(have)
		slices.Sort(addrs)
		if !slices.Equal(have, addrs) {
			return dns.RcodeNXRrset
		}
	}
	for _, rr := range req.Ns {
		k := key(rr.Header().Name, rr.Header().Rrtype)
		if rr.Header().Class == dns.ClassANY {
			delete(p.sets, k)
		} else {
			p.sets[k] = append(p.sets[k], rr)
		}
	}
	p.updates++
	return dns.RcodeSuccess
}

func data(rr dns.RR) net.IP {
	if a, ok := rr.(*dns.A); ok {
		return a.A
	}
	return rr.(*dns.AAAA).AAAA
}

// set puts records into the primary, as another program would. With the lock.
func (p *primary) set(t *testing.T, texts ...string) {
	t.Helper()
	p.sets = map[string][]dns.RR{}
	for _, text := range texts {
		rr, err := dns.NewRR(text)
		if err != nil {
			t.Fatal(err)
		}
		k := key(rr.Header().Name, rr.Header().Rrtype)
		p.sets[k] = append(p.sets[k], rr)
	}
}

// holds returns all that the primary holds, and how many updates it has carried out.
func (p *primary) holds() (lines []string, updates int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, rrs := range p.sets {
		for _, rr := range rrs {
			lines = append(lines, strings.ReplaceAll(rr.String(), "\t", " "))
		}
	}
	slices.Sort(lines)
	return lines, p.updates
}

// behave makes the primary misbehave.
func (p *primary) behave(instead func(dns.ResponseWriter, *dns.Msg) bool, before func(*primary, *dns.Msg)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.instead, p.before = instead, before
}

func (p *primary) change(f func(p *primary)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f(p)
}

func testKey(t *testing.T, fill byte) *tsig.Key {
	t.Helper()
	k, err := tsig.NewKey("update.", "hmac-sha256", bytes.Repeat([]byte{fill}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return k
}
