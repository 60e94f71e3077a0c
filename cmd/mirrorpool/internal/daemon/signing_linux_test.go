package daemon

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"mirrorpool/config"
	"mirrorpool/dnspool/authority/dnssec"
	"mirrorpool/testdata/testbed"
)

// TestRolloverOnAFullDisk has the next step of a rollover wait for space on the disk, and say so. No key does anything
// that is not kept.
func TestRolloverOnAFullDisk(t *testing.T) {
	t.Parallel()
	disk := testbed.NewSmallDisk(t)
	now := time.Unix(1_800_000_000, 0)
	d := &Daemon{inForce: &inForce{log: zap.NewNop(), now: func() time.Time { return now },
		signer: dnssec.NewSigner(rand.New(rand.NewPCG(1, 2))), parent: &parent{ask: make(chan struct{}, 1)}}}
	c := &config.Server{StateDir: disk.Dir, DNS: config.DNS{Zone: "dl.example.org.", TTL: time.Minute,
		DNSSEC: &config.DNSSEC{Auto: true, Algorithm: "ECDSAP256SHA256", Validity: 7 * 24 * time.Hour}}}
	d.config.Store(c)
	if err := d.loadKeys(c); err != nil {
		t.Fatal(err)
	}
	first := d.signer.Keys()
	disk.Fill(t, 1)
	for range 2 { // the second time at the next look at the parent
		if err := d.rollKeys(""); err == nil || !strings.Contains(err.Error(), "no space left") {
			t.Errorf("a rollover begins on a full disk: %v", err)
		}
		for range 2 {
			if s, _ := d.signatures(); !strings.Contains(s.KeyFiles, "no space left") || d.signer.Keys() != first {
				t.Errorf("after a rollover that could not begin: %+v", s)
			}
			if err := d.moveKeys(nil); err == nil {
				t.Error("a full disk is no error any more")
			}
		}
	}
	disk.Empty(t)
	if err := d.moveKeys(nil); err != nil {
		t.Fatal(err)
	}
	if s, _ := d.signatures(); s.KeyFiles != "" {
		t.Errorf("with space again: %+v", s)
	}
	if err := d.rollKeys(""); err != nil {
		t.Fatal(err)
	}
	now = now.Add(6 * time.Hour)
	view := &dnssec.View{At: now, TTL: time.Hour}
	for _, key := range d.signer.Keys().All {
		view.DS = append(view.DS, key.DS())
	}
	d.parent.view = view
	before := d.signer.Keys()

	disk.Fill(t, 1)
	for range 2 {
		if err := d.moveKeys(view); err == nil || !strings.Contains(err.Error(), "no space left") {
			t.Errorf("on a full disk: %v", err)
		}
		s, _ := d.signatures()
		if !strings.Contains(s.KeyFiles, "no space left") || d.signer.Keys() != before {
			t.Errorf("on a full disk: %+v", s)
		}
	}
	disk.Empty(t)
	if err := d.moveKeys(view); err != nil {
		t.Fatal(err)
	}
	if s, _ := d.signatures(); s.KeyFiles != "" || !strings.Contains(s.Next, "signs at") {
		t.Errorf("with space again: %+v", s)
	}
	if err := d.takeKeyFiles(); err != nil || d.signer.Keys().Phase(now) != before.Phase(now) {
		t.Errorf("what was kept is read as %s: %v", d.signer.Keys().Phase(now), err)
	}
}
