package config

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestKeyTables holds the tables of keys in README.md files to the schemas. After a change of a schema:
//
//	go test ./config -run TestKeyTables -update
func TestKeyTables(t *testing.T) {
	t.Parallel()
	for _, table := range []struct {
		file string
		keys []Key
		of   []string // what their paths begin with
	}{
		{"README.md", MirrorsKeys(), []string{"version", "mirrors"}},
		{"../health/README.md", ServerKeys(), []string{"health."}},
		{"../health/files/README.md", ServerKeys(), []string{"files."}},
		{"../health/watch/README.md", ServerKeys(), []string{"watch."}},
		{"../dnspool/README.md", ServerKeys(), []string{"selection.", "geoip."}},
		{"../dnspool/redirector/README.md", ServerKeys(), []string{"http.", "stats."}},
		{"../dnspool/authority/README.md", ServerKeys(), []string{"dns.", "publish"}},
		{"../dnspool/mail/README.md", ServerKeys(), []string{"mail"}},
		{"../dnspool/admin/README.md", ServerKeys(), []string{"admin.", "log."}},
		{"../cmd/mirrorpool/README.md", ServerKeys(), []string{"mirrors", "state_dir"}},
	} {
		text, err := os.ReadFile(table.file)
		if err != nil {
			t.Fatal(err)
		}
		want := keyTable(table.keys, table.of)
		before, rest, found := strings.Cut(string(text), "| key | value | default | meaning |\n")
		end := strings.Index(rest, "\n\n")
		if end < 0 {
			end = len(rest) - 1
		}
		switch {
		case !found:
			t.Errorf("%s has no table of keys", table.file)
		case *update:
			if err := os.WriteFile(table.file, []byte(before+want+rest[end+1:]), 0o644); err != nil {
				t.Fatal(err)
			}
		case !strings.Contains(string(text), want):
			t.Errorf("%s: the table of keys is not that of the schema; see this test's comment", table.file)
		}
	}
}

func keyTable(keys []Key, of []string) string {
	var text strings.Builder
	text.WriteString("| key | value | default | meaning |\n|---|---|---|---|\n")
	cell := strings.NewReplacer("|", `\|`, "<", "&lt;")
	for _, k := range keys {
		for _, prefix := range of {
			if strings.HasPrefix(k.Path, prefix) {
				byDefault := ""
				if k.Default != "" {
					byDefault = "`" + k.Default + "`"
				}
				fmt.Fprintf(&text, "| `%s` | %s | %s | %s |\n", k.Path, cell.Replace(k.Want), byDefault, cell.Replace(k.Meaning))
				break
			}
		}
	}
	return text.String()
}

// TestKeys: each key of the example with all keys is described once, in order.
func TestKeys(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, k := range ServerKeys() {
		if seen[k.Path] || k.Want == "" || k.Want == "value" {
			t.Errorf("%+v: twice, or without a value", k)
		}
		seen[k.Path] = true
	}
	text, err := os.ReadFile("testdata/everything.json")
	if err != nil {
		t.Fatal(err)
	}
	d, faults := readDocument("everything.json", text)
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	var walk func(path string, n *node)
	walk = func(path string, n *node) {
		for _, m := range n.order {
			switch {
			case n.isObject():
				at := strings.TrimPrefix(path+"."+m.name, ".")
				if !seen[at] {
					t.Errorf("%s is not described", at)
				}
				walk(at, m)
			case m.isObject():
				walk(path+"[]", m)
			}
		}
	}
	walk("", d.root)
	if !seen["publish[].names"] {
		t.Error("publish[].names is not described")
	}
}
