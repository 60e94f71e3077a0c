package health

import (
	"context"
	"net/netip"
	"net/url"
	"time"

	"mirrorpool/health/rsync"
)

// A Target is what one probe fetches, and where.
type Target struct {
	Role    Role
	URL     *url.URL   // of the trace file, in roles HTTP and DNS
	Rsync   rsync.URL  // of the trace file, in role Rsync
	Address netip.Addr // the only address that is connected to
	OwnHost string     // the mirror's own host name: besides URL's, redirects may lead to it

	Route          Route         // of all connections
	UserAgent      string        // in roles HTTP and DNS
	RequestTimeout time.Duration // of each request, in roles HTTP and DNS; 0: none but the context's
	// Await, unless it is nil, waits for the turn of a request to the host, or until ctx ends, and returns how long
	// that took.
	Await          func(ctx context.Context) time.Duration
	ConnectTimeout time.Duration // in role Rsync; 0: none but the context's
}

// A Route is how this host connects to mirrors.
type Route struct {
	Proxy  string   // host:port of a SOCKS5 proxy (RFC 1928); empty: directly
	Source []string // addresses of this host, at most one of each family, or the name of an interface; none: any
}

// A Prober probes one target once. It returns by ctx's deadline, does not retry and changes nothing.
type Prober interface {
	Probe(ctx context.Context, t Target) Observation
}

// An Observation is what one probe saw.
type Observation struct {
	At      time.Time     // when the probe ended
	Took    time.Duration // from the start of the probe until its end, without Awaited
	Awaited time.Duration // for the turn of its requests
	Result  State         // Up, Stale or Down; Unknown where nothing can be said of the mirror
	Reason  string        // why the result is not Up
	Cause   Cause         // of a result that is not Up
	// Evidence says that the mirror has sent something wrong: a certificate, or content. Anyone who asks sees it.
	Evidence bool

	// Late is, of a time-out, how long after it was due this host noticed.
	Late time.Duration

	// RetryAfter is, of a server that refuses for too many requests, when it wants the next one; 0 of others.
	RetryAfter time.Duration

	// NoConnection says, of an rsync daemon, that it may still be reached at another address.
	NoConnection bool

	Status      int       // of the latest HTTP response; 0 if there was none
	Trace       time.Time // what the trace file says; zero if it was not read
	CertExpires time.Time // of the certificates seen, when the first one expires; zero if there was none
	TLSWarning  string    // what of TLS some clients refuse, or ""
	Timings     Timings
	Date        time.Time // of the latest HTTP response, as the server sees it; zero if there was none

	// Owes is the trace that a mirror which was down has to carry before it is up again; zero if it
	// owes none. See [Freshness.Judge].
	Owes time.Time
}

// Timings say where a probe's time went. A step that was taken more than once, because of a redirect or
// for a range, counts with its sum; a step that was not finished is missing from it.
type Timings struct {
	Connect   time.Duration `json:"connect"`    // TCP handshake
	TLS       time.Duration `json:"tls"`        // TLS handshake
	FirstByte time.Duration `json:"first_byte"` // from the connection until the response begins
	Total     time.Duration `json:"total"`      // everything
}

// The steps of a probe, in order. The reason of a failure begins with its step.
const (
	StepResolve   = "resolve"
	StepConnect   = "connect"
	StepTLS       = "tls"
	StepRequest   = "request"
	StepStatus    = "status"
	StepBody      = "body"
	StepFreshness = "freshness"
)
