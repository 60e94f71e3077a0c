package authority

import (
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// TestDigest makes the digest of the simple zone in RFC 8976 appendix A.1, whatever the order and the letter case of
// its records.
func TestDigest(t *testing.T) {
	t.Parallel()
	const want = "c68090d90a7aed716bc459f9340e3d7c1370d4d24b7e2fc3a1ddc0b9a87153b9a9713b3c9ae5cc27777f98b8e730044c"
	for _, zone := range [][]string{
		{"example. 86400 IN SOA ns1.example. admin.example. 2018031900 1800 900 604800 86400", "example. 86400 IN NS ns1.example.",
			"example. 86400 IN NS ns2.example.", "ns1.example. 3600 IN A 203.0.113.63", "ns2.example. 3600 IN AAAA 2001:db8::63"},
		{"ns2.example. 3600 IN AAAA 2001:db8::63", "example. 86400 IN NS NS2.example.", "ns1.example. 3600 IN A 203.0.113.63",
			"example. 86400 IN NS ns1.Example.", "example. 86400 IN NS ns1.example.",
			"example. 86400 IN SOA NS1.example. Admin.example. 2018031900 1800 900 604800 86400"},
	} {
		var rrs []dns.RR
		for _, text := range zone {
			rr, err := dns.NewRR(text)
			if err != nil {
				t.Fatal(err)
			}
			rrs = append(rrs, rr)
		}
		if got := digestOf(rrs); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// TestCanonicalForm has the names in the data of records in lower case where RFC 4034 section 6.2 has them so, but for
// those types that a zone file may not have, and as they are elsewhere (RFC 3597 section 7, RFC 6840 section 5.1).
func TestCanonicalForm(t *testing.T) {
	t.Parallel()
	for rrtype, data := range map[string]string{
		"NS": "A.Example.", "CNAME": "A.Example.", "SOA": "A.Example. B.Example. 1 2 3 4 5", "MB": "A.Example.", "MG": "A.Example.",
		"MR": "A.Example.", "PTR": "A.Example.", "MINFO": "A.Example. B.Example.", "MX": "1 A.Example.", "RP": "A.Example. B.Example.",
		"AFSDB": "1 A.Example.", "RT": "1 A.Example.", "PX": "1 A.Example. B.Example.", "NAPTR": `1 2 "S" "Text" "Regexp" A.Example.`,
		"KX": "1 A.Example.", "SRV": "1 2 3 A.Example.",
		"NSEC": "A.Example. NS", "TXT": `"A.Example."`, "SVCB": "1 A.Example.", "HTTPS": "1 A.Example.", "LP": "1 A.Example.",
		"URI": `1 2 "A.Example."`, "CAA": `0 Issue "A.Example."`, "HINFO": `"A.Example." "B.Example."`,
	} {
		rr, err := dns.NewRR("x.example. 60 IN " + rrtype + " " + data)
		if err != nil {
			t.Fatal(err)
		}
		before := rr.String()
		want := before
		if !slices.Contains([]string{"NSEC", "TXT", "SVCB", "HTTPS", "LP", "URI", "CAA", "HINFO"}, rrtype) {
			want = strings.NewReplacer("A.Example.", "a.example.", "B.Example.", "b.example.").Replace(before)
		}
		if got := canonicalForm(rr).String(); got != want {
			t.Errorf("%s: %s, want %s", rrtype, got, want)
		}
		if rr.String() != before {
			t.Errorf("%s: the record itself is %s since, was %s", rrtype, rr, before)
		}
	}
	for _, rrtype := range []uint16{dns.TypeMD, dns.TypeMF, dns.TypeDNAME, dns.TypeSIG, dns.TypeNXT} {
		if !slices.Contains(notServed, rrtype) {
			t.Errorf("%s has names in its data, and a zone file may have it", dns.Type(rrtype))
		}
	}
}
