package rsync

import (
	"errors"
	"strings"
	"testing"
)

func TestParseURL(t *testing.T) {
	tests := []struct {
		raw  string
		want URL
	}{
		{"rsync://mirror.example.net/tails/", URL{"mirror.example.net", "873", "tails", ""}},
		{"rsync://mirror.example.net/tails", URL{"mirror.example.net", "873", "tails", ""}},
		{"RSYNC://mirror.example.net:8873/pub/tails//", URL{"mirror.example.net", "8873", "pub", "tails"}},
		{"rsync://192.0.2.7/t/a/b", URL{"192.0.2.7", "873", "t", "a/b"}},
		{"rsync://[2001:db8::7]/tails/", URL{"2001:db8::7", "873", "tails", ""}},
		{"rsync://[2001:db8::7]:8873/tails/", URL{"2001:db8::7", "8873", "tails", ""}},
		{"rsync://mirror.example.net/two words/a%20b#c", URL{"mirror.example.net", "873", "two words", "a%20b#c"}},
	}
	for _, tt := range tests {
		if got, err := ParseURL(tt.raw); err != nil || got != tt.want {
			t.Errorf("ParseURL(%q) = %+v, %v, want %+v", tt.raw, got, err, tt.want)
		}
	}
}

func TestParseURLRefuses(t *testing.T) {
	tests := []struct{ raw, says string }{
		{"", "want rsync://HOST/MODULE/"},
		{"https://mirror.example.net/tails/", "want rsync://HOST/MODULE/"},
		{"mirror.example.net::tails", "want rsync://HOST/MODULE/"},
		{"rsync://mirror.example.net", "no module is named"},
		{"rsync://mirror.example.net/", "no module is named"},
		{"rsync://mirror.example.net//tails", "no module is named"},
		{"rsync:///tails/", `"" is not HOST or HOST:PORT`},
		{"rsync://:873/tails/", `":873" is not HOST or HOST:PORT`},
		{"rsync://someone@mirror.example.net/tails/", "want no user name"},
		{"rsync://mirror.example.net:0/tails/", `port "0" is not a number from 1 to 65535`},
		{"rsync://mirror.example.net:65536/tails/", `port "65536"`},
		{"rsync://mirror.example.net:rsync/tails/", "is not HOST or HOST:PORT"},
		{"rsync://2001:db8::7/tails/", "is not HOST or HOST:PORT"},
		{"rsync://[fe80::1%25eth0]/tails/", "is not HOST or HOST:PORT"},
		{"rsync://[mirror.example.net]/tails/", "is not HOST or HOST:PORT"},
		{"rsync://[192.0.2.7]/tails/", "is not HOST or HOST:PORT"},
		{"rsync://a:b:c/tails/", "is not HOST or HOST:PORT"},
		{"rsync://mirror?x/tails/", "is not HOST or HOST:PORT"},
		{"rsync://mirror.example.net/#list", `begins with "#"`},
		{"rsync://mirror.example.net/--daemon/", `begins with "-"`},
		{"rsync://mirror.example.net/ta*ls/", `contains '*'`},
	}
	for _, tt := range tests {
		_, err := ParseURL(tt.raw)
		if err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("ParseURL(%q): got %v, want %q", tt.raw, err, tt.says)
		}
	}
}

func TestJoin(t *testing.T) {
	root := URL{"mirror.example.net", "873", "pub", ""}
	below := URL{"mirror.example.net", "873", "pub", "tails"}
	for _, tt := range []struct {
		from URL
		elem string
		want string
	}{
		{root, "project/trace", "project/trace"},
		{below, "project/trace", "tails/project/trace"},
		{below, "/project//trace", "tails/project/trace"},
		{below, "", "tails"},
		{below, "../../../etc", "etc"}, // never above the module
	} {
		if got := tt.from.Join(tt.elem).Path; got != tt.want {
			t.Errorf("%+v.Join(%q): path %q, want %q", tt.from, tt.elem, got, tt.want)
		}
	}
}

func TestTarget(t *testing.T) {
	tests := []struct{ module, path, says string }{
		{"", "trace", "no module is named"},
		{"-r", "trace", `begins with "-"`},
		{"#list", "trace", `begins with "#"`},
		{"a/b", "trace", "contains a slash"},
		{"a\nb", "trace", `contains '\n'`},
		{"tails", "", "is a directory"},
		{"tails", "/", "is a directory"},
		{"tails", "project/", "is a directory"},
		{"tails", "project/..", `climbs with ".."`},
		{"tails", "../secret", `climbs with ".."`},
		{"tails", "project/tr*ce", `contains '*'`},
		{"tails", "project/trac?", `contains '?'`},
		{"tails", "project/[t]race", `contains '['`},
		{"tails", `project\trace`, `contains '\\'`},
		{"tails", "trace\n--delete", `contains '\n'`},
		{"tails", "trace\x00", `contains '\x00'`},
		{"tails", "a tails/trace", "repeats the module"},
		{"tails", strings.Repeat("x", 1000), "exceed 1000 bytes"},
		{"tails", strings.Repeat("\u202e", 4000) + "*", `contains '*'`},
		{strings.Repeat("\U0010ffff", 4000) + "*", "trace", `contains '*'`},
	}
	for _, tt := range tests {
		conn := newScript(nil, 0)
		_, err := Stat(t.Context(), conn, tt.module, tt.path)
		if !errors.Is(err, ErrTarget) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%q, %q: got %v, want %q", tt.module, tt.path, err, tt.says)
		}
		checkText(t, err)
		if conn.told.Len() > 0 {
			t.Errorf("%q, %q: said %q", tt.module, tt.path, conn.told.String())
		}
	}
}
