package authority

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

func TestOptions(t *testing.T) {
	t.Parallel()
	subnet := func(network string, scope uint8) dns.EDNS0 {
		_, n, _ := net.ParseCIDR(network)
		ones, bits := n.Mask.Size()
		family := uint16(1)
		if bits == 128 {
			family = 2
		}
		return &dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: family, SourceNetmask: uint8(ones), SourceScope: scope, Address: n.IP}
	}
	nsid := &dns.EDNS0_NSID{Code: dns.EDNS0NSID}
	tests := map[string]struct {
		name  string
		qtype uint16
		asked []dns.EDNS0
		from  client
		want  []string
	}{
		"NSID": {"dl.example.org.", dns.TypeA, []dns.EDNS0{nsid}, overUDP, []string{"6f6e65"}}, // "one"
		"ECS": {"dl.example.org.", dns.TypeA, []dns.EDNS0{subnet("192.0.2.0/24", 0)}, overUDP,
			[]string{"192.0.2.0/24/0"}},
		"ECS over IPv6": {"dl.example.org.", dns.TypeA, []dns.EDNS0{subnet("2001:db8::/56", 0)}, overUDP,
			[]string{"[2001:db8::]/56/0"}},
		"keepalive over TCP": {"dl.example.org.", dns.TypeA,
			[]dns.EDNS0{&dns.EDNS0_TCP_KEEPALIVE{Code: dns.EDNS0TCPKEEPALIVE}}, overTCP, []string{"use tcp keep-alive, timeout 15000ms"}},
		"keepalive over UDP": {"dl.example.org.", dns.TypeA,
			[]dns.EDNS0{&dns.EDNS0_TCP_KEEPALIVE{Code: dns.EDNS0TCPKEEPALIVE}}, overUDP, nil},
		"unknown, padding": {"dl.example.org.", dns.TypeA,
			[]dns.EDNS0{&dns.EDNS0_LOCAL{Code: 65001}, &dns.EDNS0_PADDING{Padding: []byte("x")}}, overUDP, nil},
		"refused: another zone": {"example.net.", dns.TypeA, nil, overUDP, []string{"20 (Not Authoritative): ()"}},
		"refused: a transfer":   {"dl.example.org.", dns.TypeAXFR, nil, overTCP, []string{"18 (Prohibited): ()"}},
		"refused, and asked for ID": {"example.net.", dns.TypeA, []dns.EDNS0{nsid}, overUDP,
			[]string{"6f6e65", "20 (Not Authoritative): ()"}},
	}
	c := testConfig()
	c.NSID = "one"
	z := newZone(c, nil, testSnapshot(t, 1, 2), [2]uint32{})
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			req := new(dns.Msg)
			req.SetQuestion(test.name, test.qtype)
			req.SetEdns0(1232, false)
			req.IsEdns0().Option = test.asked
			var got []string
			for _, o := range exchange(t, z, req, test.from).IsEdns0().Option {
				got = append(got, strings.TrimSpace(o.String()))
			}
			if fmt.Sprint(got) != fmt.Sprint(test.want) {
				t.Errorf("options %q, want %q", got, test.want)
			}
		})
	}
	req := new(dns.Msg)
	req.SetQuestion("example.net.", dns.TypeA)
	if resp := exchange(t, z, req, overUDP); resp.IsEdns0() != nil {
		t.Error("an OPT record to a query without one")
	}
}
