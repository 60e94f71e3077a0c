package authority

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"mirrorpool/config"
	"mirrorpool/dnspool/authority/dnssec"
	"mirrorpool/testdata/testbed"
)

// An offlineKey is a key that signs keys, and one that signs the zone, made by BIND's tools.
type offlineKey struct {
	dir, ksk, zsk string // ksk and zsk without the ends of the files
}

func newOfflineKey(t *testing.T) *offlineKey {
	t.Helper()
	k := &offlineKey{dir: t.TempDir()}
	for _, key := range []struct {
		file  *string
		flags []string
	}{{&k.ksk, []string{"-f", "KSK"}}, {&k.zsk, nil}} {
		args := append([]string{"-q", "-K", k.dir, "-a", "ECDSAP256SHA256"}, append(key.flags, staticZone)...)
		out, err := exec.Command(testbed.Need(t, "dnssec-keygen", "bind9-utils"), args...).Output()
		if err != nil {
			t.Fatal(err)
		}
		*key.file = filepath.Join(k.dir, strings.TrimSpace(string(out)))
	}
	return k
}

// sign writes DNSKEY records to a file beside the key, signed from one time to another.
func (k *offlineKey) sign(t *testing.T, name string, from, to time.Time) {
	t.Helper()
	zone := filepath.Join(k.dir, "zone")
	text := fmt.Sprintf("$TTL 3600\n%s SOA ns1 h 1 2 3 4 5\n%[1]s NS ns1.example.net.\n", staticZone)
	for _, key := range []string{k.ksk, k.zsk} {
		text += "$INCLUDE " + key + ".key\n"
	}
	testbed.Put(t, zone, text)
	const format = "20060102150405"
	out, err := exec.Command(testbed.Need(t, "dnssec-signzone", "bind9-utils"), "-P", "-d", k.dir, "-o", staticZone, "-f", zone+".out", "-s",
		from.UTC().Format(format), "-e", to.UTC().Format(format), zone, k.ksk, k.zsk).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	signed, err := os.ReadFile(zone + ".out")
	if err != nil {
		t.Fatal(err)
	}
	parser, kept := dns.NewZoneParser(strings.NewReader(string(signed)), staticZone, ""), ""
	ksk := k.record(t, k.ksk)
	for rr, ok := parser.Next(); ok; rr, ok = parser.Next() {
		s, isSignature := rr.(*dns.RRSIG)
		if rr.Header().Rrtype == dns.TypeDNSKEY || isSignature && s.TypeCovered == dns.TypeDNSKEY && s.KeyTag == ksk.KeyTag() {
			kept += rr.String() + "\n"
		}
	}
	testbed.Put(t, k.ksk+name+".signed", kept)
}

func (k *offlineKey) record(t *testing.T, stem string) *dns.DNSKEY {
	t.Helper()
	text, err := os.ReadFile(stem + ".key")
	if err != nil {
		t.Fatal(err)
	}
	rr, err := dns.NewRR(string(text))
	if err != nil {
		t.Fatal(err)
	}
	return rr.(*dns.DNSKEY)
}

