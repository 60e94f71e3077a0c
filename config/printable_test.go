package config

import (
	"encoding/json"
	"testing"
)

func TestPrintable(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", ""},
		{"plain ASCII, Grüße, 日本", "plain ASCII, Grüße, 日本"},
		{"a\n::error file=x::owned", `a\u000a::error file=x::owned`},
		{"\x1b[31mred", `\u001b[31mred`},
		{"tab\tand\r\n", `tab\u0009and\u000d\u000a`},
		{"C1 \u009b31m", `C1 \u009b31m`},
		{"bidi \u202egnp.exe", `bidi \u202egnp.exe`},
		{"line\u2028separator", `line\u2028separator`},
		{"tag \U000e0041", `tag \udb40\udc41`},
		{"not UTF-8 \xff\xfe!", "not UTF-8 \ufffd\ufffd!"},
		{"the replacement character itself \ufffd", "the replacement character itself \ufffd"},
	} {
		if got := Printable(c.text); got != c.want {
			t.Errorf("Printable(%q) = %q, want %q", c.text, got, c.want)
		}
	}
}

// JSON that went through PrintableLines has the same values.
func TestPrintableLinesKeepsJSON(t *testing.T) {
	value := "a\n\x1b\u009b\u202e\U000e0041 \u2028 é"
	raw := "{\n\t\"key\": \"a\\n\\u001b\u009b\u202e\U000e0041 \u2028 é\"\n}\n"
	safe := PrintableLines(raw)
	if Printable(safe) == safe {
		t.Errorf("line feeds are gone: %q", safe)
	}
	var got struct{ Key string }
	if err := json.Unmarshal([]byte(safe), &got); err != nil || got.Key != value {
		t.Errorf("%q holds %q, error %v, want %q", safe, got.Key, err, value)
	}
}
