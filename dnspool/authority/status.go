package authority

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"mirrorpool/dnspool"
	"mirrorpool/health"
)

// Names below the zone's that give an administrator the state of the pool with dig.
const (
	statusLabel  = "_status."
	mirrorsLabel = "_mirrors."
)

// tellsStatus reports whether name is one of the status, and client may ask for it. For others it does not exist.
func (z *zone) tellsStatus(name string, client netip.Addr) bool {
	if name != statusLabel+z.origin && name != mirrorsLabel+z.origin || z.exists(name) {
		return false
	}
	client = client.Unmap()
	if z.clients == nil {
		return ownAddress(client)
	}
	return slices.ContainsFunc(z.clients, func(p netip.Prefix) bool { return p.Contains(client) })
}

// ownAddress reports whether addr is one of this host's: then a socket can be bound to it. To list the addresses would
// need netlink, which the systemd unit forbids (RestrictAddressFamilies).
func ownAddress(addr netip.Addr) bool {
	if addr.IsLoopback() {
		return true
	}
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, 0)))
	if err != nil {
		return false
	}
	conn.Close()
	return !addr.IsUnspecified()
}

// answerStatus answers with TXT records of TTL 0.
func (z *zone) answerStatus(resp *dns.Msg, q dns.Question) {
	if q.Qtype != dns.TypeTXT && q.Qtype != dns.TypeANY {
		resp.Ns = []dns.RR{z.soa(0)}
		return
	}
	if strings.HasPrefix(q.Name, statusLabel) {
		resp.Answer = []dns.RR{txt(q.Name, z.describe()...)}
		return
	}
	size := 0
	for i := range z.snapshot.Mirrors {
		rr := txt(q.Name, describeMirror(&z.snapshot.Mirrors[i])...)
		if size += dns.Len(rr); size > maxStatusSize {
			resp.Answer = append(resp.Answer, txt(q.Name, fmt.Sprintf("and %d more", len(z.snapshot.Mirrors)-len(resp.Answer))))
			return
		}
		resp.Answer = append(resp.Answer, rr)
	}
}

// maxStatusSize bounds the mirrors' records, in bytes before compression, so that they fit into a message over TCP.
// maxStatusEndpoints bounds the record of one mirror, to a fifth of that.
const (
	maxStatusSize      = 60_000
	maxStatusEndpoints = 32
)

// describe describes the pool as a whole.
func (z *zone) describe() []string {
	s := z.snapshot
	enabled := 0
	for i := range s.Mirrors {
		if s.Mirrors[i].Enabled() {
			enabled++
		}
	}
	lines := []string{
		fmt.Sprintf("serial %d", s.Serial),
		fmt.Sprintf("panic %s", yesNo(s.Panic())),
		fmt.Sprintf("mirrors %d, enabled %d", len(s.Mirrors), enabled),
	}
	for _, g := range s.Groups() {
		what := fmt.Sprintf("%s %s", g.Role, g.Family)
		if g.Secure {
			what += " https"
		}
		line := fmt.Sprintf("%s: weight %v of %v is up", what, g.UpWeight, g.EnabledWeight)
		if g.Panic {
			line += ", panic"
		}
		lines = append(lines, line)
	}
	return lines
}

// describeMirror describes one mirror: its name, its weight, what it is eligible for, and each state of its endpoints
// with the first reason.
func describeMirror(m *dnspool.Mirror) []string {
	lines := []string{m.URLPrefix}
	if m.Name != "" {
		lines = append(lines, "name "+m.Name)
	}
	lines = append(lines, fmt.Sprintf("weight %d, %d in DNS", m.Weight, m.DNS.Weight),
		fmt.Sprintf("eligible for DNS %s, for redirects %s", yesNo(m.InDNS), yesNo(m.InWeb)))
	for role, o := range m.Overrides {
		if o != nil {
			lines = append(lines, health.Role(role).String()+" "+o.String())
		}
	}
	if m.Problem != "" {
		lines = append(lines, m.Problem)
	}
	for i := range m.Endpoints {
		if i == maxStatusEndpoints {
			return append(lines, fmt.Sprintf("and %d more", len(m.Endpoints)-i))
		}
		e := &m.Endpoints[i]
		line := fmt.Sprintf("%s %s %s", e.Role, e.Address, e.State)
		if e.State != health.Up && e.Reason != "" {
			line += ": " + e.Reason
		}
		lines = append(lines, line)
	}
	return lines
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// txt returns a TXT record of TTL 0, with a string for each of texts.
func txt(owner string, texts ...string) *dns.TXT {
	rr := &dns.TXT{Hdr: header(owner, dns.TypeTXT, 0)}
	for _, text := range texts {
		rr.Txt = append(rr.Txt, escape(text))
	}
	return rr
}

// escape makes a string of a TXT record (RFC 1035 section 3.3.14), of at most 255 bytes, in the master file's form.
// What is not printable ASCII becomes a question mark.
func escape(text string) string {
	const most = 255
	var b strings.Builder
	for i := 0; i < len(text) && i < most; i++ {
		switch c := text[i]; {
		case c < ' ' || c > '~':
			b.WriteByte('?')
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}
