package probing

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mirrorpool/config"
)

// probePool is a small pool, for which no server runs.
func probePool(t testing.TB) *config.Pool {
	t.Helper()
	pool, _, err := config.ParsePool("mirrors.json", []byte(`{"version": 1, "mirrors": [
		{"url_prefix": "https://mirror.example.net/tails/", "weight": 10, "name": "m7",
			"rsync_url": "rsync://mirror.example.net/tails/"},
		{"url_prefix": "http://MIRROR.example.net:8080/old", "weight": 10},
		{"url_prefix": "https://ftp.example.org/pub/tails/", "weight": 5, "name": "m8"},
		{"url_prefix": "http://192.0.2.9/", "weight": 0}]}`))
	if err != nil {
		t.Fatal(err)
	}
	return pool
}

func prefixes(pool *config.Pool) []string {
	var list []string
	for _, m := range pool.Mirrors {
		list = append(list, m.URLPrefix)
	}
	return list
}

func TestProbeSelectMirrors(t *testing.T) {
	pool := probePool(t)
	const (
		a = "https://mirror.example.net/tails/"
		b = "http://mirror.example.net:8080/old/"
		c = "https://ftp.example.org/pub/tails/"
		d = "http://192.0.2.9/"
	)
	for _, test := range []struct {
		args  string
		want  []string
		error string
	}{
		{args: "", want: []string{a, b, c, d}},
		{args: a, want: []string{a}},
		{args: "https://Mirror.example.net:443/tails", want: []string{a}},
		{args: "m8 m7 " + a, want: []string{a, c}},
		{args: "mirror.example.net", want: []string{a, b}},
		{args: "Mirror.Example.net:8080", want: []string{b}},
		{args: "192.0.2.9", want: []string{d}},
		{args: "m9", error: `no mirror "m9" in the pool; did you mean m7 or m8?`},
		{args: "mirrr.example.net m7", error: `no mirror "mirrr.example.net" in the pool; did you mean mirror.example.net?`},
		{args: "http://mirror.example.net/tails",
			error: `no mirror "http://mirror.example.net/tails" in the pool; did you mean https://mirror.example.net/tails/?`},
		{args: "ftp", error: `no mirror "ftp" in the pool; did you mean ftp.example.org or https://ftp.example.org/pub/tails/?`},
		{args: "something-else x", error: "no mirror \"something-else\" in the pool; want its url_prefix, name or host\nno " +
			"mirror \"x\" in the pool; want its url_prefix, name or host"},
	} {
		got, err := selectMirrors(pool, strings.Fields(test.args))
		if fmt.Sprint(err) != orNil(test.error) {
			t.Errorf("%q: error %v, want %s", test.args, err, test.error)
			continue
		}
		if err == nil {
			if diff := cmp.Diff(test.want, prefixes(got)); diff != "" {
				t.Errorf("%q (-want +got):\n%s", test.args, diff)
			}
		}
	}
}

// orNil is how fmt prints an error, if there is one.
func orNil(text string) string {
	if text == "" {
		return "<nil>"
	}
	return text
}

// TestProbePlanVoters has one mirror probed. The others are probed for the reference only.
func TestProbePlanVoters(t *testing.T) {
	pool := probePool(t)
	settings := config.Health{Enabled: true}
	plan, err := PlanPool(settings, pool, []string{"m8"})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range plan.probed.Mirrors {
		got = append(got, fmt.Sprintf("%s %q %v", m.URLPrefix, m.RsyncURL, m.DNS.Off))
	}
	want := []string{`https://ftp.example.org/pub/tails/ "" false`, `https://mirror.example.net/tails/ "" true`,
		`http://mirror.example.net:8080/old/ "" true`}
	if diff := cmp.Diff(want, got); diff != "" || len(plan.shown.Mirrors) != 1 {
		t.Errorf("%d shown; probed (-want +got):\n%s", len(plan.shown.Mirrors), diff)
	}
	if m := pool.Mirrors[0]; m.RsyncURL == "" || m.DNS.Off {
		t.Error("the pool itself has changed")
	}
	settings.ReferenceURL = "https://origin.example.org/trace"
	if plan, err = PlanPool(settings, pool, []string{"m8"}); err != nil || len(plan.probed.Mirrors) != 1 {
		t.Errorf("with a reference_url: %v, %v, want only the one asked for", plan, err)
	}
	if plan, err = PlanPool(config.Health{}, pool, nil); err != nil || len(plan.Warnings) != 1 || len(plan.probed.Mirrors) != 4 {
		t.Errorf("with checks off: %v, %v, want a warning, and all probed", plan, err)
	}
}

