// Package dnssec signs a zone ahead of its queries (RFC 4033 to 4035): it keeps keys, signatures and the chain of NSEC
// records. It knows no mirrors, opens no socket and reads no clock.
//
// What is signed when: whenever a zone is made, from the same goroutine, in a [Pass]. Each record set is added to the
// pass, which takes the signature from an earlier one where owner, type, TTL, records and key are the same, and makes
// the others on all CPUs. A zone is answered from only after its pass has ended, so that no set is served without its
// signatures, and that of one changed set costs one signature for each key.
//
// By which key: a key with the flag SEP (257) signs the DNSKEY, CDS and CDNSKEY sets as long as it is published, one
// without it (256) all others. Where an algorithm has only keys of the first kind, they sign all (a CSK). Each
// algorithm in the DNSKEY set has to sign the whole zone. Times in the key's file, as dnssec-keygen and dnssec-settime
// write them, say from when on it is published and signs. Servers with the same files do the same.
//
// For how long: a signature holds from an hour before it is made, for clocks that are behind, to the end of the
// validity. It is made anew at half of that, a bit earlier by chance, so that not all fall due at once; or if the clock
// has been set back before it. The owner of the zone makes one at least every hour, and answers SERVFAIL once the first
// signature has expired ([Pass.End] says when).
//
// Denial is by NSEC records that are signed like the rest. The names of a pool are few and public, and no query costs
// a signature, whatever it asks for.
//
//	keys.go     keys: which are published, which sign
//	keyfile.go  BIND's key files: read and made
//	save.go     state_dir/keys and what is remembered, changed together
//	offline.go  keys whose private part is elsewhere
//	end.go      when keys end that no others follow
//	memory.go   which keys signed before
//	past.go     what caches may still have
//	cache.go    the pass: signatures made and kept
//	nsec.go     the chain of names
//	ds.go       which of the parent's DS records validators use
//	replace.go  whether caches go with keys that replace others
//	removal.go  whether they go with keys that are removed
//	rollover.go from one key to the next
//	hold.go     not while the parent cannot be seen, or the server was down
//	abort.go    and back, while that is safe
//	leader.go   which of several servers does that
//	status.go   what an administrator wants to know
//	metrics.go  the same for Prometheus
package dnssec
