package daemon

import (
	"context"
	"crypto"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/miekg/dns"

	"mirrorpool/testdata/testbed"
)

// newOfflineKeys writes the files of a key that signs keys and one that signs the zone to a folder. The first has
// signed both for two periods, of which the second begins at a time, when the first ends. It returns dns.dnssec.
func newOfflineKeys(t *testing.T, dir string, second time.Time) string {
	t.Helper()
	var records []dns.RR
	var stems []string
	var signer crypto.Signer
	for i, flags := range []uint16{dns.ZONE | dns.SEP, dns.ZONE} {
		record := &dns.DNSKEY{Hdr: dns.RR_Header{Name: "dl.example.org.", Rrtype: dns.TypeDNSKEY, Class: dns.ClassINET, Ttl: 3600},
			Flags: flags, Protocol: 3, Algorithm: dns.ECDSAP256SHA256}
		private, err := record.Generate(256)
		if err != nil {
			t.Fatal(err)
		}
		stem := filepath.Join(dir, fmt.Sprintf("Kdl.example.org.+013+%05d", record.KeyTag()))
		testbed.Put(t, stem+".key", record.String()+"\n")
		if i == 0 {
			signer = private.(crypto.Signer)
		} else if err := os.WriteFile(stem+".private", []byte(record.PrivateKeyString(private)), 0o600); err != nil {
			t.Fatal(err)
		}
		records, stems = append(records, record), append(stems, stem)
	}
	for i, from := range []time.Time{second.AddDate(0, 0, -7), second} {
		signature := &dns.RRSIG{Hdr: dns.RR_Header{Ttl: 3600}, Algorithm: dns.ECDSAP256SHA256, KeyTag: records[0].(*dns.DNSKEY).KeyTag(),
			SignerName: "dl.example.org.", Inception: uint32(from.Unix()), Expiration: uint32(from.AddDate(0, 0, 7).Unix())}
		if err := signature.Sign(signer, records); err != nil {
			t.Fatal(err)
		}
		testbed.Put(t, fmt.Sprintf("%s.%d.signed", stems[0], i), fmt.Sprintf("%v\n%v\n%v\n", records[0], records[1], signature))
	}
	list, err := json.Marshal(stems)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf(`{"keys": %s}`, list)
}

// TestRebuildAtTheNextPeriod has the zone made again as soon as the next period begins for which keys were signed
// ahead.
func TestRebuildAtTheNextPeriod(t *testing.T) {
	t.Parallel()
	second := time.Unix(1_800_000_000, 0).Add(time.Hour) // an hour after the start of the daemon
	d := newSignedDaemon(t, newOfflineKeys(t, t.TempDir(), second))
	if got, want := d.untilRebuild(), d.config.Load().Health.Interval; got != want {
		t.Errorf("long before, a snapshot is in force for %v, want %v", got, want)
	}
	soon := second.Add(-10 * time.Millisecond)
	d.clock.Store(&soon)
	before := d.current.Load()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- d.followVerdicts(ctx) }()
	testbed.Eventually(t, "the zone is made again", func() bool { return d.current.Load() != before })
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	d.clock.Store(&second)
	if got, want := d.untilRebuild(), d.config.Load().Health.Interval; got != want {
		t.Errorf("in the second period, a snapshot is in force for %v, want %v", got, want)
	}
}

// TestRebuildEachHour has a zone made at least each hour, however seldom mirrors are checked.
func TestRebuildEachHour(t *testing.T) {
	t.Parallel()
	d := newSignedDaemon(t, `{"keys": "auto"}`)
	for interval, want := range map[time.Duration]time.Duration{time.Minute: time.Minute, time.Hour: time.Hour, 24 * time.Hour: time.Hour} {
		c := *d.config.Load()
		c.Health.Interval = interval
		d.config.Store(&c)
		if got := d.untilRebuild(); got != want {
			t.Errorf("with checks each %v, a snapshot is in force for %v, want %v", interval, got, want)
		}
	}
}
