package checking

import (
	"fmt"
	"os"
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

// newServer writes a mirrorpool.json of a zone with one nameserver and with what dns.dnssec is, and reads it.
func newServer(t *testing.T, dir, signing string) *input {
	t.Helper()
	return readServer(t, dir, fmt.Sprintf(`"nameservers": ["ns1.example.org"], "dnssec": %s}`, signing))
}

// readServer writes a mirrorpool.json with the rest of what it says on DNS, and reads it.
func readServer(t *testing.T, dir, rest string) *input {
	t.Helper()
	file := filepath.Join(dir, "mirrorpool.json")
	testbed.Put(t, filepath.Join(dir, "mirrors.json"), `{"version": 1, "mirrors": [{"url_prefix": "https://m1.example.org/", "weight": 1}]}`)
	testbed.Put(t, file, `{"mirrors": "mirrors.json", "state_dir": "state", "dns": {"zone": "dl.example.org", `+rest+`}`)
	in := readInput(file, nil)
	if in.err != nil || in.server == nil {
		t.Fatalf("%+v", in)
	}
	return &in
}

// TestCheckReplacedKeys checks a configuration that swaps the key that signs the zone, where another was in use before.
func TestCheckReplacedKeys(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var names []string
	for _, flags := range []uint16{257, 256, 256} {
		record := &dns.DNSKEY{Hdr: dns.RR_Header{Name: "dl.example.org.", Rrtype: dns.TypeDNSKEY, Class: dns.ClassINET, Ttl: 3600},
			Flags: flags, Protocol: 3, Algorithm: dns.ECDSAP256SHA256}
		private, err := record.Generate(256)
		if err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprintf("Kdl.example.org.+013+%05d", record.KeyTag())
		testbed.Put(t, filepath.Join(dir, name+".key"), record.String()+"\n")
		if err := os.WriteFile(filepath.Join(dir, name+".private"), []byte(record.PrivateKeyString(private)), 0o600); err != nil {
			t.Fatal(err)
		}
		names = append(names, fmt.Sprintf("%q", name))
	}
	if err := os.Mkdir(filepath.Join(dir, "state"), 0o700); err != nil {
		t.Fatal(err)
	}
	before := newServer(t, dir, fmt.Sprintf(`{"keys": [%s, %s]}`, names[0], names[1]))
	if list := openErrors(before); len(list) > 0 {
		t.Fatalf("at first: %v", list)
	}
	keys, err := dnssec.Read(before.server.DNS, before.server.StateDir, time.Now())
	if err == nil {
		err = keys.Save()
	}
	if err != nil {
		t.Fatal(err)
	}
	if list := openErrors(newServer(t, dir, fmt.Sprintf(`{"keys": [%s, %s, %s]}`, names[0], names[1], names[2]))); len(list) > 0 {
		t.Errorf("one key more: %v", list)
	}
	swapped := openErrors(newServer(t, dir, fmt.Sprintf(`{"keys": [%s, %s]}`, names[0], names[2])))
	if len(swapped) != 1 || swapped[0].Pointer != "/dns/dnssec" || !strings.Contains(swapped[0].Error(), "would sign dl.example.org. at once") {
		t.Errorf("another key: %v", swapped)
	}
	if list := openErrors(newServer(t, dir, `{"keys": "auto"}`)); len(list) != 1 || !strings.Contains(list[0].Error(), "put them back from a backup") {
		t.Errorf("keys of its own: %v", list)
	}
	for _, step := range []struct {
		ds      []*dns.DS
		changed time.Duration // ago
		refused bool
	}{{nil, 0, false}, {[]*dns.DS{keys.All[0].DS()}, 48 * time.Hour, true}, {nil, time.Minute, true}, {nil, 2 * time.Hour, false}} {
		seen := dnssec.Seen{}
		seen = seen.With(&dnssec.View{DS: step.ds, TTL: time.Hour, At: time.Now().Add(-step.changed)})
		if seen.Longest = time.Hour; step.changed > 0 && len(step.ds) == 0 {
			seen.Changed = time.Now().Add(-step.changed)
		}
		if err := (&dnssec.Past{Parent: seen}).Keep(before.server.StateDir, before.server.DNS.Zone); err != nil {
			t.Fatal(err)
		}
		list := openErrors(readServer(t, dir, `"nameservers": ["ns1.example.org"]}`))
		if (len(list) > 0) != step.refused || step.refused && !strings.Contains(list[0].Error(), "a start is refused; leave dns.dnssec in") {
			t.Errorf("not signed any more, with DS records %v until %v ago: %v", step.ds, step.changed, list)
		}
	}
	private, err := os.OpenFile(filepath.Join(dir, strings.Trim(names[0], `"`)+".private"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer private.Close()
	for i, line := range []string{"", "Publish: 20200101000000\nActivate: 20200101000000\n", time.Now().AddDate(0, 0, 2).UTC().Format("Delete: 20060102150405\n")} {
		if _, err := private.WriteString(line); err != nil {
			t.Fatal(err)
		}
		ending := slices.DeleteFunc(openWarnings(before), func(w *config.Error) bool { return w.Kind != config.WarnKeysEnd })
		if (len(ending) == 1) != (i == 2) || i == 2 && !strings.Contains(ending[0].Error(), "the zone cannot be signed") {
			t.Errorf("with the times of step %d: %v", i, ending)
		}
	}
}

// TestCheckLeader warns where several nameservers may each make a key.
func TestCheckLeader(t *testing.T) {
	t.Parallel()
	const one, two = `"nameservers": ["ns1.example.org"]`, `"nameservers": ["ns1.example.org", "ns2.example.org"]`
	const auto = `, "dnssec": {"keys": "auto"}`
	for name, test := range map[string]struct {
		dns, more string
		warned    bool
	}{
		"one":                         {one + auto, "", false},
		"two":                         {two + auto, "", true},
		"two, unsigned":               {two, "", false},
		"two, with a leader":          {two + `, "dnssec": {"keys": "auto", "leader": "ns1"}`, "", false},
		"two, with listed keys":       {two + `, "dnssec": {"keys": ["a.key"]}`, "", false},
		"two that may transfer it":    {two + auto + `, "allow_transfer": ["192.0.2.2"]`, "", false},
		"two that are notified":       {two + auto + `, "notify": ["192.0.2.2:53"]`, "", false},
		"two in a group":              {two + auto + `, "allow_transfer": ["192.0.2.2"]`, `, "watch": {"name": "ns1", "listen": "192.0.2.1:7946", "join": ["192.0.2.2:7946"], "key_file": "watch.key"}`, true},
		"one in a zone file":          {`"zone_file": "one"` + auto, "", false},
		"two in a zone file":          {`"zone_file": "two"` + auto, "", true},
		"in a file that is of no use": {`"zone_file": "none"` + auto, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			const zone = "$ORIGIN dl.example.org.\n@ 3600 SOA ns1.example.org. h 1 1h 1h 7d 1h\n@ 3600 NS ns1.example.org.\n"
			testbed.Put(t, filepath.Join(dir, "one"), zone)
			testbed.Put(t, filepath.Join(dir, "two"), zone+"@ 3600 NS ns2.example.org.\n")
			in := readServer(t, dir, test.dns+"}"+test.more)
			warned := slices.ContainsFunc(openWarnings(in), func(w *config.Error) bool {
				return w.Kind == config.WarnNoLeader && w.Pointer == "/dns/dnssec" && strings.Contains(w.Error(), "has 2 nameservers")
			})
			if warned != test.warned {
				t.Errorf("warned: %v", warned)
			}
		})
	}
}
