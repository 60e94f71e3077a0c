package dnspool

import (
	"math"
	"net/netip"
	"testing"

	"mirrorpool/config"
	"mirrorpool/health"
)

func TestCountries(t *testing.T) {
	t.Parallel()
	for i, c := range countries {
		if i > 0 && countries[i-1].code.order() >= c.code.order() {
			t.Errorf("%s is not behind %s", c.code, countries[i-1].code)
		}
		if ParseCode(string(c.code[:])) != c.code || math.Abs(c.latitude) > 90 || math.Abs(c.longitude) > 180 {
			t.Errorf("%+v", c)
		}
		switch c.continent.String() {
		case "AF", "AN", "AS", "EU", "NA", "OC", "SA":
		default:
			t.Errorf("%s is on %s", c.code, c.continent)
		}
		if found, ok := findCountry(c.code); !ok || found != c {
			t.Errorf("%s is not found", c.code)
		}
	}
	for _, code := range []string{"", "XX", "de", "AA", "ZZ"} {
		if c, ok := findCountry(ParseCode(code)); ok {
			t.Errorf("%q is %+v", code, c)
		}
	}
}

func TestCode(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Code{
		"DE": {'D', 'E'}, "AA": {'A', 'A'}, "ZZ": {'Z', 'Z'}, "": {}, "D": {}, "DEU": {}, "de": {}, "dE": {}, "De": {},
		"@A": {}, "[A": {}, "A@": {}, "A[": {},
	} {
		c := ParseCode(text)
		if c != want {
			t.Errorf("%q is taken for %v", text, c)
		}
		if got := c.String(); want != (Code{}) && got != text || want == (Code{}) && got != "" {
			t.Errorf("%q is printed as %q", text, got)
		}
		var again Code
		if out, err := c.MarshalText(); err != nil || again.UnmarshalText(out) != nil || again != c {
			t.Errorf("%q comes back as %v", out, again)
		}
	}
}

func TestKnown(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		place Place
		want  bool
	}{
		{Place{}, false},
		{Place{ASN: 680, Latitude: 1, Longitude: 2}, false},
		{Place{Country: ParseCode("DE")}, true},
		{Place{Continent: ParseCode("EU")}, true},
		{Place{HasPosition: true}, true},
	} {
		if got := test.place.Known(); got != test.want {
			t.Errorf("%+v: %v, want %v", test.place, got, test.want)
		}
	}
}

func TestPlaceSet(t *testing.T) {
	t.Parallel()
	if s := newPlaceSet(config.Places{}); s != nil {
		t.Errorf("the empty set is %+v, want none", s)
	}
	for _, test := range []struct {
		set  config.Places
		in   []string // of testPlaces
		outs []string
	}{
		{config.Places{Countries: []string{"FR", "DE"}}, []string{"paris", "munich", "germany"},
			[]string{"vienna", "sydney", "nowhere", "europe"}},
		{config.Places{Continents: []string{"OC", "EU"}}, []string{"paris", "sydney", "europe", "germany"},
			[]string{"new-york", "nowhere"}},
		{config.Places{ASNs: []uint32{680, 1}}, []string{"berlin-dfn", "network-680"}, []string{"berlin", "munich", "nowhere"}},
		{config.Places{Countries: []string{"AT"}, Continents: []string{"OC"}, ASNs: []uint32{3320}},
			[]string{"vienna", "sydney", "berlin"}, []string{"paris", "berlin-dfn", "nowhere"}},
	} {
		s := newPlaceSet(test.set)
		for _, name := range test.in {
			if p := testPlaces[name]; !p.in(s) {
				t.Errorf("%s is not in %+v", name, test.set)
			}
		}
		for _, name := range test.outs {
			if p := testPlaces[name]; p.in(s) {
				t.Errorf("%s is in %+v", name, test.set)
			}
		}
	}
}

