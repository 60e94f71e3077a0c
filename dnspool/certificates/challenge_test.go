package certificates

import (
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"mirrorpool/config"
)

// TestCheckChallenges refuses names for which no challenge can be answered.
func TestCheckChallenges(t *testing.T) {
	t.Parallel()
	c := &config.Server{HTTP: config.HTTP{Listen: []string{"127.0.0.1:80"}, ACME: &config.ACME{Names: []string{"a.example.org"}}}}
	if err := checkChallenges(c); err != nil {
		t.Error(err)
	}
	c.HTTP.ACME.Names = append(c.HTTP.ACME.Names, "*.example.org")
	if err := checkChallenges(c); err == nil || !strings.Contains(err.Error(), "*.example.org") || strings.Contains(err.Error(), "a.example.org") {
		t.Errorf("with a wildcard, and no DNS: %v", err)
	}
}

func TestReach(t *testing.T) {
	t.Parallel()
	c := &config.Server{
		DNS:     config.DNS{Listen: []string{"127.0.0.1:53"}, Zone: "dl.example.org."},
		HTTP:    config.HTTP{Listen: []string{"127.0.0.1:80"}},
		Publish: []config.Publish{{Server: "192.0.2.53:53", Zone: "example.org."}, {Server: "192.0.2.54:53", Zone: "example.net."}},
	}
	equal, primary := *c, *c
	equal.DNS.Nameservers = []string{"ns1.example.org.", "ns2.example.org."}
	primary.DNS.Nameservers, primary.DNS.Notify = equal.DNS.Nameservers, []string{"192.0.2.53:53"}
	below := *c
	below.Publish = append(slices.Clone(c.Publish), config.Publish{Server: "192.0.2.55:53", Zone: "sub.dl.example.org."},
		config.Publish{Server: "192.0.2.56:53", Zone: "dl.example.org."})
	off := *c
	off.DNS, off.HTTP, off.Publish = config.DNS{}, config.HTTP{}, nil
	for _, test := range []struct {
		c    *config.Server
		name string
		want Reach
	}{
		{c, "dl.example.org", Reach{OwnZone: true, HTTP: true, UpdatedAt: "192.0.2.53:53"}},
		{c, "*.dl.example.org", Reach{OwnZone: true, HTTP: true, UpdatedAt: "192.0.2.53:53"}},
		{c, "xdl.example.org", Reach{HTTP: true, UpdatedAt: "192.0.2.53:53"}},
		{c, "www.example.net", Reach{HTTP: true, UpdatedAt: "192.0.2.54:53"}},
		{c, "example.com", Reach{HTTP: true}},
		{&equal, "dl.example.org", Reach{OwnZone: true, OtherServers: true, HTTP: true, UpdatedAt: "192.0.2.53:53"}},
		{&primary, "dl.example.org", Reach{OwnZone: true, HTTP: true, UpdatedAt: "192.0.2.53:53"}},
		{&below, "a.sub.dl.example.org", Reach{HTTP: true, UpdatedAt: "192.0.2.55:53"}},
		{&below, "sub.dl.example.org", Reach{HTTP: true, UpdatedAt: "192.0.2.55:53"}},
		{&below, "a.dl.example.org", Reach{OwnZone: true, HTTP: true, UpdatedAt: "192.0.2.56:53"}},
		{&below, "a.example.org", Reach{HTTP: true, UpdatedAt: "192.0.2.53:53"}},
		{&off, "dl.example.org", Reach{}},
	} {
		if got := ReachOf(test.c, test.name); got != test.want {
			t.Errorf("%s: %+v", test.name, got)
		}
	}
	two := []config.Publish{{Server: "192.0.2.53:53", Zone: "example.org."}, {Server: "192.0.2.54:53", Zone: "example.org."}}
	for _, server := range []string{"192.0.2.53:53", "192.0.2.54:53", "192.0.2.55:53"} {
		at := UpdateTarget(&config.Server{Publish: two}, "a.example.org", server)
		if found := at != nil && at.Server == server; found != (server != "192.0.2.55:53") {
			t.Errorf("updates at %s go to %v", server, at)
		}
	}
}

func TestChallengesFor(t *testing.T) {
	t.Parallel()
	const dns, alpn, http = "dns-01", "tls-alpn-01", "http-01"
	for _, test := range []struct {
		name, forced string
		reach        Reach
		want         []string
	}{
		{"a.example", "", Reach{}, []string{alpn}},
		{"a.example", "", Reach{HTTP: true}, []string{alpn, http}},
		{"a.example", "", Reach{HTTP: true, OwnZone: true}, []string{dns, alpn, http}},
		{"a.example", "", Reach{HTTP: true, UpdatedAt: "192.0.2.53:53"}, []string{alpn, http, dns}},
		{"a.example", "", Reach{OwnZone: true, UpdatedAt: "192.0.2.53:53"}, []string{dns, alpn}},
		{"a.example", "", Reach{HTTP: true, OwnZone: true, OtherServers: true}, []string{alpn, http, dns}},
		{"*.a.example", "", Reach{HTTP: true, OwnZone: true, OtherServers: true}, []string{dns}},
		{"*.a.example", "", Reach{HTTP: true}, nil},
		{"*.a.example", "", Reach{HTTP: true, OwnZone: true}, []string{dns}},
		{"*.a.example", "", Reach{HTTP: true, UpdatedAt: "192.0.2.53:53"}, []string{dns}},
		{"a.example", http, Reach{HTTP: true, OwnZone: true}, []string{http}},
		{"a.example", http, Reach{OwnZone: true}, nil},
		{"a.example", dns, Reach{HTTP: true}, nil},
		{"a.example", dns, Reach{UpdatedAt: "192.0.2.53:53"}, []string{dns}},
	} {
		if got := challengesFor(test.name, test.forced, test.reach); !slices.Equal(got, test.want) {
			t.Errorf("%+v: %v", test, got)
		}
	}
}

