// Package health decides which endpoints are fit to serve.
//
// An endpoint is a mirror at one IP address. The [Checker] finds the addresses of each mirror, probes each
// endpoint in each role on a jittered schedule, and turns what the probes see into verdicts. Each address is
// judged by itself: that IPv6 works says nothing about IPv4. Two rules are pure functions: [Verdict.Next], by
// which observations become verdicts, and [Freshness.Judge], by which old content becomes an observation.
//
// Package dnspool decides which mirrors are picked. Weights matter here only for the vote on the reference, and to be
// counted in a [Report].
//
// # A good guest
//
// A probe never retries, reads little, and follows redirects to the mirror's own host only, always at the address
// under test. An endpoint has at most one probe in a role at a time: mirrors that share an address wait for each
// other. An rsync daemon that cannot be connected to is tried at up to three further addresses. Once an hour a mirror
// that passes is requested with the User-Agents of wget and curl. After an inconclusive probe, such as of a busy
// daemon, the next one waits for a whole interval. pace.go keeps requests to one host apart, so that a limit of one a
// second is kept.
//
// # Parts
//
// [Checker] (checker.go) joins them. schedule.go says when to probe, and knows no verdicts. mirror.go sets up the
// checks and look-ups of a mirror, observe.go turns a probe into a verdict, survey.go watches the pool as a whole,
// and memory.go and history.go hold what outlives a restart (sealed.go: its format). state.go and observation.go are
// the words for what was seen, report.go collects it (views.go: as other watchers see it), reference.go is the trace
// of the origin, and settings.go the configuration. The rules have a file each:
//
//	verdict.go     when an endpoint is up or down
//	rate.go        what becomes of one that fails now and then
//	freshness.go   when a mirror is stale
//	majority.go    what the reference is without reference_url
//	suspect.go     which failures may be this host's fault
//	claims.go      which of the addresses from DNS to believe
//	lookup.go      which of the addresses from DNS to probe
//	pace.go        how long to pause between two requests to a host
//	visit.go       when others may ask a host: while no check is under way
//	rsynccheck.go  at which addresses an rsync daemon is tried
//	cause.go       whose fault a failure may be
//	cert.go        when a certificate ends soon
//	command.go     by which command a person sees a failure
//	agents.go      when a mirror is requested with the User-Agents of wget and curl
//
// This package opens no socket: package probe does, and cmd joins the two.
//
// # Speed
//
// A failure of an endpoint that is up is found after at most an interval, plus a timeout if it hangs. The verdict
// changes after Fall failures. The further ones follow within a tenth of an interval each, two seconds at most, and
// may take three tenths of the timeout each. With an interval and a timeout of a second and Fall 2 that is 1.1 seconds
// for a failure that shows at once, and 2.4 seconds for a hang. It takes longer for mirrors that usually need more
// than 7.5 % of the timeout for an answer. They get four times their longest latency of late, up to a whole timeout,
// because a slow mirror is not a dead one. See [Verdict.Patience].
package health
