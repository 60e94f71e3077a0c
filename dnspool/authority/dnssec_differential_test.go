package authority

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"mirrorpool/config"
	"mirrorpool/dnspool/authority/dnssec"
	"mirrorpool/testdata/testbed"
)

// TestDifferentialSigned has dnssec-signzone sign the static zone and the pool in it with mirrorpool's own key, and
// BIND and Knot serve that. They must give the same answers with DO, but for the signatures themselves, which are
// random.
func TestDifferentialSigned(t *testing.T) {
	t.Parallel()
	z, file := signedByBIND(t)
	for _, p := range peers[:2] {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			theirs := p.serve(t, file)
			different := 0
			for _, q := range append(staticQueries(t), apexQueries...) {
				if !dns.IsSubDomain(staticZone, q.Name) {
					continue
				}
				got, want := attestedView(exchange(t, z, attestedQuery(q.Name, q.Qtype), overTCP)), attestedView(askAttested(t, theirs, q))
				if got == want || explained(p.name, q) {
					continue
				}
				if different++; different < 10 {
					t.Errorf("%s %s\nmirrorpool: %s\n%s: %s", q.Name, dns.Type(q.Qtype), got, p.name, want)
				}
			}
			if different > 0 {
				t.Errorf("%d differences", different)
			}
		})
	}
}

var apexQueries = []dns.Question{
	{Name: staticZone, Qtype: dns.TypeDNSKEY, Qclass: dns.ClassINET}, {Name: staticZone, Qtype: dns.TypeCDS, Qclass: dns.ClassINET},
	{Name: staticZone, Qtype: dns.TypeCDNSKEY, Qclass: dns.ClassINET}, {Name: staticZone, Qtype: dns.TypeNSEC, Qclass: dns.ClassINET},
	{Name: "pool." + staticZone, Qtype: dns.TypeNSEC, Qclass: dns.ClassINET}, {Name: "pool." + staticZone, Qtype: dns.TypeA, Qclass: dns.ClassINET},
	{Name: "m1." + staticZone, Qtype: dns.TypeAAAA, Qclass: dns.ClassINET}, {Name: "m1." + staticZone, Qtype: dns.TypeMX, Qclass: dns.ClassINET},
}

// signedByBIND returns a signed zone with the static zone file and a pool of one mirror, and a file with the same
// records that dnssec-signzone has signed with the same key.
func signedByBIND(t *testing.T) (z *zone, file string) {
	t.Helper()
	signzone := testbed.Need(t, "dnssec-signzone", "bind9-utils")
	c := testConfig()
	c.Names, c.ZoneFile = []string{"pool"}, staticFile
	c.DNSSEC = &config.DNSSEC{Auto: true, Algorithm: "ECDSAP256SHA256", Validity: 7 * 24 * time.Hour}
	dir := t.TempDir()
	keys, err := dnssec.Read(c, dir, testNow)
	if err == nil {
		err = keys.Save()
	}
	if err != nil {
		t.Fatal(err)
	}
	static, err := LoadZoneFile(c)
	if err != nil {
		t.Fatal(err)
	}
	if z, err = newSignedZone(c, static, testSnapshot(t, 1, 2), [2]uint32{}, newTestSigner(keys)); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(staticFile)
	if err != nil {
		t.Fatal(err)
	}
	records := z.mirrorRecords()
	for _, byType := range z.signing.added {
		for rrtype, set := range byType {
			if rrtype != dns.TypeNSEC {
				records = append(records, set...)
			}
		}
	}
	for _, rr := range records {
		text = fmt.Appendln(text, rr)
	}
	plain := filepath.Join(dir, "zone")
	file = plain + ".signed"
	if err := os.WriteFile(plain, text, 0o644); err != nil {
		t.Fatal(err)
	}
	stems, err := filepath.Glob(filepath.Join(dir, "keys", "*.key"))
	if err != nil || len(stems) != 1 {
		t.Fatal(stems, err)
	}
	out, err := exec.Command(signzone, "-z", "-P", "-d", dir, "-o", staticZone, "-f", file, plain, stems[0]).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return z, file
}

func askAttested(t *testing.T, addr string, q dns.Question) *dns.Msg {
	t.Helper()
	client := dns.Client{Net: "tcp", Timeout: 5 * time.Second}
	resp, _, err := client.Exchange(attestedQuery(q.Name, q.Qtype), addr)
	if err != nil {
		t.Fatalf("%v of %s: %v", q, addr, err)
	}
	return resp
}

// attestedView puts a response into words, each section as a set, without what is random.
func attestedView(resp *dns.Msg) string {
	text := fmt.Sprintf("%s aa=%v do=%v", dns.RcodeToString[resp.Rcode], resp.Authoritative, resp.IsEdns0() != nil && resp.IsEdns0().Do())
	for _, section := range [][]dns.RR{resp.Answer, resp.Ns} {
		var lines []string
		for _, rr := range section {
			switch rr := rr.(type) {
			case *dns.SOA:
				rr.Serial = 0
			case *dns.RRSIG:
				rr.Inception, rr.Expiration, rr.Signature = 0, 0, ""
			}
			lines = append(lines, strings.ToLower(strings.Join(strings.Fields(rr.String()), " ")))
		}
		slices.Sort(lines)
		text += " [" + strings.Join(lines, "; ") + "]"
	}
	return text
}
