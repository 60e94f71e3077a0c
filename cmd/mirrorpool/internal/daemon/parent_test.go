package daemon

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"mirrorpool/config"
	"mirrorpool/dnspool/authority/dnssec"
	"mirrorpool/testdata/testbed"
)

// TestSigningIsTurnedOffTooEarly wants a reload to be refused that turns signing off while the parent has DS records,
// or caches may have them, or that is not known.
func TestSigningIsTurnedOffTooEarly(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		look    func(d *signedDaemon)
		confirm bool
		want    string // in the refusal; "" for none
	}{
		"not looked yet": {func(*signedDaemon) {}, false, "is not known yet"},
		"cannot look":    {func(d *signedDaemon) { d.parent.problem = "no resolver" }, false, "is not known: no resolver"},
		"cannot look any more": {func(d *signedDaemon) { d.see(noDS); d.parent.problem = "no resolver" }, false,
			"is not known since 2027-01-15T08:00:00Z: no resolver"},
		"looked long ago": {func(d *signedDaemon) { d.see(noDS); d.wait(time.Hour) }, false, "it was not asked since"},
		"looked later":    {func(d *signedDaemon) { d.see(noDS); d.wait(-time.Hour) }, false, "it was not asked since"},
		"DS":              {func(d *signedDaemon) { d.see(3600) }, false, "the parent of dl.example.org. has DS records"},
		"DS in caches":    {func(d *signedDaemon) { d.see(3600); d.see(noDS) }, false, "caches may have the DS records"},
		"DS in caches, as a resolver with a cache sees it": {func(d *signedDaemon) {
			d.see(3600)
			d.wait(time.Hour - time.Second)
			d.see(1)
			d.wait(time.Second)
			d.see(noDS)
			d.wait(time.Hour)
			d.see(noDS)
		}, false, "caches may have the DS records of dl.example.org. until 2027-01-15T10:10:00Z"},
		"DS long ago": {func(d *signedDaemon) {
			d.see(3600)
			d.see(noDS)
			d.wait(time.Hour + parentInterval)
			d.see(noDS)
		}, false, ""},
		"DS again": {func(d *signedDaemon) {
			d.see(3600)
			d.see(noDS)
			d.wait(time.Hour)
			d.see(3600)
			d.see(noDS)
			d.wait(parentInterval)
		}, false, "caches may have the DS records"},
		"no DS":     {func(d *signedDaemon) { d.see(noDS) }, false, ""},
		"confirmed": {func(d *signedDaemon) { d.see(3600) }, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newSignedDaemon(t, `{"keys": "auto"}`)
			test.look(d)
			c := d.config.Load()
			d.write("", "")
			answer := d.reloadSettings(test.confirm)
			if (answer.Error == "") != (test.want == "") || !strings.Contains(answer.Error, test.want) {
				t.Errorf("a reload is answered with %q, want %q", answer.Error, test.want)
			}
			refused := test.want != ""
			if _, signed := d.signatures(); signed != refused || dnssec.WasSigned(c.StateDir, c.DNS.Zone) != refused {
				t.Errorf("after the reload the zone is signed: %v", signed)
			}
		})
	}
}

// TestRestartShortensNoWait restarts the daemon while caches may have DS records that are gone, or others than the
// present ones, and while the resolver has them for a short time only.
func TestRestartShortensNoWait(t *testing.T) {
	t.Parallel()
	const signed = `{"keys": "auto", "resolver": "127.0.0.1:1"}`
	d := newSignedDaemon(t, signed)
	restart := func() {
		t.Helper()
		if err := d.moveKeys(nil); err != nil {
			t.Fatal(err)
		}
		if err := d.start(signed); err != nil {
			t.Fatal(err)
		}
	}
	d.see(86400)
	restart()
	if d.see(5); d.parent.view.TTL < 24*time.Hour {
		t.Errorf("after a restart, caches are waited for during %v, want a day at least", d.parent.view.TTL)
	}
	d.wait(time.Minute)
	d.see(noDS)
	restart()
	for range 2 {
		d.see(noDS)
		d.write("", "")
		if answer := d.reloadSettings(false); !strings.Contains(answer.Error, "caches may have the DS records of dl.example.org. until 2027-01-16T08:11:00Z") {
			t.Errorf("after a restart, signing is turned off too early: %+v", answer)
		}
		d.wait(time.Hour)
	}
	d.wait(24 * time.Hour)
	d.see(noDS)
	if answer := d.reloadSettings(false); answer.Error != "" {
		t.Errorf("after the wait: %s", answer.Error)
	}
}

