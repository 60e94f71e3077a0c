// Package health decides which endpoints are fit to serve.
//
// An endpoint is a mirror at one IP address. The [Checker] finds the addresses of each mirror, probes each
// endpoint in each role on a jittered schedule, and turns what the probes see into verdicts. The rule by
// which observations become verdicts, [Verdict.Next], is a pure function.
//
// The package knows mirrors, but neither weights nor what the verdicts are for: who is picked is
// for package dnspool to say. It never retries within a probe, follows nobody to another host than the
// mirror's, and asks a host at most one thing at a time.
package health
