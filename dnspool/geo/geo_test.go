package geo

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/maxmind/mmdbwriter/mmdbtype"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"mirrorpool/config"
	"mirrorpool/dnspool"
	"mirrorpool/health"
)

func TestPlace(t *testing.T) {
	t.Parallel()
	networks := readNetworks(t)
	if len(networks) < 60 {
		t.Errorf("places.txt has %d networks, want about 60", len(networks))
	}
	both := Open(testConfig("city", "asn"), zap.NewNop())
	city := Open(testConfig("city", ""), zap.NewNop())
	country := Open(testConfig("country", ""), zap.NewNop())
	asn := Open(testConfig("", "asn"), zap.NewNop())
	none := Open(config.GeoIP{}, zap.NewNop())
	continents := map[string]bool{}
	for _, n := range networks {
		continents[n.continent] = true
		last := n.network.Addr().As16()
		last[15] |= 0x42
		addr := netip.AddrFrom16(last).Unmap()
		want := n.wantPlace()
		if got := both.Place(addr); got != want {
			t.Errorf("%s: got %+v, want %+v", addr, got, want)
		}
		want.ASN = 0
		if got := city.Place(addr); got.Network.Addr() != n.network.Addr() && got.Known() {
			t.Errorf("%s: network %s, want %s", addr, got.Network, n.network)
		} else if got.Network = want.Network; got != want {
			t.Errorf("%s, city only: got %+v, want %+v", addr, got, want)
		}
		onlyCountry := dnspool.Place{Country: want.Country, Continent: want.Continent}
		onlyCountry.Settle()
		got := country.Place(addr)
		if got.Network = (netip.Prefix{}); got != onlyCountry {
			t.Errorf("%s, country only: got %+v, want %+v", addr, got, onlyCountry)
		}
		got = asn.Place(addr)
		if got.Network = (netip.Prefix{}); got != (dnspool.Place{ASN: n.asn}) {
			t.Errorf("%s, ASN only: got %+v", addr, got)
		}
		if got := none.Place(addr); got != (dnspool.Place{}) {
			t.Errorf("%s, no database: got %+v", addr, got)
		}
	}
	for _, continent := range strings.Fields("AF AN AS EU NA OC SA") {
		if !continents[continent] {
			t.Errorf("no country is in %s", continent)
		}
	}
	for _, addr := range []netip.Addr{netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("2001:db8:ffff::1"), {}} {
		got := both.Place(addr)
		if got.Network = (netip.Prefix{}); got != (dnspool.Place{}) {
			t.Errorf("%v is at %+v", addr, got)
		}
	}
}

// TestOddRecords has records that are not those of MaxMind.
func TestOddRecords(t *testing.T) {
	t.Parallel()
	odd := map[string]mmdbtype.Map{
		"198.18.1.0/24": {"registered_country": mmdbtype.Map{"iso_code": mmdbtype.String("DE")}},
		"198.18.2.0/24": {"country_code": mmdbtype.Map{}},
		"198.18.3.0/24": {"country": mmdbtype.Map{"iso_code": mmdbtype.String("deu")},
			"continent": mmdbtype.Map{"code": mmdbtype.String("EU")}},
		"198.18.4.0/24": {"location": mmdbtype.Map{"latitude": mmdbtype.Float32(1), "longitude": mmdbtype.Float32(2)}},
		"198.18.5.0/24": {"location": mmdbtype.Map{"latitude": mmdbtype.String("1")}},
		"198.18.6.0/24": {"country": mmdbtype.Map{"iso_code": mmdbtype.String("XX")}},
	}
	want := map[string]string{
		"198.18.1.0/24": "DE EU 51 9.8 true", "198.18.2.0/24": "  0 0 false", "198.18.3.0/24": " EU 0 0 false",
		"198.18.4.0/24": "  1 2 true", "198.18.5.0/24": "  0 0 true", "198.18.6.0/24": "XX  0 0 false",
	}
	var networks []testNetwork
	for network := range odd {
		networks = append(networks, testNetwork{network: netip.MustParsePrefix(network)})
	}
	path := filepath.Join(t.TempDir(), "odd.mmdb")
	write(t, path, makeDatabase(t, "odd", networks, func(n testNetwork) mmdbtype.Map { return odd[n.network.String()] }))
	f := file{path: path}
	if _, err := f.read(); err == nil || !strings.Contains(err.Error(), "want a MaxMind DB file, whole") {
		t.Errorf("a database with broken records: %v", err)
	}
	delete(odd, "198.18.2.0/24")
	delete(odd, "198.18.5.0/24")
	write(t, path, makeDatabase(t, "odd", networks, func(n testNetwork) mmdbtype.Map { return odd[n.network.String()] }))
	r := Open(config.GeoIP{City: path}, zap.NewNop())
	for network := range odd {
		p := r.Place(netip.MustParsePrefix(network).Addr())
		if got := fmt.Sprint(p.Country, " ", p.Continent, " ", p.Latitude, " ", p.Longitude, " ", p.HasPosition); got != want[network] {
			t.Errorf("%s: got %q, want %q", network, got, want[network])
		}
	}
}

