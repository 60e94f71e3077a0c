package dnssec

import (
	"fmt"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// Of the DS records of an algorithm, validators use those with the strongest digest, and ignore the others: SHA-1
// beside SHA-256 (RFC 4509 section 3), and at some, SHA-256 beside SHA-384. Some use SHA-1 in no case (RFC 9905).

// strength ranks digest types; 0 is one that no validator needs to know.
func strength(digest uint8) int {
	return slices.Index([]uint8{dns.SHA1, dns.SHA256, dns.SHA384}, digest) + 1
}

// isUsed reports whether validators use a DS record that is one of some.
func isUsed(ds *dns.DS, all []*dns.DS) bool {
	return strength(ds.DigestType) > 0 && !slices.ContainsFunc(all, func(other *dns.DS) bool {
		return other.Algorithm == ds.Algorithm && strength(other.DigestType) > strength(ds.DigestType)
	})
}

// isOf reports whether a DS record is one of a key.
func isOf(ds *dns.DS, key *dns.DNSKEY) bool {
	ours := key.ToDS(ds.DigestType)
	return ours != nil && ours.KeyTag == ds.KeyTag && ours.Algorithm == ds.Algorithm && strings.EqualFold(ours.Digest, ds.Digest)
}

// has reports whether the parent has a DS record of a key, with whatever digest.
func (v *View) has(k *Key) bool {
	return slices.ContainsFunc(v.DS, func(ds *dns.DS) bool { return isOf(ds, k.Record) })
}

// isAnchor reports whether the parent has a DS record of a key that is of use to validators, beside the others.
func (v *View) isAnchor(k *Key) bool {
	return slices.ContainsFunc(v.DS, func(ds *dns.DS) bool { return isOf(ds, k.Record) && isUsed(ds, v.DS) })
}

// anchors reports whether all validators use a DS record of a key: a new one may sign then.
func (v *View) anchors(k *Key) bool {
	return slices.ContainsFunc(v.DS, func(ds *dns.DS) bool {
		return isOf(ds, k.Record) && isUsed(ds, v.DS) && ds.DigestType != dns.SHA1
	})
}

// ignored says which DS record of a key is of no use to validators, or to some, where no other one is; or is "".
func (v *View) ignored(keys []*Key) string {
	for _, ds := range v.DS {
		i := slices.IndexFunc(keys, func(k *Key) bool { return isOf(ds, k.Record) })
		if i >= 0 && !v.anchors(keys[i]) {
			return fmt.Sprintf("validators may ignore the parent's DS record of the key %d, as its digest is of type %d, and look for one of "+
				"SHA-256 (2) or, if there is any, SHA-384 (4): have one in place that mirrorpool dnssec ds prints", ds.KeyTag, ds.DigestType)
		}
	}
	return ""
}
