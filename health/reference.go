package health

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"
)

// A ReferenceReader reads the trace of the origin, which all mirrors should carry. It returns by ctx's
// deadline.
type ReferenceReader interface {
	ReadReference(ctx context.Context, u *url.URL, userAgent string) (time.Time, error)
}

// An HTTPReference reads a trace over HTTP or HTTPS. The operator names its URL, so it may be anywhere, an
// inside network included.
type HTTPReference struct {
	transport *http.Transport
	now       func() time.Time
}

// NewHTTPReference returns a reader that trusts roots, or the system's certificates if roots is nil.
func NewHTTPReference(roots *x509.CertPool, now func() time.Time) *HTTPReference {
	return &HTTPReference{transport: newTransport(roots, new(net.Dialer).DialContext), now: now}
}

// ReadReference reads the trace at u. The error begins with the step that failed.
func (r *HTTPReference) ReadReference(ctx context.Context, u *url.URL, userAgent string) (time.Time, error) {
	f := fetch{transport: r.transport, now: r.now, userAgent: userAgent, seen: new(Observation)}
	f.mayFollow = func(to *http.Request, via []*http.Request) error {
		return checkScheme(to.URL, via[len(via)-1].URL, len(via))
	}
	body, err := f.get(ctx, u, nil)
	if err == nil {
		var trace time.Time
		if trace, err = readTrace(body, r.now()); err == nil {
			return trace, nil
		}
	}
	_, reason := judge(err)
	return time.Time{}, errors.New(reason)
}

// A Reference is what mirrors should carry, and who does.
type Reference struct {
	Release
	// Problem says why the reference may be out of date, or is not known; empty if all is well.
	Problem string

	// Mirrors of the Enabled ones carry the reference at each address where their trace is known, and
	// their weights are Weight of EnabledWeight.
	Mirrors, Enabled      int
	Weight, EnabledWeight uint64
}

// referenceProblem describes why reference_url could not be read.
func referenceProblem(err error, known Release) string {
	if known.Trace.IsZero() {
		return fmt.Sprintf("reference_url cannot be read: %v; no reference is known", err)
	}
	return fmt.Sprintf("reference_url cannot be read: %v; keeping the last one known", err)
}