// TestFlatRecords reads the fields of databases that anyone may have without a key.
func TestFlatRecords(t *testing.T) {
	t.Parallel()
	records := map[string]mmdbtype.Map{
		// ip-location-db, country and city
		"198.18.1.0/24": {"country_code": mmdbtype.String("DE")},
		"198.18.2.0/24": {"country_code": mmdbtype.String("FR"), "city": mmdbtype.String("Paris"), "state1": mmdbtype.String("IDF"),
			"latitude": mmdbtype.Float32(48.86), "longitude": mmdbtype.Float32(2.35), "postcode": mmdbtype.String("75001"),
			"timezone": mmdbtype.String("Europe/Paris")},
		// IPinfo Lite
		"198.18.3.0/24": {"asn": mmdbtype.String("AS15169"), "as_name": mmdbtype.String("Google LLC"),
			"as_domain":    mmdbtype.String("google.com"),
			"country_code": mmdbtype.String("US"), "country": mmdbtype.String("United States"),
			"continent_code": mmdbtype.String("NA"), "continent": mmdbtype.String("North America")},
		"198.18.4.0/24": {"asn": mmdbtype.Uint32(64496), "country_code": mmdbtype.String("Germany")},
		"198.18.5.0/24": {"asn": mmdbtype.String("AS99999999999"), "location": mmdbtype.String("somewhere")},
	}
	want := map[string]string{
		"198.18.1.0/24": "DE EU AS0 51.0 9.8", "198.18.2.0/24": "FR EU AS0 48.9 2.3", "198.18.3.0/24": "US NA AS15169 39.0 -91.5",
		"198.18.4.0/24": "  AS64496 0.0 0.0", "198.18.5.0/24": "  AS0 0.0 0.0",
	}
	var networks []testNetwork
	for network := range records {
		networks = append(networks, testNetwork{network: netip.MustParsePrefix(network)})
	}
	path := filepath.Join(t.TempDir(), "flat.mmdb")
	write(t, path, makeDatabase(t, "flat", networks, func(n testNetwork) mmdbtype.Map { return records[n.network.String()] }))
	if err := Check(path); err != nil {
		t.Fatal(err)
	}
	r := Open(config.GeoIP{City: path}, zap.NewNop())
	for network := range records {
		p := r.Place(netip.MustParsePrefix(network).Addr())
		if got := fmt.Sprintf("%s %s AS%d %.1f %.1f", p.Country, p.Continent, p.ASN, p.Latitude, p.Longitude); got != want[network] {
			t.Errorf("%s: got %q, want %q", network, got, want[network])
		}
	}
}

