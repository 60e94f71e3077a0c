package authority

import (
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// TestWithTXT asks for answers to challenges, with and without a zone file, and for what is beside them.
func TestWithTXT(t *testing.T) {
	t.Parallel()
	c := testConfig()
	const file = `@ SOA ns1.example.org. h.example.org. 1 2 3 4 5
@ NS ns1.example.org.
_acme-challenge TXT "of the file"
host A 192.0.2.80
_acme-challenge.alias CNAME elsewhere.example.net.
`
	static, err := parseStatic("zone", []byte(file), c.Zone, poolNames(c))
	if err != nil {
		t.Fatal(err)
	}
	values := map[string][]string{
		"_acme-challenge.dl.example.org.":       {"one", "two"},
		"_acme-challenge.www.dl.example.org.":   {"three"},
		"_acme-challenge.alias.dl.example.org.": {"lost"},
		"_acme-challenge.example.net.":          {"foreign"},
		"_acme-challenge.x.eu.dl.example.org.":  {"would take the answers of *.eu from x.eu"},
		"_acme-challenge.eu.dl.example.org.":    {"four"},
	}
	const ttl = " 3600 IN TXT " // of the set in the file
	for _, test := range []struct {
		static *StaticRecords
		name   string
		want   []string
	}{
		{nil, "_acme-challenge.dl.example.org.", []string{`_acme-challenge.dl.example.org. 1 IN TXT "one"`, `_acme-challenge.dl.example.org. 1 IN TXT "two"`}},
		{nil, "_acme-challenge.www.dl.example.org.", []string{`_acme-challenge.www.dl.example.org. 1 IN TXT "three"`}},
		{static, "_acme-challenge.www.dl.example.org.", []string{`_acme-challenge.www.dl.example.org. 1 IN TXT "three"`}},
		{static, "_acme-challenge.dl.example.org.", []string{"_acme-challenge.dl.example.org." + ttl + `"of the file"`,
			"_acme-challenge.dl.example.org." + ttl + `"one"`, "_acme-challenge.dl.example.org." + ttl + `"two"`}},
		{static, "_acme-challenge.alias.dl.example.org.", []string{"_acme-challenge.alias.dl.example.org. 3600 IN CNAME elsewhere.example.net."}},
		{nil, "_acme-challenge.eu.dl.example.org.", []string{`_acme-challenge.eu.dl.example.org. 1 IN TXT "four"`}},
		{nil, "_acme-challenge.x.eu.dl.example.org.", nil},
		{static, "www.dl.example.org.", nil},
	} {
		z := newZone(c, test.static.WithTXT(c, values), testSnapshot(t, 1, 2), [2]uint32{})
		compare(t, test.name, exchange(t, z, new(dns.Msg).SetQuestion(test.name, dns.TypeTXT), overUDP).Answer, test.want)
		compare(t, "the pool", exchange(t, z, new(dns.Msg).SetQuestion("www.dl.example.org.", dns.TypeA), overUDP).Answer,
			[]string{"www.dl.example.org. 60 IN A 192.0.2.1"})
		compare(t, "a name of a wildcard", exchange(t, z, new(dns.Msg).SetQuestion("x.eu.dl.example.org.", dns.TypeA), overUDP).Answer,
			[]string{"x.eu.dl.example.org. 60 IN A 192.0.2.1"})
	}
	// The records of the file are as they were.
	z := newZone(c, static, testSnapshot(t, 1, 2), [2]uint32{})
	compare(t, "later", exchange(t, z, new(dns.Msg).SetQuestion("_acme-challenge.dl.example.org.", dns.TypeTXT), overUDP).Answer,
		[]string{`_acme-challenge.dl.example.org. 3600 IN TXT "of the file"`})
	if static.WithTXT(c, nil) != static {
		t.Error("without challenges, there is a copy")
	}
	inTransfer := static.WithTXT(c, values).sorted()
	if more := len(inTransfer) - len(static.sorted()); more != 4 {
		t.Errorf("%d more records in a transfer, want 4", more)
	}
}

// TestCheckTXT has names that the zone cannot have a TXT record at: the error says why, and WithTXT adds none.
func TestCheckTXT(t *testing.T) {
	t.Parallel()
	c := testConfig()
	const file = `@ SOA ns1.example.org. h.example.org. 1 2 3 4 5
@ NS ns1.example.org.
_acme-challenge.alias CNAME elsewhere.example.net.
sub NS ns1.example.org.
*.wild A 192.0.2.80
host.wild A 192.0.2.81
`
	static, err := parseStatic("zone", []byte(file), c.Zone, poolNames(c))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		static *StaticRecords
		name   string
		want   string // in the error; empty: there is none
	}{
		{nil, "_acme-challenge.dl.example.org.", ""},
		{nil, "_acme-challenge.example.org.", "is not in the zone dl.example.org.: publish the zone that has the name"},
		{nil, "_acme-challenge.x.eu.dl.example.org.", "x.eu.dl.example.org. exists by a wildcard"},
		{static, "_acme-challenge.dl.example.org.", ""},
		{static, "_acme-challenge.new.dl.example.org.", ""},
		{static, "_acme-challenge.host.wild.dl.example.org.", ""},
		{static, "_acme-challenge.wild.dl.example.org.", ""},
		{static, "_acme-challenge.xdl.example.org.", "is not in the zone"},
		{static, "_acme-challenge.alias.dl.example.org.", "has a CNAME record: remove that"},
		{static, "_acme-challenge.sub.dl.example.org.", "sub.dl.example.org. is delegated to other servers"},
		{static, "_acme-challenge.a.b.sub.dl.example.org.", "sub.dl.example.org. is delegated to other servers"},
		{static, "_acme-challenge.x.wild.dl.example.org.", "give it records of its own"},
	} {
		err := test.static.CheckTXT(c, test.name)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), "cannot add a TXT record at "+test.name) ||
			err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", test.name, err)
		}
		added := test.static.WithTXT(c, map[string][]string{test.name: {"x"}})
		if got := len(added.sets[test.name][dns.TypeTXT]); (got == 1) != (err == nil) {
			t.Errorf("%s: %d records are added, although %v", test.name, got, err)
		}
	}
}
