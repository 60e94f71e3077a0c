package authority

import (
	"maps"
	"slices"
	"testing"

	"github.com/miekg/dns"

	"mirrorpool/config"
)

// TestCAA asks for CAA at the names that lead to mirrors, at others, and in a transfer.
func TestCAA(t *testing.T) {
	t.Parallel()
	c := testConfig()
	c.CAA = []config.CAA{{Flags: 0, Tag: "issue", Value: "ca.example; validationmethods=dns-01"}, {Flags: 128, Tag: "iodef", Value: "mailto:a@example.org"}}
	const zoneText = `@ SOA ns1.example.org. h.example.org. 1 2 3 4 5
@ NS ns1.example.org.
www CAA 0 issue "other.example"
sub TXT "no mirror"
`
	static, err := parseStatic("zone", []byte(zoneText), c.Zone, poolNames(c))
	if err != nil {
		t.Fatal(err)
	}
	z := newZone(c, static, testSnapshot(t, 1, 2), [2]uint32{})
	ours := func(owner string) []string {
		return []string{owner + ` 3600 IN CAA 0 issue "ca.example; validationmethods=dns-01"`,
			owner + ` 3600 IN CAA 128 iodef "mailto:a@example.org"`}
	}
	for name, want := range map[string][]string{
		"dl.example.org.":          ours("dl.example.org."),
		"x.eu.dl.example.org.":     ours("x.eu.dl.example.org."),
		"a.b.deep.dl.example.org.": ours("a.b.deep.dl.example.org."),
		"m1.dl.example.org.":       ours("m1.dl.example.org."),
		"off.dl.example.org.":      ours("off.dl.example.org."),
		"www.dl.example.org.":      {`www.dl.example.org. 3600 IN CAA 0 issue "other.example"`},
		"sub.dl.example.org.":      nil,
		"b.deep.dl.example.org.":   nil,
	} {
		compare(t, name, exchange(t, z, new(dns.Msg).SetQuestion(name, dns.TypeCAA), overUDP).Answer, want)
	}
	inTransfer := map[string]bool{}
	for _, rr := range z.mirrorRecords() {
		if caa, ok := rr.(*dns.CAA); ok {
			inTransfer[caa.Hdr.Name] = true
		}
	}
	want := []string{"*.eu.dl.example.org.", "a.b.deep.dl.example.org.", "dl.example.org.", "m1.dl.example.org.", "off.dl.example.org."}
	if got := slices.Sorted(maps.Keys(inTransfer)); !slices.Equal(got, want) { // www has its own
		t.Errorf("names with CAA in the transfer: %v, want %v", got, want)
	}
	if z := testZone(t, 1, 2); len(exchange(t, z, new(dns.Msg).SetQuestion("dl.example.org.", dns.TypeCAA), overUDP).Answer) != 0 {
		t.Error("CAA that is not configured")
	}
}

