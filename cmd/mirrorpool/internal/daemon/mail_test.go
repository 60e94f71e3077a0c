package daemon

import (
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mirrorpool/config"
	"mirrorpool/dnspool"
	"mirrorpool/health"
	"mirrorpool/health/files/verify"
	"mirrorpool/health/ledger"
)

// TestMailOfFlaps: a mirror that comes and goes 30 times has two mails, whichever failures the checks count. What is
// known of it for mails goes back as far as they ask, and is nothing before the first snapshot.
func TestMailOfFlaps(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		m := newModel(t, dir, 8)
		if err := m.start(); err != nil {
			t.Fatal(err)
		}
		defer func() { m.stop() }()
		sent := m.runMailer(t)
		time.Sleep(10 * time.Minute)
		begin := m.time()
		for range 30 {
			m.world.hold([]int{1}, fails)
			time.Sleep(3 * time.Minute)
			m.world.changeAll(passes)
			time.Sleep(3 * time.Minute)
		}
		time.Sleep(time.Hour)
		subjects := sent()
		if len(subjects) != 2 || !strings.HasSuffix(subjects[0], ": down") || !strings.HasSuffix(subjects[1], ": serves again") {
			t.Errorf("%q, want a mail when it begins and one when it ends", subjects)
		}
		for since, want := range map[time.Time]bool{begin: true, {}: true, m.time(): false} { // zero: within a day
			found := false
			for _, about := range m.mailView(since).Mirrors {
				found = found || slices.ContainsFunc(about.Incidents, func(in ledger.Incident) bool { return in.Kind == ledger.Down })
				if !about.First.Before(begin) {
					t.Errorf("%s: seen first at %v", about.URLPrefix, about.First)
				}
			}
			if found != want {
				t.Errorf("incidents since %v: %v, want %v", since, found, want)
			}
		}
	})
}

// TestMailStarting: before the first snapshot, nothing is known of the mirrors; that there are none would be false.
func TestMailStarting(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		m := newModel(t, dir, 1)
		if err := m.start(); err != nil {
			t.Fatal(err)
		}
		defer func() { m.stop() }()
		settle()
		if v := m.mailView(time.Time{}); v.Starting || len(v.Mirrors) != 1 {
			t.Errorf("once started: %+v", v)
		}
		c, _, err := config.LoadServer(m.file("mirrorpool.json"))
		if err != nil {
			t.Fatal(err)
		}
		next, err := m.newDaemon(c)
		if err != nil {
			t.Fatal(err)
		}
		if v := next.mailView(time.Time{}); !v.Starting || v.Quiet == "" {
			t.Errorf("before the first snapshot: %+v", v)
		}
		next.begin()
		next.rebuild()
		if v := next.mailView(time.Time{}); !v.Starting || len(next.publicStats()) > 0 {
			t.Errorf("before the ledger is loaded: %+v, and %v for the public", v, next.publicStats())
		}
		close(next.opened)
		if err := next.loadPast(t.Context()); err != nil {
			t.Fatal(err)
		}
		if v := next.mailView(time.Time{}); v.Starting || len(next.publicStats()) != 1 {
			t.Errorf("once it is: %+v, and %v for the public", v, next.publicStats())
		}
	})
}

// TestMailOfCorruptCopy shows the checksum of the copy: the trace of such a mirror is as it should be.
func TestMailOfCorruptCopy(t *testing.T) {
	t.Parallel()
	m := &dnspool.Mirror{Mirror: &config.Mirror{URLPrefix: "https://a.example.net/pub/"}}
	m.URL, _ = url.Parse(m.URLPrefix)
	corrupt := &verify.Finding{Path: "x y.img", Algorithm: "sha-256"}
	at := netip.MustParseAddr("192.0.2.1")
	for _, test := range []struct {
		corrupt *verify.Finding
		e       health.Endpoint
		want    string
	}{
		{corrupt, health.Endpoint{Role: health.HTTP, Address: at},
			"curl -svL --resolve 'a.example.net:443:192.0.2.1' 'https://a.example.net/pub/x%20y.img' | sha256sum"},
		{corrupt, health.Endpoint{Role: health.HTTP}, ""},
		{nil, health.Endpoint{Role: health.HTTP, Address: at, Verdict: health.Verdict{State: health.Down}},
			"curl -svL --resolve 'a.example.net:443:192.0.2.1' 'https://a.example.net/pub/project/trace'"},
	} {
		if got := shownBy(m, &config.Health{Path: "project/trace"}, test.corrupt, &test.e); got != test.want {
			t.Errorf("%+v: %s, want %s", test.e, got, test.want)
		}
	}
}
