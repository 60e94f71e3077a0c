package probe

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"mirrorpool/health"
	"mirrorpool/health/rsync"
)

// A stepError says at which step a probe failed.
type stepError struct {
	step string
	err  error
}

func (e *stepError) Error() string { return e.step + ": " + e.err.Error() }
func (e *stepError) Unwrap() error { return e.err }

// A brokenOff error is why a body did not arrive whole. It says nothing of what the mirror carries.
type brokenOff struct{ error }

func (e *brokenOff) Unwrap() error { return e.error }

// isEvidence reports whether the error of a probe comes from something wrong that the mirror has sent.
func isEvidence(err error) bool {
	var (
		failed  *stepError
		invalid x509.CertificateInvalidError
		host    x509.HostnameError
		unknown x509.UnknownAuthorityError
		broken  *brokenOff
	)
	switch {
	case errors.As(err, &invalid), errors.As(err, &host), errors.As(err, &unknown):
		return true
	case !errors.As(err, &failed):
		return false
	case failed.step == health.StepBody:
		return !errors.As(err, &broken)
	}
	return failed.step == health.StepFreshness
}

// judge turns the error of a probe into a state, a cause, and a reason in words that an operator understands.
// The state is Unknown if the fault is on our side, or a busy daemon may serve the next client.
func judge(err error) (health.State, health.Cause, string) {
	state := health.Down
	var busy *busyError
	if localFault(err) || errors.Is(err, rsync.ErrBusy) || errors.As(err, &busy) {
		state = health.Unknown
	}
	step := health.StepRequest
	var known *stepError
	if errors.As(err, &known) {
		step = known.step
	}
	cause := causeOf(step, err)
	if known != nil {
		err = known.err
	}
	text := describe(err)
	for _, prefix := range [...]string{"net/http: ", "http: ", step + ": "} { // which the step makes redundant
		text = strings.TrimPrefix(text, prefix)
	}
	return state, cause, step + ": " + text
}

// causeOf says whose fault an error at a step may be.
func causeOf(step string, err error) health.Cause {
	var (
		invalid x509.CertificateInvalidError
		unknown x509.UnknownAuthorityError
		roots   x509.SystemRootsError
		future  futureError
	)
	switch {
	case localFault(err):
		return health.CauseLocal
	case errors.As(err, &unknown), errors.As(err, &roots):
		return health.CauseTrust
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return health.CauseClock
	case errors.As(err, &future):
		return health.CauseFuture
	case step == health.StepConnect:
		return health.CauseConnect
	}
	return health.CauseOwn
}

// errNoRoute means that this host cannot reach an address, whatever is there.
var errNoRoute = errors.New("this host has no route to the address")

// noteLate notes how late this host noticed that a request timed out.
func noteLate(ctx context.Context, err error, o *health.Observation, now func() time.Time) {
	if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, os.ErrDeadlineExceeded) {
		return
	}
	if deadline, ok := ctx.Deadline(); ok {
		o.Late = now().Sub(deadline)
	}
}

// localErrors are this host's fault and say nothing of the mirror. EPERM comes from a firewall on this host,
// EADDRNOTAVAIL from a lack of local ports.
var localErrors = [...]error{
	errNoRoute, context.Canceled, syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EPERM,
	syscall.EADDRNOTAVAIL,
}

// localFault reports whether err is this host's fault and says nothing of the mirror.
func localFault(err error) bool {
	var own *routeError
	return errors.As(err, &own) || slices.ContainsFunc(localErrors[:], func(local error) bool { return errors.Is(err, local) })
}

// unreachable reports whether err may mean that this host has no route. It may also mean that a router
// on the way has none, which is then the mirror's fault.
func unreachable(err error) bool {
	return errors.Is(err, syscall.ENETUNREACH) || errors.Is(err, syscall.EHOSTUNREACH) ||
		errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT)
}

// routed reports whether this host knows a way to addr. It asks the kernel alone: connecting a UDP socket
// sends nothing.
func routed(addr netip.Addr) bool {
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, 9)))
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// describe puts the cause of err into a few words, without addresses and URLs that the reader has already.
func describe(err error) string {
	var own *routeError
	if errors.As(err, &own) {
		return shorten(own.Error(), 200)
	}
	if errors.Is(err, rsync.ErrBusy) {
		return shorten(err.Error(), 300)
	}
	if text := describeTLS(err); text != "" {
		return text
	}
	for _, known := range knownErrors {
		if errors.Is(err, known.err) {
			return known.text
		}
	}
	if strings.Contains(err.Error(), closedIdle) {
		return "the server closed the connection"
	}
	if strings.Contains(err.Error(), http2Preface) {
		return "the server speaks HTTP/2 only, which many clients do not: offer HTTP/1.1"
	}
	var first *spokeFirst
	if errors.As(err, &first) {
		return first.Error()
	}
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		// The transport says in what kind of connection something went wrong; what did is innermost.
		for err = wrapped.Err; errors.Unwrap(err) != nil; err = errors.Unwrap(err) {
		}
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Err != nil {
		err = op.Err
	}
	return shorten(err.Error(), 200)
}

