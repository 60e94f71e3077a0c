package admin

import (
	"net/netip"
	"strings"
	"testing"

	"mirrorpool/health"
)

func TestWorksOf(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name      string
		endpoints string // "ADDRESS/ROLE=STATE", - for no address
		weight    uint32
		dnsWeight uint32
		want      Works
	}{
		{"all up", "192.0.2.1/http=up 192.0.2.1/dns=up", 1, 1, WorksFully},
		{"with rsync", "192.0.2.1/http=up 192.0.2.1/dns=up 192.0.2.1/rsync=up", 1, 1, WorksFully},
		{"redirects alone are judged", "192.0.2.1/http=up", 1, 1, WorksFully},
		{"no route to IPv6 from here", "192.0.2.1/http=up 192.0.2.1/dns=up 2001:db8::1/http=unknown 2001:db8::1/dns=unknown", 1, 1,
			WorksFully},
		{"a busy rsync daemon", "192.0.2.1/http=up 192.0.2.1/dns=up 192.0.2.1/rsync=unknown", 1, 1, WorksFully},
		{"kept out of DNS", "192.0.2.1/http=up 192.0.2.1/dns=down", 1, 0, WorksFully},
		{"no virtual host of the pool's", "192.0.2.1/http=up 192.0.2.1/dns=down", 1, 1, WorksPartly},
		{"not judged in DNS yet", "192.0.2.1/http=up 192.0.2.1/dns=unknown", 1, 1, WorksPartly},
		{"IPv6 is down", "192.0.2.1/http=up 192.0.2.1/dns=up 2001:db8::1/http=down 2001:db8::1/dns=down", 1, 1, WorksPartly},
		{"one of two addresses", "192.0.2.1/http=up 192.0.2.1/dns=up 192.0.2.2/http=down 192.0.2.2/dns=down", 1, 1, WorksPartly},
		{"the rsync daemon is down", "192.0.2.1/http=up 192.0.2.1/dns=up 192.0.2.1/rsync=down", 1, 1, WorksPartly},
		{"the same, out of DNS", "192.0.2.1/http=up 192.0.2.1/rsync=down", 1, 0, WorksNot},
		{"one of two addresses, redirects alone", "192.0.2.1/http=up 192.0.2.2/http=stale", 1, 0, WorksNot},
		{"all down", "192.0.2.1/http=down 192.0.2.1/dns=down", 1, 1, WorksNot},
		{"stale", "192.0.2.1/http=stale 192.0.2.1/dns=stale", 1, 1, WorksNot},
		{"never checked", "192.0.2.1/http=unknown 192.0.2.1/dns=unknown", 1, 1, WorksNot},
		{"no address", "", 1, 1, WorksNot},
		{"rsync alone", "-/rsync=up", 1, 1, WorksNot},
		{"disabled", "192.0.2.1/http=up 192.0.2.1/dns=up", 0, 0, ""},
	} {
		m := MirrorStatus{Weight: test.weight, DNSWeight: test.dnsWeight}
		for field := range strings.FieldsSeq(test.endpoints) {
			where, state, _ := strings.Cut(field, "=")
			addr, role, _ := strings.Cut(where, "/")
			var e EndpointStatus
			e.Address, _ = netip.ParseAddr(addr) // the zero Addr of "-"
			if err := e.Role.UnmarshalText([]byte(role)); err != nil {
				t.Fatal(err)
			}
			if err := e.State.UnmarshalText([]byte(state)); err != nil {
				t.Fatal(err)
			}
			m.Endpoints = append(m.Endpoints, e)
		}
		if got := worksOf(&m); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
	s := Status{Mirrors: []MirrorStatus{{Weight: 1}, {},
		{Weight: 1, Endpoints: []EndpointStatus{{Address: netip.MustParseAddr("192.0.2.1"), Role: health.HTTP, State: health.Up}}}}}
	s.countWorks()
	if got := s.Works.String(); got != "1 fully, 0 partly, 1 not at all" {
		t.Error(got)
	}
}