// write puts a new file in place of an old one at once, as geoipupdate does.
func write(t testing.TB, path string, data []byte) {
	t.Helper()
	err := os.WriteFile(path+".new", data, 0o644)
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(testFolder, name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestFilesThatAreBad: a file that is no good, or none, leaves what is in force.
func TestFilesThatAreBad(t *testing.T) {
	t.Parallel()
	good := read(t, "city.mmdb")
	bad := map[string]func(path string){
		"missing":        func(path string) { os.Remove(path) },
		"empty":          func(path string) { write(t, path, nil) },
		"text":           func(path string) { write(t, path, []byte("not found\n")) },
		"cut":            func(path string) { write(t, path, good[:len(good)/2]) },
		"cut in place":   func(path string) { os.Truncate(path, 100) },
		"no data":        func(path string) { write(t, path, append(make([]byte, 4000), good[len(good)-300:]...)) },
		"not of places":  func(path string) { write(t, path, makeDatabase(t, "x", readNetworks(t), unrelated)) },
		"a folder":       func(path string) { os.Remove(path); os.Mkdir(path, 0o755) },
		"a broken tree":  func(path string) { write(t, path, broken(good, 0, 300)) },
		"broken records": func(path string) { write(t, path, broken(good, len(good)-1600, len(good)-400)) },
	}
	for name, spoil := range bad {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			core, logs := observer.New(zapcore.InfoLevel)
			path := filepath.Join(t.TempDir(), "city.mmdb")
			write(t, path, good)
			r := Open(config.GeoIP{City: path}, zap.New(core))
			addr := netip.MustParseAddr("198.18.1.1")
			want := r.Place(addr)
			if !want.Known() {
				t.Fatal("the good file tells nothing")
			}
			spoil(path)
			for range 3 {
				if r.look() {
					t.Fatal("another database is in force")
				}
			}
			if got := r.Place(addr); got != want {
				t.Errorf("the place is %+v now, and was %+v", got, want)
			}
			if errs := logs.FilterLevelExact(zapcore.ErrorLevel); errs.Len() != 1 ||
				!strings.Contains(fmt.Sprint(errs.All()[0].ContextMap()), path) {
				t.Errorf("want one error that names the file, got %v", errs.All())
			}
			os.RemoveAll(path)
			write(t, path, read(t, "country.mmdb"))
			if !r.look() || r.Place(addr).Radius != 0 {
				t.Error("the next good file is not taken")
			}
		})
	}
}

func unrelated(testNetwork) mmdbtype.Map { return mmdbtype.Map{"is_anycast": mmdbtype.Bool(true)} }

// broken returns data with other bytes in a part of it.
func broken(data []byte, from, to int) []byte {
	data = append([]byte(nil), data...)
	for i := from; i < to; i++ {
		data[i] ^= 0xa5
	}
	return data
}

// TestRun replaces the files again and again while requests go on: none may see a place that is in neither.
func TestRun(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "city.mmdb")
	editions := [][]byte{read(t, "city.mmdb"), read(t, "country.mmdb")}
	r := Open(config.GeoIP{City: path}, zap.NewNop())
	ctx, cancel := context.WithCancel(t.Context())
	changes, done, asked := make(chan struct{}), make(chan error, 1), make(chan error, 1)
	go func() { done <- r.run(ctx, time.Millisecond, func() { changes <- struct{}{} }) }()
	go func() {
		addr := netip.MustParseAddr("198.18.6.1")
		for ctx.Err() == nil {
			if p := r.Place(addr); p.Known() && (p.Country.String() != "FR" || p.Latitude != 48.86 && p.Latitude != 47.5) {
				asked <- fmt.Errorf("a place that is in no file: %+v", p)
				return
			}
		}
		asked <- nil
	}()
	for i := range 20 {
		write(t, path, editions[i%2])
		select {
		case <-changes:
		case <-time.After(30 * time.Second):
			t.Fatal("a new file is not taken")
		}
	}
	cancel()
	for _, ch := range []chan error{done, asked} {
		if err := <-ch; err != nil {
			t.Error(err)
		}
	}
}

