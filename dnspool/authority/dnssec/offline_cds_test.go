package dnssec

import (
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// TestCDSOfAKeyThatHasNotSigned refuses CDS and CDNSKEY records that were signed ahead and name another server's key
// alone, which has not signed the DNSKEY records here.
func TestCDSOfAKeyThatHasNotSigned(t *testing.T) {
	t.Parallel()
	for _, signed := range []bool{false, true} {
		for _, cds := range []bool{false, true} {
			k, other := newSplitKey(t), newSplitKey(t)
			named := other.ksk
			if signed {
				named = k.ksk
			}
			set := dns.RR(named.ToCDNSKEY())
			if cds {
				set = named.ToDS(dns.SHA256).ToCDS()
			}
			k.signAhead(t, ".1", append(k.both(), dns.Copy(other.ksk)), set)
			c := testConfig(k.kskAt, k.zskAt)
			c.DNSSEC.OtherKeys = []string{other.kskAt + publicEnd}
			_, err := Read(c, "", testNow)
			if (err == nil) != signed || err != nil && !strings.Contains(err.Error(), "name no key that has signed the DNSKEY records") {
				t.Errorf("%v, by a key that has signed: %v: %v", set, signed, err)
			}
		}
	}
}
