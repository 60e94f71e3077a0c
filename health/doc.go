// Package health decides which endpoints are fit to serve.
//
// An endpoint is a mirror at one IP address. The [Checker] finds the addresses of each mirror, probes each
// endpoint in each role on a jittered schedule, and turns what the probes see into verdicts. Each address is
// judged by itself: that IPv6 works says nothing about IPv4. Two rules are pure functions: [Verdict.Next], by
// which observations become verdicts, and [Freshness.Judge], by which old content becomes an observation.
//
// The package does not say who is picked: that is for package dnspool. Weights matter to it only as zero
// or not, for who may vote on the reference, and to be counted in a [Report].
//
// # A good guest
//
// A probe never retries, reads little, and follows a redirect to the mirror's own host at most, and always at the
// address under test, so that nothing leads it elsewhere. At an address, in a role, there is at most one probe at
// a time: mirrors that share an address wait for each other. An rsync daemon that cannot be connected to is tried at up
// to three further addresses. Once an hour a mirror that passes is asked again in the names of wget and curl. What
// tells nothing of the mirror, such as a busy daemon, is looked at again after an interval and not before.
//
// # Speed
//
// A failure of an endpoint that is up is found after at most an interval, plus a timeout if it hangs. The
// verdict changes after Fall failures. The further ones follow within a tenth of an interval each, two seconds
// at most, and may take three tenths of the timeout each. With an interval and a timeout of a second and Fall 2
// that is 1.1 seconds for a failure that shows at once, and 2.4 seconds for a hang. It takes longer for mirrors
// that usually need more than 7.5 % of the timeout for an answer: they get four times what they needed at worst
// of late, up to a whole timeout, so that a slow mirror is not taken for a dead one. See [Verdict.Patience].
package health