// TestNoChallenge has the error for a name without a challenge say what to change.
func TestNoChallenge(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, forced string
		reach        Reach
		want         string
	}{
		{"a.example", "dns-01", Reach{HTTP: true}, "challenge asks for dns-01, for which the name has to be in dns.zone"},
		{"a.example", "http-01", Reach{OwnZone: true}, "http.listen"},
		{"*.a.example", "", Reach{HTTP: true}, "a wildcard has to be in dns.zone"},
		{"*.a.example", "dns-01", Reach{}, "a wildcard has to be in dns.zone"},
		{"*.a.example", "http-01", Reach{HTTP: true, OwnZone: true}, "only dns-01 proves a wildcard"},
	} {
		a := NewACME(Options{Config: &config.ACME{}, Reach: func(string) Reach { return test.reach }})
		_, err := a.solvers(test.name, test.forced)
		if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), test.name) {
			t.Errorf("%+v: %v", test, err)
		}
		if err != nil && !strings.HasPrefix(test.name, "*.") && strings.Contains(err.Error(), "wildcard") {
			t.Errorf("%s is no wildcard: %v", test.name, err)
		}
	}
}

// TestWatcher follows certificates to their end.
func TestWatcher(t *testing.T) {
	t.Parallel()
	core, logs := observer.New(zapcore.DebugLevel)
	w := watcher{log: zap.New(core), latest: map[string]logged{}}
	from := time.Unix(1_800_000_000, 0)
	long := Status{Name: "long", From: from, Until: from.Add(90 * 24 * time.Hour)}
	short := Status{Name: "short", From: from, Until: from.Add(6 * 24 * time.Hour)}
	lines := func(after time.Duration, s Status) (levels []zapcore.Level) {
		w.check([]Status{s}, from.Add(after))
		for _, entry := range logs.TakeAll() {
			levels = append(levels, entry.Level)
		}
		return levels
	}
	const warn, err = zapcore.WarnLevel, zapcore.ErrorLevel
	for _, test := range []struct {
		after time.Duration
		s     Status
		want  []zapcore.Level
	}{
		{0, Status{Name: "none"}, nil}, // the first order is under way
		{time.Second, Status{Name: "none", Problem: "refused"}, []zapcore.Level{warn}},
		{time.Minute, Status{Name: "none"}, nil},
		{time.Hour, Status{Name: "none", Problem: "refused"}, nil},
		{25 * time.Hour, Status{Name: "none", Problem: "refused"}, []zapcore.Level{warn}},
		{76 * 24 * time.Hour, long, nil},
		{76*24*time.Hour + time.Minute, long, []zapcore.Level{warn}},
		{76*24*time.Hour + time.Hour, long, nil},
		{77*24*time.Hour + time.Hour, long, []zapcore.Level{warn}},
		{78*24*time.Hour + time.Hour, long, []zapcore.Level{warn}}, // a day after the one before
		{88 * 24 * time.Hour, long, []zapcore.Level{warn}},
		{89 * 24 * time.Hour, long, []zapcore.Level{err}},
		{90 * 24 * time.Hour, long, []zapcore.Level{err}}, // it has ended
		{90*24*time.Hour + time.Hour, long, nil},
		{90*24*time.Hour + 2*time.Hour, Status{Name: "long", From: from, Until: from.Add(180 * 24 * time.Hour)}, nil},
		{90*24*time.Hour + 3*time.Hour, long, []zapcore.Level{err}}, // the old one again: what was logged of it is forgotten
		{4 * 24 * time.Hour, short, nil},
		{5 * 24 * time.Hour, short, []zapcore.Level{err}},
	} {
		if got := lines(test.after, test.s); !slices.Equal(got, test.want) {
			t.Errorf("%s after %v: %v, want %v", test.s.Name, test.after, got, test.want)
		}
	}
	for _, s := range []Status{{Name: "missing", Problem: "refused"}, long} {
		w.check([]Status{s}, from.Add(300*24*time.Hour))
		if _, ok := logs.TakeAll()[0].ContextMap()["expires"]; ok != !s.Until.IsZero() {
			t.Errorf("%s: the log says when it expires: %v", s.Name, ok)
		}
	}
}

func TestCAADomain(t *testing.T) {
	t.Parallel()
	for directory, want := range map[string]string{
		"https://acme-v02.api.letsencrypt.org/directory":         "letsencrypt.org",
		"https://acme-staging-v02.api.letsencrypt.org/directory": "letsencrypt.org",
		"https://acme.example.org/directory":                     "",
		"https://api.letsencrypt.org.example.net/directory":      "",
		"%": "",
	} {
		if got := CAADomain(directory); got != want {
			t.Errorf("%s: %q, want %q", directory, got, want)
		}
	}
}
