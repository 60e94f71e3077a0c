package config

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestParseServerReference reads the example of the contract, which shows all defaults, and compares it
// with a file that gives nothing but what must be given.
func TestParseServerReference(t *testing.T) {
	reference, warnings, err := LoadServer("testdata/mirrorpool.json")
	if err != nil || len(warnings) != 1 || warnings[0].Kind != WarnNoReference {
		t.Fatalf("warnings %v, error %v; want one that reference_url is missing", warnings, err)
	}
	least, warnings, err := ParseServer("testdata/least.json", []byte(least))
	if err != nil || len(warnings) != 1 {
		t.Fatalf("warnings %v, error %v; want one that reference_url is missing", warnings, err)
	}
	least.DNS.Nameservers = reference.DNS.Nameservers
	least.DNS.Hostmaster = reference.DNS.Hostmaster
	least.HTTP.TrustedProxies = []netip.Prefix{} // as the example writes it
	if diff := cmp.Diff(reference, least, comparers); diff != "" {
		t.Errorf("-reference +least:\n%s", diff)
	}
}

const least = `{"dns": {"zone": "dl.example.org", "nameservers": ["ns1.example.org"]}}`

// TestDefaults holds every default against the contract, written out once more.
func TestDefaults(t *testing.T) {
	got, _, err := ParseServer("/etc/mirrorpool/mirrorpool.json", []byte(least))
	if err != nil {
		t.Fatal(err)
	}
	want := &Server{
		Mirrors:        "/etc/mirrorpool/mirrors.json",
		MirrorsRefresh: 5 * time.Minute,
		MirrorsGuard:   0.5,
		StateDir:       "",
		DNS: DNS{
			Listen:      []string{"127.0.0.1:5300"},
			Zone:        "dl.example.org.",
			Names:       []string{"@"},
			Nameservers: []string{"ns1.example.org."},
			Hostmaster:  "hostmaster.dl.example.org.",
			TTL:         time.Minute,
			TTLMin:      5 * time.Second,
			MaxAnswers:  2,
			UDPSize:     1232,
		},
		HTTP:      HTTP{Listen: []string{"127.0.0.1:8080"}, BasePath: "/", Sticky: 10 * time.Minute},
		Selection: Selection{Geo: true, Near: 1.5, MinCandidates: 3, MaxShare: 0.5},
		Admin:     Admin{Listen: "127.0.0.1:8053"},
		Health: Health{
			Enabled: true, Interval: 30 * time.Second, Timeout: 10 * time.Second, Rise: 2, Fall: 3,
			StartupTimeout: 5 * time.Second, Path: "project/trace", MaxLag: 3 * time.Hour, MaxAge: 0,
			DNSURL: "http://dl.example.org/tails/project/trace", PanicThreshold: 0.5, AddressGrace: time.Hour,
			MaxUnresolved: 10 * time.Minute, AllowPrivate: false, UserAgent: "mirrorpool-healthcheck (mirror pool monitor)",
		},
		Files: Files{
			Interval: 6 * time.Hour, Unpublished: "404", OnDemand: true, HashRate: 50_000_000, VerifyRate: 1_000_000,
			VerifyAgent: "Wget/1.21.3",
			FromOrigin:  []string{"*.sig", "*.asc", "*.sha256", "*.sha512", "*.sha256sum", "*.sha512sum", "SHA256SUMS*", "SHA512SUMS*"},
		},
		Stats: Stats{Keep: 400 * day},
		Log:   Log{Level: "info", Format: "auto"},
	}
	if diff := cmp.Diff(want, got, comparers); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestParseServerValues reads a file in which everything differs from the defaults.
func TestParseServerValues(t *testing.T) {
	got, warnings, err := LoadServer("testdata/everything.json")
	if err != nil || len(warnings) != 0 {
		t.Fatalf("warnings %v, error %v", warnings, err)
	}
	want := &Server{
		Mirrors:        "https://mirrors.example.org/mirrors.json?x=1",
		MirrorsRefresh: 90 * time.Second,
		MirrorsKeys:    []string{"RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3"},
		MirrorsGuard:   0,
		StateDir:       "/var/lib/mirrorpool",
		DNS: DNS{
			Listen:        []string{":53", "[::1]:5353", "localhost:0"},
			Zone:          "dl.example.org.",
			Names:         []string{"@", "*", "www", "*.eu"},
			Nameservers:   []string{"ns1.example.org.", "ns2.example.org."},
			Hostmaster:    `first\.last.example.org.`,
			ZoneFile:      "testdata/zones/dl.zone",
			TTL:           3 * time.Second,
			TTLMin:        3 * time.Second,
			MaxAnswers:    4,
			UDPSize:       4096,
			NSID:          "ns1",
			Version:       "mirrorpool",
			CookieSecrets: []string{"e5e973e5a6b2a43f48e7dc849e37bfcf", "445536bcd2513298075a5d379663c962"},
			RateLimit:     100,
			StatusClients: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("2001:db8::/32")},
			Geo:           true,
			Notify:        []string{"192.0.2.53:53", "ns2.example.org:5353", "[2001:db8::53]:53"},
			NotifySource:  []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")},
			AllowTransfer: []string{"192.0.2.0/24", "2001:db8::53/128", "transfer-key."},
			TSIGKeys:      []string{"testdata/keys/transfer.key", "/etc/bind/update.key"},
			CAA: []CAA{{0, "issue", "letsencrypt.org; accounturi=https://acme.example.net/1; validationmethods=dns-01"},
				{128, "iodef", "mailto:a@example.org"}},
			DNSSEC: &DNSSEC{
				Keys:      []string{"testdata/keys/Kdl.example.org.+015+12345", "/etc/bind/Kdl.example.org.+015+00001.key"},
				Algorithm: "ED25519", Validity: 14 * day, Leader: "ns1", Resolver: "192.0.2.53:53",
				OtherKeys: []string{"testdata/keys/Kdl.example.org.+015+54321.key"}, Withdraw: true,
			},
		},
		HTTP: HTTP{
			Listen:         []string{"0.0.0.0:443"},
			BasePath:       "/tails/",
			TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
			Sticky:         0,
			StickySecret:   "0123456789abcdef",
			NoMetalinks:    true,
			PublicStats:    true,
			WellKnown:      "testdata/well-known",
			TLS: &TLS{Cert: "testdata/cert.pem", Key: "/etc/key.pem", Listen: []string{":8443"}, Only: true,
				HSTS: 365 * day},
			ACME: &ACME{
				Names: []string{"download.example.org", "*.example.net"}, Email: "mirrors@example.org",
				Directories: []string{"https://ca.example.org/directory", "http://localhost:14000/dir"},
				EABKeyID:    "kid-1", EABKeyFile: "testdata/eab.key", Challenge: "dns-01", CARoot: "testdata/root.pem",
			},
		},
		Selection: Selection{Geo: false, Near: 2, MinCandidates: 1, MaxShare: 1, MaxLoad: 0.25},
		Admin:     Admin{Listen: "192.0.2.1:8053", TokenFile: "testdata/token"},
		GeoIP:     GeoIP{City: "testdata/city.mmdb", ASN: "testdata/asn.mmdb"},
		Health: Health{
			Enabled: false, Interval: 200 * time.Millisecond, Timeout: 100 * time.Millisecond, Rise: 1, Fall: 1,
			StartupTimeout: 0, Path: "trace", ReferenceURL: "https://origin.example.org/trace",
			MaxLag: time.Hour, MaxAge: 48 * time.Hour, DNSURL: "http://dl.example.org:8081/tails/project/trace",
			PanicThreshold: 1, AddressGrace: 2 * time.Hour, MaxUnresolved: 5 * time.Minute, AllowPrivate: true,
			Proxy: "Localhost:9050", Source: []string{"192.0.2.1", "2001:db8::1"}, Family: "ipv4",
			UserAgent: "example.org mirror monitor (mirrors@example.org)",
		},
		Files: Files{
			Origin: "rsync://origin.example.org/tails/", Fallback: "https://origin.example.org/tails/", Interval: time.Hour,
			Rewritten: []string{"*.json", "project/"}, Unpublished: "redirect", Hashes: []string{"*.img", "iso/"}, HashRate: 500_000,
			VerifyRate: 2_000_000, VerifyAgent: "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0", MinRate: 100_000,
			FromOrigin: []string{"*.sig"},
		},
		Publish: []Publish{
			{Server: "192.0.2.53:53", Zone: "dl.example.org.", Names: []string{"@"}, TTL: 3 * time.Second, MaxAnswers: 4,
				Reconcile: "enforce"},
			{
				Server: "ns1.example.org:53", Zone: "example.org.", Names: []string{"dl", "dl2"}, TTL: 5 * time.Minute,
				MaxAnswers: 8, TSIG: "testdata/update.key", Source: []netip.Addr{netip.MustParseAddr("2001:db8::1")}, Reconcile: "report",
			},
		},
		Mail: &Mail{Server: "mail.example.org:465", TLS: true, LoginFile: "testdata/smtp-login", From: "mirrorpool@example.org",
			Team: "team@example.org", Operators: true, After: 2 * time.Hour, Digest: 7*time.Hour + 30*time.Minute},
		Watch: &Watch{Name: "fra", Listen: "192.0.2.7:7947", Advertise: netip.MustParseAddrPort("198.51.100.7:7946"),
			Join: []string{"ams.example.org:7946", "[2001:db8::7]:7946"}, KeyFile: "testdata/watch.key", Quorum: 0.6, Challenges: true,
			Counts: []string{"dns", "http"}},
		Stats: Stats{Keep: 30 * day},
		Log:   Log{Level: "debug", Format: "console"},
	}
	if diff := cmp.Diff(want, got, comparers); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestParseServerOff(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"all", `{"dns": {"listen": "-"}, "http": {"listen": ["-"]}, "admin": {"listen": "-"}}`, `[] "" "" [] ""`},
		{"http only", `{"dns": {"listen": ["-"]}}`, `[] "" "" ["127.0.0.1:8080"] "127.0.0.1:8053"`},
		{"dns off, with zone", `{"dns": {"listen": "-", "zone": "dl.example.org"}}`,
			`[] "dl.example.org." "http://dl.example.org/tails/project/trace" ["127.0.0.1:8080"] "127.0.0.1:8053"`},
		{"zone file instead of nameservers", `{"dns": {"zone": "DL.example.org.", "zone_file": "z"}}`,
			`["127.0.0.1:5300"] "dl.example.org." "http://dl.example.org/tails/project/trace" ["127.0.0.1:8080"] "127.0.0.1:8053"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, _, err := ParseServer("x.json", []byte(tt.text))
			if err != nil {
				t.Fatal(err)
			}
			got := fmt.Sprintf("%q %q %q %q %q", s.DNS.Listen, s.DNS.Zone, s.Health.DNSURL, s.HTTP.Listen, s.Admin.Listen)
			if got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

// TestWarnUnverified warns of keys on checksums that have no effect, and of a fallback that some clients cannot use.
func TestWarnUnverified(t *testing.T) {
	t.Parallel()
	const tls = `, "http": {"tls": {"cert": "c", "key": "k"}}`
	for text, want := range map[string][]string{
		`{}`:                     nil,
		`{"verify_rate": "0"}`:   nil,
		`{"hashes": []}`:         nil,
		`{"hashes": ["*.iso"]}`:  {"/files/hashes: it has no effect without files.origin: no checksum is known"},
		`{"hash_rate": "1MB"}`:   {"/files/hash_rate: it has no effect without files.origin: no checksum is known"},
		`{"verify_rate": "1MB"}`: {"/files/verify_rate: it has no effect without files.origin: no checksum is known"},
		`{"min_rate": "1MB"}`:    {"/files/min_rate: it has no effect without files.origin: no checksum is known"},
		`{"origin": "o", "hashes": ["*.iso"], "hash_rate": "1MB", "verify_rate": "1MB", "min_rate": "1MB"}`: nil,
		`{"origin": "o", "verify_rate": "0", "min_rate": "1MB"}`: {
			`/files/min_rate: it has no effect with "verify_rate": "0": no throughput is measured`},
		`{"origin": "o", "verify_rate": "0", "min_rate": "0"}`: nil,
		`{"fallback": "http://a.example.net/"}`:                nil,
		`{"fallback": "https://a.example.net/"}` + tls:         nil,
		`{"fallback": "http://a.example.net/"}` + tls: {
			"/files/fallback: http only; want an https URL, or clients that ask over https get 503 for what only the fallback serves"},
	} {
		_, warnings, err := ParseServer("mirrorpool.json",
			[]byte(`{"dns": {"listen": "-"}, "health": {"reference_url": "https://a.example.net/t"}, "files": `+text+"}"))
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		var got []string
		for _, w := range warnings {
			got = append(got, w.Pointer+": "+w.Err.Error())
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: -want +got:\n%s", text, diff)
		}
	}
}

func TestParseMail(t *testing.T) {
	for text, want := range map[string]string{
		`"smtp": "smtp://localhost"`:                                                "localhost:25 false",
		`"smtp": "smtp://Mail.example.org:587/"`:                                    "mail.example.org:587 false",
		`"smtp": "smtps://[2001:db8::25]"`:                                          "[2001:db8::25]:465 true",
		`"smtp": "localhost:25"`:                                                    "neither smtp:// nor smtps://",
		`"smtp": "https://mail.example.org"`:                                        "neither smtp:// nor smtps://",
		`"smtp": "smtp://user:hunter2@mail.example.org"`:                            "no user: give a login_file",
		`"smtp": "smtp://"`:                                                         "no host",
		`"smtp": "smtp://mail.example.org/x"`:                                       "nothing after the host",
		`"smtp": "smtp://localhost", "team": "a@example.org\r\nBcc: b@example.org"`: "want an e-mail address",
		`"smtp": "smtp://localhost", "digest": ""`:                                  "localhost:25 false",
		`"smtp": "smtp://localhost", "digest": "25:00"`:                             "want a time of the day",
		`"smtp": "smtp://localhost", "after": "59s"`:                                "want a duration from 1m to 168h",
	} {
		all := `{"dns": {"listen": "-"}, "mail": {"from": "f@example.org", ` + text
		if !strings.Contains(text, `"team"`) {
			all += `, "team": "t@example.org"`
		}
		s, _, err := ParseServer("x.json", []byte(all+"}}"))
		switch {
		case err != nil && strings.Contains(err.Error(), "hunter2"):
			t.Errorf("%s: the error shows the password", text)
		case err != nil && !strings.Contains(err.Error(), want):
			t.Errorf("%s: %v, want %s", text, err, want)
		case err == nil && fmt.Sprint(s.Mail.Server, " ", s.Mail.TLS) != want:
			t.Errorf("%s: %+v, want %s", text, s.Mail, want)
		}
	}
}

// TestMirrorsSource: a plain http source is accepted from this machine only.
func TestMirrorsSource(t *testing.T) {
	for in, want := range map[string]string{
		"pool/mirrors.json":                   "conf/pool/mirrors.json",
		"../mirrors.json":                     "mirrors.json",
		"/srv/mirrors.json":                   "/srv/mirrors.json",
		"HTTPS://Example.org:443/m.json":      "https://example.org/m.json",
		"http://localhost:8000/m.json":        "http://localhost:8000/m.json",
		"http://127.8.9.1/m.json":             "http://127.8.9.1/m.json",
		"http://[::1]:8000/m.json":            "http://[::1]:8000/m.json",
		"http://localhost.example.org/":       "",
		"http://127.0.0.1.example.org/":       "",
		"http://192.0.2.1/m.json":             "",
		"http://localhost@example.org/":       "",
		"http://example.org\\@localhost/":     "",
		"https://example.org/a b":             "",
		"https://[2001:db8::1%25eth0]/m.json": "",
	} {
		text, err := json.Marshal(map[string]any{"mirrors": in, "dns": map[string]any{"listen": "-"}})
		if err != nil {
			t.Fatal(err)
		}
		s, _, err := ParseServer("conf/x.json", text)
		if s == nil {
			s = &Server{}
		}
		if s.Mirrors != want || (err != nil) != (want == "") {
			t.Errorf("mirrors %q: got %q, error %v; want %q", in, s.Mirrors, err, want)
		}
	}
}

func TestParseMailbox(t *testing.T) {
	for in, want := range map[string]string{
		"hostmaster.example.org":         "hostmaster.example.org.",
		"Hostmaster.Example.org.":        "hostmaster.example.org.",
		"hostmaster@example.org":         "hostmaster.example.org.",
		"first.last@example.org":         `first\.last.example.org.`,
		`first\.last.example.org`:        `first\.last.example.org.`,
		"mirrors+dns@example.org":        "mirrors+dns.example.org.",
		"":                               "",
		"org":                            "",
		"a@b@example.org":                "",
		`\.example.org`:                  "",
		"a@" + strings.Repeat("a.", 130): "",
	} {
		got, err := parseMailbox(in)
		if got != want || (err != nil) != (want == "") {
			t.Errorf("parseMailbox(%q) = %q, %v, want %q", in, got, err, want)
		}
	}
}

// TestSecrets: whatever is wrong with a secret or beside it, no error shows it.
func TestSecrets(t *testing.T) {
	values := []string{`"hunter2"`, `["hunter2"]`, `{"hunter": "hunter2"}`, `"hunter2\u0000` + strings.Repeat("x", 300) + `"`,
		`"hunter2`}
	for _, key := range []string{`"dns": {"cookie_secret": %s}`, `"http": {"sticky_secret": %s}`,
		`"http": {"sticky_secret": 1, "sticky_secret": %s}`} {
		for _, value := range values {
			_, _, err := ParseServer("x.json", fmt.Appendf(nil, "{"+key+"}", value))
			if err == nil || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%s: %s: got error %v", key, value, err)
			}
		}
	}
}

// TestEverythingIsEverything: the file that TestParseServerValues reads has every key of the schema, so
// that none is without a test.
func TestEverythingIsEverything(t *testing.T) {
	data, err := os.ReadFile("testdata/everything.json")
	if err != nil {
		t.Fatal(err)
	}
	d, _ := readDocument("everything.json", data)
	r := serverRules()
	var walk func(n *node, part map[string]any)
	walk = func(n *node, part map[string]any) {
		part = r.follow(part)
		properties, _ := part["properties"].(map[string]any)
		for key, property := range properties {
			m := n.member(key)
			if m == nil {
				t.Errorf("testdata/everything.json lacks %s/%s", n.pointer(), key)
				continue
			}
			walk(m, property.(map[string]any))
		}
		if items, ok := part["items"].(map[string]any); ok && len(n.order) > 0 {
			walk(n.order[len(n.order)-1], items)
		}
	}
	walk(d.root, r.text)
}
