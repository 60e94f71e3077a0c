package dnspool

import (
	"fmt"
	"strings"
	"testing"

	"mirrorpool/config"
)

// testSelection is what a configuration has by default.
var testSelection = config.Selection{Geo: true, Near: 1.5, MinCandidates: 3, MaxShare: 0.5}

// Places by name: a city, a network of DFN in it, and so on.
var testPlaces = map[string]Place{
	"nowhere":      {},
	"berlin":       cityPlace("DE", "EU", 52.52, 13.40, 3320),
	"berlin-dfn":   cityPlace("DE", "EU", 52.52, 13.40, 680),
	"aachen-dfn":   cityPlace("DE", "EU", 50.78, 6.08, 680),
	"munich":       cityPlace("DE", "EU", 48.14, 11.58, 0),
	"paris":        cityPlace("FR", "EU", 48.86, 2.35, 0),
	"vienna":       cityPlace("AT", "EU", 48.21, 16.37, 0),
	"lisbon":       cityPlace("PT", "EU", 38.72, -9.14, 0),
	"sydney":       cityPlace("AU", "OC", -33.87, 151.21, 0),
	"auckland":     cityPlace("NZ", "OC", -36.85, 174.76, 0),
	"new-york":     cityPlace("US", "NA", 40.71, -74.01, 0),
	"los-angeles":  cityPlace("US", "NA", 34.05, -118.24, 0),
	"germany":      countryPlace("DE"),
	"europe":       {Continent: ParseCode("EU")},
	"network-680":  {ASN: 680},
	"antimeridian": cityPlace("FJ", "OC", -17.7, -179.9, 0),
	"suva":         cityPlace("FJ", "OC", -18.14, 178.44, 0),
	"toronto":      cityPlace("CA", "NA", 43.65, -79.38, 0),
	"berlin-fr":    cityPlace("FR", "EU", 52.52, 13.40, 0), // as if it were there
	"berlin-fr-tk": cityPlace("FR", "EU", 52.52, 13.40, 3320),
}

func cityPlace(country, continent string, latitude, longitude float64, asn uint32) Place {
	return Place{Country: ParseCode(country), Continent: ParseCode(continent), Latitude: latitude, Longitude: longitude,
		HasPosition: true, ASN: asn}
}

func countryPlace(code string) Place {
	p := Place{Country: ParseCode(code)}
	p.Settle()
	return p
}

// atlas is a pool written as text, with one mirror on a line:
//
//	NAME WEIGHT PLACE [https] [only=COUNTRY] [not=COUNTRY] [STATE]
type atlas string

func (a atlas) build(t testing.TB, selection config.Selection) *Snapshot {
	t.Helper()
	return Build(a.input(t, selection))
}

func (a atlas) input(t testing.TB, selection config.Selection) Input {
	t.Helper()
	var text strings.Builder
	type extra struct {
		place          Place
		serve, exclude []string
	}
	extras := map[string]extra{}
	for line := range strings.Lines(string(a)) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		place, ok := testPlaces[fields[2]]
		if !ok {
			t.Fatalf("unknown place %q", fields[2])
		}
		x, state, https := extra{place: place}, "up", ""
		for _, field := range fields[3:] {
			key, value, _ := strings.Cut(field, "=")
			switch key {
			case "https":
				https = field
			case "only":
				x.serve = append(x.serve, value)
			case "not":
				x.exclude = append(x.exclude, value)
			default:
				state = field
			}
		}
		extras[fields[0]] = x
		fmt.Fprintf(&text, "%s %s %s 192.0.2.1=up/%s 2001:db8::1=up/%s\n", fields[0], fields[1], https, state, state)
	}
	in := world(text.String()).input(t)
	in.Policy.Selection = selection
	for i := range in.Pool.Mirrors {
		m := &in.Pool.Mirrors[i]
		x := extras[m.Name]
		m.Location = config.Location{
			Country: x.place.Country.String(), Continent: x.place.Continent.String(), ASN: x.place.ASN,
			Latitude: x.place.Latitude, Longitude: x.place.Longitude, HasPosition: x.place.HasPosition,
		}
		m.ServeOnly.Countries, m.Exclude.Countries = x.serve, x.exclude
	}
	return in
}
