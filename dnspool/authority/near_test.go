package authority

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"mirrorpool/config"
	"mirrorpool/dnspool"
	"mirrorpool/health"
)

// nearMirrors are mirrors all over the world: address, weight, place.
var nearMirrors = []struct {
	addr   string
	weight uint32
	place  config.Location
}{
	{"192.0.2.1", 10, config.Location{Country: "DE", Continent: "EU", Latitude: 52.5, Longitude: 13.4, HasPosition: true}},
	{"192.0.2.2", 10, config.Location{Country: "FR", Continent: "EU", Latitude: 48.9, Longitude: 2.3, HasPosition: true}},
	{"192.0.2.3", 10, config.Location{Country: "SE", Continent: "EU", Latitude: 59.3, Longitude: 18.1, HasPosition: true}},
	{"192.0.2.4", 10, config.Location{Country: "US", Continent: "NA", Latitude: 40.7, Longitude: -74, HasPosition: true}},
	{"192.0.2.5", 10, config.Location{Country: "AU", Continent: "OC", Latitude: -33.9, Longitude: 151.2, HasPosition: true}},
	{"192.0.2.6", 10, config.Location{Country: "JP", Continent: "AS", Latitude: 35.7, Longitude: 139.7, HasPosition: true}},
}

// nearPlaces tells where a few networks are.
func nearPlaces(addr netip.Addr) dnspool.Place {
	for network, p := range map[string]dnspool.Place{
		"198.51.100.0/24": {Country: dnspool.ParseCode("DE"), Continent: dnspool.ParseCode("EU"), Latitude: 52.5, Longitude: 13.4,
			HasPosition: true},
		"203.0.113.0/25": {Country: dnspool.ParseCode("NZ"), Continent: dnspool.ParseCode("OC"), Latitude: -36.8, Longitude: 174.8,
			HasPosition: true},
		"2001:db8::/40": {Country: dnspool.ParseCode("US"), Continent: dnspool.ParseCode("NA"), Latitude: 38.9, Longitude: -77,
			HasPosition: true},
	} {
		if n := netip.MustParsePrefix(network); n.Contains(addr) {
			p.Network = n
			return p
		}
	}
	return dnspool.Place{}
}

// nearZone is a zone that answers by place. change changes the mirrors before they are joined.
func nearZone(t *testing.T, change func(m []config.Mirror)) *zone {
	t.Helper()
	c := testConfig()
	c.Geo, c.MaxAnswers = true, 1
	z := newZone(c, nil, dnspool.Build(nearInput(change)), [2]uint32{})
	z.place = nearPlaces
	return z
}

// nearInput are the mirrors of nearZone.
func nearInput(change func(m []config.Mirror)) dnspool.Input {
	in := dnspool.Input{
		Pool: &config.Pool{}, Health: &health.Report{Mirrors: map[string]health.MirrorReport{}},
		Policy: dnspool.Policy{PanicThreshold: 0.5, MaxAnswers: 1, DNSGeo: true,
			Selection: config.Selection{Geo: true, Near: 1.5, MinCandidates: 3, MaxShare: 0.5}},
		Now: testNow, Rand: rand.New(rand.NewPCG(1, 2)),
	}
	for i, n := range nearMirrors {
		m := config.Mirror{URLPrefix: fmt.Sprintf("http://m%d.example.org/", i), Weight: n.weight, Location: n.place}
		m.URL, _ = url.Parse(m.URLPrefix)
		m.DNS.Weight = n.weight
		in.Pool.Mirrors = append(in.Pool.Mirrors, m)
		in.Health.Mirrors[m.URLPrefix] = health.MirrorReport{Endpoints: []health.Endpoint{
			{Address: netip.MustParseAddr(n.addr), Role: health.DNS, Verdict: health.Verdict{State: health.Up}}}}
	}
	if change != nil {
		change(in.Pool.Mirrors)
	}
	return in
}

// asks asks as often as there are cards, and returns how often each mirror was named, in percent, and the scope of the
// answers, -1 if they had none. from is the resolver, subnet the client's, if that is sent.
func asks(t *testing.T, z *zone, from, subnet string) (shares map[string]int, bits int) {
	t.Helper()
	req := new(dns.Msg)
	req.SetQuestion("www.dl.example.org.", dns.TypeA)
	req.SetEdns0(1232, false)
	if subnet != "" {
		ip, network, err := net.ParseCIDR(subnet)
		if err != nil {
			t.Fatal(err)
		}
		ones, size := network.Mask.Size()
		req.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: uint16(size / 64),
			SourceNetmask: uint8(ones), Address: ip}}
		if size == 32 {
			req.IsEdns0().Option[0].(*dns.EDNS0_SUBNET).Family = 1
		}
	}
	who := overUDP
	who.addr = netip.MustParseAddr(from)
	shares, bits = map[string]int{}, -1
	const cards = 4096
	for range cards {
		resp := exchange(t, z, req, who)
		if len(resp.Answer) != 1 {
			t.Fatalf("no answer: %v", resp)
		}
		shares[strings.TrimPrefix(resp.Answer[0].(*dns.A).A.String(), "192.0.2.")]++
		for _, o := range resp.IsEdns0().Option {
			if s, ok := o.(*dns.EDNS0_SUBNET); ok {
				bits = int(s.SourceScope)
			}
		}
	}
	for mirror, n := range shares {
		shares[mirror] = (n*100 + cards/2) / cards
	}
	return shares, bits
}