// TestOfflineKey has the key that signs keys elsewhere: what it has signed ahead is served, period by period, and the
// other key signs the rest.
func TestOfflineKey(t *testing.T) {
	t.Parallel()
	k := newOfflineKey(t)
	now := time.Now()
	k.sign(t, ".1", now.Add(-time.Hour), now.Add(2*24*time.Hour))
	k.sign(t, ".2", now.Add(24*time.Hour), now.Add(10*24*time.Hour))
	if err := os.Remove(k.ksk + ".private"); err != nil {
		t.Fatal(err)
	}
	c := testConfig()
	c.DNSSEC = &config.DNSSEC{Keys: []string{k.ksk, k.zsk}, Validity: 7 * 24 * time.Hour}
	keys, err := dnssec.Read(c, "", now)
	if err != nil {
		t.Fatal(err)
	}
	signer := newTestSigner(keys)
	ds := []*dns.DS{k.record(t, k.ksk).ToDS(dns.SHA256)}
	for _, at := range []time.Time{now, now.Add(36 * time.Hour), now.Add(9 * 24 * time.Hour)} {
		snapshot := *testSnapshot(t, 6, 2)
		snapshot.Built = at
		z, err := newSignedZone(c, nil, &snapshot, [2]uint32{}, signer)
		if err != nil {
			t.Fatal(err)
		}
		from := overTCP
		from.now = at
		v, err := newValidator(staticZone, ds, exchange(t, z, attestedQuery(staticZone, dns.TypeDNSKEY), from), at)
		if err != nil {
			t.Fatalf("at %v: %v", at, err)
		}
		for _, name := range []string{staticZone, "nothing." + staticZone, "www." + staticZone} {
			for _, qtype := range []uint16{dns.TypeA, dns.TypeMX, dns.TypeDNSKEY} {
				req := attestedQuery(name, qtype)
				if err := v.check(req.Question[0], exchange(t, z, req, from)); err != nil {
					t.Errorf("at %v: %s %s: %v", at, name, dns.Type(qtype), err)
				}
			}
		}
		if end := now.Add(10 * 24 * time.Hour); z.signing.expires.After(end) {
			t.Errorf("at %v, the zone holds until %v; the keys do until %v", at, z.signing.expires, end)
		}
	}
	snapshot := *testSnapshot(t, 6, 2)
	snapshot.Built = now.Add(11 * 24 * time.Hour)
	if _, err := newSignedZone(c, nil, &snapshot, [2]uint32{}, signer); err == nil || !strings.Contains(err.Error(), "has signed DNSKEY records for") {
		t.Errorf("after the last period: %v", err)
	}
	c.DNSSEC.Keys = []string{k.ksk}
	if _, err := dnssec.Read(c, "", now); err == nil || !strings.Contains(err.Error(), "want one more key without the flag SEP") {
		t.Errorf("without a key for the zone: %v", err)
	}
	other := newOfflineKey(t)
	c.DNSSEC.Keys = []string{k.ksk, other.zsk}
	if _, err := dnssec.Read(c, "", now.Add(time.Hour)); err == nil || !strings.Contains(err.Error(), "the signed DNSKEY records do not have the key") {
		t.Errorf("with another key for the zone: %v", err)
	}
	testbed.Put(t, k.ksk+".3.signed", other.record(t, other.ksk).String()+"\n")
	c.DNSSEC.Keys = []string{k.ksk, k.zsk}
	if _, err := dnssec.Read(c, "", now); err == nil || !strings.Contains(err.Error(), "want DNSKEY records and their signatures") {
		t.Errorf("with keys that are not signed: %v", err)
	}
}

// TestOfflineKeyAsDocumented signs keys ahead with the commands in README.md.
func TestOfflineKeyAsDocumented(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, commands, ok := strings.Cut(string(readme), "```sh\nKSK=Kdl.example.org.+013+12345 ZSK=Kdl.example.org.+013+23456\n")
	commands, _, _ = strings.Cut(commands, "```")
	if !ok {
		t.Fatal("README.md has no such commands")
	}
	k := newOfflineKey(t)
	cmd := exec.Command("sh", "-ec", strings.ReplaceAll(commands, "dl.example.org", strings.TrimSuffix(staticZone, ".")))
	cmd.Dir, cmd.Env = k.dir, append(os.Environ(), "KSK="+filepath.Base(k.ksk), "ZSK="+filepath.Base(k.zsk))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := os.Remove(k.ksk + ".private"); err != nil {
		t.Fatal(err)
	}
	c := testConfig()
	c.DNSSEC = &config.DNSSEC{Keys: []string{k.ksk, k.zsk}, Validity: 7 * 24 * time.Hour}
	january := time.Date(2027, 1, 15, 0, 0, 0, 0, time.UTC)
	keys, err := dnssec.Read(c, "", january)
	if err != nil {
		t.Fatal(err)
	}
	if s := keys.Describe(january, nil, ""); s.Next != "" || !s.KeysEnd.Equal(time.Date(2027, 2, 7, 0, 0, 0, 0, time.UTC)) || len(s.DS) != 1 {
		t.Errorf("signed as documented, the keys are %+v", s)
	}
}
