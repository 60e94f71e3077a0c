package probing

import (
	"net/netip"
	"net/url"
	"testing"

	"mirrorpool/config"
	"mirrorpool/health"
)

func TestShownBy(t *testing.T) {
	t.Parallel()
	u, err := url.Parse("https://mirror.example.net:8443/it's/")
	if err != nil {
		t.Fatal(err)
	}
	m := &config.Mirror{URL: u, RsyncURL: "rsync://mirror.example.net/tails/"}
	settings := &config.Health{Path: "project/trace", DNSURL: "http://dl.example.org/tails/project/trace"}
	v4, v6 := netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("2001:db8::7")
	for _, test := range []struct {
		role   health.Role
		addr   netip.Addr
		state  health.State
		reason string
		want   string
	}{
		{health.HTTP, v4, health.Up, "", ""},
		{health.HTTP, v4, health.Unknown, "connect: this host has no route to the address", ""},
		{health.HTTP, netip.Addr{}, health.Down, "resolve: no address", ""},
		{health.HTTP, v4, health.Down, "status: 404 Not Found, want 200",
			`curl -svL --resolve 'mirror.example.net:8443:192.0.2.7' 'https://mirror.example.net:8443/it'\''s/project/trace'`},
		{health.HTTP, v6, health.Down, "tls: certificate is signed by itself",
			`openssl s_client -showcerts -servername 'mirror.example.net' -connect '[2001:db8::7]:8443' </dev/null`},
		{health.DNS, v6, health.Down, "status: 200 OK to a range request, want 206: the server cannot resume downloads",
			`curl -svL -r 1- --resolve 'dl.example.org:80:[2001:db8::7]' 'http://dl.example.org/tails/project/trace'`},
		{health.Rsync, v4, health.Down, "connect: connection refused",
			`rsync --contimeout=10 --timeout=10 'rsync://mirror.example.net/tails/project/trace'`},
	} {
		e := &health.Endpoint{Address: test.addr, Role: test.role, Verdict: health.Verdict{State: test.state, Reason: test.reason}}
		if got := shownBy(m, settings, e); got != test.want {
			t.Errorf("%v, %q:\n%s\nwant\n%s", test.role, test.reason, got, test.want)
		}
	}
}
