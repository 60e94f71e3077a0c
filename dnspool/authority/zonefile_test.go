package authority

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"mirrorpool/config"
)

const (
	staticFile = "../../testdata/zones/dl.example.org.zone"
	staticZone = "dl.example.org."
)

// staticTestZone is the zone of the file with the pool at pool.dl.example.org.
func staticTestZone(tb testing.TB) *zone {
	tb.Helper()
	c := testConfig()
	c.Names = []string{"pool"}
	c.ZoneFile = staticFile
	static, err := LoadZoneFile(c)
	if err != nil {
		tb.Fatal(err)
	}
	return newZone(c, static, testSnapshot(tb, 1, 2), [2]uint32{})
}

// TestStaticAnswers shows what a pool among static records looks like; that these are answered as other servers
// do is for TestDifferential.
func TestStaticAnswers(t *testing.T) {
	t.Parallel()
	const negative = "dl.example.org. 120 IN SOA ns1.dl.example.org. hostmaster.example.org. 1800000000 3600 600 86400 120"
	tests := []struct {
		name      string
		qtype     uint16
		rcode     int
		answer    []string
		authority []string
	}{
		{"pool.dl.example.org.", dns.TypeA, 0, []string{"pool.dl.example.org. 60 IN A 192.0.2.1"}, nil},
		{"m1.dl.example.org.", dns.TypeA, 0, []string{"m1.dl.example.org. 60 IN A 192.0.2.1"}, nil},
		{"pool.dl.example.org.", dns.TypeTXT, 0, nil, []string{negative}},
		{"dl.example.org.", dns.TypeSOA, 0,
			[]string{"dl.example.org. 3600 IN SOA ns1.dl.example.org. hostmaster.example.org. 1800000000 3600 600 86400 120"}, nil},
		{"dl.example.org.", dns.TypeA, 0, []string{"dl.example.org. 300 IN A 192.0.2.80"}, nil},
		{"dl.example.org.", dns.TypeAAAA, 0, nil, []string{negative}},
		{`sp\ ace.dl.example.org.`, dns.TypeA, 0, []string{`sp\ ace.dl.example.org. 300 IN A 192.0.2.8`}, nil},
		{`esc\.dot.dl.example.org.`, dns.TypeTXT, 0, []string{`esc\.dot.dl.example.org. 300 IN TXT "dot"`}, nil},
		{"empty.dl.example.org.", 65280, 0, []string{`empty.dl.example.org. 300 CLASS1 TYPE65280 \# 0 `}, nil},
		{"dl.example.org.", dns.TypeTXT, 0, []string{`dl.example.org. 300 IN TXT "v=spf1 -all"`}, nil},
		{"x.wild.dl.example.org.", dns.TypeTXT, 0, []string{`x.wild.dl.example.org. 300 IN TXT "wild"`}, nil},
		{"nothing.dl.example.org.", dns.TypeA, dns.RcodeNameError, nil, []string{negative}},
		{"x.pool.dl.example.org.", dns.TypeA, dns.RcodeNameError, nil, []string{negative}},
	}
	z := staticTestZone(t)
	for _, test := range tests {
		req := new(dns.Msg)
		req.SetQuestion(test.name, test.qtype)
		resp := exchange(t, z, req, overUDP)
		if resp.Rcode != test.rcode {
			t.Errorf("%s: rcode %s", test.name, dns.RcodeToString[resp.Rcode])
		}
		compare(t, test.name+" answer", resp.Answer, test.answer)
		compare(t, test.name+" authority", resp.Ns, test.authority)
	}
}

