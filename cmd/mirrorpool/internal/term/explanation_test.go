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
All of 198.18.1.0/24 meet the same mirror until 2026-11-24 12:30:00 UTC.

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