// TestNameWithoutCAA looks for a name of the pool that lacks protection, in the configuration and in a zone file.
func TestNameWithoutCAA(t *testing.T) {
	t.Parallel()
	const head = "@ SOA ns1.example.org. h.example.org. 1 2 3 4 5\n@ NS ns1.example.org.\n"
	strict := []config.CAA{{Tag: "issue", Value: "ca.example; accounturi=https://ca.example/1"}}
	loose := []config.CAA{{Tag: "issue", Value: "ca.example"}}
	tests := map[string]struct {
		names []string
		caa   []config.CAA
		file  string
		want  string
	}{
		"none":                         {[]string{"@"}, nil, "", "dl.example.org."},
		"one":                          {[]string{"@", "www"}, strict, "", ""},
		"one that leaves HTTP-01 open": {[]string{"@"}, loose, "", "dl.example.org."},
		"in the file":                  {[]string{"@"}, nil, "@ CAA 0 ISSUE \";\"\n", ""},
		"the file's wins":              {[]string{"@"}, strict, "@ CAA 0 issue \"ca.example\"\n", "dl.example.org."},
		"above, in the file":           {[]string{"a.b"}, nil, "@ CAA 0 issue \";\"\n", ""},
		"beside, in the file":          {[]string{"a", "b"}, nil, "a CAA 0 issue \";\"\n", "b.dl.example.org."},
		"a wildcard":                   {[]string{"*"}, nil, "@ CAA 0 issue \";\"\n", ""},
	}
	for name, test := range tests {
		c := testConfig()
		c.Names, c.CAA = test.names, test.caa
		var static *StaticRecords
		if test.file != "" {
			var err error
			if static, err = parseStatic("zone", []byte(head+test.file), c.Zone, poolNames(c)); err != nil {
				t.Fatal(err)
			}
		}
		if got := NameWithoutCAA(c, static); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

// TestMirrorWithoutCAA looks for a mirror's own name that lacks protection, beside pool names that have it.
func TestMirrorWithoutCAA(t *testing.T) {
	t.Parallel()
	const head = "@ SOA ns1.example.org. h.example.org. 1 2 3 4 5\n@ NS ns1.example.org.\n"
	strict := []config.CAA{{Tag: "issue", Value: "ca.example; validationmethods=dns-01"}}
	for name, test := range map[string]struct {
		names []string
		caa   []config.CAA
		file  string
		want  string
	}{
		"none":                        {[]string{"@"}, nil, "", "m1.dl.example.org."},
		"at the pool's name alone":    {[]string{"www"}, nil, "www CAA 0 issue \";\"\n", "m1.dl.example.org."},
		"at the pool's name above":    {[]string{"@"}, nil, "@ CAA 0 issue \";\"\n", ""},
		"configured":                  {[]string{"www"}, strict, "", ""},
		"configured, the file's wins": {[]string{"www"}, strict, "m1 CAA 0 issue \"ca.example\"\nm1 A 192.0.2.80\n", ""},
		"in the file":                 {[]string{"www"}, nil, "www CAA 0 issue \";\"\nm1 A 192.0.2.80\n", "m2.dl.example.org."},
		"a wildcard in the file":      {[]string{"www"}, nil, "* CAA 0 issue \";\"\n", "m1.dl.example.org."},
	} {
		c := testConfig()
		c.Names, c.CAA = test.names, test.caa
		static, err := parseStatic("zone", []byte(head+test.file), c.Zone, poolNames(c))
		if err != nil {
			t.Fatal(err)
		}
		if got := MirrorWithoutCAA(c, static, []string{"", "m1", "m2"}); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

// TestRelevantCAA looks for the records that hold for a name: by wildcards, at the pool's names, and above.
func TestRelevantCAA(t *testing.T) {
	t.Parallel()
	c := testConfig()
	c.Names, c.CAA = []string{"@", "*.eu"}, []config.CAA{{Tag: "issue", Value: "pool.example"}}
	const file = `@ SOA ns1.example.org. h.example.org. 1 2 3 4 5
@ NS ns1.example.org.
own CAA 0 issue "own.example"
*.wild CAA 0 issue "wild.example"
host.wild A 192.0.2.80
`
	static, err := parseStatic("zone", []byte(file), c.Zone, poolNames(c))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"dl.example.org.": "pool.example", "a.dl.example.org.": "pool.example", "a.eu.dl.example.org.": "pool.example",
		"own.dl.example.org.": "own.example", "a.b.own.dl.example.org.": "own.example", "x.wild.dl.example.org.": "wild.example",
		"host.wild.dl.example.org.": "pool.example", "example.org.": "", "xdl.example.org.": "",
	} {
		var got string
		if list := RelevantCAA(c, static, name); len(list) > 0 {
			got = list[0].Value
		}
		if got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	c.Names = []string{"pool"}
	if list := RelevantCAA(c, static, "host.wild.dl.example.org."); len(list) > 0 {
		t.Errorf("without records above: %v", list)
	}
}