// noDS is in place of a TTL where the parent has no DS record.
const noDS = 0

// wait has time pass.
func (d *signedDaemon) wait(time time.Duration) {
	later := d.now().Add(time)
	d.clock.Store(&later)
}

// see looks at a parent, which has a DS record with a TTL, or noDS.
func (d *signedDaemon) see(ttl uint32) {
	d.t.Helper()
	c := *d.config.Load()
	signing := *c.DNS.DNSSEC
	signing.Resolver = startResolver(d.t, answerDS(ttl))
	c.DNS.DNSSEC = &signing
	if _, err := d.lookAtParent(d.t.Context(), &c); err != nil {
		d.t.Fatal(err)
	}
}

// answerDS answers each query with a DS record with a TTL, or noDS.
func answerDS(ttl uint32) dns.HandlerFunc {
	return func(w dns.ResponseWriter, req *dns.Msg) {
		resp := new(dns.Msg).SetReply(req)
		resp.RecursionAvailable = true
		if ttl != noDS {
			resp.Answer = []dns.RR{&dns.DS{Hdr: dns.RR_Header{Name: req.Question[0].Name, Rrtype: dns.TypeDS, Class: dns.ClassINET, Ttl: ttl},
				KeyTag: 1, Algorithm: dns.ECDSAP256SHA256, DigestType: dns.SHA256, Digest: strings.Repeat("00", 32)}}
		}
		w.WriteMsg(resp)
	}
}

// TestStartUnsigned starts without dns.dnssec where the zone was signed before: not while the parent has a DS record.
func TestStartUnsigned(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		resolver           string
		refused, forgotten bool
	}{
		"DS":        {startResolver(t, answerDS(3600)), true, false},
		"no DS":     {startResolver(t, answerDS(noDS)), false, true},
		"no answer": {"127.0.0.1:1", false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newSignedDaemon(t, `{"keys": "auto"}`)
			if err := d.start(""); err != nil {
				t.Fatal(err)
			}
			err := d.checkUnsigned(t.Context(), test.resolver)
			refusal := (*ConfigError)(nil)
			if errors.As(err, &refusal) != test.refused || (err != nil) != test.refused {
				t.Errorf("the start: %v", err)
			}
			c := d.config.Load()
			if dnssec.WasSigned(c.StateDir, c.DNS.Zone) == test.forgotten {
				t.Errorf("it is remembered that the zone was signed: %v", !test.forgotten)
			}
			told := d.logs.FilterLevelExact(zap.ErrorLevel).FilterMessageSnippet("whether its parent has DS records is not known").Len()
			if (told == 1) != (!test.refused && !test.forgotten) {
				t.Errorf("%d lines of the log say that it is not known", told)
			}
		})
	}
	d := newSignedDaemon(t, `{"keys": "auto"}`)
	if err := d.start(""); err != nil {
		t.Fatal(err)
	}
	c := d.config.Load()
	past, err := dnssec.Recall(c.StateDir, c.DNS.Zone)
	if err != nil {
		t.Fatal(err)
	}
	seen := &dnssec.View{At: d.now(), TTL: time.Hour, DS: []*dns.DS{{KeyTag: 1, Algorithm: 13, DigestType: 2, Digest: "00"}}}
	past.Parent = past.Parent.With(seen)
	if err := past.Keep(c.StateDir, c.DNS.Zone); err != nil {
		t.Fatal(err)
	}
	began := d.now()
	for _, step := range []struct {
		after   time.Duration
		refused bool
	}{{time.Minute, true}, {time.Hour, true}, {time.Hour + time.Minute - time.Second, true}, {time.Hour + time.Minute, false}} {
		now := began.Add(step.after)
		d.clock.Store(&now)
		if err := d.checkUnsigned(t.Context(), startResolver(t, answerDS(noDS))); (err != nil) != step.refused {
			t.Errorf("%v after the DS records were seen: %v, want it refused: %v", step.after, err, step.refused)
		}
	}
	for ds, refused := range map[uint32]bool{3600: true, noDS: false} {
		d := newSignedDaemon(t, `{"keys": "auto"}`)
		c := d.config.Load()
		testbed.Put(t, dnssec.SignersFile(c.StateDir), "garbage")
		if err := d.start(""); err != nil {
			t.Fatal(err)
		}
		for start := range 2 {
			if err := d.checkUnsigned(t.Context(), startResolver(t, answerDS(ds))); (err != nil) != refused {
				t.Errorf("where it cannot be told whether the zone was signed, start %d: %v, want it refused: %v", start, err, refused)
			}
		}
		if dnssec.WasSigned(c.StateDir, c.DNS.Zone) != refused {
			t.Errorf("the parent was asked, and it is still not known whether the zone was signed")
		}
	}
	d = newSignedDaemon(t, `{"keys": "auto"}`)
	if err := d.checkUnsigned(t.Context(), "127.0.0.1:0"); err != nil || d.logs.FilterLevelExact(zap.ErrorLevel).Len() > 0 {
		t.Errorf("the start of a signed zone: %v", err)
	}
}

