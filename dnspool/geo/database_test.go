package geo

import (
	"bytes"
	"flag"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"

	"mirrorpool/config"
	"mirrorpool/dnspool"
)

const testFolder = "../../testdata/geo"

var update = flag.Bool("update", false, "write the test databases anew")

// A testNetwork is a line of places.txt.
type testNetwork struct {
	network            netip.Prefix
	continent, country string
	hasPosition        bool
	latitude           float64
	longitude          float64
	radius             uint16
	asn                uint32
}

func readNetworks(t testing.TB) []testNetwork {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(testFolder, "places.txt"))
	if err != nil {
		t.Fatal(err)
	}
	var networks []testNetwork
	for line := range strings.Lines(string(text)) {
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		if len(fields) != 7 {
			t.Fatalf("want seven fields: %s", line)
		}
		number := func(field string) float64 {
			if field == "-" {
				return 0
			}
			n, err := strconv.ParseFloat(field, 64)
			if err != nil {
				t.Fatalf("%v in %s", err, line)
			}
			return n
		}
		networks = append(networks, testNetwork{
			network:   netip.MustParsePrefix(fields[0]),
			continent: strings.Trim(fields[1], "-"), country: strings.Trim(fields[2], "-"),
			hasPosition: fields[3] != "-", latitude: number(fields[3]), longitude: number(fields[4]),
			radius: uint16(number(fields[5])), asn: uint32(number(fields[6])),
		})
	}
	return networks
}

// makeDatabase makes a database of a type out of what record returns for each network: nil for nothing.
func makeDatabase(t testing.TB, kind string, networks []testNetwork, record func(n testNetwork) mmdbtype.Map) []byte {
	t.Helper()
	tree, err := mmdbwriter.New(mmdbwriter.Options{
		DatabaseType: kind, BuildEpoch: 1_700_000_000, IncludeReservedNetworks: true, RecordSize: 24,
		Description: map[string]string{"en": "mirrorpool's test database"},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range networks {
		value := record(n)
		if len(value) == 0 {
			continue
		}
		_, network, err := net.ParseCIDR(n.network.String())
		if err == nil {
			err = tree.Insert(network, value)
		}
		if err != nil {
			t.Fatalf("%s: %v", n.network, err)
		}
	}
	var out bytes.Buffer
	if _, err := tree.WriteTo(&out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func countryRecord(n testNetwork) mmdbtype.Map {
	m := mmdbtype.Map{}
	if n.continent != "" {
		m["continent"] = mmdbtype.Map{"code": mmdbtype.String(n.continent), "names": mmdbtype.Map{"en": mmdbtype.String("a continent")}}
	}
	if n.country != "" {
		names := mmdbtype.Map{"de": mmdbtype.String("ein Land"), "en": mmdbtype.String("a country")}
		m["country"] = mmdbtype.Map{"iso_code": mmdbtype.String(n.country), "geoname_id": mmdbtype.Uint32(1), "names": names}
		m["registered_country"] = mmdbtype.Map{"iso_code": mmdbtype.String("US"), "names": names}
	}
	return m
}

func cityRecord(n testNetwork) mmdbtype.Map {
	m := countryRecord(n)
	if n.hasPosition {
		m["location"] = mmdbtype.Map{
			"latitude": mmdbtype.Float64(n.latitude), "longitude": mmdbtype.Float64(n.longitude),
			"accuracy_radius": mmdbtype.Uint16(n.radius), "time_zone": mmdbtype.String("UTC"),
		}
		m["city"] = mmdbtype.Map{"names": mmdbtype.Map{"en": mmdbtype.String("a city")}}
		m["subdivisions"] = mmdbtype.Slice{mmdbtype.Map{"iso_code": mmdbtype.String("XX")}}
	}
	return m
}

func asnRecord(n testNetwork) mmdbtype.Map {
	if n.asn == 0 {
		return nil
	}
	return mmdbtype.Map{
		"autonomous_system_number":       mmdbtype.Uint32(n.asn),
		"autonomous_system_organization": mmdbtype.String("a network"),
	}
}

// TestDatabases compares the test databases with the list that they are made of; with -update it makes them.
func TestDatabases(t *testing.T) {
	networks := readNetworks(t)
	for _, db := range []struct {
		name, kind string
		record     func(testNetwork) mmdbtype.Map
	}{
		{"city", "GeoLite2-City", cityRecord}, {"country", "GeoLite2-Country", countryRecord}, {"asn", "GeoLite2-ASN", asnRecord},
	} {
		path := filepath.Join(testFolder, db.name+".mmdb")
		want := makeDatabase(t, db.kind, networks, db.record)
		if *update {
			if err := os.WriteFile(path, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what places.txt says (%v): run 'go generate ./dnspool/geo'", path, err)
		}
	}
}

func testConfig(city, asn string) config.GeoIP {
	c := config.GeoIP{}
	if city != "" {
		c.City = filepath.Join(testFolder, city+".mmdb")
	}
	if asn != "" {
		c.ASN = filepath.Join(testFolder, asn+".mmdb")
	}
	return c
}

// wantPlace is the place of a network, as a City database has it.
func (n testNetwork) wantPlace() dnspool.Place {
	p := dnspool.Place{
		Country: dnspool.ParseCode(n.country), Continent: dnspool.ParseCode(n.continent),
		Latitude: n.latitude, Longitude: n.longitude, HasPosition: n.hasPosition, Radius: n.radius, ASN: n.asn,
	}
	p.Settle()
	p.Network = n.network
	return p
}
