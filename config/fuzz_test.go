package config

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// addSeeds makes seeds of all files that the other tests read.
func addSeeds(f *testing.F) {
	for _, pattern := range []string{"testdata/*.json", "testdata/broken/*.json"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
}

// checkErrors holds errors and warnings to what every one of them promises: a place in the file.
func checkErrors(t *testing.T, data []byte, list []*Error) {
	t.Helper()
	lines := bytes.SplitAfter(data, []byte("\n"))
	last := 0
	for _, e := range list {
		if e.File != "x.json" || e.Err == nil || e.Line < max(last, 1) || e.Line > len(lines) || e.Column < 1 {
			t.Fatalf("no place of a file of %d lines: %v", len(lines), e)
		}
		// An error at the end of an empty file stands at its first column.
		if n := len(lines[e.Line-1]); e.Column > max(n, 1) {
			t.Fatalf("line %d has %d bytes: %v", e.Line, n, e)
		}
		last = e.Line
	}
}

func FuzzParsePool(f *testing.F) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		checkTree(t, data)
		pool, warnings, err := ParsePool("x.json", data)
		if (pool == nil) != (err != nil) {
			t.Fatalf("pool %v, error %v", pool, err)
		}
		checkErrors(t, data, warnings)
		checkErrors(t, data, Errors(err))
		if pool == nil {
			return
		}
		if len(pool.Mirrors) == 0 {
			t.Fatal("an empty pool")
		}
		prefixes := make(map[string]bool)
		var again []map[string]any
		for _, m := range pool.Mirrors {
			u, err := parsePrefix(m.URLPrefix, webPorts)
			if err != nil || u.String() != m.URLPrefix || m.URL.String() != m.URLPrefix {
				t.Fatalf("%q is not normal: %v, %v", m.URLPrefix, u, err)
			}
			if u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Host == "" || u.Path[len(u.Path)-1] != '/' {
				t.Fatalf("%q is no prefix", m.URLPrefix)
			}
			if prefixes[m.URLPrefix] {
				t.Fatalf("%q is given twice", m.URLPrefix)
			}
			prefixes[m.URLPrefix] = true
			if m.Weight == 0 && m.DNS.Weight > 0 {
				t.Fatalf("%q is disabled, but not in the DNS pool", m.URLPrefix)
			}
			again = append(again, map[string]any{"url_prefix": m.URLPrefix, "weight": m.Weight})
			if m.RsyncURL != "" {
				again[len(again)-1]["rsync_url"] = m.RsyncURL
			}
		}
		text, err := json.Marshal(map[string]any{"mirrors": again})
		if err != nil {
			t.Fatal(err)
		}
		pool2, _, err := ParsePool("x.json", text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		for i, m := range pool.Mirrors {
			if m2 := pool2.Mirrors[i]; m2.URLPrefix != m.URLPrefix || m2.RsyncURL != m.RsyncURL || m2.Weight != m.Weight {
				t.Fatalf("%v became %v", m, m2)
			}
		}
	})
}

func FuzzParseServer(f *testing.F) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		server, warnings, err := ParseServer("x.json", data)
		if (server == nil) != (err != nil) {
			t.Fatalf("server %v, error %v", server, err)
		}
		checkErrors(t, data, warnings)
		checkErrors(t, data, Errors(err))
		if server == nil {
			return
		}
		if len(server.DNS.Listen) > 0 && server.DNS.Zone == "" {
			t.Fatal("the DNS face is on, but has no zone")
		}
		again, err := json.Marshal(map[string]any{
			"mirrors": server.Mirrors,
			"dns": map[string]any{
				"listen": listOrOff(server.DNS.Listen), "zone": orElse(server.DNS.Zone, "lan"), "names": server.DNS.Names,
				"hostmaster": orElse(server.DNS.Hostmaster, "a.b"), "zone_file": "x", "ttl": server.DNS.TTL.String(),
				"ttl_min": server.DNS.TTLMin.String(),
			},
			"http":  map[string]any{"listen": listOrOff(server.HTTP.Listen), "base_path": server.HTTP.BasePath},
			"admin": map[string]any{"listen": orElse(server.Admin.Listen, Off), "token_file": "x"},
			"health": map[string]any{"path": server.Health.Path, "dns_url": orElse(server.Health.DNSURL, "http://lan/"),
				"reference_url": server.Health.ReferenceURL},
		})
		if err != nil {
			t.Fatal(err)
		}
		server2, _, err := ParseServer("x.json", again)
		if err != nil {
			t.Fatalf("%s: %v", again, err)
		}
		if diff := cmp.Diff(server.Health.Path, server2.Health.Path) + cmp.Diff(server.HTTP.BasePath, server2.HTTP.BasePath) +
			cmp.Diff(server.HTTP.Listen, server2.HTTP.Listen) + cmp.Diff(server.DNS.Listen, server2.DNS.Listen) +
			cmp.Diff(server.Health.ReferenceURL, server2.Health.ReferenceURL) + cmp.Diff(server.Mirrors, server2.Mirrors); diff != "" {
			t.Fatalf("not the same when read again: %s", diff)
		}
	})
}

func listOrOff(list []string) any {
	if len(list) == 0 {
		return Off
	}
	return list
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
