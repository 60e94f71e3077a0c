package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLoadRefuses(t *testing.T) {
	dir := t.TempDir()
	big := filepath.Join(dir, "big.json")
	if err := os.WriteFile(big, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(big, 1<<40); err != nil { // sparse: reading all of it would take hours
		t.Skip(err)
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "none.json"): "none.json: no such file or directory",
		dir:                             ": not a regular file",
		"/dev/zero":                     "/dev/zero: not a regular file",
		big:                             "big.json: want a file of at most 8388608 bytes",
	} {
		_, err := ReadFile(path)
		if err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("ReadFile(%s): %v, want %s", path, err, want)
		}
		_, _, err = LoadServer(path)
		if list := Errors(err); len(list) != 1 || list[0].File != path {
			t.Errorf("LoadServer(%s): %v, want an error of that file", path, err)
		}
	}
	if _, err := ReadFile(filepath.Join(dir, "none.json")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v is not fs.ErrNotExist", err)
	}
}

func TestKindOf(t *testing.T) {
	for text, want := range map[string]string{
		`{"version": 7}`:                "mirrors.json <nil>",
		`{"mirrors": []}`:               "mirrors.json <nil>",
		`{"mirrors": "m.json"}`:         "mirrorpool.json <nil>",
		`{}`:                            "mirrorpool.json <nil>",
		`[]`:                            "mirrorpool.json <nil>",
		`{"dns": 1, "dns": 1}`:          "mirrorpool.json <nil>",
		"{\n \"mirrors\": [\n]\n} oops": " x.json:4:3: (document): not valid JSON: 'o' after the end of the document",
		``:                              " x.json:1:1: (document): the file is empty; want a JSON object",
	} {
		kind, err := KindOf("x.json", []byte(text))
		if got := fmt.Sprint(kind, " ", err); got != want {
			t.Errorf("KindOf(%q): got %s, want %s", text, got, want)
		}
	}
}

func TestErrors(t *testing.T) {
	if list := Errors(nil); list != nil {
		t.Errorf("Errors(nil) = %v", list)
	}
	a := &Error{File: "a.json", Line: 14, Column: 17, Pointer: "/mirrors/3/weight", Err: errors.New("want b, got c")}
	if got, want := a.Error(), "a.json:14:17: /mirrors/3/weight: want b, got c"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	foreign := errors.New("foreign")
	list := Errors(errors.Join(fmt.Errorf("wrapped: %w", a), errors.Join(a, foreign)))
	if len(list) != 3 || list[0] != a || list[1] != a || list[2].Err != foreign {
		t.Errorf("got %v", list)
	}
	if n := len(Errors(join(nil))); n != 0 || join(nil) != nil {
		t.Errorf("no errors became %d", n)
	}
}

// TestManyFaults: what is not shown is counted, and the checks stop in time.
func TestManyFaults(t *testing.T) {
	_, _, err := ParsePool("mirrors.json", []byte(`{"version": 1, "mirrors": [`+strings.Repeat("0,\n", maxReported+4)+`0]}`))
	list := Errors(err)
	last := list[len(list)-1].Error()
	if _, _, err := ParsePool("mirrors.json", []byte(`{"mirrors": [`+strings.Repeat(`{"email": 7, "dns": {"addresses": [{}]}},`,
		5000)+`0]}`)); len(Errors(err)) != maxReported+1 {
		t.Errorf("%d errors", len(Errors(err)))
	}
	if len(list) != maxReported+1 || last != "mirrors.json:1000:1: (document): at least 5 more from here on are not shown" {
		t.Errorf("%d errors, the last: %s", len(list), last)
	}
}

func TestNearest(t *testing.T) {
	known := []string{"weight", "url_prefix", "dns", "name", "notes", "email"}
	for word, want := range map[string]string{
		"wieght": "weight", "Weight": "weight", "wight": "weight", "urlprefix": "url_prefix", "dn": "dns",
		"nmae": "name", "": "", "bandwidth": "", "x": "", strings.Repeat("weight", 100): "",
	} {
		if got := nearest(word, known); got != want {
			t.Errorf("nearest(%q) = %q, want %q", word, got, want)
		}
	}
}

func TestHideUser(t *testing.T) {
	for in, want := range map[string]string{
		"https://u:p@example.org/x":   "https://***@example.org/x",
		"https://u:p/q@example.org/x": "https://***@example.org/x",
		"https://example.org/x":       "https://example.org/x",
		"ops@example.org":             "ops@example.org",
	} {
		if got := hideUser(in); got != want {
			t.Errorf("hideUser(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestEditDistance(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"m7", "m7", 0}, {"m7", "m8", 1}, {"mirorr", "mirror", 1},
		{"kitten", "sitting", 3},
	} {
		if got := EditDistance(test.a, test.b); got != test.want {
			t.Errorf("%q, %q: %d, want %d", test.a, test.b, got, test.want)
		}
	}
}
