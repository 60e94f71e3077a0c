// Package probe looks at mirrors over the network, for package health to judge.
//
// A [Prober] makes one probe of one mirror at one address: it fetches the trace file over HTTP or HTTPS, or asks an
// rsync daemon for the file's size. [Resolver] finds the addresses of a host, [Reference] reads the trace of the
// origin, and [Files] asks a mirror for the size of any file. None of them keeps state between calls: when to probe,
// and what follows from the result, is for the caller to decide.
//
// Mirrors are not trusted. Each request goes to the address under test, whatever host a redirect names; reads are
// bounded in size, and all calls return by the deadline of their context. Nothing is retried, except a DNS query.
package probe
