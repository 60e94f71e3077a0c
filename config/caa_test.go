package config

import (
	"slices"
	"strings"
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
		list := parsedCAA(t, test.values)
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
	for text, want := range map[string]CAA{
		`0 issue "letsencrypt.org"`:       {0, "issue", "letsencrypt.org"},
		"0\tISSUE \t \"a.example; x=y\" ": {0, "issue", "a.example; x=y"},
		`0 issue letsencrypt.org`:         {0, "issue", "letsencrypt.org"},
		`0 issue ""`:                      {0, "issue", ""},
		`0 issue ";"`:                     {0, "issue", ";"},
		`0 issue "a.example;"`:            {0, "issue", "a.example;"},
		`0 issue "a.example; accounturi=https://acme.example/acct/1; validationmethods=dns-01,http-01"`: {0, "issue", "a.example; accounturi=https://acme.example/acct/1; validationmethods=dns-01,http-01"},
		`0 issue "a.example ; x = "`:         {0, "issue", "a.example ; x = "},
		`128 issuewild "a-b.x--y.example"`:   {128, "issuewild", "a-b.x--y.example"},
		`0 iodef "mailto:a@example.org"`:     {0, "iodef", "mailto:a@example.org"},
		`0 iodef https://example.org/report`: {0, "iodef", "https://example.org/report"},
		`0 contactemail a@example.org`:       {0, "contactemail", "a@example.org"},
		`0 contactphone "+49 30 1234"`:       {0, "contactphone", "+49 30 1234"},
	} {
		if caa, err := parseCAA(text); caa != want || err != nil {
			t.Errorf("%s: %+v, %v", text, caa, err)
		}
	}
	for text, want := range map[string]string{
		``: "flags, a tag and a value", `0`: "flags, a tag", `0 issue`: "flags, a tag",
		`1 issue ";"`: "flags are 0", `129 issue ";"`: "flags are 0", `256 issue ";"`: "flags are 0", `-1 issue ";"`: "flags are 0",
		`0x80 issue ";"`: "flags are 0", `issue ";" 0`: "flags are 0",
		`0 isue ";"`: "the tag is one of", `0 "" ";"`: "the tag is one of", `0 "issue" ";"`: "the tag is one of",
		`0 issue "a`: "closing quote", `0 issue "`: "closing quote", `0 issue a"`: "without quotes", "0 issue \"\x7f\"": "printable ASCII",
		`0 issue "a\"b"`: "without quotes", `0 issue a b`: "double quotes", `0 issue "é.example"`: "printable ASCII",
		`0 issue "a..example"`: "is a domain name", `0 issue "a.example."`: "is a domain name", `0 issue "-a.example"`: "is a domain name",
		`0 issue "a_b.example"`: "is a domain name", `0 issue "https://a.example"`: "is a domain name", `0 issue "a.example x=y"`: "is a domain name",
		`0 issue "~ !"`: "is a domain name", `0 issue "a.example, b.example"`: "is a domain name",
		`0 issue "a.example; dns-01"`: "parameters such as", `0 issue "a.example; =dns-01"`: "parameters such as",
		`0 issue "a.example; x=y;"`: "parameters such as", `0 issue "a.example;; x=y"`: "parameters such as",
		`0 issue "a.example; x=y z"`: "parameters such as", `0 issue "a.example; x_y=z"`: "parameters such as",
		`0 issue "a.example; validationmethods=dns-01, http-01"`: "parameters such as",
		`0 issuewild "a.example; x"`:                             "parameters such as", `0 issuemail "a b"`: "is a domain name",
		`0 iodef "a@example.org"`: "iodef is a URL", `0 iodef "mailto:"`: "iodef is a URL", `0 iodef "ftp://example.org"`: "iodef is a URL",
		`0 contactemail "none"`: "e-mail address", `0 contactphone "call me"`: "telephone number",
	} {
		if caa, err := parseCAA(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %+v, %v, want an error with %q", text, caa, err, want)
		}
	}
}

func TestCAAPermits(t *testing.T) {
	t.Parallel()
	all := []string{"dns-01", "tls-alpn-01", "http-01"}
	for _, test := range []struct {
		values     []string
		wildcard   bool
		challenges []string
		want       bool
	}{
		{nil, false, all, true},
		{[]string{`0 iodef "mailto:a@example.org"`}, false, all, true},
		{[]string{`0 issue ";"`}, false, all, false},
		{[]string{`0 issue "other.example"`}, false, all, false},
		{[]string{`0 issue "other.example"`, `0 issue "LetsEncrypt.org"`}, false, all, true},
		{[]string{`0 issue "letsencrypt.org; accounturi=https://a.example/1"`}, false, all, true},
		{[]string{`0 issue "letsencrypt.org; validationmethods=dns-01"`}, false, all, true},
		{[]string{`0 issue "letsencrypt.org; validationmethods=dns-01"`}, false, all[1:], false},
		{[]string{`0 issue "letsencrypt.org; validationmethods=x,http-01"`}, false, all[1:], true},
		{[]string{`0 issue "letsencrypt.org; validationmethods=dns-01"`, `0 issue "letsencrypt.org; validationmethods=http-01"`}, false, all[1:], true},
		{[]string{`0 issue "other.example"`, `0 issuewild "letsencrypt.org"`}, true, all[:1], true},
		{[]string{`0 issue "other.example"`, `0 issuewild "letsencrypt.org"`}, false, all, false},
		{[]string{`0 issue "letsencrypt.org"`, `0 issuewild ";"`}, true, all[:1], false},
		{[]string{`0 issue "letsencrypt.org"`}, true, all[:1], true},
		{[]string{`0 issuewild ";"`}, false, all, true},
		{[]string{`0 issuewild ";"`}, true, all[:1], false},
		{[]string{`0 issue "other.example"`}, true, all[:1], false},
	} {
		if got := CAAPermits(parsedCAA(t, test.values), "letsencrypt.org", test.wildcard, test.challenges); got != test.want {
			t.Errorf("%+v: %v", test, got)
		}
	}
	// A zone file may have what is no issuer: it bans all.
	if CAAPermits([]CAA{{Tag: "issue", Value: "letsencrypt.org; x"}}, "letsencrypt.org", false, all) {
		t.Error("a value that cannot be parsed permits")
	}
	if !CAAKeepsMirrorsOut([]CAA{{Tag: "issue", Value: "letsencrypt.org; x"}}) {
		t.Error("a value that cannot be parsed lets mirrors in")
	}
}

// parsedCAA returns CAA records.
func parsedCAA(t *testing.T, values []string) (list []CAA) {
	t.Helper()
	for _, value := range values {
		caa, err := parseCAA(value)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, caa)
	}
	return list
}

func TestIsSeriesOf(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{"az": true, "AZ": true, "09": true, "a-Z": true, "": false, "-a": false, "a-": false,
		"a_b": false, "`": false, "{": false, "@": false, "[": false, "/": false, ":": false} {
		if got := isSeriesOf([]string{"ca", text}); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}
