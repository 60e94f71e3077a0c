package daemon

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/zap"

	"mirrorpool/dnspool/authority/dnssec"
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
		"DS":             {func(d *signedDaemon) { d.see(true) }, false, "the parent of dl.example.org. has DS records"},
		"DS in caches":   {func(d *signedDaemon) { d.see(true); d.see(false) }, false, "caches may have the DS records"},
		"DS long ago": {func(d *signedDaemon) {
			d.see(true)
			later := d.now().Add(time.Hour + parentInterval)
			d.clock.Store(&later)
			d.see(false)
		}, false, ""},
		"no DS":     {func(d *signedDaemon) { d.see(false) }, false, ""},
		"confirmed": {func(d *signedDaemon) { d.see(true) }, true, ""},
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

// see looks at a parent, which has a DS record or none.
func (d *signedDaemon) see(ds bool) {
	d.t.Helper()
	c := *d.config.Load()
	signing := *c.DNS.DNSSEC
	signing.Resolver = startResolver(d.t, answerDS(ds))
	c.DNS.DNSSEC = &signing
	if _, err := d.lookAtParent(d.t.Context(), &c); err != nil {
		d.t.Fatal(err)
	}
}

// answerDS answers each query with a DS record of a TTL of one hour, or with none.
func answerDS(ds bool) dns.HandlerFunc {
	return func(w dns.ResponseWriter, req *dns.Msg) {
		resp := new(dns.Msg).SetReply(req)
		if ds {
			resp.Answer = []dns.RR{&dns.DS{Hdr: dns.RR_Header{Name: req.Question[0].Name, Rrtype: dns.TypeDS, Class: dns.ClassINET, Ttl: 3600},
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
		"DS":        {startResolver(t, answerDS(true)), true, false},
		"no DS":     {startResolver(t, answerDS(false)), false, true},
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
	if err := d.checkUnsigned(t.Context(), "127.0.0.1:0"); err != nil || d.logs.FilterLevelExact(zap.ErrorLevel).Len() > 0 {
		t.Errorf("the start of a signed zone: %v", err)
	}
}
