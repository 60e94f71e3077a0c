package authority

import (
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"mirrorpool/config"
	"mirrorpool/dnspool/tsig"
)

// TestWhoMayTransfer asks from other addresses and with other keys.
func TestWhoMayTransfer(t *testing.T) {
	t.Parallel()
	key, other := newTestKey(t, "xfr.", 1), newTestKey(t, "other.", 2)
	wrong := newTestKey(t, "xfr.", 3)
	byKey, byAddress, none := transferConfig("xfr."), transferConfig("127.0.0.2/32", "2001:db8::/32"), transferConfig()
	for name, test := range map[string]struct {
		config    config.DNS
		key       *tsig.Key
		network   string
		from      string
		skew      time.Duration
		rcode     int
		tsigError uint16
	}{
		"by key":               {config: byKey, key: key},
		"without the key":      {config: byKey, rcode: dns.RcodeRefused},
		"with an unknown key":  {config: byKey, key: other, rcode: dns.RcodeNotAuth, tsigError: dns.RcodeBadKey},
		"with another secret":  {config: byKey, key: wrong, rcode: dns.RcodeNotAuth, tsigError: dns.RcodeBadSig},
		"an hour late":         {config: byKey, key: key, skew: -time.Hour, rcode: dns.RcodeNotAuth, tsigError: dns.RcodeBadTime},
		"by address":           {config: byAddress, from: "127.0.0.2"},
		"from another address": {config: byAddress, from: "127.0.0.3", rcode: dns.RcodeRefused},
		"by address, wrong key": {config: byAddress, from: "127.0.0.2", key: wrong, rcode: dns.RcodeNotAuth,
			tsigError: dns.RcodeBadSig},
		"a key that may not":      {config: byAddress, from: "127.0.0.3", key: key, rcode: dns.RcodeRefused},
		"none may":                {config: none, key: key, rcode: dns.RcodeRefused},
		"AXFR over UDP is not":    {config: byKey, key: key, network: "udp", rcode: dns.RcodeRefused},
		"over UDP, not permitted": {config: byKey, network: "udp", rcode: dns.RcodeRefused},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, addr, _ := startPrimary(t, test.config, nil, key, "")
			s.publish(snapshotAt(t, 3, 7))
			req := axfrRequest()
			req.SetEdns0(1232, false)
			client := dns.Client{Net: "tcp", TsigProvider: test.key.Ring(), Dialer: &net.Dialer{}}
			if test.from != "" {
				client.Dialer.LocalAddr = &net.TCPAddr{IP: net.ParseIP(test.from)}
			}
			if test.network != "" {
				client.Net = test.network
			}
			if test.key != nil {
				test.key.Sign(req, time.Now().Add(test.skew))
			}
			resp, _, err := client.Exchange(req, addr)
			if resp == nil || err != nil && test.rcode != dns.RcodeNotAuth {
				t.Fatalf("%v: %v", err, resp)
			}
			if resp.Rcode != test.rcode || (len(resp.Answer) > 0) != (test.rcode == 0) {
				t.Errorf("%v, want %s", resp, dns.RcodeToString[test.rcode])
			}
			signature := resp.IsTsig()
			if (signature != nil) != (test.key != nil) || signature != nil && signature.Error != test.tsigError {
				t.Errorf("signature %v, want the error %d", signature, test.tsigError)
			}
			unsigned := test.tsigError == dns.RcodeBadKey || test.tsigError == dns.RcodeBadSig
			if signature != nil && (signature.MACSize == 0) != unsigned {
				t.Errorf("a MAC of %d bytes with the error %d (RFC 8945 section 5.3.2)", signature.MACSize, signature.Error)
			}
			if unsigned && time.Since(time.Unix(int64(signature.TimeSigned), 0)).Abs() > time.Minute {
				t.Errorf("signed at %d, which BIND takes for a wrong clock", signature.TimeSigned)
			}
			if test.tsigError == dns.RcodeBadTime {
				if got := tsig.Explain(test.key, resp, err, time.Now().Add(test.skew)); got == nil ||
					!strings.Contains(got.Error(), "ahead of ours") {
					t.Errorf("the skew is described as %v", got)
				}
			}
			if test.rcode == dns.RcodeRefused && !hasEDE(resp, dns.ExtendedErrorCodeProhibited) {
				t.Errorf("no extended error Prohibited in %v", resp)
			}
		})
	}
}

func hasEDE(resp *dns.Msg, code uint16) bool {
	opt := resp.IsEdns0()
	return opt != nil && slices.ContainsFunc(opt.Option, func(o dns.EDNS0) bool {
		ede, ok := o.(*dns.EDNS0_EDE)
		return ok && ede.InfoCode == code
	})
}

// TestSignedQueries asks for other things with a key, as a secondary does for the SOA.
func TestSignedQueries(t *testing.T) {
	t.Parallel()
	key := newTestKey(t, "xfr.", 1)
	s, addr, _ := startPrimary(t, transferConfig("xfr."), nil, key, "")
	s.publish(snapshotAt(t, 60, 7))
	for _, network := range []string{"udp", "tcp"} {
		for _, qtype := range []uint16{dns.TypeSOA, dns.TypeA, dns.TypeMX, dns.TypeAXFR} {
			if qtype == dns.TypeAXFR && network == "tcp" {
				continue
			}
			req := new(dns.Msg).SetQuestion("dl.EXAMPLE.org.", qtype)
			key.Sign(req, time.Now())
			client := dns.Client{Net: network, TsigProvider: key.Ring()}
			resp, _, err := client.Exchange(req, addr)
			if err != nil || resp.IsTsig() == nil || resp.Question[0].Name != "dl.EXAMPLE.org." || resp.Len() > dns.MinMsgSize {
				t.Errorf("%s %s: %v, %v; want a signed response", network, dns.TypeToString[qtype], resp, err)
			}
		}
	}
}