func TestNear(t *testing.T) {
	t.Parallel()
	all := map[string]int{"1": 17, "2": 17, "3": 17, "4": 17, "5": 17, "6": 17}
	berlin := map[string]int{"1": 50, "2": 25, "3": 25}
	tests := map[string]struct {
		from, subnet string
		want         map[string]int
		scope        int
	}{
		"a resolver in Berlin":                       {"198.51.100.9", "", berlin, -1},
		"a resolver nowhere":                         {"192.0.2.99", "", all, -1},
		"a client in Berlin, its resolver elsewhere": {"203.0.113.9", "198.51.100.0/24", berlin, 24},
		"the same, told more exactly":                {"203.0.113.9", "198.51.100.7/32", berlin, 24},
		"the same, told less exactly":                {"203.0.113.9", "198.51.100.0/23", berlin, 24},
		"a client in New Zealand":                    {"198.51.100.9", "203.0.113.0/24", map[string]int{"5": 50, "6": 25, "4": 25}, 25},
		"a client in Washington":                     {"198.51.100.9", "2001:db8::/56", map[string]int{"4": 50, "2": 25, "3": 25}, 40},
		"a client nowhere":                           {"198.51.100.9", "192.0.2.0/24", all, 24},
		"a client who does not want to be told of":   {"198.51.100.9", "0.0.0.0/0", berlin, 0},
	}
	z := nearZone(t, nil)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, bits := asks(t, z, test.from, test.subnet)
			if fmt.Sprint(got) != fmt.Sprint(test.want) || bits != test.scope {
				t.Errorf("shares %v, scope %d; want %v, %d", got, bits, test.want, test.scope)
			}
		})
	}
	if n := len(z.near.decks); n != 3 {
		t.Errorf("%d decks for the clients of 3 places", n)
	}
}

// TestNearLimits has mirrors that serve only some.
func TestNearLimits(t *testing.T) {
	t.Parallel()
	germany := config.Places{Countries: []string{"DE"}}
	z := nearZone(t, func(m []config.Mirror) {
		m[0].ServeOnly = germany
		m[4].Weight, m[4].DNS.Weight = 0, 0
	})
	for from, want := range map[string]map[string]int{
		"198.51.100.9": {"1": 50, "2": 25, "3": 25},
		"192.0.2.99":   {"2": 25, "3": 25, "4": 25, "6": 25}, // it is not known to be in Germany
	} {
		if got, _ := asks(t, z, from, ""); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("from %s: %v, want %v", from, got, want)
		}
	}
	z = nearZone(t, func(m []config.Mirror) {
		for i := range m {
			m[i].Exclude = germany
		}
	})
	if got, _ := asks(t, z, "198.51.100.9", ""); len(got) != len(nearMirrors) {
		t.Errorf("all exclude Germany: %v, want all: an answer is not empty while a mirror is enabled", got)
	}
}

// TestNearAgreed: two servers that agree deal the same cards to clients at a place, one after the other.
func TestNearAgreed(t *testing.T) {
	t.Parallel()
	deal := func(server string) (cards []int32, next uint32) {
		in := nearInput(nil)
		in.Agree = &dnspool.Agreement{Name: server}
		c := testConfig()
		c.Geo, c.MaxAnswers = true, 1
		z := newZone(c, nil, dnspool.Build(in), [2]uint32{})
		place := nearPlaces(netip.MustParseAddr("198.51.100.9"))
		if _, ok := z.nearCard(dnspool.IPv4, &place); !ok {
			t.Fatal("the answers are those of all")
		}
		for _, deck := range z.near.decks {
			next = deck.next.Load()
			for i := range deck.Len() {
				cards = append(cards, deck.Card(uint32(i))...)
			}
		}
		return cards, next
	}
	fra, first := deal("fra")
	ams, second := deal("ams")
	if !slices.Equal(fra, ams) {
		t.Error("two servers that agree deal other cards")
	}
	if first == second {
		t.Error("both begin with the same card")
	}
}

// TestNearDecksThatAreNotKept: where each query has a deck of its own, each mirror has its share all the same.
func TestNearDecksThatAreNotKept(t *testing.T) {
	t.Parallel()
	in := nearInput(nil)
	in.Agree = &dnspool.Agreement{Name: "fra"}
	c := testConfig()
	c.Geo, c.MaxAnswers = true, 1
	z := newZone(c, nil, dnspool.Build(in), [2]uint32{})
	for i := range maxNearDecks {
		z.near.decks[nearKey{group: fmt.Sprint(i)}] = new(nearDeck)
	}
	place := nearPlaces(netip.MustParseAddr("198.51.100.9"))
	dealt := map[int32]int{}
	for range 400 {
		card, ok := z.nearCard(dnspool.IPv4, &place)
		if !ok {
			t.Fatal("the answers are those of all")
		}
		dealt[card[0]]++
	}
	if len(dealt) != 3 || dealt[0] < 100 || dealt[0] > 300 { // half of them; 10 standard deviations are 100
		t.Errorf("dealt: %v, want three mirrors, the first one half of the time", dealt)
	}
}

// TestNearDecksAreBounded asks for more groups than are kept.
func TestNearDecksAreBounded(t *testing.T) {
	t.Parallel()
	n := nearDecks{decks: map[nearKey]*nearDeck{}}
	for i := range maxNearDecks {
		if n.find(nearKey{group: fmt.Sprint(i)}, func() *nearDeck { return new(nearDeck) }) == nil {
			t.Fatalf("no deck %d", i)
		}
	}
	if n.find(nearKey{group: "more"}, func() *nearDeck { return new(nearDeck) }) == nil || len(n.decks) != maxNearDecks {
		t.Errorf("%d decks are kept, want %d and one that is not", len(n.decks), maxNearDecks)
	}
	if n.find(nearKey{group: "7"}, nil) == nil {
		t.Error("a deck is gone")
	}
}
