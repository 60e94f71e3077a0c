package config

import (
	"slices"
	"testing"
)

func TestCAAKeepsMirrorsOut(t *testing.T) {
	t.Parallel()
	tests := []struct {
		values []string
		want   bool
	}{
		{nil, false},
		{[]string{`0 issue ";"`}, true},
		{[]string{`0 issue ""`}, true},
		{[]string{`0 issue "letsencrypt.org"`}, false},
		{[]string{`0 issue letsencrypt.org`}, false},
		{[]string{`0 issue "letsencrypt.org; validationmethods=dns-01"`}, true},
		{[]string{`0 issue "letsencrypt.org; validationmethods=dns-01,http-01"`}, false},
		{[]string{`0 issue "letsencrypt.org; validationmethods="`}, false},
		{[]string{`0 issue "letsencrypt.org; validationmethods=tls-alpn-01"`}, false},
		{[]string{`0 issue "letsencrypt.org; accounturi=https://acme.example.net/1"`}, true},
		{[]string{`0 issue "letsencrypt.org; validationmethods=http-01; accounturi=https://acme.example.net/1"`}, true},
		{[]string{`0 iodef "mailto:a@example.org"`}, false},
		{[]string{`0 issuewild ";"`}, false},
		{[]string{`0 issue ";"`, `0 iodef "mailto:a@example.org"`}, true},
		{[]string{`0 issue "letsencrypt.org; validationmethods = dns-01 "`}, true},
		{[]string{`0 issue ";"`, `0 issue "other.example"`}, false},
		{[]string{`0 issue ";"`, `0 issuewild "other.example"`}, false},
		{[]string{`0 issue "a.example; accounturi=x"`, `0 issue "b.example; accounturi=y"`}, true},
	}
	for _, test := range tests {
		var list []CAA
		for _, value := range test.values {
			caa, err := parseCAA(value)
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, caa)
		}
		if got := CAAKeepsMirrorsOut(list); got != test.want {
			t.Errorf("%q: %v", test.values, got)
		}
		slices.Reverse(list)
		if got := CAAKeepsMirrorsOut(list); got != test.want {
			t.Errorf("%q in reverse: %v", test.values, got)
		}
	}
}

func TestParseCAA(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`0 issue "~ !"`: "~ !", `0 issue "a`: "a", `0 issue ""`: "", "0 issue \"\x7f\"": "", `0 issue "`: "", `0 issue a"`: "",
	} {
		caa, err := parseCAA(text)
		if bad := want == "" && text != `0 issue ""`; (err != nil) != bad || caa.Value != want {
			t.Errorf("%s: %q, %v", text, caa.Value, err)
		}
	}
}