// TestBadZoneFiles has one fault in each.
func TestBadZoneFiles(t *testing.T) {
	t.Parallel()
	const head = "@ SOA ns1.example.org. h.example.org. 1 2 3 4 5\n@ NS ns1.example.org.\n"
	tests := map[string]struct{ text, want string }{
		"no SOA":          {"@ NS ns1.example.org.\n", "zone: want an SOA record at dl.example.org."},
		"no NS":           {"@ SOA a. b. 1 2 3 4 5\n", "zone: want NS records at dl.example.org."},
		"two SOA records": {head + "@ SOA a. b. 1 2 3 4 5\n", "zone:3: dl.example.org. SOA: is a second SOA record"},
		"a SOA record elsewhere": {head + "x SOA a. b. 1 2 3 4 5\n",
			"zone:3: x.dl.example.org. SOA: want the SOA record at dl.example.org."},
		"out of the zone": {head + "www.example.org. A 192.0.2.1\n",
			"zone:3: www.example.org. A: is outside of the zone dl.example.org."},
		"class CH": {head + "x CH TXT \"x\"\n", "zone:3: x.dl.example.org. TXT: want class IN, got CH"},
		"CNAME and other data": {head + "x CNAME y\nx A 192.0.2.1\n",
			"zone:4: x.dl.example.org. A: stands beside a CNAME record, which has to be alone (RFC 2181 section 10.1)"},
		"other data and CNAME": {head + "x A 192.0.2.1\nx CNAME y\n",
			"zone:4: x.dl.example.org. CNAME: stands beside a CNAME record, which has to be alone (RFC 2181 section 10.1)"},
		"two CNAME records": {head + "x CNAME y\nx CNAME z\n",
			"zone:4: x.dl.example.org. CNAME: stands beside a CNAME record, which has to be alone (RFC 2181 section 10.1)"},
		"an address of the pool": {head + "pool A 192.0.2.1\n",
			"zone:3: pool.dl.example.org. A: is the pool's: its addresses come from the mirrors"},
		"the pool as an alias": {head + "POOL CNAME x\n",
			"zone:3: pool.dl.example.org. CNAME: is the pool's: its addresses come from the mirrors"},
		"the pool delegated": {head + "pool NS ns.example.net.\n",
			"zone: pool.dl.example.org. NS: delegates the pool's name pool.dl.example.org. away"},
		"a type not served": {head + "x DNAME example.org.\n",
			"zone:3: x.dl.example.org. DNAME: is of a type that is not served"},
		"MD":  {head + "x MD ns1.example.org.\n", "zone:3: x.dl.example.org. MD: is of a type that is not served"},
		"MF":  {head + "x MF ns1.example.org.\n", "zone:3: x.dl.example.org. MF: is of a type that is not served"},
		"SIG": {head + "x SIG A 13 4 60 1 1 1 a. AAAA\n", "zone:3: x.dl.example.org. SIG: is of a type that is not served"},
		"NXT": {head + "x NXT y. A\n", "zone:3: x.dl.example.org. NXT: is of a type that is not served"},
		"DS at the apex": {head + "@ DS 1 13 2 " + strings.Repeat("00", 32) + "\n",
			"zone:3: dl.example.org. DS: belongs into the parent zone (RFC 4034 section 5)"},
		"no address of a server": {head + "@ NS ns9\n",
			"zone: dl.example.org. NS ns9.dl.example.org.: want A or AAAA records at ns9.dl.example.org., which is in the zone"},
		"data below a delegation": {head + "s NS ns.example.net.\nx.s TXT \"x\"\n",
			"zone: x.s.dl.example.org. TXT: is below the delegation of s.dl.example.org.; only addresses may be, as glue"},
		"a meta type":             {head + "x TYPE251 \\# 0\n", "zone:3: x.dl.example.org. IXFR: is of a type that is not served"},
		"no data of a known type": {head + "x TYPE1 \\# 0\n", "zone:3: x.dl.example.org. A: has no data"},
		"no data":                 {head + "x NS ", "zone:3: x.dl.example.org. NS: has no data"},
		"a syntax error":          {head + "x A 192.0.2\n", "zone:3: "},
		"an unfinished record":    {head + "x A", "zone:3: "},
		"a file of its own":       {head + "$INCLUDE /etc/passwd\n", "zone:3: "},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := parseStatic("zone", []byte(test.text), staticZone, []string{"pool." + staticZone})
			if err == nil || s != nil || !strings.HasPrefix(err.Error(), test.want) || !strings.HasSuffix(test.want, ": ") &&
				err.Error() != test.want {
				t.Errorf("got  %v\nwant %s", err, test.want)
			}
		})
	}
	if _, err := LoadZoneFile(config.DNS{ZoneFile: filepath.Join(t.TempDir(), "missing"), Zone: staticZone}); err == nil {
		t.Error("no error for a file that is not there")
	}
}

// TestStaticOneTruth asks both paths for all names of the zone, and names near them.
func TestStaticOneTruth(t *testing.T) {
	t.Parallel()
	tr := &truth{zone: staticTestZone(t)}
	tr.fast = newTruth(t, 1, 2).fast
	tr.fast.zone.Store(tr.zone)
	for _, q := range staticQueries(t) {
		for _, edns := range []bool{false, true} {
			req := new(dns.Msg)
			req.SetQuestion(q.Name, q.Qtype)
			if edns {
				req.SetEdns0(1232, true)
			}
			msg, err := req.Pack()
			if err != nil {
				t.Fatal(err)
			}
			tr.check(t, msg, 3, false)
		}
	}
}

func FuzzStatic(f *testing.F) {
	text, err := os.ReadFile(staticFile)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte("@ SOA a. b. 1 2 3 4 5\n@ NS a.\n*.* CNAME @\n"))
	req := new(dns.Msg)
	req.SetQuestion("a.b.dl.example.org.", dns.TypeA)
	snapshot := testSnapshot(f, 1, 2)
	f.Fuzz(func(t *testing.T, text []byte) {
		static, err := parseStatic("zone", text, staticZone, []string{staticZone})
		if (static == nil) != (err != nil) {
			t.Fatalf("%v with %v", static, err)
		}
		if err != nil {
			return
		}
		z := newZone(testConfig(), static, snapshot, [2]uint32{})
		for name := range static.nodes {
			req.Question[0].Name = name
			if _, err := z.respond(req, overUDP); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
	})
}
