package authority

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"mirrorpool/config"
	"mirrorpool/testdata/testbed"
)

// A randomZone is a zone file and the pool's names in its zone.
type randomZone struct {
	config config.DNS
	text   string // for mirrorpool
	static *StaticRecords
	zone   *zone // with a pool of one mirror, so that there is one answer
}

// newRandomZone draws a zone. Its names come from few labels, so that they stand above, below and beside each other.
func newRandomZone(t *testing.T, seed uint64) *randomZone {
	t.Helper()
	g := zoneGenerator{r: rand.New(rand.NewPCG(seed, 15)), used: map[string]bool{"ns1": true}}
	c := testConfig()
	c.Zone, c.Names = fmt.Sprintf("z%d.example.org.", seed), g.poolNames()
	z := &randomZone{config: c, text: g.zone(c.Names)}
	var err error
	if z.static, err = parseStatic("zone", []byte(z.text), c.Zone, poolNames(c)); err != nil {
		t.Fatalf("%v\n%s", err, z.text)
	}
	z.zone = newZone(c, z.static, testSnapshot(t, 1, 2), [2]uint32{})
	return z
}

// asPeerFile returns the zone file for a server that has no pool: the pool's addresses are in it.
func (z *randomZone) asPeerFile() string {
	var text strings.Builder
	text.WriteString(z.text)
	for _, rr := range z.zone.mirrorRecords() {
		fmt.Fprintln(&text, rr)
	}
	return text.String()
}

// names returns all names of the zone, and names beside and below them. It leaves out the name of the mirror that is
// disabled, which exists without a record as no name of a peer's zone can.
func (z *randomZone) names() []string {
	names := map[string]bool{"example.org.": true, "example.net.": true}
	for _, nodes := range []map[string]bool{z.zone.nodes, z.static.nodes} {
		for name := range nodes {
			for _, prefix := range []string{"", "x.", "x.y.", "*.", `\000.`} {
				names[prefix+name] = true
			}
		}
	}
	sorted := []string{}
	for name := range names {
		if !strings.HasSuffix(name, "off."+z.config.Zone) {
			sorted = append(sorted, name)
		}
	}
	slices.Sort(sorted)
	return sorted
}

// A zoneGenerator draws the records of a zone file.
type zoneGenerator struct {
	r    *rand.Rand
	used map[string]bool // owners
	cuts []string
}

var zoneLabels = []string{"a", "b", "Mixed", "eu", "www", "m1", "*", `sp\032ace`, `esc\046dot`, `\000`, `\255\001`,
	`back\\slash`, `\042`, "_tcp", `quo\"te`, `semi\;`}

// zoneData is record data by type; of more than one, several may stand at a name.
var zoneData = map[string][]string{
	"A": {"192.0.2.80", "192.0.2.81"}, "AAAA": {"2001:db8::80"}, "TXT": {`"one" "two"`, `"three"`}, "MX": {"10 ns1", `20 sp\032ace`},
	"SRV": {"0 0 80 ns1"}, "CAA": {`0 issue "ca.example.net"`}, "PTR": {"ns1"}, "HTTPS": {"1 ."}, "APL": {`\# 0`, "1:192.0.2.0/24"},
	"TYPE10": {`\# 2 0102`, `\# 0`}, "TYPE65280": {`\# 4 01020304`, `\# 0`},
}

func (g *zoneGenerator) name() string {
	labels := make([]string, 1+g.r.IntN(3))
	for i := range labels {
		labels[i] = zoneLabels[g.r.IntN(len(zoneLabels))]
	}
	return strings.Join(labels, ".")
}

func (g *zoneGenerator) poolNames() []string {
	all := []string{"@", "www", "*.eu", "a.b", "*"}
	g.r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all[:1+g.r.IntN(3)]
}

