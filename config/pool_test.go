package config

import (
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var comparers = cmp.Options{cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{}, netip.Prefix{})}

// TestParsePoolReference reads the example of the contract.
func TestParsePoolReference(t *testing.T) {
	pool, _, err := ParsePool("testdata/mirrors.json", readFile(t, "testdata/mirrors.json"))
	if err != nil {
		t.Fatal(err)
	}
	want := &Pool{Mirrors: []Mirror{{
		URLPrefix: "https://mirror.example.net/tails/",
		URL:       &url.URL{Scheme: "https", Host: "mirror.example.net", Path: "/tails/"},
		RsyncURL:  "rsync://mirror.example.net/tails/",
		Weight:    10,
		Email:     "ops@example.net",
		Notes:     "1 Gbit/s, university",
		Name:      "m7",
		DNS: MirrorDNS{
			Weight:    5,
			Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("2001:db8::7")},
		},
		Location:  Location{Country: "DE", Continent: "EU", Latitude: 52.5, Longitude: 13.4, HasPosition: true, ASN: 680},
		ServeOnly: Places{Countries: []string{"DE"}, Continents: []string{"EU"}, ASNs: []uint32{680}},
		Exclude:   Places{Countries: []string{"XX"}},
	}}}
	if diff := cmp.Diff(want, pool, comparers); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestParsePoolTails reads a list as Tails publishes it, with two keys per mirror.
