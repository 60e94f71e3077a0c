package daemon

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"mirrorpool/dnspool"
	"mirrorpool/health"
	"mirrorpool/testdata/testbed"
)

// A captured response is what a DNS client gets.
type captured struct {
	remote net.Addr
	msgs   []*dns.Msg
	err    error
}

func (c *captured) Write(wire []byte) (int, error) {
	msg := new(dns.Msg)
	if err := msg.Unpack(bytes.Clone(wire)); err != nil {
		c.err = err
	}
	c.msgs = append(c.msgs, msg)
	return len(wire), nil
}

func (c *captured) WriteMsg(msg *dns.Msg) error { c.msgs = append(c.msgs, msg); return nil }

func (c *captured) LocalAddr() net.Addr { return c.remote }

func (c *captured) RemoteAddr() net.Addr { return c.remote }

func (c *captured) Close() error { return nil }

func (c *captured) TsigStatus() error { return nil }

func (c *captured) TsigTimersOnly(bool) {}

func (c *captured) Hijack() {}

// errServerFailure is the response while no mirror's address is known.
var errServerFailure = errors.New("SERVFAIL")

// ask asks the DNS face, over TCP.
func (m *model) ask(name string, qtype uint16) ([]dns.RR, error) {
	w := &captured{remote: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 5353}}
	m.dns.ServeDNS(w, new(dns.Msg).SetQuestion(name, qtype))
	if w.err != nil || len(w.msgs) == 0 {
		return nil, fmt.Errorf("%s %s: no response that can be read: %w", name, dns.TypeToString[qtype], w.err)
	}
	var rrs []dns.RR
	for _, msg := range w.msgs {
		if msg.Rcode == dns.RcodeServerFailure {
			return nil, errServerFailure
		}
		if msg.Rcode != dns.RcodeSuccess && msg.Rcode != dns.RcodeNameError {
			return nil, fmt.Errorf("%s %s: %s", name, dns.TypeToString[qtype], dns.RcodeToString[msg.Rcode])
		}
		rrs = append(rrs, msg.Answer...)
	}
	return rrs, nil
}

const modelZone = "dl.example.org."

var families = map[dnspool.Family]uint16{dnspool.IPv4: dns.TypeA, dnspool.IPv6: dns.TypeAAAA}

// check holds the rules that hold at all times against what the faces answer.
func (m *model) check() error {
	return errors.Join(m.checkProbes(), m.checkAnswers(), m.checkNamed(), m.checkTransfer(), m.checkRedirects(), m.checkLegacy())
}

// checkProbes holds rule 4: what is out of the pool is not checked.
func (m *model) checkProbes() error {
	m.world.mu.Lock()
	defer m.world.mu.Unlock()
	if len(m.world.strays) > 0 {
		return fmt.Errorf("rule 4: probed, and not in the pool: %v", m.world.strays)
	}
	for host, n := range m.world.underway {
		if n > 0 && !m.world.watched[host] {
			return fmt.Errorf("rule 4: %d probes of %s, which is not in the pool, go on", n, host)
		}
	}
	return nil
}

// everUp reports whether an endpoint is up, or has been since it is known.
func everUp(e *health.Endpoint) bool {
	return e.State == health.Up || e.Changes != nil
}

// mayAnswer returns the addresses that may be in answers, and whether there have to be any of a family.
func (m *model) mayAnswer() (may map[netip.Addr]bool, must [2]bool) {
	may = map[netip.Addr]bool{}
	report := m.checker.Report()
	for _, e := range m.pool {
		if e.inDNS() == 0 {
			continue
		}
		for _, addr := range hostAddresses(e.host, true) {
			may[addr] = true
		}
		known := e.addresses()
		seen := report.Mirrors[e.prefix()].Endpoints
		for _, endpoint := range seen {
			if endpoint.ExcludedBecause == "" {
				known = append(known, endpoint.Address)
			}
		}
		// Where nothing else of a mirror has ever passed, what the resolver said first is as good as what it says now.
		may[portalAddress] = may[portalAddress] || slices.ContainsFunc(seen, func(e health.Endpoint) bool {
			return e.Address == portalAddress
		}) && !slices.ContainsFunc(seen, func(e health.Endpoint) bool {
			return e.Address != portalAddress && everUp(&e)
		})
		for _, addr := range known {
			must[dnspool.FamilyOf(addr)] = true
		}
	}
	return may, must
}

// checkAnswers holds rules 1, 2 and 6 against the answers at the pool's name.
func (m *model) checkAnswers() error {
	may, must := m.mayAnswer()
	for family, qtype := range families {
		for range 20 {
			rrs, err := m.ask(modelZone, qtype)
			if errors.Is(err, errServerFailure) && m.current.Load().Blind(health.DNS) {
				continue
			}
			if err != nil {
				return err
			}
			if len(rrs) == 0 && must[family] {
				return fmt.Errorf("rule 2: no %v address is answered, and a mirror has one", family)
			}
			for _, rr := range rrs {
				addr, rrtype := testbed.AddressOf(rr)
				switch {
				case rrtype != qtype:
					return fmt.Errorf("rule 6: %v in the answer to %s", rr, dns.TypeToString[qtype])
				case !may[addr]:
					return fmt.Errorf("rule 1 or 4: %v is answered, and is no enabled mirror's", addr)
				}
			}
		}
	}
	return nil
}