func (g *zoneGenerator) zone(pool []string) string {
	text := "$TTL 300\n@ SOA ns1 hostmaster 7 3600 600 86400 120\n@ NS ns1\n@ NS ns2.example.net.\nns1 A 192.0.2.53\n" +
		g.records("@", slices.Contains(pool, "@"))
	for range 2 + g.r.IntN(12) {
		name := g.name()
		key := strings.TrimSuffix(canonicalName(name), ".") // of which there are several spellings
		if g.used[key] || g.delegated(key) {
			continue
		}
		g.used[key] = true
		isPool := slices.Contains(pool, key)
		switch kind := g.r.IntN(6); {
		case kind == 0 && !isPool:
			text += fmt.Sprintf("%s CNAME %s\n", name, []string{"ns1", "nothing", "www.example.net.", "@", `esc\046dot.www`}[g.r.IntN(5)])
		case kind == 1 && !g.holds(key, pool) && !strings.Contains(key, "*"):
			g.cuts = append(g.cuts, key)
			text += fmt.Sprintf("%s NS ns.%[1]s\n%[1]s NS ns1\nns.%[1]s A 192.0.2.54\n", name)
		default:
			text += g.records(name, isPool)
		}
	}
	return text
}

// records draws records other than CNAME and NS; without addresses if the name is the pool's.
func (g *zoneGenerator) records(name string, isPool bool) (text string) {
	types := []string{}
	for rrtype := range zoneData {
		if !isPool || rrtype != "A" && rrtype != "AAAA" {
			types = append(types, rrtype)
		}
	}
	slices.Sort(types)
	g.r.Shuffle(len(types), func(i, j int) { types[i], types[j] = types[j], types[i] })
	for _, rrtype := range types[:1+g.r.IntN(4)] {
		for _, data := range zoneData[rrtype][:1+g.r.IntN(len(zoneData[rrtype]))] {
			text += fmt.Sprintf("%s %s %s\n", name, rrtype, data)
		}
	}
	return text
}

// delegated reports whether a name is at or below a delegation.
func (g *zoneGenerator) delegated(name string) bool {
	return slices.ContainsFunc(g.cuts, func(cut string) bool { return name == cut || strings.HasSuffix(name, "."+cut) })
}

// holds reports whether a name, or one below it, is in use.
func (g *zoneGenerator) holds(name string, pool []string) bool {
	for _, other := range append(pool, "ns1", "m1") {
		if other == name || strings.HasSuffix(other, "."+name) {
			return true
		}
	}
	for other := range g.used {
		if other != name && strings.HasSuffix(other, "."+name) {
			return true
		}
	}
	return false
}

const randomZones = 30

// randomZoneTypes are what is asked for. BIND has other answers to the meta types, and is not asked for them.
var (
	randomZoneTypes = []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeNS, dns.TypeSOA, dns.TypeCNAME, dns.TypeMX, dns.TypeTXT, dns.TypeDS,
		dns.TypeSRV, dns.TypeCAA, dns.TypePTR, dns.TypeHTTPS, dns.TypeAPL, dns.TypeNULL, 65280, 65281}
	randomMetaTypes = []uint16{0, dns.TypeOPT, dns.TypeTSIG, dns.TypeMAILB, dns.TypeANY}
)

// TestRandomZonesOneTruth asks both paths for every name and type of random zones.
func TestRandomZonesOneTruth(t *testing.T) {
	t.Parallel()
	for seed := range uint64(randomZones) {
		z := newRandomZone(t, seed)
		tr := &truth{z.zone, newTruth(t, 1, 2).fast}
		tr.fast.zone.Store(z.zone)
		r := rand.New(rand.NewPCG(seed, 16))
		fast := 0
		for _, name := range z.names() {
			for _, qtype := range append(randomZoneTypes, randomMetaTypes...) {
				if tr.check(t, truthQuery(t, r, name, qtype, []int{-1, 1232}[r.IntN(2)]), 3, r.IntN(2) == 0) {
					fast++
				}
			}
		}
		if fast == 0 {
			t.Errorf("zone %d: no query took the fast path", seed)
		}
	}
}

