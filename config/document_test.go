package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestPositions marks the first byte of every value and key of a text.
func TestPositions(t *testing.T) {
	text := "{\r\n \"a\": [1, \"ü\", {\"x/y~z\":null}],\n\t\"b\"\n:\ntrue}"
	d, faults := readDocument("x.json", []byte(text))
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	var got []string
	var walk func(n *node)
	walk = func(n *node) {
		line, column := d.position(n.off)
		keyLine, keyColumn := d.position(n.keyOff)
		got = append(got, fmt.Sprintf("%s %d:%d key %d:%d", n.pointer(), line, column, keyLine, keyColumn))
		for _, m := range n.order {
			walk(m)
		}
	}
	walk(d.root)
	want := []string{
		" 1:1 key 1:1",
		"/a 2:7 key 2:2",
		"/a/0 2:8 key 2:8",
		"/a/1 2:11 key 2:11",
		"/a/2 2:17 key 2:17",
		"/a/2/x~1y~0z 2:26 key 2:18",
		"/b 5:1 key 3:2",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if n := d.root.at([]string{"a", "2", "x/y~z"}); n.pointer() != "/a/2/x~1y~0z" {
		t.Errorf("at gives %s", n.pointer())
	}
}

// TestValues compares the tree with what encoding/json makes of the same text.
func TestValues(t *testing.T) {
	for _, text := range []string{
		`0`, `-1.5e+3`, `"\ud83d\ude00 \"\\\/\b\f\n\r\t\u0000"`, `"\ud800"`, `[]`, `{}`, `[[],{},[[]]]`, ` [ true , false , null ] `,
		`{"a":{"b":[{"c":"\\"},{}]},"":"","\u0061b":1}`,
	} {
		checkTree(t, []byte(text))
	}
}

// checkTree fails t if data is JSON and the tree is not what encoding/json makes of it. Repeated
// keys, which the two treat differently, are left out.
func checkTree(t *testing.T, data []byte) {
	t.Helper()
	d, faults := readDocument("x.json", data)
	if d.root == nil || len(faults) > 0 {
		return
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var want any
	if err := dec.Decode(&want); err != nil {
		t.Fatalf("%q is accepted, but encoding/json says %v", data, err)
	}
	if diff := cmp.Diff(want, d.root.any()); diff != "" {
		t.Errorf("%q: -want +got:\n%s", data, diff)
	}
}

// TestHostileFiles: big files that are made to be slow are done with soon. The limit is
// far above what they take, for a busy machine, and far below what quadratic time would be.
func TestHostileFiles(t *testing.T) {
	fill := func(before, item, after string) string {
		return before + strings.Repeat(item, (1<<19)/len(item)) + after
	}
	var keys strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&keys, `"k%d":1,`, i)
	}
	for name, text := range map[string]string{
		"brackets":       fill("", "[", ""),
		"numbers":        fill(`{"mirrors":[`, "1,", "1]}"),
		"bad addresses":  fill(`{"mirrors":[{"dns":{"addresses":[`, "1,", "1]}}]}"),
		"same key":       fill(`{`, `"a":1,`, `"a":1}`),
		"keys":           "{" + keys.String() + `"version":1}`,
		"keys of mirror": `{"mirrors":[{` + keys.String() + `"weight":"1"}]}`,
		"newlines":       fill("{", "\n", "}"),
		"string":         fill(`{"mirrors":"`, `\\`, `"}`),
		"big numbers":    fill(`{"mirrors":[`, "1e999999999,", "1]}"),
		"empty mirrors":  fill(`{"mirrors":[`, "{},", "{}]}"),
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			_, warnings, err := ParsePool("mirrors.json", []byte(text))
			_, _, err2 := ParseServer("mirrorpool.json", []byte(text))
			if took := time.Since(start); took > time.Minute {
				t.Errorf("took %s", took)
			}
			if err == nil || err2 == nil {
				t.Error("accepted")
			}
			if n := len(Errors(err)); n > maxReported+1 {
				t.Errorf("%d errors", n)
			}
			if n := len(warnings); n > maxReported+1 {
				t.Errorf("%d warnings", n)
			}
		})
	}
}