func TestSettle(t *testing.T) {
	t.Parallel()
	de := func(p Place) Place { p.Country, p.Continent = ParseCode("DE"), ParseCode("EU"); return p }
	middle := de(Place{Latitude: 51, Longitude: 9.8, HasPosition: true})
	tests := map[string]struct{ in, want Place }{
		"nothing": {Place{}, Place{}},
		"an exact position stays": {de(Place{Latitude: 52, Longitude: 13, HasPosition: true, Radius: 500}),
			de(Place{Latitude: 52, Longitude: 13, HasPosition: true, Radius: 500})},
		"a vague one is the country's": {de(Place{Latitude: 52, Longitude: 13, HasPosition: true, Radius: 501}), middle},
		"a country has a continent":    {Place{Country: ParseCode("DE")}, middle},
		"the database's continent stays": {Place{Country: ParseCode("TR"), Continent: ParseCode("EU")},
			Place{Country: ParseCode("TR"), Continent: ParseCode("EU"), Latitude: 39.7, Longitude: 32.5, HasPosition: true}},
		"a continent alone":      {Place{Continent: ParseCode("EU")}, Place{Continent: ParseCode("EU")}},
		"a vague position alone": {Place{Latitude: 52, Longitude: 13, HasPosition: true, Radius: 1000}, Place{}},
		"an unknown country":     {Place{Country: ParseCode("XX"), ASN: 1}, Place{Country: ParseCode("XX"), ASN: 1}},
	}
	for name, test := range tests {
		got := test.in
		got.Settle()
		if got != test.want {
			t.Errorf("%s: got %+v, want %+v", name, got, test.want)
		}
	}
}

func TestPlaceOfMirror(t *testing.T) {
	t.Parallel()
	berlin := testPlaces["berlin"]
	berlin.Network = netip.MustParsePrefix("192.0.2.0/24")
	find := func(addr netip.Addr) Place {
		switch addr.String() {
		case "192.0.2.7":
			return berlin
		case "192.0.2.8":
			return testPlaces["sydney"]
		}
		return Place{}
	}
	// Of the addresses .6 to .8, the first of which anything is known speaks for all.
	first := func(p Place) func(netip.Addr) Place {
		return func(addr netip.Addr) Place {
			if addr.String() == "192.0.2.6" {
				return p
			}
			return find(addr)
		}
	}
	known := berlin
	known.Network = netip.Prefix{}
	with := func(change func(*Place)) Place { p := known; change(&p); return p }
	tests := map[string]struct {
		location config.Location
		find     func(netip.Addr) Place
		want     Place
	}{
		"from its address":         {config.Location{}, find, known},
		"from the first address":   {config.Location{}, first(testPlaces["paris"]), testPlaces["paris"]},
		"from the first's network": {config.Location{}, first(Place{ASN: 7}), Place{ASN: 7}},
		"without a database":       {config.Location{}, nil, Place{}},
		"its country, no database": {config.Location{Country: "DE"}, nil, countryPlace("DE")},
		"the same country":         {config.Location{Country: "DE"}, find, known},
		"another country": {config.Location{Country: "FR"}, find, with(func(p *Place) {
			*p = countryPlace("FR")
			p.ASN = 3320
		})},
		"another continent": {config.Location{Continent: "OC"}, find, Place{Continent: ParseCode("OC"), ASN: 3320}},
		"another position": {config.Location{Latitude: 1, Longitude: 2, HasPosition: true}, find, with(func(p *Place) {
			p.Latitude, p.Longitude = 1, 2
		})},
		"another network": {config.Location{ASN: 680}, find, with(func(p *Place) { p.ASN = 680 })},
		"all but the network": {config.Location{Country: "DE", Latitude: 1, Longitude: 2, HasPosition: true}, find,
			with(func(p *Place) { p.Latitude, p.Longitude = 1, 2 })},
		"all but the country": {config.Location{Latitude: 1, Longitude: 2, HasPosition: true, ASN: 680}, find,
			with(func(p *Place) { p.Latitude, p.Longitude, p.ASN = 1, 2, 680 })},
		"all of it, and the database": {config.Location{Country: "FR", Latitude: 48.86, Longitude: 2.35, HasPosition: true, ASN: 1},
			find, cityPlace("FR", "EU", 48.86, 2.35, 1)},
	}
	for name, test := range tests {
		m := &Mirror{Mirror: &config.Mirror{Location: test.location}, MirrorReport: health.MirrorReport{Endpoints: []health.Endpoint{
			{Address: netip.MustParseAddr("192.0.2.6")}, {Address: netip.MustParseAddr("192.0.2.7")},
			{Address: netip.MustParseAddr("192.0.2.8")}}}}
		if got := placeOf(m, test.find); got != test.want {
			t.Errorf("%s: got %+v, want %+v", name, got, test.want)
		}
	}
}

func TestArccos(t *testing.T) {
	t.Parallel()
	for i := -1_000_000; i <= 1_000_000; i++ {
		x := float64(i) / 1_000_000
		if diff := math.Abs(arccos(x) - math.Acos(x)); diff > 3e-8 {
			t.Fatalf("arccos(%g) is wrong by %g", x, diff)
		}
	}
	if arccos(math.Nextafter(1, 2)) != 0 || arccos(math.Nextafter(-1, -2)) != math.Pi {
		t.Error("out of range by a rounding error")
	}
}
