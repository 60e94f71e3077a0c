package health

import (
	"net/netip"
	"net/url"
	"testing"

	"mirrorpool/config"
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
		role   Role
		addr   netip.Addr
		state  State
		reason string
		want   string
	}{
		{HTTP, v4, Up, "", ""},
		{HTTP, v4, Unknown, "connect: this host has no route to the address", ""},
		{HTTP, netip.Addr{}, Down, "resolve: no address", ""},
		{HTTP, v4, Down, "status: 404 Not Found, want 200",
			`curl -svL --resolve 'mirror.example.net:8443:192.0.2.7' 'https://mirror.example.net:8443/it'\''s/project/trace'`},
		{HTTP, v6, Down, "tls: certificate is signed by itself",
			`openssl s_client -showcerts -servername 'mirror.example.net' -connect '[2001:db8::7]:8443' </dev/null`},
		{DNS, v6, Down, "status: 200 OK to a range request, want 206: the server cannot resume downloads",
			`curl -svL -r 1- --resolve 'dl.example.org:80:[2001:db8::7]' 'http://dl.example.org/tails/project/trace'`},
		{Rsync, v4, Down, "connect: connection refused",
			`rsync --contimeout=10 --timeout=10 'rsync://mirror.example.net/tails/project/trace'`},
	} {
		e := &Endpoint{Address: test.addr, Role: test.role, Verdict: Verdict{State: test.state, Reason: test.reason}}
		if got := ShownBy(m, settings, e); got != test.want {
			t.Errorf("%v, %q:\n%s\nwant\n%s", test.role, test.reason, got, test.want)
		}
	}
}
