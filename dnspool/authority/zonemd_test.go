package authority

import (
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
