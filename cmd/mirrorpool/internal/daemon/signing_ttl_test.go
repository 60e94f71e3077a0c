package daemon

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"mirrorpool/dnspool/authority/dnssec"
	"mirrorpool/testdata/testbed"
)

// TestRolloverWaitsForTheLongestTTL has the longest TTL in the zone change during a rollover, and before it, by a
// reload and by a restart. The old key stays until no cache can have what it has signed.
func TestRolloverWaitsForTheLongestTTL(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	const keys = `{"keys": "auto", "resolver": "127.0.0.1:1"}`
	zone := func(ttl int) string {
		return fmt.Sprintf("$ORIGIN dl.example.org.\n@ 3600 SOA ns1.example.org. h 1 1h 1h 7d 1h\n@ 3600 NS ns1.example.org.\nx %d TXT x\n", ttl)
	}
	long, short := zone(7*86400), zone(60)
	for name, test := range map[string]struct {
		begin, before, after string // zone files: at first, when the DS record is seen, and after that
		stays                time.Duration
	}{
		"always short":       {short, short, short, time.Hour},
		"raised afterwards":  {short, short, long, 7 * day},
		"lowered just then":  {long, short, short, 7 * day},
		"lowered afterwards": {long, long, short, 7 * day},
	} {
		for _, change := range []string{"reload", "restart"} {
			t.Run(name+" by a "+change, func(t *testing.T) {
				t.Parallel()
				d := newSignedDaemon(t, keys)
				file := d.dir + "/zone"
				with := keys + `, "zone_file": "zone"`
				var notes []string
				put := func(text string) {
					t.Helper()
					testbed.Put(t, file, text)
					if d.write(with, ""); change == "reload" {
						answer := d.reloadSettings(false)
						if answer.Error != "" {
							t.Fatal(answer.Error)
						}
						notes = append(notes, answer.Notes...)
					} else if err := d.start(with); err != nil {
						t.Fatal(err)
					}
					if err := d.moveKeys(nil); err != nil {
						t.Fatal(err)
					}
				}
				put(test.begin)
				if err := d.rollKeys(""); err != nil {
					t.Fatal(err)
				}
				d.wait(6 * time.Hour)
				put(test.before)
				lowered := d.now()
				view := &dnssec.View{At: d.now(), TTL: time.Hour}
				for _, key := range d.signer.Keys().All {
					view.DS = append(view.DS, key.DS())
				}
				if err := d.moveKeys(view); err != nil {
					t.Fatal(err)
				}
				put(test.after)
				noted := strings.Contains(fmt.Sprint(notes), "the old key of the rollover stays for longer")
				if noted != (change == "reload" && name == "raised afterwards") {
					t.Errorf("the reload says %q", notes)
				}
				last := lowered
				var stays time.Time
				for _, key := range d.signer.Keys().All {
					if !key.Times.Delete.IsZero() {
						stays = key.Times.Delete
						if test.before == test.begin { // all that it signs may have that TTL
							last = key.Times.Inactive
						}
					}
				}
				if left := stays.Sub(last); left < test.stays || left > test.stays+6*time.Hour {
					t.Errorf("the old key stays for %v after the last record with the longest TTL, want %v", left, test.stays)
				}
			})
		}
	}
}
