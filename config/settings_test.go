package config

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestSettings holds the table of settings to the schema: no key may be forgotten by a reload.
func TestSettings(t *testing.T) {
	var listed []string
	for _, s := range settings {
		listed = append(listed, s.key)
	}
	top := serverRules().text["properties"].(map[string]any)
	for _, section := range slices.Sorted(maps.Keys(top)) {
		part := serverRules().follow(top[section].(map[string]any))
		properties, _ := part["properties"].(map[string]any)
		if section == "$schema" || slices.Contains(listed, section) {
			continue
		}
		if len(properties) == 0 {
			t.Errorf("%q is missing", section)
		}
		for key := range properties {
			if !slices.Contains(listed, section+"."+key) {
				t.Errorf("%q is missing", section+"."+key)
			}
		}
	}
}

func TestMergeLive(t *testing.T) {
	parse := func(text string) *Server {
		s, _, err := ParseServer("x.json", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	old := parse(`{"dns": {"zone": "dl.example.org", "nameservers": ["ns1.example.org"]}}`)
	next := parse(`{"mirrors": "https://example.org/mirrors.json", "mirrors_refresh": "1m", "mirrors_guard": 0.2,
 "log": {"level": "debug", "format": "console"},
 "dns": {"zone": "dl.example.org", "nameservers": ["ns2.example.org"], "names": ["www"], "ttl": "30s", "max_answers": 3,
  "listen": ["127.0.0.1:53"], "cookie_secret": "00112233445566778899aabbccddeeff"},
 "http": {"sticky": "1m", "listen": ["127.0.0.1:80"]}, "selection": {"near": 2}, "health": {"rise": 3, "panic_threshold": 0.1}}`)
	before := *old
	now, applied, restart := MergeLive(old, next)
	if diff := cmp.Diff(strings.Fields("mirrors_refresh mirrors_guard dns.names dns.nameservers dns.ttl dns.max_answers "+
		"dns.cookie_secret http.sticky selection health.rise health.panic_threshold log.level"), applied); diff != "" {
		t.Errorf("applied (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(strings.Fields("mirrors dns.listen http.listen log.format"), restart); diff != "" {
		t.Errorf("needs a restart (-want +got):\n%s", diff)
	}
	if now.DNS.TTL != 30*time.Second || now.DNS.Listen[0] != "127.0.0.1:5300" || now.MirrorsGuard != 0.2 || now.Health.Rise != 3 {
		t.Errorf("got %+v", now)
	}
	if diff := cmp.Diff(before, *old, comparers); diff != "" {
		t.Errorf("the old one has changed: %s", diff)
	}
	if again, applied, restart := MergeLive(now, now); len(applied)+len(restart) > 0 || again.DNS.TTL != now.DNS.TTL {
		t.Errorf("from a configuration to itself: %v %v", applied, restart)
	}
}

// TestMergeACME: names change while the server runs; to begin or to end with ACME takes a restart.
func TestMergeACME(t *testing.T) {
	parse := func(tls string) *Server {
		s, _, err := ParseServer("x.json", []byte(`{"state_dir": "s", "dns": {"listen": "-"}, "http": {"tls": {"listen": ["127.0.0.1:443"], `+tls+`}}}`))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	files := parse(`"cert": "c", "key": "k"`)
	one := parse(`"acme": {"names": ["one.example.org"], "agree": true}`)
	two := parse(`"acme": {"names": ["two.example.org"], "agree": true}`)
	both := parse(`"cert": "c", "key": "k", "acme": {"names": ["one.example.org"], "agree": true}`)
	for _, test := range []struct {
		old, next        *Server
		applied, restart string
		names            *ACME
	}{
		{one, two, "http.tls.acme", "", two.HTTP.ACME},
		{files, one, "", "http.tls.acme http.tls", nil},
		{files, both, "", "http.tls.acme", nil},
		{both, files, "", "http.tls.acme", both.HTTP.ACME},
	} {
		now, applied, restart := MergeLive(test.old, test.next)
		if strings.Join(applied, " ") != test.applied || strings.Join(restart, " ") != test.restart {
			t.Errorf("applied %v, restart %v; want %s, %s", applied, restart, test.applied, test.restart)
		}
		if diff := cmp.Diff(test.names, now.HTTP.ACME); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	}
}