func TestParsePoolTails(t *testing.T) {
	pool, _, err := ParsePool("testdata/tails.json", readFile(t, "testdata/tails.json"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for i := range pool.Mirrors {
		m := &pool.Mirrors[i]
		got = append(got, fmt.Sprint(m.URLPrefix, " ", m.Weight, " ", m.DNS.Weight, " ", m.Enabled()))
	}
	want := []string{
		"https://mirror.example.net/tails/ 1 1 true",
		"http://mirror.example.org/tails/ 0 0 false",
		"http://mirror.example.com/ 100 100 true",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestParsePoolValues reads one mirror in ways that the reference does not show.
func TestParsePoolValues(t *testing.T) {
	for _, tt := range []struct {
		name, members string
		get           func(m Mirror) any
		want          any
	}{
		{"whole number with a fraction", `"weight": 7.0`, func(m Mirror) any { return m.Weight }, uint32(7)},
		{"whole number with an exponent", `"weight": 2e3`, func(m Mirror) any { return m.Weight }, uint32(2000)},
		{"largest weight", `"weight": 2147483647`, func(m Mirror) any { return m.Weight }, uint32(MaxWeight)},
		{"dns false", `"weight": 3, "dns": false`, func(m Mirror) any { return m.DNS }, MirrorDNS{Off: true}},
		{"dns true", `"weight": 3, "dns": true`, func(m Mirror) any { return m.DNS }, MirrorDNS{Weight: 3}},
		{"dns empty", `"weight": 3, "dns": {}`, func(m Mirror) any { return m.DNS }, MirrorDNS{Weight: 3}},
		{"dns weight 0", `"weight": 3, "dns": {"weight": 0}`, func(m Mirror) any { return m.DNS }, MirrorDNS{}},
		{"disabled whatever dns says", `"weight": 0, "dns": {"weight": 9}`, func(m Mirror) any { return m.DNS }, MirrorDNS{}},
		{"explicit private address", `"weight": 1, "dns": {"addresses": ["127.0.0.1"]}`, func(m Mirror) any {
			return m.DNS.Addresses[0].String()
		}, "127.0.0.1"},
		{"digits as name", `"weight": 1, "name": "25"`, func(m Mirror) any { return m.Name }, "25"},
		{"name in capitals", `"weight": 1, "name": "FR-1"`, func(m Mirror) any { return m.Name }, "fr-1"},
		{"country in small letters", `"weight": 1, "location": {"country": "de"}`, func(m Mirror) any {
			return m.Location
		}, Location{Country: "DE"}},
		{"position 0, 0", `"weight": 1, "location": {"latitude": 0, "longitude": -0.0}`, func(m Mirror) any {
			return m.Location.HasPosition
		}, true},
		{"largest asn", `"weight": 1, "location": {"asn": 4294967295}`, func(m Mirror) any {
			return m.Location.ASN
		}, uint32(4294967295)},
		{"rsync", `"weight": 1, "rsync_url": "rsync://Mirror.example.net:873/tails"`, func(m Mirror) any {
			return m.RsyncURL
		}, "rsync://mirror.example.net/tails/"},
		{"rsync port", `"weight": 1, "rsync_url": "rsync://192.0.2.1:8730/a/b/"`, func(m Mirror) any {
			return m.RsyncURL
		}, "rsync://192.0.2.1:8730/a/b/"},
		{"escapes", `"weight": 1, "notes": "a\"\\\u00e9\ud83d\ude00\n"`, func(m Mirror) any { return m.Notes }, "a\"\\é😀\n"},
		{"schema", `"weight": 1, "unknown": {"url_prefix": [1, {}, null]}`, func(m Mirror) any { return m.Weight }, uint32(1)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			pool, _, err := ParsePool("mirrors.json",
				[]byte(`{"$schema": "x", "version": 1.0, "mirrors": [{"url_prefix": "http://mirror.example.net/", `+tt.members+`}]}`))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, tt.get(pool.Mirrors[0]), comparers); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestParsePrefix(t *testing.T) {
	for in, want := range map[string]string{
		"http://a.example.net":               "http://a.example.net/",
		"HTTP://A.Example.NET/Tails":         "http://a.example.net/Tails/",
		"https://a.example.net:443/x":        "https://a.example.net/x/",
		"https://a.example.net:80/x///":      "https://a.example.net:80/x/",
		"http://a.example.net:0080/":         "http://a.example.net/",
		"http://a.example.net:/":             "http://a.example.net/",
		"http://a.example.net./":             "http://a.example.net/",
		"http://a.example.net//x/":           "http://a.example.net//x/",
		"http://localhost:8081/":             "http://localhost:8081/",
		"http://127.0.0.1:8081/":             "http://127.0.0.1:8081/",
		"http://[2001:DB8:0::1]:8080/a":      "http://[2001:db8::1]:8080/a/",
		"http://[::1]/":                      "http://[::1]/",
		"http://a_b.example.net/":            "http://a_b.example.net/",
		"https://bücher.example/":            "https://xn--bcher-kva.example/",
		"https://BÜCHER.example。/":           "https://xn--bcher-kva.example/",
		"https://xn--bcher-kva.example/":     "https://xn--bcher-kva.example/",
		"https://１９２.0.2.1/":                 "https://192.0.2.1/",
		"https://a.example.net/a%20b/%7e":    "https://a.example.net/a%20b/%7e/",
		"https://a.example.net/ä":            "https://a.example.net/%C3%A4/",
		"https://a.example.net/a;b,c@d/...x": "https://a.example.net/a;b,c@d/...x/",
	} {
		u, err := parsePrefix(in, webPorts)
		if err != nil {
			t.Errorf("parsePrefix(%q): %v", in, err)
			continue
		}
		if u.String() != want {
			t.Errorf("parsePrefix(%q) = %q, want %q", in, u, want)
		}
	}
}

// TestMaxMirrors: one mirror too many is refused, with one error.
func TestMaxMirrors(t *testing.T) {
	text := `{"version":1,"mirrors":[` + strings.Repeat("0,", MaxMirrors) + `0]}`
	_, _, err := ParsePool("mirrors.json", []byte(text))
	want := "mirrors.json:1:24: /mirrors: want at most 20000 mirrors, got 20001"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// TestLongList finds a fault in a list that the validator sees in batches.
func TestLongList(t *testing.T) {
	long := strings.Replace(string(bigPool(2000, true)), `"weight": 1500,`, `"weight": -1500,`, 1)
	_, _, err := ParsePool("m", []byte(long))
	if err == nil || !strings.HasPrefix(err.Error(), "m:1501:62: /mirrors/1499/weight: want a whole number") {
		t.Errorf("got %v", err)
	}
}

// BenchmarkParsePool loads 10,000 mirrors with all usual keys, and as Tails writes them.
func BenchmarkParsePool(b *testing.B) {
	for _, kind := range []string{"full", "tails"} {
		b.Run(kind, func(b *testing.B) {
			data := bigPool(10_000, kind == "full")
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := ParsePool("mirrors.json", data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func bigPool(mirrors int, full bool) []byte {
	data := []byte(`{"version": 1, "mirrors": [`)
	for i := range mirrors {
		if i > 0 {
			data = append(data, ',')
		}
		data = fmt.Appendf(data, "\n"+`{"url_prefix": "https://m%d.example.net/tails/", "weight": %d`, i, i+1)
		if full {
			data = fmt.Appendf(data, `, "rsync_url": "rsync://m%d.example.net/tails/", "email": "ops@example.net", "notes": "some `+
				`notes", "name": "m%d",`+
				`"dns": {"weight": 3, "addresses": ["192.0.2.7", "2001:db8::7"]}, "location": {"country": "DE", "latitude": 52.5, `+
				`"longitude": 13.4}`, i, i)
		}
		data = append(data, '}')
	}
	return append(data, "]}"...)
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	data, err := ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestAbsentKeys wants optional keys of null or "" to be as if they were missing, and required ones to be refused.
func TestAbsentKeys(t *testing.T) {
	const mirror = `{"version": 1, "mirrors": [{"url_prefix": "https://a.example.net/", "weight": 1%s}]}`
	want, wantWarnings, err := ParsePool("m", fmt.Appendf(nil, mirror, ""))
	if err != nil {
		t.Fatal(err)
	}
	for _, keys := range []string{
		`, "email": null, "notes": null, "name": null, "rsync_url": null, "dns": null, "location": null, "serve_only": null`,
		`, "email": "", "notes": "", "name": "", "rsync_url": ""`,
		`, "location": {"country": "", "latitude": null, "longitude": null, "asn": null}, "exclude": {"countries": null}`,
		`, "dns": {"weight": null, "addresses": null}`,
	} {
		got, warnings, err := ParsePool("m", fmt.Appendf(nil, mirror, keys))
		if err != nil {
			t.Errorf("%s: %v", keys, err)
			continue
		}
		if diff := cmp.Diff(want, got, comparers); diff != "" || len(warnings) != len(wantWarnings) {
			t.Errorf("%s: warnings %v, want as without these keys:\n%s", keys, warnings, diff)
		}
	}
	for text, want := range map[string]string{
		`{"mirrors": null}`: "/mirrors: want a list of 1 to 20000 mirrors, got null",
		`{"mirrors": [{"url_prefix": "", "weight": 1}]}`: `/mirrors/0/url_prefix: want an http or https ` +
			`URL of a folder, got ""`,
		`{"mirrors": [{"url_prefix": "https://a.example.net/", "weight": null}]}`: "/mirrors/0/weight: want a whole number",
	} {
		if _, _, err := ParsePool("m", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %s", text, err, want)
		}
	}
}

// TestInDNSPool: a mirror is in the DNS pool unless it is disabled, kept out, or has no weight there.
func TestInDNSPool(t *testing.T) {
	t.Parallel()
	for keys, want := range map[string]bool{
		`"weight": 5`: true, `"weight": 5, "dns": {"weight": 1}`: true, `"weight": 5, "dns": false`: false,
		`"weight": 5, "dns": {"weight": 0}`: false,
		`"weight": 0`:                       false, `"weight": 0, "dns": {"weight": 5}`: false, `"weight": 0, "dns": false`: false,
	} {
		pool, _, err := ParsePool("mirrors.json",
			fmt.Appendf(nil, `{"version": 1, "mirrors": [{"url_prefix": "https://a.example.net/", %s}]}`, keys))
		if err != nil {
			t.Fatal(err)
		}
		if got := pool.Mirrors[0].InDNSPool(); got != want {
			t.Errorf("%s: %t", keys, got)
		}
	}
}