// TestDifferentialRandomZones asks BIND and both paths for every name and type of random zones.
func TestDifferentialRandomZones(t *testing.T) {
	t.Parallel()
	dir, zones := t.TempDir(), []*randomZone{}
	port := testbed.FreePort(t)
	conf := fmt.Sprintf(`options { directory %q; pid-file "pid"; session-keyfile "key"; listen-on port %s { 127.0.0.1; };
		listen-on-v6 { none; };
		recursion no; minimal-responses yes; notify no; dnssec-validation no; check-names primary ignore; check-mx ignore;
		check-integrity no;
		check-wildcard no; zero-no-soa-ttl no; }; controls { };`, dir, port)
	for seed := range uint64(randomZones) {
		z := newRandomZone(t, seed)
		zones = append(zones, z)
		file := filepath.Join(dir, z.config.Zone)
		if err := os.WriteFile(file, []byte(z.asPeerFile()), 0o644); err != nil {
			t.Fatal(err)
		}
		conf += fmt.Sprintf("\nzone %q { type primary; file %q; };", z.config.Zone, file)
	}
	file := filepath.Join(dir, "conf")
	if err := os.WriteFile(file, []byte(conf), 0o644); err != nil {
		t.Fatal(err)
	}
	testbed.Start(t, exec.Command(testbed.Need(t, "named", "bind9"), "-g", "-c", file))
	addr := fmt.Sprintf("127.0.0.1:%s", port)
	for _, z := range zones {
		testbed.AwaitZone(t, addr, z.config.Zone)
		z.compare(t, addr)
	}
}

// compare asks the peer at addr the same as both paths.
func (z *randomZone) compare(t *testing.T, addr string) {
	t.Helper()
	d := newTruth(t, 1, 2).fast
	d.zone.Store(z.zone)
	conn, err := dns.Dial("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	different := 0
	for _, name := range z.names() {
		for _, qtype := range randomZoneTypes {
			req := new(dns.Msg)
			req.SetQuestion(name, qtype)
			req.SetEdns0(1232, false)
			theirs, _, err := new(dns.Client).ExchangeWithConn(req, conn)
			if err != nil {
				t.Fatalf("%s %s: %v", name, dns.Type(qtype), err)
			}
			if theirs.Rcode == dns.RcodeServerFailure && len(theirs.Answer) > 0 {
				theirs.Rcode = dns.RcodeSuccess // CNAME records that run in a circle: see explained
			}
			got, want := contentOf(z.answer(t, d, req)), contentOf(theirs)
			if got == want {
				continue
			}
			if different++; different <= 3 {
				t.Errorf("%s %s\nmirrorpool: %s\nBIND:       %s", name, dns.Type(qtype), got, want)
			}
		}
	}
	if different > 0 {
		t.Errorf("%d differences in %s, whose pool is at %q:\n%s", different, z.config.Zone, z.config.Names, z.text)
	}
}

// answer returns what a client gets: the prepared answer, or respond's where there is none.
func (z *randomZone) answer(t *testing.T, d *fastPath, req *dns.Msg) *dns.Msg {
	t.Helper()
	msg, err := req.Pack()
	if err != nil {
		t.Fatal(err)
	}
	packed, ok := d.respond(nil, msg, overTCP)
	if !ok {
		if packed, err = z.zone.respond(req, overTCP); err != nil {
			t.Fatal(err)
		}
	}
	resp := new(dns.Msg)
	if err := resp.Unpack(packed); err != nil {
		t.Fatal(err)
	}
	return resp
}

// contentOf puts a response into words, in lower case: BIND writes names as the zone file does.
func contentOf(resp *dns.Msg) string {
	return strings.ToLower(fmt.Sprintf("%s aa=%v", dns.RcodeToString[resp.Rcode], resp.Authoritative) + sectionsOf(resp))
}
