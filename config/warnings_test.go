package config

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestWarnPool holds the words of each warning about what is allowed, but suspicious.
func TestWarnPool(t *testing.T) {
	const good = `{"url_prefix": "https://good.example.net/", "weight": 10, "rsync_url": "rsync://good.example.net/x/"}`
	for _, tt := range []struct {
		name, mirrors string
		want          []string
	}{
		{"nothing", good + "," + strings.ReplaceAll(good, "good", "fine"), nil},
		{"a heavy one", good + `, {"url_prefix": "https://a.example.net/", "weight": 41, "rsync_url": "rsync://a.example.net/x/"}`,
			[]string{
				`/mirrors/1/weight: this mirror alone has 80 % of the pool's weight; want at most 80 %, so that the others can carry on ` +
					`without it`}},
		{"just not heavy", good + `, {"url_prefix": "https://a.example.net/", "weight": 40, "rsync_url": ` +
			`"rsync://a.example.net/x/"}`, nil},
		{"a digit too many", strings.Join([]string{good, strings.ReplaceAll(good, "good", "b"), strings.ReplaceAll(good, "good", "c"),
			strings.ReplaceAll(good, "good", "d"), strings.Replace(strings.ReplaceAll(good, "good", "e"), ": 10", ": 101", 1)}, ","),
			[]string{`/mirrors/4/weight: 101 is over 10 times the weight of the mirror in the middle (10); want less, unless it is ` +
				`meant: is it a typo?`}},
		{"ten times as much", strings.Join([]string{good, strings.ReplaceAll(good, "good", "b"), strings.ReplaceAll(good, "good", "c"),
			strings.ReplaceAll(good, "good", "d"), strings.Replace(strings.ReplaceAll(good, "good", "e"), ": 10", ": 100", 1)}, ","), nil},
		{"http only", good + `, {"url_prefix": "http://a.example.net/", "weight": 10, "rsync_url": "rsync://a.example.net/x/"}`,
			[]string{
				`/mirrors/1/url_prefix: http only; want an https URL, since clients that ask over https are never sent here`}},
		{"no rsync_url", good + `, {"url_prefix": "https://a.example.net/", "weight": 10}`, []string{
			`/mirrors/1: the key "rsync_url" is missing; want a URL like rsync://host/module/, as other mirrors of the list have`}},
		{"no rsync_url at all", `{"url_prefix": "https://a.example.net/", "weight": 10}, {"url_prefix": ` +
			`"https://b.example.net/", "weight": 10}`, []string{
			`/mirrors: no mirror has the key "rsync_url", without which their rsync daemons are not checked`}},
		{"e-mail", good + `, {"url_prefix": "https://a.example.net/", "weight": 0, "email": "ops at example.net"}`, []string{
			`/mirrors/1/email: not an e-mail address: "ops at example.net"; want one such as "ops@example.net"`,
			`/mirrors/0/weight: this mirror alone has 100 % of the pool's weight; want at most 80 %, so that the others can carry ` +
				`on without it`}},
		{"e-mail with a name", good + "," + strings.Replace(good, "good.example.net/\", \"weight",
			`a.example.net/", "email": "Ops <ops@example.net>", "weight`, 1), nil},
		{"addresses", good + `, {"url_prefix": "https://a.example.net/", "weight": 10, "rsync_url": "rsync://a.example.net/x/", ` +
			`"dns": {"addresses": ["10.0.0.1", "9.9.9.9"]}}`, []string{
			`/mirrors/1/dns/addresses/0: 10.0.0.1 is not a public address; clients elsewhere cannot reach it`}},
		{"a literal", good + `, {"url_prefix": "https://[fd00::1]/", "weight": 10, "rsync_url": "rsync://a.example.net/x/"}`, []string{
			`/mirrors/1/url_prefix: fd00::1 is not a public address; clients elsewhere cannot reach it`}},
		{"no IPv6", `{"url_prefix": "https://9.9.9.9/", "weight": 1, "rsync_url": "rsync://a.example.net/x/"}, {"url_prefix": ` +
			`"https://b.example.net/", "weight": 1, "rsync_url": "rsync://a.example.net/x/", "dns": {"addresses": ["9.9.9.10"]}}`,
			[]string{
				`/mirrors: no mirror has an IPv6 address; want one at least, or clients without IPv4 cannot be served`}},
		{"no rules for the disabled", good + "," + strings.ReplaceAll(good, "good", "fine") +
			`, {"url_prefix": "http://10.0.0.1/", "weight": 0}`, nil},
		{"none enabled", `{"url_prefix": "http://10.0.0.1/", "weight": 0}`, []string{
			`/mirrors: no mirror has a weight above 0; give at least one a weight, or no client is served`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			pool, warnings, err := ParsePool("m", []byte(`{"version": 1, "mirrors": [`+tt.mirrors+`]}`))
			if err != nil || pool == nil {
				t.Fatal(err)
			}
			got := map[string]bool{}
			for _, w := range warnings {
				got[w.Pointer+": "+w.Err.Error()] = true
			}
			want := map[string]bool{}
			for _, w := range tt.want {
				want[w] = true
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestWarnLegacyList has a list that is just short enough for the oldest client, and one that is not.
func TestWarnLegacyList(t *testing.T) {
	t.Parallel()
	for mirrors, want := range map[int]int{130: 0, 140: 1} {
		_, warnings, err := ParsePool("m", bigPool(mirrors, false))
		if err != nil {
			t.Fatal(err)
		}
		got := 0
		for _, w := range warnings {
			if w.Kind == WarnLegacyList {
				got++
			}
		}
		if got != want {
			t.Errorf("%d mirrors: %d warnings, want %d", mirrors, got, want)
		}
	}
}

func TestIsPublic(t *testing.T) {
	for _, s := range []string{"9.9.9.9", "198.17.0.1", "2620:fe::fe"} {
		if !isPublic(netip.MustParseAddr(s)) {
			t.Errorf("%s is public", s)
		}
	}
	for _, s := range []string{"10.1.1.1", "127.0.0.1", "169.254.1.1", "100.64.1.1", "192.0.2.1", "255.255.255.255", "::1",
		"fe80::1", "fd00::1", "2001:db8::1", "64:ff9b::1", "2002:a01:101::1", "ff02::1"} {
		if isPublic(netip.MustParseAddr(s)) {
			t.Errorf("%s is not public", s)
		}
	}
}

// TestCollisions: what a zone holds already is no mirror's name, and the error says where.
func TestCollisions(t *testing.T) {
	dns := DNS{Zone: "dl.example.org.", Names: []string{"@", "*", "www", "a.b"},
		Nameservers: []string{"ns1.dl.example.org.", "ns2.example.org."}}
	pool := func(name string) []byte {
		return fmt.Appendf(nil, `{"version": 1, "mirrors": [{"url_prefix": "https://a.example.net/", "weight": 1},
 {"url_prefix": "https://b.example.net/", "weight": 1, "name": %q}]}`, name)
	}
	for name, want := range map[string]string{
		"WWW": `m:2:64: /mirrors/1/name: "www" is the name of the pool (dns.names) already; want another one`,
		"ns1": `m:2:64: /mirrors/1/name: "ns1" is the name of a nameserver (dns.nameservers) already; want another one`,
		"ns2": "", "a": "", "b": "", "m1": "",
	} {
		_, _, err := ParsePoolIn("m", pool(name), dns)
		if got := fmt.Sprint(err); got != want && (want != "" || err != nil) {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
		if _, _, err := ParsePool("m", pool(name)); err != nil {
			t.Errorf("without a zone, %s: %v", name, err)
		}
	}
}

// TestWarningKindsAreExplained looks for each kind in the table of README.md.
func TestWarningKindsAreExplained(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range WarningKinds() {
		if !strings.Contains(string(text), "| `"+string(kind)+"` |") {
			t.Errorf("README.md does not explain %s", kind)
		}
	}
}

// TestGroupWarnings wants each misspelt key named, however many there are of others.
func TestGroupWarnings(t *testing.T) {
	mirror := func(name, key string) string {
		return fmt.Sprintf(`{"url_prefix": "http://%s.example.net/", "rsync_url": "rsync://%[1]s.example.net/x/", "weight": 1, %q: 1}`,
			name, key)
	}
	list := []string{mirror("a", "wieght"), mirror("b", "wieght"), mirror("c", "emial"), mirror("d", "noets")}
	for i := range 2 * maxUnknownKeys {
		list = append(list, mirror(fmt.Sprintf("m%d", i), fmt.Sprintf("key%d", i)))
	}
	_, warnings, err := ParsePool("m", []byte(`{"version": 1, "mirrors": [`+strings.Join(list, ",")+`]}`))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, g := range GroupWarnings(warnings) {
		got = append(got, fmt.Sprintf("%s %s+%d", g.First.Kind, g.First.Pointer, g.More))
	}
	want := []string{"http-only /mirrors/0/url_prefix+43", "unknown-key /mirrors/0/wieght+1", "unknown-key /mirrors/2/emial+0",
		"unknown-key /mirrors/3/noets+0"}
	for i := range maxUnknownKeys - 3 {
		want = append(want, fmt.Sprintf("unknown-key /mirrors/%d/key%d+0", i+4, i))
	}
	want = append(want, fmt.Sprintf("unknown-key /mirrors/%d/key%d+%d", maxUnknownKeys+1, maxUnknownKeys-3, maxUnknownKeys+2))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
