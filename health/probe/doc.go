// Package probe looks at mirrors over the network, for package health to judge.
//
// A [Prober] makes one probe of one mirror at one address: it fetches the trace file over HTTP or HTTPS, or asks an
// rsync daemon for the file's size. [Resolver] finds the addresses of a host, [Reference] reads the trace of the
// origin, and [Files] asks a mirror for the size of any file. None of them keeps state between calls: when to probe,
// and what follows from the result, is for the caller to decide.
//
// Mirrors are not trusted. Each request goes to the address under test, whatever host a redirect names; reads are
// bounded in size, and all calls return by the deadline of their context. Nothing is retried, except a DNS query.
//
//	prober.go       one probe
//	http.go         the trace over HTTP, at the address under test
//	trace.go        what a trace says
//	response.go     what a response must be like
//	rsync.go        the trace over rsync
//	tls.go          TLS: versions, ciphers, warnings
//	certificate.go  when a certificate ends
//	timing.go       how long each step took, and which one failed
//	route.go        by which proxy or from which address
//	reason.go       a failure in words, and whose fault it may be
//	agents.go       whether a mirror refuses wget or curl by name
//	checker.go      a health.Checker with these probes
//	resolver.go     the addresses of a name from DNS
//	exchange.go     one DNS query
//	hosts.go        /etc/hosts
//	reference.go    the trace of the origin
//	origin.go       the files of the origin
//	filelist.go     the files of a mirror
//	filesize.go     the size of one file at a mirror
//	copy.go         a mirror's file, as clients read it
package probe
