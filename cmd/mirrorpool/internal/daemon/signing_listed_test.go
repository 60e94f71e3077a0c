package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"mirrorpool/dnspool/authority/dnssec"
	"mirrorpool/testdata/testbed"
)

// newListedKey writes the files of a key, and returns their path without the end.
func newListedKey(t *testing.T, dir string, flags uint16) (stem string, record *dns.DNSKEY) {
	t.Helper()
	record = &dns.DNSKEY{Hdr: dns.RR_Header{Name: "dl.example.org.", Rrtype: dns.TypeDNSKEY, Class: dns.ClassINET, Ttl: 3600},
		Flags: flags, Protocol: 3, Algorithm: dns.ECDSAP256SHA256}
	private, err := record.Generate(256)
	if err != nil {
		t.Fatal(err)
	}
	stem = filepath.Join(dir, fmt.Sprintf("Kdl.example.org.+013+%05d", record.KeyTag()))
	testbed.Put(t, stem+".key", record.String()+"\n")
	if err := os.WriteFile(stem+".private", []byte(record.PrivateKeyString(private)), 0o600); err != nil {
		t.Fatal(err)
	}
	return stem, record
}

// listed is dns.dnssec with some key files.
func listed(t *testing.T, stems ...string) string {
	t.Helper()
	list, err := json.Marshal(stems)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf(`{"keys": %s, "resolver": "127.0.0.1:1"}`, list)
}

// TestReplacedKeysAreRefused leaves keys out of the configuration that validators still need. A reload and a start are
// refused, and say what to do; a reload may be confirmed, and then the next start is not refused either.
func TestReplacedKeysAreRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, firstRecord := newListedKey(t, dir, 257)
	second, secondRecord := newListedKey(t, dir, 257)
	zone, _ := newListedKey(t, dir, 256)
	otherZone, _ := newListedKey(t, dir, 256)
	all := listed(t, first, second, zone)
	withoutFirst, swapped := listed(t, second, zone), listed(t, first, second, otherZone)
	for name, test := range map[string]struct {
		seen    []*dns.DNSKEY // that the parent has DS records of; nil: it was not asked
		keys    string
		reload  string // what is in the refusal of a reload; "" for none
		restart string
	}{
		"named":            {[]*dns.DNSKEY{firstRecord}, withoutFirst, "DS record of no other key", "DS record of no other key"},
		"named by another": {[]*dns.DNSKEY{secondRecord}, withoutFirst, "no other key until", "no other key until"},
		"not asked":        {nil, withoutFirst, fmt.Sprintf("DS records of the keys [%d], which are not published any more, is not known: it was", firstRecord.KeyTag()), ""},
		"for the zone":     {nil, swapped, "would sign dl.example.org. at once", "would sign dl.example.org. at once"},
		"the same":         {nil, all, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newSignedDaemon(t, all)
			if test.seen != nil {
				view := &dnssec.View{At: d.now(), TTL: time.Hour}
				for _, record := range test.seen {
					view.DS = append(view.DS, record.ToDS(dns.SHA256))
				}
				d.parent.mu.Lock()
				d.parent.take(view)
				d.parent.mu.Unlock()
				if err := d.moveKeys(view); err != nil {
					t.Fatal(err)
				}
			}
			refused := func(what, got, want string) {
				t.Helper()
				if (got == "") != (want == "") || !strings.Contains(got, want) {
					t.Errorf("%s: %q, want %q", what, got, want)
				}
			}
			before := d.signer.Keys()
			d.write(test.keys, "")
			answer := d.reloadSettings(false)
			if refused("a reload", answer.Error, test.reload); test.reload != "" && (!strings.Contains(answer.Error, "--confirm") || d.signer.Keys() != before) {
				t.Errorf("a refused reload: %+v", answer)
			}
			restarted := &signedDaemon{t: t, dir: d.dir}
			restarted.clock.Store(d.clock.Load())
			err := restarted.start(test.keys)
			if err == nil {
				err = restarted.start(all) // as it was
			}
			if got := fmt.Sprint(err); err != nil {
				refused("a start", got, test.restart)
			} else {
				refused("a start", "", test.restart)
			}
			d.write(test.keys, "")
			if answer := d.reloadSettings(true); answer.Error != "" {
				t.Fatalf("a confirmed reload: %+v", answer)
			}
			if err := d.start(test.keys); err != nil {
				t.Errorf("a start after it: %v", err)
			}
		})
	}
}

// TestEndOfKeysIsLogged lists a key whose times have it end tomorrow.
func TestEndOfKeysIsLogged(t *testing.T) {
	t.Parallel()
	stem, _ := newListedKey(t, t.TempDir(), 257)
	text, err := os.ReadFile(stem + ".private")
	if err != nil {
		t.Fatal(err)
	}
	times := "Publish: 20260101000000\nActivate: 20260101000000\nInactive: " + time.Unix(1_800_000_000, 0).AddDate(0, 0, 1).UTC().Format("20060102150405\n")
	if err := os.WriteFile(stem+".private", append(text, times...), 0o600); err != nil {
		t.Fatal(err)
	}
	d := newSignedDaemon(t, listed(t, stem))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- d.watchParent(ctx) }()
	testbed.Eventually(t, "the end of the keys is logged", func() bool {
		return d.logs.FilterMessage("the keys of the zone end soon").Len() > 0
	})
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if s, _ := d.signatures(); !strings.Contains(s.Ending, "dnssec-settime") {
		t.Errorf("the status says %q", s.Ending)
	}
}

// TestReplacedKeyNeedsAFreshLook leaves a key out that the parent does not need any more, as it was seen long ago, and
// just now.
func TestReplacedKeyNeedsAFreshLook(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, _ := newListedKey(t, dir, 257)
	second, secondRecord := newListedKey(t, dir, 257)
	zone, _ := newListedKey(t, dir, 256)
	d := newSignedDaemon(t, listed(t, first, second, zone))
	ds := secondRecord.ToDS(dns.SHA256)
	d.look(ds)
	d.wait(48 * time.Hour)
	d.look(ds)
	d.wait(2*parentInterval + time.Second)
	d.write(listed(t, second, zone), "")
	if got := d.reloadSettings(false).Error; !strings.Contains(got, "which are not published any more, is not known") {
		t.Errorf("seen long ago: %q", got)
	}
	d.look(ds)
	if got := d.reloadSettings(false).Error; got != "" {
		t.Errorf("seen just now: %q", got)
	}
}
