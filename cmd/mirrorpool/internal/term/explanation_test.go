package term

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mirrorpool/dnspool"
	"mirrorpool/dnspool/admin"
)

func TestExplanationText(t *testing.T) {
	t.Parallel()
	ends := time.Date(2026, 11, 24, 12, 30, 0, 0, time.UTC)
	a := admin.ExplainAnswer{
		Client: netip.MustParseAddr("198.18.1.1"), Path: "/x.iso", Location: "https://a.example.org/x.iso",
		Network: netip.MustParsePrefix("198.18.1.0/24"),
		Ends:    &ends, Database: "198.18.0.0/22",
		Explanation: dnspool.Explanation{
			Place: dnspool.Place{Country: dnspool.ParseCode("DE"), Continent: dnspool.ParseCode("EU"), Latitude: 52.52,
				Longitude: 13.4, HasPosition: true, ASN: 3320},
			Geo: true, Secure: true, Mirrors: []dnspool.Explained{
				{URLPrefix: "https://a.example.org/", Country: dnspool.ParseCode("DE"), Weight: 10, Order: 1, Border: 300, Far: 400,
					Nearness: 1, Points: 10, Share: 0.5, Capped: true, Why: "picked"},
				{URLPrefix: "https://b.example.org/", Weight: 20, Order: 2, Distance: 12000, Border: 3000, Far: 15100, Nearness: 0.0265,
					Points: 0.53, Share: 0.5, Why: "competes\x1b[2J"},
				{URLPrefix: "https://c.example.org/", Distance: -1, Why: "disabled"},
			},
		},
	}
	const want = `198.18.1.1 is in DE, on the continent EU, at 52.52, 13.40, in AS3320, as all of 198.18.0.0/22.
Over https, /x.iso leads to https://a.example.org/x.iso
All clients in 198.18.1.0/24 get the same mirror until 2026-11-24 12:30:00 UTC.

#  MIRROR                  COUNTRY  WEIGHT  DISTANCE  BORDER  FAR    NEAR  POINTS  SHARE       WHY
1  https://a.example.org/  DE       10      0 km      300     400    1.00  10.00   50.0 % max  picked
2  https://b.example.org/  -        20      12000 km  3000    15100  0.03  0.53    50.0 %      competes\u001b[2J
-  https://c.example.org/  -        0       -         -       -      -     -       -           disabled
`
	var got strings.Builder
	if err := WriteExplanation(&got, &a); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestExplanationWithoutMirror wants no word on how long a mirror stays the same where there is none.
func TestExplanationWithoutMirror(t *testing.T) {
	t.Parallel()
	ends := time.Date(2026, 11, 24, 12, 30, 0, 0, time.UTC)
	for name, test := range map[string]struct {
		answer admin.ExplainAnswer
		want   string
	}{
		"503": {admin.ExplainAnswer{Status: 503, Problem: "too few mirrors are up", Ends: &ends},
			"Over http, /x.iso leads to nothing: too few mirrors are up (503)"},
		"404, not sticky": {admin.ExplainAnswer{Status: 404, Problem: "no such file"},
			"Over http, /x.iso leads to nothing: no such file (404)"},
		"a page": {admin.ExplainAnswer{Status: 200, Content: "robots.txt", Ends: &ends},
			"Over http, /x.iso is answered here, with robots.txt (200)"},
	} {
		a := test.answer
		a.Client, a.Path, a.Network = netip.MustParseAddr("198.18.1.1"), "/x.iso", netip.MustParsePrefix("198.18.1.0/24")
		var got strings.Builder
		if err := WriteExplanation(&got, &a); err != nil {
			t.Fatal(err)
		}
		text, _, _ := strings.Cut(got.String(), "\n\n")
		want := "The location of 198.18.1.1 is unknown, so distance does not count.\n" + test.want
		if diff := cmp.Diff(want, text); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
