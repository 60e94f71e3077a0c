//go:build linux

package systest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
)

// output runs a program in the internet and returns what it prints.
func (n internet) output(stdin []byte, args ...string) []byte {
	n.t.Helper()
	cmd := n.command(n.t.Context(), args...)
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stderr = bytes.NewReader(stdin), &stderr
	out, err := cmd.Output()
	if err != nil {
		n.t.Fatalf("%v: %v\n%s%s", args, err, out, stderr.Bytes())
	}
	return out
}

// hints are where the root server is.
func (n internet) hints() string {
	addrs := internetServers["a.root-servers.net."]
	return n.write("hints", fmt.Sprintf(". 3600000 NS a.root-servers.net.\na.root-servers.net. 3600000 A "+
		"%s\na.root-servers.net. 3600000 AAAA %s\n", addrs[0], addrs[1]))
}

// zonemaster returns the tags of what Zonemaster notes, warns of or calls an error.
func (n internet) zonemaster() []string {
	n.t.Helper()
	out := n.output(nil, "zonemaster-cli", "--hints", n.hints(), "--level", "NOTICE", "--json", "--no-progress", "dl.example.org")
	var messages []struct{ Level, Module, Tag string }
	if err := json.Unmarshal(out, &messages); err != nil {
		n.t.Fatalf("%v\n%s", err, out)
	}
	var said []string
	for _, m := range messages {
		said = append(said, m.Level+" "+m.Module+" "+m.Tag)
	}
	slices.Sort(said)
	return slices.Compact(said)
}

// dnsviz returns what DNSViz warns of or calls an error, anywhere from the root down to names of the pool.
func (n internet) dnsviz() []string {
	n.t.Helper()
	addrs := internetServers["a.root-servers.net."]
	root := fmt.Sprintf(".:a.root-servers.net=%s,a.root-servers.net=[%s]", addrs[0], addrs[1])
	probed := n.output(nil, "dnsviz", "probe", "-A", "-a", ".", "-x", root, "dl.example.org", "m1.dl.example.org")
	if !bytes.Contains(probed, []byte(internetServers["one"][0])) {
		n.t.Fatalf("DNSViz has not come to us:\n%s", probed)
	}
	out := n.output(probed, "dnsviz", "grok", "-l", "warning")
	if len(bytes.TrimSpace(out)) == 0 {
		return nil // nothing to say
	}
	var found any
	if err := json.Unmarshal(out, &found); err != nil {
		n.t.Fatalf("%v\n%s", err, out)
	}
	said := complaints(found)
	slices.Sort(said)
	return slices.Compact(said)
}

// complaints collects the codes of all errors and warnings in what DNSViz says.
func complaints(v any) (codes []string) {
	switch v := v.(type) {
	case []any:
		for _, item := range v {
			codes = append(codes, complaints(item)...)
		}
	case map[string]any:
		for key, item := range v {
			list, _ := item.([]any)
			for _, c := range list {
				if complaint, ok := c.(map[string]any); ok && (key == "errors" || key == "warnings") {
					codes = append(codes, fmt.Sprint(key, " ", complaint["code"]))
				}
			}
			codes = append(codes, complaints(item)...)
		}
	}
	return codes
}
