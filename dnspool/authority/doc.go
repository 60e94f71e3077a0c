// Package authority is the DNS face of the pool: an authoritative server for one zone, which answers A and
// AAAA queries at the pool's names from the snapshot in force.
//
// It decides nothing about mirrors: which are eligible, and in which order they are dealt, is settled by package
// dnspool. It neither recurses nor forwards, and logs no queries.
//
//	server.go        the sockets, and what becomes of a query: answered, signed with TSIG, or a transfer
//	zone.go          the names and records of the zone, made from a snapshot
//	zonefile.go      the records from dns.zone_file, and how they are checked
//	withtxt.go       TXT records for challenges of certificate authorities
//	caa.go           CAA at the names that lead to mirrors
//	prepared.go      the answers as bytes, made when a zone is published
//	fastpath.go      a query over UDP, answered from these bytes
//	respond.go       any query, answered record by record
//	dnssec.go        the zone's signatures
//	lastsigned.go    who gets what while the zone cannot be signed
//	withheld.go      what they do not get of it: mirrors that were disabled since
//	cardsets.go      the sets of addresses that are signed
//	denial.go        proofs that something does not exist
//	zonemd.go        the digest of the zone as it is transferred
//	attested.go      prepared answers with signatures and proofs
//	near.go          answers by the client's place (dns.geo)
//	near_signed.go   which of these a signed zone can have
//	options.go       the EDNS options of a response
//	chaos.go         id.server. and version.bind.
//	status.go        _status and _mirrors: the state of the pool in TXT records
//	client.go        the client of a query, and to which clients UDP answers go
//	digest.go        a hash of what the zone holds besides the pool
//	ratelimit.go     response rate limiting
//	connections.go   how many TCP connections are open, in all and from a network
//	stream.go        TCP: pipelining, timeouts and what a client may leave unread
//	signed.go        queries with TSIG
//	transferred.go   the zone as it is transferred
//	metrics.go       counters and latencies
package authority