// http2Preface is how net/http describes a SETTINGS frame, with which a server begins HTTP/2 (RFC 9113 section 3.4), in
// place of a response. It has no error value for it.
const http2Preface = `malformed HTTP response "\x00\x00`

// closedIdle is how net/http describes that a server closed a connection before the request was sent. It has no error
// value for it either.
const closedIdle = "server closed idle connection"

// knownErrors are those that say enough by themselves, the more specific ones first.
var knownErrors = [...]struct {
	err  error
	text string
}{
	{context.DeadlineExceeded, "timed out"},
	{os.ErrDeadlineExceeded, "timed out"},
	{context.Canceled, "cancelled"},
	{syscall.ECONNREFUSED, "connection refused"},
	{syscall.ECONNRESET, "connection reset by the server"},
	{syscall.EHOSTUNREACH, "host unreachable"},
	{syscall.ENETUNREACH, "network unreachable"},
	{syscall.EMFILE, "this host has too many open files"},
	{syscall.ENFILE, "this host has too many open files"},
	{syscall.ENOBUFS, "this host has no buffer space left"},
	{syscall.ENOMEM, "this host has no memory left"},
	{syscall.EPERM, "this host's firewall forbids the connection"},
	{syscall.EADDRNOTAVAIL, "this host has no local port or address left"},
	{io.ErrUnexpectedEOF, "the server closed the connection"},
	{io.EOF, "the server closed the connection"},
}

// describeTLS is describe for errors of TLS and of certificates; empty for others.
func describeTLS(err error) string {
	var (
		invalid x509.CertificateInvalidError
		host    x509.HostnameError
		unknown x509.UnknownAuthorityError
		rec     tls.RecordHeaderError
	)
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Sprintf("certificate is not valid now, but from %s to %s",
			invalid.Cert.NotBefore.UTC().Format("2006-01-02"), invalid.Cert.NotAfter.UTC().Format("2006-01-02"))
	case errors.As(err, &host):
		return fmt.Sprintf("certificate is not for %q", host.Host)
	case errors.As(err, &unknown):
		return describeUntrusted(err)
	case errors.As(err, &rec), errors.Is(err, http.ErrSchemeMismatch):
		return "the server does not speak TLS"
	}
	return describeAlert(err)
}

// describeUntrusted says why a certificate leads to no authority that this host trusts.
func describeUntrusted(err error) string {
	const unknown = "certificate is signed by an unknown authority"
	var failed *tls.CertificateVerificationError
	if !errors.As(err, &failed) || len(failed.UnverifiedCertificates) == 0 {
		return unknown
	}
	sent := failed.UnverifiedCertificates
	for _, cert := range sent {
		if !selfSigned(cert) && slices.Contains(sha1Algorithms[:], cert.SignatureAlgorithm) {
			return fmt.Sprintf("certificate of %q is signed with SHA-1, which clients refuse", shorten(nameOf(&cert.Subject), 60))
		}
	}
	switch leaf := sent[0]; {
	case selfSigned(leaf):
		return "certificate is signed by itself"
	case len(sent) == 1:
		return fmt.Sprintf("%s: the server sends it without the intermediate certificate of %q",
			unknown, shorten(nameOf(&leaf.Issuer), 60))
	}
	return unknown
}

var sha1Algorithms = [...]x509.SignatureAlgorithm{x509.SHA1WithRSA, x509.ECDSAWithSHA1, x509.DSAWithSHA1}

func selfSigned(cert *x509.Certificate) bool { return bytes.Equal(cert.RawSubject, cert.RawIssuer) }

// nameOf is the name of an authority, or of a host.
func nameOf(name *pkix.Name) string { return cmp.Or(name.CommonName, name.String()) }

// shorten cuts text to at most n bytes, for messages.
func shorten(text string, n int) string {
	if len(text) <= n {
		return text
	}
	return strings.ToValidUTF8(text[:n], "") + "..."
}