func TestProbeOneMirror(t *testing.T) {
	for _, test := range []struct {
		one      OneMirror
		want     string
		warnings string
		error    string
	}{
		{
			one:  OneMirror{URLPrefix: "https://Mirror.example.net/tails"},
			want: "https://mirror.example.net/tails/ [] rsync: dns: project/trace 10s false",
		},
		{
			one: OneMirror{URLPrefix: "https://mirror.example.net/", IPs: []string{"198.51.100.7", "10.0.0.1"},
				RsyncURL: "rsync://mirror.example.net/tails",
				DNSURL:   "http://dl.example.org/trace", Path: "trace", Timeout: 3 * time.Second, AllowPrivate: true},
			want: "https://mirror.example.net/ [198.51.100.7 10.0.0.1] rsync:rsync://mirror.example.net/tails/ " +
				"dns:http://dl.example.org/trace trace 3s true",
			warnings: "--ip: 198.51.100.7 is not a public address; clients elsewhere cannot reach it\n--ip: 10.0.0.1 is not a " +
				"public address; clients elsewhere cannot reach it",
		},
		{
			one:      OneMirror{URLPrefix: "http://mirror.example.net/"},
			want:     "http://mirror.example.net/ [] rsync: dns: project/trace 10s false",
			warnings: "--url-prefix: http only; want an https URL, since clients that ask over https are never sent here",
		},
		{one: OneMirror{URLPrefix: "mirror.example.net"}, error: `--url-prefix: want `},
		{one: OneMirror{URLPrefix: "https://mirror.example.net/?x"}, error: `--url-prefix: want `},
		{one: OneMirror{URLPrefix: "https://mirror.example.net/", IPs: []string{"300.1.1.1"}},
			error: `--ip: want an IP address, got "300.1.1.1"`},
		{one: OneMirror{URLPrefix: "https://mirror.example.net/", RsyncURL: "rsync://mirror.example.net/"},
			error: `--rsync-url: want `},
		{one: OneMirror{URLPrefix: "https://mirror.example.net/", DNSURL: "ftp://x"}, error: `--dns-url: want `},
		{one: OneMirror{URLPrefix: "https://mirror.example.net/", Path: "../x"}, error: `--path: want `},
		{one: OneMirror{URLPrefix: "https://mirror.example.net/", Timeout: time.Hour},
			error: `--timeout: want a duration from 1ms to 10m`},
	} {
		if test.one.Path == "" {
			test.one.Path = "project/trace"
		}
		if test.one.Timeout == 0 {
			test.one.Timeout = 10 * time.Second
		}
		plan, err := test.one.Plan()
		if err != nil || test.error != "" {
			if test.error == "" || !strings.HasPrefix(fmt.Sprint(err), test.error) {
				t.Errorf("%+v: error %v, want %s", test.one, err, orNil(test.error))
			}
			continue
		}
		m, s := &plan.probed.Mirrors[0], &plan.settings
		got := fmt.Sprintf("%s %v rsync:%s dns:%s %s %v %v", m.URLPrefix, m.DNS.Addresses, m.RsyncURL, s.DNSURL, s.Path, s.Timeout,
			s.AllowPrivate)
		if got != test.want || !m.Enabled() || !s.Enabled {
			t.Errorf("plan %s, want %s", got, test.want)
		}
		if got := strings.Join(plan.Warnings, "\n"); got != test.warnings {
			t.Errorf("%s: warnings\n%s\nwant\n%s", m.URLPrefix, got, test.warnings)
		}
	}
}