// checkNamed holds rule 1 against the mirrors' own names.
func (m *model) checkNamed() error {
	for host := range modelHosts {
		for family, qtype := range families {
			rrs, err := m.ask(fmt.Sprintf("m%d.%s", host, modelZone), qtype)
			if err != nil {
				return err
			}
			e, there := m.pool[host]
			may := there && e.named && e.weight > 0
			if len(rrs) > 0 && !may {
				return fmt.Errorf("rule 1 or 4: %v, whose mirror is not enabled", rrs)
			}
			must := false
			for _, addr := range e.addresses() {
				must = must || may && dnspool.FamilyOf(addr) == family
			}
			if must && len(rrs) == 0 {
				return fmt.Errorf("m%d has no %v address, and should by its name", host, family)
			}
		}
	}
	return nil
}

// transferred returns the addresses at the pool's name as a transfer tells them.
func (m *model) transferred() (addrs map[netip.Addr]bool, records []string, serial uint32, err error) {
	rrs, err := m.ask(modelZone, dns.TypeAXFR)
	if errors.Is(err, errServerFailure) && m.current.Load().Blind(health.DNS) {
		return nil, m.records, m.serial, nil // no address has been known since the start
	}
	if err != nil {
		return nil, nil, 0, err
	}
	addrs = map[netip.Addr]bool{}
	for _, rr := range rrs {
		if soa, ok := rr.(*dns.SOA); ok {
			serial = soa.Serial
			continue
		}
		records = append(records, rr.String())
		if addr, rrtype := testbed.AddressOf(rr); rrtype != 0 && rr.Header().Name == modelZone {
			addrs[addr] = true
		}
	}
	slices.Sort(records)
	return addrs, records, serial, nil
}

// checkTransfer holds rule 1 against a transfer, and that the serial grows with each change, across restarts too.
func (m *model) checkTransfer() error {
	addrs, records, serial, err := m.transferred()
	if err != nil {
		return err
	}
	may, _ := m.mayAnswer()
	for addr := range addrs {
		if !may[addr] {
			return fmt.Errorf("rule 1 or 4: %v is transferred, and is no enabled mirror's", addr)
		}
	}
	grown := int32(serial - m.serial)
	if m.serial != 0 && (grown < 0 || grown == 0 && !slices.Equal(records, m.records)) {
		return fmt.Errorf("serial %d after %d, with other records:\n%q\n%q", serial, m.serial, m.records, records)
	}
	m.serial, m.records = serial, records
	return nil
}

// A modelClient is one that asks for a redirect.
type modelClient struct {
	family dnspool.Family
	secure bool
}

var modelClients = []modelClient{{dnspool.IPv4, false}, {dnspool.IPv6, false}, {dnspool.IPv4, true}, {dnspool.IPv6, true}}

// redirect asks the HTTP face, and returns the prefixes of where it leads to, the first one and the others; none if it
// leads nowhere.
func (m *model) redirect(c modelClient) ([]string, error) {
	const path = "/stable/x.iso"
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.RemoteAddr = "192.0.2.1:999"
	if c.family == dnspool.IPv6 {
		r.RemoteAddr = "[2001:db8::1]:999"
	}
	if c.secure {
		r = httptest.NewRequest(http.MethodGet, "https://dl.example.org"+path, nil)
		r.RemoteAddr = map[dnspool.Family]string{dnspool.IPv4: "192.0.2.1:999", dnspool.IPv6: "[2001:db8::1]:999"}[c.family]
	}
	w := httptest.NewRecorder()
	m.handler.ServeHTTP(w, r)
	switch w.Code {
	case http.StatusServiceUnavailable:
		return nil, nil
	case http.StatusFound:
	default:
		return nil, fmt.Errorf("a redirect with code %d", w.Code)
	}
	location := w.Header().Get("Location")
	prefixes := []string{strings.TrimSuffix(location, path[1:])}
	for link := range strings.SplitSeq(w.Header().Get("Link"), ", ") {
		if target, _, ok := strings.Cut(strings.TrimPrefix(link, "<"), ">"); ok {
			prefixes = append(prefixes, strings.TrimSuffix(target, path[1:]))
		}
	}
	return prefixes, nil
}

// checkRedirects holds rules 1, 2 and 8 against redirects and their alternatives.
func (m *model) checkRedirects() error {
	enabled := map[string]bool{}
	for _, e := range m.pool {
		enabled[e.prefix()] = e.weight > 0
	}
	for _, c := range modelClients {
		must := false
		for _, e := range m.pool {
			must = must || e.weight > 0 && e.given != 0 && (!c.secure || e.scheme() == "https")
		}
		for range 8 {
			prefixes, err := m.redirect(c)
			if err != nil {
				return err
			}
			if must && len(prefixes) == 0 {
				return fmt.Errorf("rule 2: %+v is not redirected, and a mirror is enabled", c)
			}
			for _, prefix := range prefixes {
				switch {
				case !enabled[prefix]:
					return fmt.Errorf("rule 1 or 4: redirected to %s, which is not enabled", prefix)
				case c.secure && !strings.HasPrefix(prefix, "https:"):
					return fmt.Errorf("rule 8: redirected from https to %s", prefix)
				}
			}
		}
	}
	return nil
}

// checkLegacy holds rule 1 against the list for Tails Upgrader.
func (m *model) checkLegacy() error {
	w := httptest.NewRecorder()
	m.handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/mirrors.json", nil))
	var list struct {
		Mirrors []struct {
			URLPrefix string `json:"url_prefix"`
			Weight    uint32 `json:"weight"`
		} `json:"mirrors"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &list); err != nil {
		return err
	}
	weights := map[string]uint32{}
	for _, e := range m.pool {
		weights[e.prefix()] = e.weight
	}
	for _, e := range list.Mirrors {
		if weight, there := weights[e.URLPrefix]; !there || e.Weight != 0 && e.Weight != weight {
			return fmt.Errorf("rule 1 or 4: %s has weight %d in the list for Tails Upgrader, and is %v in the pool with weight %d",
				e.URLPrefix, e.Weight, there, weight)
		}
	}
	return nil
}