// FuzzDatabase: whatever is wrong in a file, to read it ends well.
func FuzzDatabase(f *testing.F) {
	names := []string{"city.mmdb", "country.mmdb", "asn.mmdb"}
	var good [3][]byte
	for i, name := range names {
		good[i] = read(f, name)
		f.Add(byte(i), uint16(0), []byte{0, 0, 0}, "198.18.1.1")
		f.Add(byte(i), uint16(len(good[i])-300), []byte("IPv4"), "2001:db8:1::1")
		f.Add(byte(i), uint16(len(good[i])-1000), []byte{0xe9, 0x20, 0x01}, "198.18.6.1")
	}
	f.Fuzz(func(t *testing.T, which byte, at uint16, patch []byte, text string) {
		data := append([]byte(nil), good[which%3]...)
		copy(data[int(at)%len(data):], patch)
		path := filepath.Join(t.TempDir(), "x.mmdb")
		write(t, path, data)
		r := Open(config.GeoIP{City: path, ASN: path}, zap.NewNop())
		addr, err := netip.ParseAddr(text)
		if err != nil {
			return
		}
		if p := r.Place(addr); p.Network.IsValid() && !p.Network.Contains(addr.Unmap().WithZone("")) {
			t.Errorf("%s is not in %s", addr, p.Network)
		}
	})
}

// benchWorld has a database of 50,000 networks, a pool of n mirrors, and clients at their places.
func benchWorld(b *testing.B, n int) (*Reader, *dnspool.Snapshot) {
	b.Helper()
	places := readNetworks(b)
	networks := make([]testNetwork, 0, 50_000)
	for i := range 50_000 {
		x := places[i%40]
		x.network = netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(20 + i>>14), byte(i >> 6), byte(i << 2), 0}), 22)
		x.latitude += float64(i%97) / 100
		x.asn = uint32(1 + i%3000)
		networks = append(networks, x)
	}
	dir := b.TempDir()
	c := config.GeoIP{City: filepath.Join(dir, "city.mmdb"), ASN: filepath.Join(dir, "asn.mmdb")}
	write(b, c.City, makeDatabase(b, "GeoLite2-City", networks, cityRecord))
	write(b, c.ASN, makeDatabase(b, "GeoLite2-ASN", networks, asnRecord))
	r := Open(c, zap.NewNop())
	in := dnspool.Input{
		Pool: &config.Pool{}, Health: &health.Report{Mirrors: map[string]health.MirrorReport{}}, Place: r.Place,
		Policy: dnspool.Policy{MaxAnswers: 2, Selection: config.Selection{Geo: true, Near: 1.5, MinCandidates: 3, MaxShare: 0.5}},
		Now:    time.Unix(1_800_000_000, 0), Rand: rand.New(rand.NewPCG(1, 2)),
	}
	for i := range n {
		prefix := fmt.Sprintf("https://m%d.example.org/", i)
		u, _ := url.Parse(prefix)
		in.Pool.Mirrors = append(in.Pool.Mirrors, config.Mirror{URLPrefix: prefix, URL: u, Weight: uint32(1 + i%30)})
		addr := networks[i*7%len(networks)].network.Addr().Next()
		in.Health.Mirrors[prefix] = health.MirrorReport{Endpoints: []health.Endpoint{
			{Address: addr, Role: health.HTTP, Verdict: health.Verdict{State: health.Up}}}}
	}
	return r, dnspool.Build(in)
}

func benchClient(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(20 + i%3), byte(i * 31), byte(i * 17), 9})
}

func BenchmarkPlace(b *testing.B) {
	r, _ := benchWorld(b, 1)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		r.Place(benchClient(i))
	}
}

// BenchmarkPlaceAndChoose is what a redirect takes besides HTTP.
func BenchmarkPlaceAndChoose(b *testing.B) {
	for _, n := range []int{30, 500, 1000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			r, s := benchWorld(b, n)
			sticky := dnspool.NewSticky("a secret of sixteen", 10*time.Minute)
			now := time.Unix(1_800_000_000, 0)
			var c dnspool.Choice
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				addr := benchClient(i)
				s.Choose(&c, &dnspool.Request{Secure: true, Place: r.Place(addr), Seed: sticky.Seed(addr, now)})
			}
		})
	}
}