// TestFirstKeyBesideDS starts with an empty state_dir: no key is made where the parent has a DS record of another one.
func TestFirstKeyBesideDS(t *testing.T) {
	t.Parallel()
	other := filepath.Join(t.TempDir(), "other.key")
	for name, test := range map[string]struct {
		dnssec   string
		resolver string
		signed   bool // before
		refused  bool
		logged   int
	}{
		"DS":                     {`{"keys": "auto", "resolver": %q}`, startResolver(t, answerDS(3600)), false, true, 0},
		"no DS":                  {`{"keys": "auto", "resolver": %q}`, startResolver(t, answerDS(noDS)), false, false, 0},
		"no answer":              {`{"keys": "auto", "resolver": %q}`, "127.0.0.1:1", false, false, 1},
		"with other servers":     {`{"keys": "auto", "resolver": %q, "other_keys": ["` + other + `"]}`, startResolver(t, answerDS(3600)), false, false, 0},
		"with a key":             {`{"keys": "auto", "resolver": %q}`, startResolver(t, answerDS(3600)), true, false, 0},
		"with a key, no answer":  {`{"keys": "auto", "resolver": %q}`, "127.0.0.1:1", true, false, 0},
		"with keys of the lists": {`{"keys": ["` + other + `"], "resolver": %q}`, startResolver(t, answerDS(3600)), false, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := &signedDaemon{t: t, dir: t.TempDir()}
			if test.signed {
				d = newSignedDaemon(t, `{"keys": "auto"}`)
			}
			d.write(fmt.Sprintf(test.dnssec, test.resolver), "")
			c, _, err := config.LoadServer(d.file())
			if err != nil {
				t.Fatal(err)
			}
			core, logs := observer.New(zap.ErrorLevel)
			err = checkFirstKey(t.Context(), Options{Config: c, Log: zap.New(core)})
			refusal := (*ConfigError)(nil)
			if errors.As(err, &refusal) != test.refused || err != nil && !strings.Contains(err.Error(), "the key 1,") || logs.Len() != test.logged {
				t.Errorf("the start: %v, with %d errors in the log", err, logs.Len())
			}
			if _, err := os.Stat(filepath.Join(c.StateDir, "keys")); (err == nil) != test.signed {
				t.Errorf("a key was made: %v", err == nil)
			}
		})
	}
}

// TestWithdrawnDSInCaches has the status say until when caches may have DS records that are gone.
func TestWithdrawnDSInCaches(t *testing.T) {
	t.Parallel()
	d := newSignedDaemon(t, `{"keys": "auto", "withdraw": true}`)
	d.see(3600)
	d.see(noDS)
	if s, _ := d.signatures(); !strings.Contains(s.Next, "may have the parent's DS records until then, at 2027-01-15T09:10:00Z") {
		t.Errorf("it waits for %q", s.Next)
	}
	d.wait(time.Hour + parentInterval)
	if s, _ := d.signatures(); !strings.Contains(s.Next, "the parent has no DS record any more") {
		t.Errorf("after that, it waits for %q", s.Next)
	}
}
